//! Arrival and read: real programs with real TLS objects over real sockets, and who is blamed for a silence.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic, its helpers too")]

use std::process::{Command, Stdio};
use std::time::Duration;

use kernel_tests::far::{Far, Stopped};
use kernel_tests::rig::Rig;
use kernel_tests::steady::on_a_steady_host;
use kernel_tests::{places, skipped, wait_for};
use provider::script::{Reply, Say, Scenario, Step, answer, deltas};
use serde_json::Value;

/// Calls of each client.
const CALLS: usize = 5;

fn scenario(steps: Vec<Step>) -> Scenario {
    Scenario::always(Reply::of(answer(steps, "stop")))
}

fn steady() -> Scenario {
    scenario(vec![deltas(70, 12, 20_000)])
}

fn paused() -> Scenario {
    scenario(vec![deltas(30, 12, 20_000), Step::new(800_000, Say::Text(12)), deltas(30, 12, 20_000)])
}

/// The programs that hold their sockets in three ways.
const CLIENTS: [&str; 3] = ["sync", "async", "node"];

fn command(rig: &Rig, client: &str) -> Command {
    let mut command = match client {
        "node" => Command::new("node"),
        _ => Command::new(rig.clients.python()),
    };
    match client {
        "node" => command.arg(places::programs().join("timelines.mjs")),
        how => command.arg(places::programs().join("timelines.py")).arg(how),
    };
    command.env("BASE_URL", rig.provider.url()).env("SSL_CERT_FILE", rig.provider.ca().unwrap());
    command
}

fn finish(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The ended streams of these models, with timelines.
fn ended(rig: &Rig, models: &[String]) -> Vec<Value> {
    let ours = |stream: &&Value| models.iter().any(|model| stream["request_model"] == model.as_str());
    let found = wait_for("the streams' ends", Duration::from_secs(20), || {
        let streams: Vec<Value> = rig.daemon.inspect_json(&["streams"]).ok()?;
        let ended: Vec<Value> = streams.iter().filter(ours).filter(|s| !s["outcome"].is_null()).cloned().collect();
        (ended.len() == models.len()).then_some(ended)
    });
    let streams = found.unwrap_or_else(|error| panic!("{error}\n{}", rig.daemon.log()));
    let detail = |stream: &Value| rig.daemon.inspect_json::<Vec<Value>>(&["stream", stream["id"].as_str().unwrap()]);
    streams.iter().map(|stream| detail(stream).unwrap().remove(0)).collect()
}

fn causes(stream: &Value) -> Vec<&str> {
    stream["stalls"].as_array().unwrap().iter().map(|stall| stall["cause"].as_str().unwrap_or("null")).collect()
}

fn models(scenario: &str, client: &str) -> Vec<String> {
    (0..CALLS).map(|n| format!("{}{scenario}#{client}-{n}", provider::PREFIX)).collect()
}

/// Visible points of the timeline, and those of them whose arrival is known.
fn arrivals(stream: &Value) -> (usize, usize) {
    let points: Vec<&Value> =
        stream["timeline"].as_array().unwrap().iter().filter(|p| p["kind"] == "visible").collect();
    (points.len(), points.iter().filter(|point| !point["t_arrival"].is_null()).count())
}

#[test]
fn an_application_that_stops_reading_is_blamed_and_the_provider_is_not() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        rig.provider.register("steady", steady());
        for client in CLIENTS {
            let models = models("steady", client);
            finish(command(&rig, client).args(&models).env("BLOCK_AFTER", "25").env("BLOCK_MS", "800"));
            for stream in ended(&rig, &models) {
                assert_eq!(causes(&stream), ["local"], "{client}: {stream}");
                let (all, known) = arrivals(&stream);
                assert_eq!((all, known), (70, 70), "{client}: {stream}");
                let (read, arrived) =
                    (stream["gaps"]["max"].as_f64().unwrap(), stream["arrival_gaps"]["max"].as_f64().unwrap());
                assert!(read > 0.75 && arrived < 0.4, "{client}: read {read}, arrived {arrived}");
            }
        }
        let text = rig.daemon.metrics().unwrap();
        for metric in ["llm_read_lag_seconds_count", "llm_connection_rtt_seconds_count", "clock=\"arrival\""] {
            assert!(text.contains(metric), "{metric} is not there");
        }
    });
}

#[test]
fn a_provider_that_pauses_is_blamed() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        rig.provider.register("paused", paused());
        for client in CLIENTS {
            let models = models("paused", client);
            finish(command(&rig, client).args(&models));
            for stream in ended(&rig, &models) {
                assert_eq!(causes(&stream), ["provider"], "{client}: {stream}");
                let (all, known) = arrivals(&stream);
                assert_eq!((all, known), (61, 61), "{client}: {stream}");
            }
        }
    });
}

