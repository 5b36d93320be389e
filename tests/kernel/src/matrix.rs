//! Clients times scenarios: every ledger against the provider's log. Counts must be exact, times within a bound.

use anyhow::Result;

use crate::clients::{Client, Kind};
use crate::compare::{Quantiles, Report};
use crate::rig::Rig;

/// An error of a milestone that is called late, seconds, without what the client left its bytes in
/// the socket. The client's and the provider's stamps differ by two loopback hops, and on a busy
/// host by when each of the two was let run.
const LATE: f64 = 0.050;
/// Largest share of late milestones.
const LATE_SHARE: f64 = 0.05;
/// Largest median error of milestones and gaps, milliseconds. The benchmark, with clients that do
/// nothing else, is sharper.
const MEDIAN_MS: f64 = 5.0;

/// Runs every client, `together` at a time; the models they asked for.
///
/// # Errors
/// If a client cannot be run.
pub fn play(
    rig: &Rig,
    kinds: &[Kind],
    stream: &str,
    together: usize,
    scenarios: impl Fn(Kind) -> Vec<&'static str>,
) -> Result<Vec<String>> {
    let mut models = Vec::new();
    for some in kinds.chunks(together) {
        let mut running: Vec<Client> = Vec::new();
        for kind in some {
            let asked: Vec<String> = scenarios(*kind).iter().map(|scenario| kind.model(scenario)).collect();
            if asked.is_empty() {
                continue;
            }
            // Not judged: with it the SDK imports half of itself.
            let warm = kind.model("length");
            let parallel = if kind.takes_turns() { "1" } else { "3" };
            let run = rig.clients.run(*kind, &rig.provider).env("CLIENT_STREAM", stream);
            running.push(run.env("CLIENT_PARALLEL", parallel).env("CLIENT_WARM", &warm).start(&asked)?);
            models.extend(asked);
        }
        for client in running {
            client.finish()?;
        }
    }
    Ok(models)
}

/// Compares every model's exchanges.
///
/// # Errors
/// If `inspect` fails.
pub fn report(rig: &Rig, models: &[String]) -> Result<Report> {
    let ledgers = rig.ended(models)?;
    let mut report = Report::default();
    for model in models {
        report.add(model, &ledgers, &rig.truth(model));
    }
    Ok(report)
}

/// Fails the test if a fact differs, or times do too much.
///
/// # Panics
/// That is how a test fails.
pub fn judge(rig: &Rig, report: &Report) {
    let milestones = Quantiles::of_errors(report.errors());
    let gaps = Quantiles::of_errors(report.gaps.iter().copied());
    println!("{} streams; error of milestones: {milestones}; of gaps: {gaps}", report.streams);
    let wrong = &report.mismatches;
    if !wrong.is_empty() {
        println!("the daemon's log:\n{}", rig.daemon.log());
    }
    assert!(wrong.is_empty(), "{} facts of {} streams differ:\n{}", wrong.len(), report.streams, wrong.join("\n"));
    let late = report.late(LATE);
    println!("late milestones: {} of {}\n{}", late.len(), report.milestones.len(), late.join("\n"));
    assert!(late.len() as f64 <= LATE_SHARE * report.milestones.len() as f64, "too many of them");
    assert!(milestones.p50 <= MEDIAN_MS && gaps.p50 <= MEDIAN_MS, "milestones {milestones}; gaps {gaps}");
}
