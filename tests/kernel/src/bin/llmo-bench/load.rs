//! What the daemon itself takes: CPU per captured event and memory, with few and with many open streams.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kernel_tests::daemon::Daemon;
use kernel_tests::places;
use kernel_tests::rig::Rig;
use provider::script::{Reply, Say, Scenario, Step, deltas};

use crate::table::Table;

/// Open streams; together they always carry some thousand events a second.
const OPEN: [u32; 3] = [1, 100, 1_000];
const WATCHED: Duration = Duration::from_secs(10);

/// What the daemon took in a while.
struct Taken {
    cpu_seconds: f64,
    events: f64,
    /// At the end of it.
    resident_kib: f64,
}

/// Idle first, then the steps of `OPEN`.
pub(crate) fn run(table: &mut Table) -> Result<()> {
    let rig = Rig::new()?;
    let idle = watch(&rig.daemon)?;
    table.at_most(
        "daemon CPU with no stream open",
        idle.cpu_seconds / WATCHED.as_secs_f64() * 100.0,
        "% of a core",
        1.0,
    );
    table.show("daemon memory with no stream open", idle.resident_kib / 1024.0, "MiB");
    let mut before = idle;
    let mut open_before = 0;
    for open in OPEN {
        let mut clients = open_streams(&rig, open)?;
        let taken = watch(&rig.daemon);
        drop(clients.stdin.take());
        clients.wait()?;
        let taken = taken?;
        let per_event = taken.cpu_seconds / taken.events * 1e6;
        table.show(&format!("daemon CPU per captured read or write, {open} open streams"), per_event, "µs");
        table.show(&format!("daemon memory, {open} open streams"), taken.resident_kib / 1024.0, "MiB");
        let growth = (taken.resident_kib - before.resident_kib) / f64::from(open - open_before);
        table.show(&format!("... growth per stream from {open_before} to {open}"), growth, "KiB");
        (before, open_before) = (taken, open);
    }
    Ok(())
}

fn open_streams(rig: &Rig, open: u32) -> Result<Child> {
    let steps = vec![Step::new(0, Say::Start), deltas(200_000, 12, u64::from(open) * 1_000)];
    rig.provider.register(&format!("open{open}"), Scenario::always(Reply::of(steps)));
    let mut child = Command::new(rig.clients.python())
        .arg(places::programs().join("bench/many.py"))
        .args([&format!("scenario:open{open}"), &open.to_string()])
        .env("BASE_URL", rig.provider.url())
        .env("SSL_CERT_FILE", rig.provider.ca().context("no TLS")?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start many.py")?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no pipe")?).read_line(&mut line)?;
    if !line.contains("ready") {
        child.wait()?;
        bail!("many.py could not open {open} streams");
    }
    Ok(child)
}

fn watch(daemon: &Daemon) -> Result<Taken> {
    // The scrapes lie outside the measured time: they cost the daemon, too.
    let events = captured(daemon)?;
    let cpu = cpu_seconds(daemon.pid())?;
    std::thread::sleep(WATCHED);
    let cpu_seconds = cpu_seconds(daemon.pid())? - cpu;
    Ok(Taken { cpu_seconds, events: captured(daemon)? - events, resident_kib: resident_kib(daemon.pid())? })
}

fn captured(daemon: &Daemon) -> Result<f64> {
    let metrics = daemon.metrics()?;
    let lines = metrics.lines().filter(|line| line.starts_with("llm_observer_events_total{"));
    let data = lines.filter(|line| line.contains("kind=\"read\"") || line.contains("kind=\"write\""));
    Ok(data.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

/// User and system time of a process so far.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold spaces: fields are counted behind it, from the third on.
    let fields = stat.rsplit(')').next().context("no stat")?.split_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    // USER_HZ is 100 on every architecture Linux runs on.
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

/// Resident memory of a process.
pub(crate) fn resident_kib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).context("no number")
}
