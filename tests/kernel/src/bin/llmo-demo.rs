//! The demo proper (`cargo xtask demo` sets up, builds and starts it): the daemon, a TLS provider and unmodified client
//! programs for some fifteen seconds; live streams meanwhile, then metrics, tables and the comparison with the truth.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kernel_tests::clients::{Client, Clients, Kind};
use kernel_tests::compare::{Quantiles, Report};
use kernel_tests::daemon::Daemon;
use kernel_tests::ledger::Ledger;
use kernel_tests::truth::{self, Exchange};
use kernel_tests::wait_for;
use provider::{Options, Provider};

/// Who calls, and what for, one call after the other: some 15 s each.
const CALLS: [(&str, [&str; 3]); 5] = [
    ("openai-sync-chat", ["demo", "tools", "slow"]),
    ("anthropic-async", ["reasoning", "demo", "429-then-ok"]),
    ("openai-node-responses", ["demo", "pings", "slow"]),
    ("anthropic-sync", ["slow", "gzip", "demo"]),
    ("curl-chat", ["demo", "reset", "reasoning"]),
];

/// How often the live table is shown: redrawn on a terminal, printed anew elsewhere.
const REDRAW: Duration = Duration::from_millis(500);
const REPRINT: Duration = Duration::from_secs(4);

/// Metrics worth a look after fifteen seconds.
const EXCERPT: [&str; 8] = [
    "llm_streams_active",
    "llm_streams_total",
    "llm_time_to_first_seconds_sum",
    "llm_time_to_first_seconds_count",
    "llm_chunk_gap_seconds_count",
    "llm_chunk_visible_chars_sum",
    "gen_ai_client_inference_usage",
    "llm_observer_events_lost_total",
];

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    say("starting the provider (TLS, scripted; its write log is the truth) and the daemon");
    let provider = Provider::start(&Options::in_memory(dir.path().to_owned()))?;
    let clients = Clients::set_up()?;
    let daemon = Daemon::start()?;
    let (models, running) = start(&clients, &provider)?;
    watch(&daemon, running)?;

    let exchanges: Vec<(String, Vec<Exchange>)> =
        models.into_iter().map(|model| (model.clone(), truth::exchanges(&provider.lines(), &model))).collect();
    let ledgers = ledgers(&daemon, &exchanges)?;
    show_metrics(&daemon)?;
    for (what, args) in [
        ("inspect streams -o wide", &["streams", "-o", "wide"][..]),
        ("inspect processes", &["processes"]),
        ("inspect probes", &["probes"]),
    ] {
        say(&format!("llm-observer {what}"));
        println!("{}", inspect(&daemon, args)?);
    }
    compare(&exchanges, &ledgers)
}

fn say(text: &str) {
    println!("\n== {text}");
}

fn start(clients: &Clients, provider: &Provider) -> Result<(Vec<String>, Vec<Client>)> {
    let (available, absent) = clients.available();
    for reason in absent {
        println!("not shown: {reason}");
    }
    let mut models = Vec::new();
    let mut running = Vec::new();
    for (name, scenarios) in CALLS {
        let kind = Kind::named(name)?;
        if !available.contains(&kind) {
            continue;
        }
        let asked: Vec<String> = scenarios.iter().map(|scenario| kind.model(scenario)).collect();
        let client = clients.run(kind, provider).start(&asked)?;
        println!("   {name} is process {}", client.pid());
        running.push(client);
        models.extend(asked);
    }
    if running.len() < 3 {
        bail!("fewer than three client programs can run here");
    }
    Ok((models, running))
}

/// Shows live streams until every client has ended.
fn watch(daemon: &Daemon, running: Vec<Client>) -> Result<()> {
    say("llm-observer inspect streams, while they are open");
    let waiting = std::thread::spawn(move || running.into_iter().try_for_each(|client| client.finish().map(drop)));
    let terminal = io::stdout().is_terminal();
    let began = Instant::now();
    let mut drawn = 0;
    while !waiting.is_finished() {
        std::thread::sleep(if terminal { REDRAW } else { REPRINT });
        let table = inspect(daemon, &["streams", "--since", "20s"])?;
        if terminal {
            erase(drawn)?;
        }
        println!("[{:.1} s]\n{table}", began.elapsed().as_secs_f64());
        drawn = table.lines().count() + 2;
    }
    waiting.join().map_err(|_| anyhow::anyhow!("the thread that awaits the clients panicked"))?
}

