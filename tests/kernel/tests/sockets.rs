//! The socket layer itself: what was open before, who else is on the cgroup, a full ring, large
//! segments, a path that loses packets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic, its helpers too")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kernel_tests::clients::Clients;
use kernel_tests::compare::Report;
use kernel_tests::daemon::{Daemon, another_runs};
use kernel_tests::helper::Helper;
use kernel_tests::ledger::Ledger;
use kernel_tests::raw::Raw;
use kernel_tests::{places, skipped, truth, wait_for};
use provider::script::{Reply, Say, Scenario, Step, answer, deltas};
use provider::{Options, Provider};
use rustix::process::{Pid, Signal, kill_process};

const SETTLE: Duration = Duration::from_secs(30);

fn plain(dir: &Path) -> Provider {
    Provider::start(&Options { plain: true, ..Options::in_memory(dir.to_owned()) }).unwrap()
}

/// The one stream of a model, once it has ended.
fn ended(daemon: &Daemon, model: &str) -> Ledger {
    let found = wait_for("the stream's end", SETTLE, || {
        let streams = daemon.streams().ok()?;
        let mut ours = streams.into_iter().filter(|ledger| ledger.request_model.as_deref() == Some(model));
        let first = ours.next().filter(|ledger| ledger.outcome.is_some())?;
        assert!(ours.next().is_none(), "{model} is there twice");
        daemon.stream(&first.id).ok()
    });
    found.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", daemon.streams(), daemon.log()))
}

fn exact(daemon: &Daemon, provider: &Provider, models: &[&str]) {
    let mut report = Report::default();
    for model in models {
        report.add(model, &[ended(daemon, model)], &truth::exchanges(&provider.lines(), model));
    }
    assert!(report.mismatches.is_empty(), "{}\n{}", report.mismatches.join("\n"), daemon.log());
}

#[test]
fn a_connection_that_was_open_before_is_followed_from_its_next_request() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let provider = plain(dir.path());
    let mut conn = Raw::connect(provider.address()).unwrap();
    conn.ask("scenario:text#before").unwrap();
    let daemon = Daemon::start().unwrap();
    let row = daemon.probes().unwrap().into_iter().find(|probe| probe.probe == "sock_diag").unwrap();
    assert_eq!(row.state, "ok", "{row:?}");
    assert!(row.hits >= Some(1), "{row:?}");
    conn.ask("scenario:text#after").unwrap();
    conn.ask("scenario:tools#again").unwrap();
    exact(&daemon, &provider, &["scenario:text#after", "scenario:tools#again"]);
    let all = daemon.streams().unwrap();
    assert_eq!(all.len(), 2, "neither the call before nor the server's end: {all:?}");
    drop(conn);
}

#[test]
fn segments_of_any_size_come_up_whole() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let provider = plain(dir.path());
    // Bursts of 200 KB: loopback carries them in segments of 64 KiB.
    let burst = Step::new(50_000, Say::Text(2_000)).times(100);
    provider.register("bursts", Scenario::always(Reply::of(answer(vec![deltas(3, 10, 20_000), burst], "stop"))));
    let daemon = Daemon::start().unwrap();
    let mut conn = Raw::connect(provider.address()).unwrap();
    for tag in ["a", "b"] {
        conn.write(&format!("scenario:bursts#{tag}"), 3_000_000).unwrap();
        conn.read().unwrap();
    }
    exact(&daemon, &provider, &["scenario:bursts#a", "scenario:bursts#b"]);
}

