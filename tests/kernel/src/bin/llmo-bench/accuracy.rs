//! 200 streams of 100 chunks, each read by a process of its own that does nothing else, against the provider's log.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use kernel_tests::compare::{Quantiles, Report};
use kernel_tests::rig::Rig;
use provider::script::{Reply, Scenario, answer, deltas};

use crate::table::Table;

const STREAMS: usize = 200;
const CHUNKS: u32 = 100;
/// Streams begin one after the other, so that handshakes do not make the clients busy.
const APART: Duration = Duration::from_millis(60);

/// All streams overlap for most of their time.
pub(crate) fn run(table: &mut Table) -> Result<()> {
    let rig = Rig::new()?;
    let mut reply = Reply::of(answer(vec![deltas(CHUNKS, 12, 140_000)], "stop"));
    reply.head_delay_us = 300_000;
    rig.provider.register("flow", Scenario::always(reply));
    let models: Vec<String> = (0..STREAMS).map(|number| format!("scenario:flow#{number}")).collect();
    let mut running = Vec::new();
    for model in &models {
        running.push(curl(&rig, model)?);
        std::thread::sleep(APART);
    }
    for mut child in running {
        child.wait()?;
    }
    let report = report(&rig, &models)?;
    for mismatch in report.mismatches.iter().take(10) {
        eprintln!("{mismatch}");
    }
    table.show("streams compared with the provider's log (100 chunks each)", report.streams as f64, "streams");
    table.at_most(
        "facts that differ (counts, outcomes, milestones missing)",
        report.mismatches.len() as f64,
        "facts",
        0.0,
    );
    let firsts = Quantiles::of_errors(first_visible(&report));
    let gaps = Quantiles::of_errors(report.gaps.iter().copied());
    table.at_most("error of the time to the first visible chunk, p50", firsts.p50, "ms", 0.3);
    table.at_most("error of the time to the first visible chunk, p99", firsts.p99, "ms", 2.0);
    table.at_most("error of gaps between chunks, p50", gaps.p50, "ms", 0.3);
    table.at_most("error of gaps between chunks, p99", gaps.p99, "ms", 2.0);
    Ok(())
}

fn curl(rig: &Rig, model: &str) -> Result<Child> {
    let body = format!("{{\"model\": \"{model}\", \"stream\": true, \"messages\": []}}");
    let mut curl = Command::new("curl");
    curl.args(["-sSN", "--http1.1", "-o", "/dev/null", "-d", &body]).arg("--cacert").args(rig.provider.ca());
    curl.arg(format!("{}/v1/chat/completions", rig.provider.url())).stdin(Stdio::null());
    curl.spawn().context("cannot start curl")
}

fn report(rig: &Rig, models: &[String]) -> Result<Report> {
    let ledgers = rig.ended(models)?;
    let lines = rig.provider.lines();
    let mut report = Report::default();
    for model in models {
        report.add(model, &ledgers, &kernel_tests::truth::exchanges(&lines, model));
    }
    Ok(report)
}

fn first_visible(report: &Report) -> impl Iterator<Item = f64> {
    report.milestones.iter().filter(|one| one.what.ends_with(" visible")).map(|one| one.error)
}
