//! The demo proper (`cargo xtask demo` sets up, builds and starts it): the daemon, a TLS provider and unmodified client
//! programs for some fifteen seconds; live streams meanwhile, then metrics, tables and the comparison with the truth.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kernel_tests::clients::{Client, Clients, Kind};
use kernel_tests::compare::{Quantiles, Report};
use kernel_tests::daemon::Daemon;
use kernel_tests::inside;
use kernel_tests::ledger::Ledger;
use kernel_tests::overlay::{Overlay, Way};
use kernel_tests::truth::{self, Exchange};
use kernel_tests::wait_for;
use provider::{Options, Provider};

/// Who calls, over which TLS, and what for, one call after the other: some ten seconds each.
const CALLS: [(&str, &str, [&str; 3]); 9] = [
    ("openai-sync-chat", "OpenSSL", ["demo", "tools", "gzip"]),
    ("anthropic-async", "OpenSSL", ["reasoning", "demo", "429-then-ok"]),
    ("openai-node-responses", "OpenSSL in Node's own file", ["demo", "pings", "text"]),
    ("anthropic-sync", "OpenSSL", ["refusal", "demo", "padding"]),
    ("chrome-curl-http2-chat", "BoringSSL without symbols", ["demo", "text", "tools"]),
    ("inside-trixie", "OpenSSL in a program without symbols", ["text", "demo", "reasoning"]),
    ("go-stripped-http2", "Go, without symbols", ["demo", "reasoning", "tools"]),
    ("wget-chat", "GnuTLS", ["text", "demo", "reasoning"]),
    ("curl-chat", "OpenSSL", ["demo", "reset", "reasoning"]),
];

/// Clients whose file takes longer to be looked through than they would take to call: they wait for their probes.
const LET_GO: [&str; 3] = ["chrome-curl-http2-chat", "inside-trixie", "go-stripped-http2"];

/// Who calls in two containers of one image, whose only layer is this host's root, and what for.
const IN_CONTAINERS: (&str, [&str; 3]) = ("curl-chat", ["text", "demo", "tools"]);
const CONTAINERS: usize = 2;

/// How often the live table is shown: redrawn on a terminal, printed anew elsewhere.
const REDRAW: Duration = Duration::from_millis(500);
const REPRINT: Duration = Duration::from_secs(4);
/// When the clients' processes are shown: all have loaded TLS by then, and none has ended.
const PROCESSES_AT: Duration = Duration::from_secs(5);

/// Metrics worth a look after fifteen seconds, of one model, and of the observer itself.
const EXCERPT: [&str; 10] = [
    "llm_streams_active{",
    "llm_streams_total{",
    "llm_time_to_first_seconds_sum{",
    "llm_time_to_first_seconds_count{",
    "llm_chunk_gap_seconds_count{",
    "llm_chunk_visible_chars_sum{",
    "gen_ai_client_operation_time_to_first_chunk_seconds_sum{",
    "gen_ai_client_inference_usage_output_tokens_total{",
    "gen_ai_client_inference_usage_input_tokens_total{",
    "llm_stream_stalls_total{",
];
const SHOWN_MODEL: &str = "demo#openai-sync-chat";
const OWN: [&str; 4] =
    ["llm_observer_events_total", "llm_observer_events_lost_total", "llm_observer_coverage", "process_resident"];

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    say("starting the provider (TLS, scripted; its write log is the truth) and the daemon");
    let provider = Provider::start(&Options::in_memory(dir.path().to_owned()))?;
    let clients = Clients::set_up()?;
    let daemon = Daemon::start()?;
    let (mut models, mut running) = start(&clients, &provider, &daemon)?;
    let mut containers = Vec::new();
    for number in 1..=CONTAINERS {
        let Some(inside) = start_in_container(&clients, &provider, number)? else { break };
        models.extend(inside.models);
        running.push(inside.client);
        containers.push(inside.container);
    }
    watch(&daemon, running)?;
    drop(containers);

    let exchanges: Vec<(String, Vec<Exchange>)> =
        models.into_iter().map(|model| (model.clone(), truth::exchanges(&provider.lines(), &model))).collect();
    let ledgers = ledgers(&daemon, &exchanges)?;
    show_metrics(&daemon)?;
    for (what, args) in [("inspect streams -o wide", &["streams", "-o", "wide"][..]), ("inspect probes", &["probes"])] {
        say(&format!("llm-observer {what}"));
        println!("{}", inspect(&daemon, args)?);
    }
    compare(&exchanges, &ledgers)
}