/// Moves up and clears, so that the next table takes the place of the last.
fn erase(lines: usize) -> Result<()> {
    let mut out = io::stdout().lock();
    if lines > 0 {
        write!(out, "\x1b[{lines}A\x1b[J")?;
    }
    Ok(out.flush()?)
}

fn inspect(daemon: &Daemon, args: &[&str]) -> Result<String> {
    let output = daemon.inspect(args)?;
    if !output.status.success() {
        bail!("inspect {args:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn show_metrics(daemon: &Daemon) -> Result<()> {
    say("/metrics, some of it");
    let metrics = daemon.metrics()?;
    for line in metrics.lines().filter(|line| EXCERPT.iter().any(|name| line.starts_with(name))) {
        println!("{line}");
    }
    Ok(())
}

/// Ledgers with timelines, by model, once all have ended.
fn ledgers(daemon: &Daemon, exchanges: &[(String, Vec<Exchange>)]) -> Result<BTreeMap<String, Vec<Ledger>>> {
    let expected: usize = exchanges.iter().map(|(_, truths)| truths.len()).sum();
    let ours = |ledger: &Ledger| exchanges.iter().any(|(model, _)| ledger.request_model.as_ref() == Some(model));
    // Should some be missing, the comparison says which.
    let _ = wait_for("all streams' ends", Duration::from_secs(5), || {
        let ended = daemon.streams().ok()?.iter().filter(|l| ours(l) && l.outcome.is_some()).count();
        (ended >= expected).then_some(())
    });
    let mut by_model: BTreeMap<String, Vec<Ledger>> = BTreeMap::new();
    for ledger in daemon.streams()?.iter().filter(|ledger| ours(ledger)) {
        let detailed = daemon.stream(&ledger.id)?;
        by_model.entry(ledger.request_model.clone().unwrap_or_default()).or_default().push(detailed);
    }
    by_model.values_mut().for_each(|ledgers| ledgers.sort_by(|a, b| a.started.cmp(&b.started)));
    Ok(by_model)
}

/// Prints both sides; an error unless every fact agrees.
fn compare(exchanges: &[(String, Vec<Exchange>)], ledgers: &BTreeMap<String, Vec<Ledger>>) -> Result<()> {
    say("ledger against the provider's write log");
    println!(
        "{:<42} {:>9} {:>13} {:>19} {:>23}",
        "MODEL", "CHUNKS", "CHARACTERS", "FIRST VISIBLE (ms)", "GAP p50 (ms)"
    );
    let mut report = Report::default();
    for (model, truths) in exchanges {
        let empty = Vec::new();
        let ledgers = ledgers.get(model).unwrap_or(&empty);
        report.add(model, ledgers, truths);
        for (ledger, truth) in ledgers.iter().zip(truths) {
            println!("{}", row(model, ledger, truth));
        }
    }
    println!("\neach pair: ledger / provider");
    println!("error of milestones: {}", Quantiles::of_errors(report.milestones.iter().map(|(_, error)| *error)));
    println!("error of gaps:       {}", Quantiles::of_errors(report.gaps.iter().copied()));
    if !report.mismatches.is_empty() {
        bail!("ledger and provider differ:\n{}", report.mismatches.join("\n"));
    }
    println!("{} streams: outcome, events, chunks and characters are exactly those of the provider", report.streams);
    Ok(())
}

fn row(model: &str, ledger: &Ledger, truth: &Exchange) -> String {
    let ms = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |s| format!("{:.1}", s * 1e3));
    let mut gaps = truth.gaps();
    gaps.sort_by(f64::total_cmp);
    let median = gaps.get(gaps.len() / 2).copied();
    format!(
        "{model:<42} {:>9} {:>13} {:>19} {:>23}  {}",
        format!("{}/{}", ledger.chunks, truth.chunks()),
        format!("{}/{}", ledger.visible_chars, truth.chars(provider::script::Kind::Visible)),
        format!("{}/{}", ms(ledger.first_seconds.visible), ms(truth.firsts().visible)),
        format!("{}/{}", ms(ledger.gaps.p50), ms(median)),
        ledger.outcome.as_deref().unwrap_or("open"),
    )
}
