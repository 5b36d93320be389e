//! TLS that no probe enters: an unmodified Java program (`java.net.http`, JSSE), seen by its shape,
//! and what is judged of it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic, its helpers too")]

use std::process::{Command, Stdio};
use std::time::Duration;

use kernel_tests::cases::Expected;
use kernel_tests::far::Listener;
use kernel_tests::rig::Rig;
use kernel_tests::{places, skipped, wait_for};
use provider::Options;
use provider::script::{Fault, Reply, Say, Scenario, Step, answer, deltas};
use serde_json::Value;

/// Calls of one program.
const CALLS: usize = 5;

/// Two hosts where model calls go, both this provider.
const HOSTS: [&str; 2] = ["api.openai.com", "api.anthropic.com"];

/// A provider under both names; `None` where there is no Java.
fn rig() -> Option<Rig> {
    tuned("")
}

/// The same, the daemon being configured.
fn tuned(config: &str) -> Option<Rig> {
    if skipped() {
        return None;
    }
    if Command::new("java").arg("-version").stderr(Stdio::null()).status().is_err() {
        println!("SKIPPED: no java");
        return None;
    }
    let names = HOSTS.map(str::to_owned).into();
    let rig = Rig::tuned_with(config, |options| Options { names, ..options }).unwrap();
    rig.provider.register("steady", Scenario::always(Reply::of(answer(vec![deltas(70, 12, 20_000)], "stop"))));
    Some(rig)
}

fn model(scenario: &str, n: usize) -> String {
    format!("{}{scenario}#java-{n}", provider::PREFIX)
}

/// One program makes these calls one after the other: a model, and the host it asks. The shapes,
/// when all so far have ended.
fn shapes(rig: &Rig, calls: &[(String, &str)]) -> Vec<Value> {
    shapes_with(rig, calls, &[])
}

/// The same, with more options for Java.
fn shapes_with(rig: &Rig, calls: &[(String, &str)], options: &[String]) -> Vec<Value> {
    let hosts = rig.dir.path().join("hosts");
    std::fs::write(&hosts, HOSTS.map(|host| format!("127.0.0.1 {host}\n")).concat()).unwrap();
    let url = |host: &str| format!("https://{host}:{}", rig.provider.address().port());
    let mut java = Command::new("java");
    java.args(options)
        .arg(format!("-Djdk.net.hosts.file={}", hosts.display()))
        .arg(places::programs().join("Shape.java"));
    java.arg(url(HOSTS[0])).arg(rig.provider.ca().unwrap());
    java.args(calls.iter().map(|(model, host)| format!("{model}@{}", url(host))));
    let output = java.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shapes = wait_for("the shapes", Duration::from_secs(20), || {
        let streams: Vec<Value> = rig.daemon.inspect_json(&["streams"]).ok()?;
        let shapes: Vec<Value> = streams.into_iter().filter(|stream| stream["visibility"] == "shape").collect();
        let ended = shapes.iter().filter(|stream| !stream["outcome"].is_null()).count();
        (ended >= calls.len() && ended == shapes.len()).then_some(shapes)
    });
    shapes.unwrap_or_else(|error| {
        let streams: Value = rig.daemon.inspect_json(&["streams"]).unwrap();
        panic!("{error}: {streams}\n{}", rig.daemon.log())
    })
}

/// The provider breaks an answer, and the program asks another: told by the names alone.
#[test]
fn a_program_that_nobody_can_look_into_fails_over() {
    let Some(rig) = rig() else { return };
    let [a, b] = HOSTS;
    let shapes = shapes(&rig, &[(model("reset", 0), a), (model("steady", 1), b)]);
    let labels = ["from=\"openai\"", "to=\"anthropic\"", "reason=\"truncated\"", "continuation=\"unknown\""];
    rig.number_is("llm_failover_hops_total", &labels, 1.0).unwrap_or_else(|error| panic!("{error}: {shapes:?}"));
    rig.case("failover", "by shape alone: a reset, and another host", Expected::Findings(&["by_name"])).unwrap();
    let found = rig.findings("failover").unwrap();
    assert_eq!((found.len(), &found[0]["kind"]), (1, &"by_name".into()), "{found:?}");
    assert_eq!(found[0]["streams"].as_array().unwrap().len(), 2);
}

/// The near miss, two hosts by turns; and what cannot be judged, a break between hosts that are both in use.
#[test]
fn a_program_that_uses_two_hosts_by_turns_does_not() {
    let Some(rig) = rig() else { return };
    let [a, b] = HOSTS;
    let calls = [("steady", a), ("steady", b), ("reset", a), ("steady", b)];
    shapes(&rig, &(0..).zip(calls).map(|(n, (scenario, host))| (model(scenario, n), host)).collect::<Vec<_>>());
    let labels = ["detector=\"failover\"", "reason=\"both_in_use\""];
    rig.number_is("llm_detector_withheld_total", &labels, 1.0).unwrap();
    let hops = rig.number("llm_failover_hops_total", &[]).unwrap();
    assert_eq!(hops, 0.0);
    rig.case("failover", "by shape alone: both hosts in use anyway", Expected::Withheld("both_in_use")).unwrap();
}

