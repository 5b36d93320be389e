//! Scenarios times clients: every ledger against the provider's log. Counts must be exact, times within a bound.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use kernel_tests::clients::{Client, Kind};
use kernel_tests::compare::{Quantiles, Report};
use kernel_tests::rig::Rig;
use kernel_tests::skipped;
use provider::catalogue;

/// An error of a milestone that is called late, seconds. The client's and the provider's stamps differ by two loopback hops
/// and by how long a busy client (or a busy host) leaves bytes in its socket, which the ledger rightly counts.
const LATE: f64 = 0.050;
/// Largest share of late milestones.
const LATE_SHARE: f64 = 0.05;
/// Largest median error of milestones and gaps, milliseconds. The benchmark, with clients that do nothing else, is sharper.
const MEDIAN_MS: f64 = 5.0;

/// What a streaming client is asked to hear.
const STREAMED: [&str; 23] = [
    "text",
    "tools",
    "reasoning",
    "refusal",
    "pings",
    "gzip",
    "deflate",
    "padding",
    "split",
    "coalesced",
    "corked",
    "until-close",
    "large",
    "reset",
    "closed",
    "goodbye",
    "fin",
    "fin-at-once",
    "truncated-chunk",
    "no-end",
    "error-event",
    "429-then-ok",
    "529",
];
/// Encodings that only some clients ask for; curl takes the bytes as they are.
const CURL_ONLY: [&str; 2] = ["br", "zstd"];
const WHOLE: [&str; 4] = ["text", "tools", "gzip", "429-then-ok"];
/// Scenarios whose answers end with reported tokens.
const WITH_USAGE: [&str; 8] = ["text", "tools", "reasoning", "pings", "gzip", "padding", "coalesced", "until-close"];

#[test]
fn every_stream_of_every_client_is_as_the_provider_wrote_it() {
    if skipped() {
        return;
    }
    matrix("1", |kind| if kind.is_sdk() { STREAMED.to_vec() } else { [&STREAMED[..], &CURL_ONLY].concat() });
}

#[test]
fn whole_answers_count_too() {
    if skipped() {
        return;
    }
    matrix("0", |kind| if kind.name == "stdlib" { Vec::new() } else { WHOLE.to_vec() });
}

#[test]
fn requests_on_one_connection_are_told_apart() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let mut models = Vec::new();
    for name in ["openai-sync-chat", "anthropic-async", "openai-node-chat"] {
        // One call after the other; not streamed, so that every SDK keeps its connection.
        let turns = (0..4).map(|turn| format!("{}-{turn}", Kind::named(name).unwrap().model("text")));
        let asked: Vec<String> = turns.collect();
        rig.run(name).unwrap().env("CLIENT_STREAM", "0").start(&asked).unwrap().finish().unwrap();
        models.extend(asked);
    }
    let shared = models.iter().flat_map(|model| rig.truth(model)).filter(|truth| truth.request.request > 0).count();
    assert!(shared >= 6, "the clients did not reuse their connections: {shared} requests on used ones");
    judge(&rig, &report(&rig, &models));
}

/// Runs every client, some at a time, and compares all their streams.
fn matrix(stream: &str, scenarios: impl Fn(Kind) -> Vec<&'static str>) {
    let rig = Rig::new().unwrap();
    let (kinds, absent) = rig.clients.available();
    for reason in absent {
        println!("not run here: {reason}");
    }
    let mut models = Vec::new();
    for pair in kinds.chunks(2) {
        let running: Vec<Client> = pair
            .iter()
            .map(|kind| {
                let asked: Vec<String> = scenarios(*kind).iter().map(|scenario| kind.model(scenario)).collect();
                models.extend_from_slice(&asked);
                // Not judged: with it the SDK imports half of itself.
                let warm = kind.model("length");
                let run = rig.clients.run(*kind, &rig.provider).env("CLIENT_STREAM", stream);
                run.env("CLIENT_PARALLEL", "3").env("CLIENT_WARM", &warm).start(&asked).unwrap()
            })
            .collect();
        for client in running {
            client.finish().unwrap();
        }
    }
    judge(&rig, &report(&rig, &models));
}

/// Compares every model's exchanges.
fn report(rig: &Rig, models: &[String]) -> Report {
    let ledgers = rig.ended(models).unwrap();
    let mut report = Report::default();
    for model in models {
        let truths = rig.truth(model);
        report.add(model, &ledgers, &truths);
        if WITH_USAGE.iter().any(|scenario| model.starts_with(&format!("scenario:{scenario}#"))) {
            let ours = ledgers.iter().filter(|ledger| ledger.request_model.as_ref() == Some(model));
            ours.for_each(|ledger| report.tokens(model, ledger, catalogue::USAGE));
        }
    }
    report
}

fn judge(rig: &Rig, report: &Report) {
    let milestones = Quantiles::of_errors(report.milestones.iter().map(|(_, error)| *error));
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