#[test]
fn connections_are_shown_with_their_path_and_their_join() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        for client in CLIENTS {
            let model = format!("{}long#{client}", provider::PREFIX);
            let mut child = Stopped(command(&rig, client).arg(&model).stdout(Stdio::null()).spawn().unwrap());
            let row = wait_for("the connection", Duration::from_secs(20), || {
                let rows: Vec<Value> = rig.daemon.inspect_json(&["connections"]).ok()?;
                let pid = u64::from(child.0.id());
                rows.into_iter().find(|row| row["pid"] == pid && row["joined"]["reads_matched"].as_u64() > Some(3))
            });
            let row = row.unwrap_or_else(|error| {
                let rows: Value = rig.daemon.inspect_json(&["connections"]).unwrap();
                panic!("{client}: {error}: {rows}\n{}", rig.daemon.log())
            });
            assert_eq!(
                (&row["attach"], &row["carries"], &row["visibility"]),
                (&"born".into(), &"tls".into(), &"plaintext".into())
            );
            // With Nagle's algorithm even a socket inside the TLS object may send after the write.
            let methods: &[&str] = if client == "sync" { &["inside", "nearest"] } else { &["nearest"] };
            assert!(methods.contains(&row["joined"]["method"].as_str().unwrap()), "{client}: {row}");
            assert_eq!((&row["sni"], &row["joined"]["reads_unmatched"]), (&"localhost".into(), &0.into()), "{row}");
            assert_eq!(
                (&row["streams_open"], &row["streams"], &row["remote"]["port"]),
                (&1.into(), &1.into(), &rig.provider.address().port().into())
            );
            assert!(
                row["rtt_seconds"].as_f64().unwrap() < 0.1 && row["handshake_seconds"].as_f64().unwrap() < 5.0,
                "{row}"
            );
            child.0.kill().unwrap();
            child.0.wait().unwrap();
            let gone = wait_for("the connection's end", Duration::from_secs(20), || {
                let rows: Vec<Value> = rig.daemon.inspect_json(&["connections"]).ok()?;
                rows.is_empty().then_some(())
            });
            gone.unwrap();
        }
        let text = rig.daemon.metrics().unwrap();
        let sum = |name: &str, part: &str| -> f64 {
            let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(part));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        assert_eq!(sum("llm_connection_end_total", "how=\"exit\""), 3.0);
        assert_eq!(sum("llm_streams_killed_by_exit_total", ""), 3.0);
        assert_eq!((sum("llm_connection_opens_total", ""), sum("llm_connections_open", "")), (3.0, 0.0));
    });
}

/// Paths between two network namespaces: one that loses every third packet, and one that is dead
/// for a while, so that all that comes afterwards comes in order and only the packets' numbers
/// tell, or in IPv6 their label and what had piled up.
#[test]
fn a_path_that_loses_packets_is_blamed() {
    // Three seconds of stream meet a dead time, six meet one away from their edges.
    let dead = ["--dead", "2500,800"];
    for (name, how, chunks, ipv6) in
        [("lossy", ["--loss", "0.35"], 70, false), ("dead", dead, 150, false), ("dead6", dead, 300, true)]
    {
        let steps = scenario(vec![deltas(chunks, 12, 20_000)]);
        let Some(all) = over_a_path(name, &how, "chunks", steps, ipv6) else { return };
        assert!(!all.is_empty(), "nothing stalled: the path is too good for this test");
        let of = |wanted: &str| all.iter().filter(|cause| *cause == wanted).count();
        // In IPv6 nobody is blamed for a silence that a stream has too little before or after it to
        // tell: one at its very beginning or end. The path dies by the clock, so each stream meets
        // one in its middle, and maybe one more at either edge.
        let untold = if ipv6 { of("null") } else { 0 };
        let (network, told) = (of("network"), all.len() - untold);
        // The very first packets of a connection earn the trust in its numbers: losses among them
        // may look like a pause.
        assert!(of("local") == 0 && told - network <= (all.len() / 10).max(1), "{name}: {all:?}");
        assert!(network * 2 > told && untold <= all.len() / 2, "{name}: {all:?}");
        assert!(name == "lossy" || network + 1 >= STREAMS, "{name}: {all:?}");
    }
}

/// The near miss: the path loses packets, some of them the first after a pause, but it is the provider that paused.
#[test]
fn a_provider_that_pauses_behind_a_poor_path_is_blamed_all_the_same() {
    for (name, ipv6) in [("four", false), ("six", true)] {
        let Some(all) = over_a_path(name, &["--loss", "0.02"], "paused", paused(), ipv6) else { return };
        assert!(all.len() >= STREAMS, "a pause was not seen: {all:?}");
        let provider = all.iter().filter(|cause| *cause == "provider").count();
        assert!(provider >= STREAMS && all.len() - provider <= 1, "{name}: {all:?}");
    }
}

/// Streams of each path, at once.
const STREAMS: usize = 8;

/// The causes of all stalls of `STREAMS` streams over a path; `None` if that cannot be run here.
fn over_a_path(name: &str, how: &[&str], scenario: &str, steps: Scenario, ipv6: bool) -> Option<Vec<String>> {
    if skipped() {
        return None;
    }
    let rig = Rig::new().unwrap();
    let far = Far::new(&rig, name, how, &[(scenario, steps)], ipv6).unwrap();
    let models: Vec<String> = (0..STREAMS).map(|n| format!("{}{scenario}#{name}-{n}", provider::PREFIX)).collect();
    let clients: Vec<Stopped> =
        models.iter().map(|model| far.client("sync", std::slice::from_ref(model)).unwrap()).collect();
    for mut client in clients {
        assert!(client.0.wait().unwrap().success());
    }
    let streams = ended(&rig, &models);
    let all: Vec<String> = streams.iter().flat_map(causes).map(str::to_owned).collect();
    println!("{name}: {} stalls: {all:?}", all.len());
    for stream in streams.iter().filter(|_| std::env::var_os("LLM_OBSERVER_SHOW_STREAMS").is_some()) {
        println!("{stream}");
    }
    Some(all)
}