#[test]
fn java_behind_a_proxy_is_seen_by_the_names_it_asks_for() {
    let Some(rig) = rig() else { return };
    let proxy = Listener::start(&rig, "proxy.py").unwrap();
    let options = ["-Dhttps.proxyHost=127.0.0.1".to_owned(), format!("-Dhttps.proxyPort={}", proxy.port)];
    let shapes = shapes_with(&rig, &[(model("steady", 0), HOSTS[0]), (model("steady", 1), HOSTS[1])], &options);
    for host in HOSTS {
        let stream =
            shapes.iter().find(|stream| stream["server_address"] == host).unwrap_or_else(|| panic!("{shapes:?}"));
        assert_eq!(stream["remote"]["port"], proxy.port, "{stream}");
        assert!(stream["notes"].as_array().unwrap().contains(&"through_a_proxy".into()), "{stream}");
        let p50 = stream["arrival_gaps"]["p50"].as_f64().unwrap();
        assert!((0.015..0.03).contains(&p50), "{p50}: {stream}");
    }
}

#[test]
fn java_is_seen_by_its_shape_and_nothing_is_claimed_of_its_text() {
    let Some(rig) = rig() else { return };
    let host = HOSTS[0];
    let models: Vec<String> = (0..CALLS).map(|n| model("steady", n)).collect();
    let calls: Vec<(String, &str)> = models.iter().map(|model| (model.clone(), host)).collect();
    let shapes = shapes(&rig, &calls);
    for (stream, model) in shapes.iter().zip(&models) {
        let truth = rig.truth(model).remove(0);
        assert_eq!((&stream["server_address"], &stream["provider"]), (&host.into(), &"openai".into()));
        for unseen in ["events", "chunks", "visible_chars", "request_model", "status"] {
            assert_eq!(stream[unseen], Value::Null, "{unseen}: {stream}");
        }
        // One record for each write of the provider, and its cadence.
        let records = stream["wire"]["records"].as_u64().unwrap();
        // Of the first call of a connection, up to four may be taken for tickets, so near is this provider.
        assert!(records + 4 >= truth.events() && records <= truth.events() + 4, "{records} records: {stream}");
        let (p50, seconds) =
            (stream["arrival_gaps"]["p50"].as_f64().unwrap(), stream["duration_seconds"].as_f64().unwrap());
        assert!((0.015..0.03).contains(&p50) && (1.3..2.5).contains(&seconds), "{p50} {seconds}: {stream}");
        assert_eq!(stream["notes"][0], "shape_only_sizes_unreliable");
    }
}

/// Text, a silence, and such an end.
fn cut_after(silence_us: u64, how: Fault) -> Scenario {
    let steps = vec![Step::new(0, Say::Start), deltas(20, 12, 20_000), Step::new(silence_us, Say::Fault(how))];
    Scenario::always(Reply::of(steps))
}

/// Three calls of one program each; only a reset tells that an answer was not whole.
#[test]
fn streams_of_a_program_that_nobody_can_look_into_are_cut_at_an_idle_limit() {
    const DETECTOR: &str = "pressure";
    // A cut counts from half a second before the limit to one and a half behind it: each of these
    // is a second from either end.
    let Some(rig) = tuned("detect: {pressure: {idle_limits_seconds: [4]}}\n") else { return };
    rig.provider.register("early", cut_after(500_000, Fault::Reset));
    rig.provider.register("over", cut_after(4_400_000, Fault::Close));
    rig.provider.register("cut", cut_after(4_400_000, Fault::Reset));
    let three = |scenario: &str| (0..3).map(|n| (model(scenario, n), HOSTS[0])).collect::<Vec<_>>();
    shapes(&rig, &three("early"));
    rig.quiet_after(DETECTOR, 3.0).unwrap();
    rig.case(DETECTOR, "by shape alone: resets after half a second of silence", Expected::Quiet).unwrap();
    shapes(&rig, &three("over"));
    assert_eq!(rig.judged_when(DETECTOR, 6.0).unwrap().withheld, 3.0);
    rig.case(DETECTOR, "by shape alone: orderly ends after a silence", Expected::Withheld("end_not_seen")).unwrap();
    let ended = shapes(&rig, &three("cut"));
    rig.judged_when(DETECTOR, 9.0).unwrap();
    rig.case(DETECTOR, "by shape alone: resets at an idle limit", Expected::Findings(&["idle_cut"])).unwrap();
    let finding = rig.finding_when(DETECTOR, |finding| finding["kind"] == "idle_cut").unwrap();
    assert_eq!((&finding["inputs"]["streams"], &finding["server_address"]), (&3.into(), &HOSTS[0].into()), "{finding}");
    let streams = finding["streams"].as_array().unwrap();
    for id in streams {
        let stream = ended.iter().find(|stream| stream["id"] == *id).unwrap();
        assert_eq!((&stream["visibility"], &stream["events"]), (&"shape".into(), &Value::Null), "{stream}");
    }
    assert_eq!(streams.len(), 3, "{finding}");
}
