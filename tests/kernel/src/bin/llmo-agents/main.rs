//! Real agents and clients against the test provider, each in a network namespace that has loopback
//! alone (they phone home otherwise), with the daemon outside: what it saw beside what the provider
//! logged. `cargo xtask agents` downloads the programs and runs this; arguments choose rows by parts
//! of their names.

mod clients;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use kernel_tests::compare::Report;
use kernel_tests::daemon::Daemon;
use kernel_tests::ledger::Ledger;
use kernel_tests::truth::{self, Exchange};
use kernel_tests::{places, wait_for};
use provider::log::Line;
use tempfile::TempDir;

use self::clients::{CLIENTS, RealClient};

/// Longest life of one program: Copilot unpacks 145 MB at its first start.
const LONGEST: &str = "120";

/// How long the daemon may take to tell the last stream's end.
const SETTLE: Duration = Duration::from_secs(10);

fn main() -> Result<ExitCode> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let cache = PathBuf::from(std::env::var_os("LLM_OBSERVER_AGENTS").context("LLM_OBSERVER_AGENTS is not set")?);
    let chosen =
        |client: &&RealClient| wanted.is_empty() || wanted.iter().any(|part| client.name.contains(part.as_str()));
    let daemon = Daemon::start()?;
    let mut failed = false;
    println!(
        "{:<24} {:<10} {:<18} {:>8} {:>12} {:>14}  VERDICT",
        "CLIENT", "VERSION", "STACK", "CALLS", "EVENTS", "CHARS"
    );
    for client in CLIENTS.iter().filter(chosen) {
        let row = first_or_second(client, &cache, &daemon);
        failed |= !row.verdict.starts_with(EXACT);
        let [calls, events, chars] =
            [row.calls, row.events, row.chars].map(|(seen, logged)| format!("{seen}/{logged}"));
        let RealClient { name, version, stack, .. } = client;
        println!("{name:<24} {version:<10} {stack:<18} {calls:>8} {events:>12} {chars:>14}  {}", row.verdict);
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What was seen and what was logged.
#[derive(Default)]
struct Row {
    calls: (u64, u64),
    events: (u64, u64),
    chars: (u64, u64),
    verdict: String,
}

/// What was seen of a run, and of another one where nothing was: the first call of a file that nobody used before may
/// come before it was looked through.
fn first_or_second(client: &RealClient, cache: &Path, daemon: &Daemon) -> Row {
    let once = |times| {
        let not_run = |error| Row { verdict: format!("not run: {error:#}"), ..Row::default() };
        run(client, cache, daemon, times).unwrap_or_else(not_run)
    };
    let first = once(1);
    if first.calls.0 > 0 || first.calls.1 == 0 {
        return first;
    }
    let second = once(2);
    Row { verdict: format!("{} from the second run on", second.verdict), ..second }
}

/// The verdict on a run of which all was seen.
const EXACT: &str = "exact";

fn run(client: &RealClient, cache: &Path, daemon: &Daemon, times: u32) -> Result<Row> {
    let dir = tempfile::tempdir()?;
    let model = format!("{}text#{}-{times}", provider::PREFIX, client.name);
    let output = within(client, cache, &dir, &model)?;
    let log = std::fs::read_to_string(dir.path().join("log.json")).context("the provider wrote no log")?;
    let lines: Vec<Line> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let asked = |line: &Line| if let Line::Request(request) = line { Some(request.model.clone()) } else { None };
    // Side calls too: a title, a count of tokens.
    let models: BTreeSet<String> = lines.iter().filter_map(asked).filter(|model| !model.is_empty()).collect();
    let truths: Vec<Exchange> = models.iter().flat_map(|model| truth::exchanges(&lines, model)).collect();
    if truths.is_empty() {
        anyhow::bail!("it asked for nothing; it said: {}", output.lines().last().unwrap_or("nothing"));
    }
    let ledgers = ledgers(daemon, &models, truths.len())?;
    let mut report = Report::default();
    for model in &models {
        report.add(model, &ledgers, &truth::exchanges(&lines, model));
    }
    let verdict = report.mismatches.first().map_or_else(|| EXACT.to_owned(), Clone::clone);
    let sum = |of: fn(&Ledger) -> u64| ledgers.iter().map(of).sum();
    Ok(Row {
        calls: (ledgers.len() as u64, truths.len() as u64),
        events: (sum(|ledger| ledger.events), truths.iter().map(Exchange::events).sum()),
        chars: (
            sum(|ledger| ledger.visible_chars),
            truths.iter().map(|truth| truth.chars(provider::script::Kind::Visible)).sum(),
        ),
        verdict,
    })
}

/// The daemon's account of these models, once it has as many ends as there were calls, or the time is up.
fn ledgers(daemon: &Daemon, models: &BTreeSet<String>, expected: usize) -> Result<Vec<Ledger>> {
    let ours = |ledger: &Ledger| ledger.request_model.as_ref().is_some_and(|model| models.contains(model));
    let ended = || {
        let streams = daemon.streams().ok()?;
        let ended = streams.iter().filter(|ledger| ours(ledger) && ledger.outcome.is_some()).count();
        (ended >= expected).then_some(())
    };
    // What is missing is told by the comparison.
    let _ = wait_for("the streams' ends", SETTLE, ended);
    Ok(daemon.streams()?.into_iter().filter(ours).collect())
}

/// Runs the program beside a provider of its own, where there is no other network.
fn within(client: &RealClient, cache: &Path, dir: &TempDir, model: &str) -> Result<String> {
    let provider = places::daemon()?.with_file_name("llmo-provider");
    let script = format!("{}\n{}\n{}\n", clients::BEFORE, client.script, clients::AFTER);
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "timeout", LONGEST, "sh", "-c", &script]).env_clear().stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", dir.path()).env("AGENTS", cache);
    command.env("DIR", dir.path()).env("PROVIDER", provider).env("MODEL", model).current_dir(dir.path());
    command.env("BUNDLE", if client.bundle { "1" } else { "" });
    let output = command.output().context("cannot run unshare")?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}