#[test]
fn a_recording_holds_every_byte_and_replays_to_the_same_ledgers() {
    if skipped() {
        return;
    }
    const PROMPT: usize = 3_000_000;
    let dir = tempfile::tempdir().unwrap();
    let provider = plain(dir.path());
    let file = dir.path().join("recording");
    let mut record = Command::new(places::daemon().unwrap());
    let mut record = record.args(["record", "--payload", "full"]).arg(&file).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the socket programs", SETTLE, || (links(record.id()) >= SOCKET_LINKS).then_some(())).unwrap();
    let mut conn = Raw::connect(provider.address()).unwrap();
    conn.write("scenario:text#large", PROMPT).unwrap();
    conn.read().unwrap();
    conn.ask("scenario:reasoning#small").unwrap();
    drop(conn);
    std::thread::sleep(Duration::from_millis(300));
    kill_process(Pid::from_child(&record), Signal::TERM).unwrap();
    assert!(record.wait().unwrap().success());
    let bytes = fs::read(&file).unwrap();
    // A segment may end anywhere, so a record's share of the prompt may be a few bytes only; in
    // other fields three in a row are rare, and each such end may hide as many. More where loopback
    // itself had to send something again.
    const LEAST: usize = 3;
    let runs = || bytes.split(|byte| *byte != b'x').map(<[u8]>::len).filter(|run| *run >= LEAST);
    let (prompt, hidden) = (runs().sum::<usize>(), (runs().count() + 1) * (LEAST - 1));
    println!("{prompt} of {PROMPT} bytes in {} runs, the shortest {:?}", runs().count(), runs().min());
    assert!(prompt + hidden >= PROMPT, "{prompt} of {PROMPT} bytes of the prompt are in the recording");
    let replay =
        Command::new(places::daemon().unwrap()).arg("replay").arg(&file).args(["-o", "json"]).output().unwrap();
    let ledgers: Vec<Ledger> = serde_json::from_slice(&replay.stdout).unwrap();
    let mut report = Report::default();
    for model in ["scenario:text#large", "scenario:reasoning#small"] {
        report.add(model, &ledgers, &truth::exchanges(&provider.lines(), model));
    }
    assert!(report.mismatches.is_empty(), "{}", report.mismatches.join("\n"));
}

/// Links of the host-wide programs: five on the cgroup, one on the end of processes.
const SOCKET_LINKS: usize = 6;

fn links(pid: u32) -> usize {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    fds.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().contains("bpf_link"))).count()
}

#[test]
fn what_a_full_ring_had_no_room_for_is_known_to_the_byte() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let provider = plain(dir.path());
    provider.register("much", Scenario::always(Reply::of(answer(vec![deltas(3_000, 200, 300)], "stop"))));
    let config = dir.path().join("config.yml");
    fs::write(&config, "kernel: {ring_bytes: 131072}\n").unwrap();
    let daemon = Daemon::start_with(&["--config", config.to_str().unwrap()], &[]).unwrap();
    let before: f64 = lost_to_ring(&daemon);
    let mut conn = Raw::connect(provider.address()).unwrap();
    let model = "scenario:much#1";
    conn.write(model, 10).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    kill_process(pid, Signal::CONT).unwrap();
    conn.read().unwrap();
    let ledger = ended(&daemon, model);
    let (told, counted) = (ledger.lost.bytes.unwrap(), lost_to_ring(&daemon) - before);
    assert!(told > 0, "nothing was lost: the ring was too large for this test: {ledger:?}");
    assert_eq!(ledger.lost.cause.as_deref(), Some("ring_full"), "{ledger:?}");
    assert_eq!(told as f64, counted, "the stream's own loss, and the kernel side's count of all");
    let real = &truth::exchanges(&provider.lines(), model)[0];
    assert!(ledger.chunks < real.chunks(), "{ledger:?}");
    // The next call on the same connection is whole again.
    conn.ask("scenario:text#2").unwrap();
    exact(&daemon, &provider, &["scenario:text#2"]);
}

fn lost_to_ring(daemon: &Daemon) -> f64 {
    let lost = metric(daemon, "llm_observer_lost_bytes_total");
    lost.iter().filter(|(labels, _)| labels.contains("ring_full")).map(|(_, value)| value).sum()
}

fn metric(daemon: &Daemon, name: &str) -> Vec<(String, f64)> {
    let text = daemon.metrics().unwrap();
    let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    lines.map(|line| line.rsplit_once(' ').map(|(a, b)| (a.to_owned(), b.parse().unwrap())).unwrap()).collect()
}

fn others(mode: &str) -> anyhow::Result<Helper> {
    Helper::other_programs(&Clients::set_up().unwrap(), mode)
}

