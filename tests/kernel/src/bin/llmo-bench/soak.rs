//! A soak: 500 chunks a second and a new process each second, for half an hour. What the daemon
//! holds must be flat, nothing wrong and nothing lost. Only on request (`llmo-bench soak`,
//! `LLMO_SOAK_MINUTES` minutes).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kernel_tests::clients::Client;
use kernel_tests::exact;
use kernel_tests::library;
use kernel_tests::rig::Rig;
use kernel_tests::watch::{Footprint, cpu};
use provider::script::{Reply, Scenario, answer, deltas};
use provider::{Options, Provider};

use crate::table::Table;

const MINUTES: u64 = 30;

/// One program a second: 500 chunks in about a second, of a library that some other one used before
/// or of one of its own.
const CHUNKS: u32 = 500;
const APART_US: u64 = 2_000;
const EACH: Duration = Duration::from_secs(1);

/// As many images' libraries; a new one takes an old one's place every so many starts.
const LIBRARIES: usize = 10;
const RENEWED: usize = 30;

/// When the first figure is taken: caches are filled and the first files released by then.
const SETTLED: Duration = Duration::from_secs(120);

/// Ended calls kept: so few that the daemon has all of them when the first figure is taken. Each takes some 16 KiB with
/// its 500 chunks, so 4,096 of them, the default, would go on growing for over an hour of this.
const KEPT: &str = "limits: {ended_streams: 100}\n";

/// Starts in a round; each has a provider of its own, whose log is that long.
const ROUND: usize = 60;

/// What a soak gathers.
#[derive(Default)]
struct Soak {
    started: usize,
    wrong: Vec<String>,
    settled: Option<Footprint>,
}

pub(crate) fn run(table: &mut Table) -> Result<()> {
    let minutes = std::env::var("LLMO_SOAK_MINUTES").ok().and_then(|value| value.parse().ok()).unwrap_or(MINUTES);
    let mut rig = Rig::tuned(KEPT)?;
    let libraries: Vec<PathBuf> = (0..LIBRARIES).map(|n| rig.dir.path().join(format!("soak{n}"))).collect();
    for library in &libraries {
        library::copy_into(library)?;
    }
    let (began, cpu_before) = (Instant::now(), cpu(rig.daemon.pid())?);
    let mut soak = Soak::default();
    while began.elapsed() < Duration::from_secs(minutes * 60) {
        rig.provider = Provider::start(&Options::in_memory(rig.dir.path().to_owned()))?;
        round(&rig, &libraries, &mut soak)?;
        if began.elapsed() > SETTLED && soak.settled.is_none() {
            soak.settled = Some(Footprint::of(&rig.daemon)?);
        }
    }
    let taken = cpu(rig.daemon.pid())?.saturating_sub(cpu_before);
    let (before, after) = (soak.settled.context("too short to settle")?, Footprint::of(&rig.daemon)?);
    eprintln!("{}\n{before:?}\n{after:?}", soak.wrong.join("\n"));
    let what = format!("soak of {minutes} minutes, a process a second, {CHUNKS} chunks each");
    table.show(&what, soak.started as f64, "streams");
    table.at_most("... facts that differ from the provider's log", soak.wrong.len() as f64, "facts", 0.0);
    table.at_most("... records lost", lost(&rig)?, "records", 0.0);
    let grown = |after: usize, before: usize| after as f64 - before as f64;
    table.at_most("... descriptors grown by", grown(after.descriptors, before.descriptors), "", 16.0);
    table.at_most("... probe rows grown by", grown(after.probe_rows, before.probe_rows), "rows", 16.0);
    table.at_most("... series about the daemon grown by", grown(after.series, before.series), "series", 8.0);
    let memory = (after.resident_kib as f64 / before.resident_kib as f64 - 1.0) * 100.0;
    table.at_most("... memory grown by", memory, "%", 15.0);
    table.show("... daemon CPU", taken.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0, "% of a core");
    Ok(())
}

/// A minute of it, judged at its end.
fn round(rig: &Rig, libraries: &[PathBuf], soak: &mut Soak) -> Result<()> {
    rig.provider.register("soak", Scenario::always(Reply::of(answer(vec![deltas(CHUNKS, 12, APART_US)], "stop"))));
    let (mut running, mut asked, mut next): (Vec<Client>, Vec<String>, _) = (Vec::new(), Vec::new(), Instant::now());
    for (nth, library) in libraries.iter().cycle().take(ROUND).enumerate() {
        if soak.started % RENEWED == RENEWED - 1 {
            renew(library)?;
        }
        // The same models each round: a new name is new series for good, which is not what a soak asks about.
        let model = format!("scenario:soak#soak-{nth}");
        let run = rig.run("stdlib")?.env("LD_LIBRARY_PATH", &library.to_string_lossy()).env("CLIENT_PAUSE", "0.2");
        running.push(run.start(std::slice::from_ref(&model))?);
        asked.push(model);
        soak.started += 1;
        next += EACH;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    for client in running {
        client.finish()?;
    }
    soak.wrong.extend(exact::wrong_at(rig, &asked, Some(rig.provider.address().port()))?);
    Ok(())
}

/// As an upgrade does it: another inode under the name.
fn renew(folder: &Path) -> Result<()> {
    let status = Command::new("sh")
        .args(["-ec", r#"for file in "$0"/lib*; do cp "$file" "$file.new"; mv "$file.new" "$file"; done"#])
        .arg(folder)
        .status()?;
    anyhow::ensure!(status.success(), "cannot replace the libraries in {}", folder.display());
    Ok(())
}

fn lost(rig: &Rig) -> Result<f64> {
    let metrics = rig.daemon.metrics()?;
    let lines = metrics.lines().filter(|line| line.starts_with("llm_observer_events_lost_total"));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}