fn say(text: &str) {
    println!("\n== {text}");
}

fn start(clients: &Clients, provider: &Provider, daemon: &Daemon) -> Result<(Vec<String>, Vec<Client>)> {
    let mut models = Vec::new();
    let mut running = Vec::new();
    for (name, tls, scenarios) in CALLS {
        let kind = Kind::named(name)?;
        if let Some(reason) = clients.obstacle(kind) {
            println!("   not shown: {name}: {reason}");
            continue;
        }
        let asked: Vec<String> = scenarios.iter().map(|scenario| kind.model(scenario)).collect();
        if name.starts_with("curl") {
            until_known(daemon, "libssl");
        }
        let client = if LET_GO.contains(&name) {
            inside::start_probed(daemon, clients.run(kind, provider), &asked)?
        } else {
            clients.run(kind, provider).start(&asked)?
        };
        println!("   {name} ({tls}) is process {}", client.pid());
        running.push(client);
        models.extend(asked);
    }
    if running.len() < 3 {
        bail!("fewer than three client programs can run here");
    }
    Ok((models, running))
}

/// The same client in containers of one image: each has mounts of its own over the same files, which are probed once.
/// `None`: this machine cannot mount them, for the reason that is printed.
fn start_in_container(clients: &Clients, provider: &Provider, number: usize) -> Result<Option<InContainer>> {
    let (name, scenarios) = IN_CONTAINERS;
    let kind = Kind::named(name)?;
    let container = match Overlay::of_the_host() {
        Ok(container) => container,
        Err(reason) => {
            println!("   not shown: container {number}: {reason:#}");
            return Ok(None);
        }
    };
    let models: Vec<String> =
        scenarios.iter().map(|scenario| format!("{}-in-{number}", kind.model(scenario))).collect();
    let run = clients.run(kind, provider).within(container.command(Way::Namespaces)?);
    let client = run.start(&models)?;
    println!("   {name} in container {number} is process {}", client.pid());
    Ok(Some(InContainer { container, client, models }))
}

/// A client in a container, which lives as long as its mounts.
struct InContainer {
    container: Overlay,
    client: Client,
    models: Vec<String>,
}

/// A library that no process has used yet is covered within 100 ms of being mapped. curl, which makes its call sooner
/// than that, therefore comes after the others.
fn until_known(daemon: &Daemon, library: &str) {
    let known = || daemon.probes().ok()?.iter().any(|probe| probe.target.contains(library)).then_some(());
    // Should it stay unknown, the comparison will say so.
    let _ = wait_for("probes in the library", Duration::from_secs(10), known);
}

/// Shows live streams until every client has ended.
fn watch(daemon: &Daemon, running: Vec<Client>) -> Result<()> {
    say("llm-observer inspect streams, while they are open");
    let waiting = std::thread::spawn(move || running.into_iter().try_for_each(|client| client.finish().map(drop)));
    let terminal = io::stdout().is_terminal();
    let began = Instant::now();
    let mut drawn = 0;
    let mut processes_shown = false;
    while !waiting.is_finished() {
        std::thread::sleep(if terminal { REDRAW } else { REPRINT });
        let table = inspect(daemon, &["streams", "--since", "20s"])?;
        if terminal {
            erase(drawn)?;
        }
        println!("[{:.1} s]\n{table}", began.elapsed().as_secs_f64());
        drawn = table.lines().count() + 2;
        if !processes_shown && began.elapsed() > PROCESSES_AT {
            processes_shown = true;
            drawn = 0;
            say("llm-observer inspect processes");
            println!("{}", inspect(daemon, &["processes"])?);
        }
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
    let any = |names: &[&str], line: &str| names.iter().any(|name| line.starts_with(name));
    let shown =
        |line: &&str| any(&EXCERPT, line) && line.contains(SHOWN_MODEL) && !line.ends_with(" 0") || any(&OWN, line);
    metrics.lines().filter(shown).for_each(|line| println!("{line}"));
    println!("... {} lines in all", metrics.lines().count());
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
    println!("error of milestones: {}", Quantiles::of_errors(report.errors()));
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