#[test]
fn other_programs_on_the_cgroup_stay_and_do_not_hinder() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let provider = plain(dir.path());
    let mut theirs = others("multi").unwrap();
    let mut daemon = Daemon::start().unwrap();
    let quiet = !another_runs(Some(&daemon));
    Raw::connect(provider.address()).unwrap().ask("scenario:text#beside").unwrap();
    exact(&daemon, &provider, &["scenario:text#beside"]);
    let both = theirs.ask().unwrap();
    daemon.stop(Signal::KILL).unwrap();
    let alone = wait_for("our programs' end", SETTLE, || {
        let now = theirs.ask().ok()?;
        (now != both).then_some(now)
    });
    if quiet {
        assert_eq!(both["attached"], serde_json::json!([2, 2]));
        assert_eq!(alone.unwrap()["attached"], serde_json::json!([1, 1]), "theirs alone is left after kill -9");
    }
}

#[test]
fn a_cgroup_that_somebody_keeps_for_himself_costs_the_socket_layer_alone() {
    if skipped() {
        return;
    }
    if another_runs(None) {
        println!("SKIPPED: another daemon is on the cgroup");
        return;
    }
    let theirs = others("exclusive").expect("nobody else is on the cgroup");
    let daemon = Daemon::start().unwrap();
    let rows = daemon.probes().unwrap();
    let row = |name: &str| rows.iter().find(|row| row.probe == name).unwrap_or_else(|| panic!("no row {name}"));
    for name in ["cgroup_egress", "cgroup_ingress"] {
        assert_eq!(row(name).state, "unsupported", "{:?}", row(name));
        assert!(row(name).reason.contains("; lost: plain HTTP"), "{:?}", row(name));
    }
    assert!(rows.iter().any(|row| row.probe == "ssl_read" && row.state == "ok"), "TLS goes on: {rows:?}");
    let doctor = Command::new(places::daemon().unwrap()).args(["doctor", "-o", "json"]).output().unwrap();
    let checks: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let check = checks.as_array().unwrap().iter().find(|check| check["name"] == "sockets").unwrap();
    assert_eq!((doctor.status.code(), &check["status"]), (Some(1), &serde_json::json!("degraded")), "{check}");
    drop(theirs);
}

/// Two hosts, ten milliseconds apart, on a path that loses and swaps packets.
#[test]
fn a_path_that_loses_and_swaps_packets_changes_no_fact() {
    if skipped() {
        return;
    }
    let clients = Clients::set_up().unwrap();
    let name = format!("llmo{}", std::process::id());
    let mut path = Command::new(clients.python());
    path.arg(places::programs().join("path.py")).arg(&name);
    path.args(["--delay", "10", "--loss", "0.05", "--reorder", "0.05"]);
    let Ok((path, _)) = Helper::start(&mut path) else {
        println!("SKIPPED: no network namespaces or no /dev/net/tun here");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut provider = Command::new("ip");
    provider.args(["netns", "exec", &format!("{name}-b")]).arg(places::provider().unwrap());
    provider.args(["--plain", "--listen", "10.99.0.2:0", "--dir"]).arg(dir.path()).arg("--log").arg(&log);
    let (provider, at) = Helper::start(&mut provider).unwrap();
    let daemon = Daemon::start().unwrap();
    let url = format!("http://{}", at["address"].as_str().unwrap());
    let models: Vec<String> =
        (0..10).map(|n| format!("scenario:{}#{n}", ["text", "tools", "reasoning"][n % 3])).collect();
    let mut curls: Vec<_> = models
        .iter()
        .map(|model| {
            let body = format!(r#"{{"model": "{model}", "stream": true, "messages": []}}"#);
            let mut curl = Command::new("ip");
            curl.args(["netns", "exec", &format!("{name}-a"), "curl", "-sSN", "-o", "/dev/null", "-d", &body]);
            curl.arg(format!("{url}/v1/chat/completions")).spawn().unwrap()
        })
        .collect();
    assert!(curls.iter_mut().all(|curl| curl.wait().unwrap().success()));
    let ledgers: Vec<Ledger> = models.iter().map(|model| ended(&daemon, model)).collect();
    drop(provider);
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<_> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut report = Report::default();
    for (model, ledger) in models.iter().zip(&ledgers) {
        report.add(model, std::slice::from_ref(ledger), &truth::exchanges(&lines, model));
    }
    let moved = path.end().unwrap();
    println!("the path: {moved}; {} streams", report.streams);
    assert!(moved["dropped"].as_u64() > Some(0), "the path lost nothing: {moved}");
    assert!(report.mismatches.is_empty(), "{}\n{}", report.mismatches.join("\n"), daemon.log());
}
