//! Streaming pressure on live traffic: processes that end with their streams, pooled connections
//! that died, silences that are cut; and what a full ring hid, which is not judged.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use kernel_tests::cases::Expected;
use kernel_tests::raw::Raw;
use kernel_tests::rig::Rig;
use kernel_tests::steady::on_a_steady_host;
use kernel_tests::{skipped, wait_for};
use provider::script::{Fault, Reply, Say, Scenario, Step, answer, deltas};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const DETECTOR: &str = "pressure";

/// Long enough for a client to start and for its streams to begin, on a busy host.
const BEGUN: Duration = Duration::from_secs(60);

fn models(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("scenario:{name}")).collect()
}

/// The streams a finding names.
fn named(finding: &Value) -> BTreeSet<&str> {
    finding["streams"].as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

/// Kills a client, all of whose streams are being heard.
fn kill_with_streams_open(rig: &Rig, client: &str, names: &[&str]) {
    let models = models(names);
    let run = rig.run(client).unwrap().env("CLIENT_PARALLEL", &names.len().to_string());
    let client = run.start(&models).unwrap();
    let heard = wait_for("streams that are heard", BEGUN, || {
        let streams = rig.daemon.streams().ok()?;
        let ours = streams.iter().filter(|one| one.request_model.as_ref().is_some_and(|name| models.contains(name)));
        (ours.filter(|one| one.chunks > 2).count() == names.len()).then_some(())
    });
    assert!(heard.is_ok(), "{:?}", rig.daemon.streams());
    client.signal(Signal::KILL);
    client.finish().unwrap();
}

#[test]
fn a_process_that_ends_with_three_streams_open_is_told_one_with_two_is_not() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        kill_with_streams_open(&rig, "openai-node-chat", &["long#n1", "long#n2"]);
        rig.quiet_after(DETECTOR, 2.0).unwrap();
        rig.case(DETECTOR, "a process ends with two streams open", Expected::Quiet).unwrap();
        let killed = ["long#p1", "long#p2", "long#p3"];
        kill_with_streams_open(&rig, "openai-sync-chat", &killed);
        rig.judged_when(DETECTOR, 5.0).unwrap();
        rig.case(DETECTOR, "a process ends with three streams open", Expected::Findings(&["killed_by_exit"])).unwrap();
        let finding = rig.finding_when(DETECTOR, |finding| finding["kind"] == "killed_by_exit").unwrap();
        assert_eq!((&finding["severity"], &finding["inputs"]["streams"]), (&json!("warning"), &json!(3)), "{finding}");
        let ended = rig.ended(&models(&killed)).unwrap();
        assert!(ended.iter().all(|one| one.outcome.as_deref() == Some("process_exit")), "{ended:?}");
        assert_eq!(named(&finding), ended.iter().map(|one| one.id.as_str()).collect());
        assert_eq!(finding["service"], ended[0].service.as_str());
    });
}

/// Idle for longer: dead when it is not answered. Far from what separates two calls that follow each other.
const POOL_IDLE: Duration = Duration::from_secs(5);

/// A request that is never answered: no head before the reset.
fn gone() -> Reply {
    Reply { hold_head: true, ..Reply::of(vec![Step::new(0, Say::Fault(Fault::Reset))]) }
}

/// A connection that carried a whole call.
fn used(rig: &Rig, name: &str) -> Raw {
    let mut connection = Raw::connect(rig.provider.plain_address()).unwrap();
    connection.ask(&format!("scenario:length#{name}")).unwrap();
    connection
}

fn never_answered(connections: Vec<Raw>) {
    for mut connection in connections {
        connection.write("scenario:gone", 10).unwrap();
        assert!(connection.read().is_err(), "it was answered");
    }
}

#[test]
fn requests_on_connections_that_died_in_the_pool_are_told_resets_of_others_are_not() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig =
            Rig::tuned(&format!("detect: {{pressure: {{pool_idle_seconds: {}}}}}\n", POOL_IDLE.as_secs())).unwrap();
        rig.provider.register("gone", Scenario::always(gone()));
        // Fresh ones, and such as were used a moment ago.
        never_answered((0..3).map(|_| Raw::connect(rig.provider.plain_address()).unwrap()).collect());
        for name in ["a", "b", "c"] {
            never_answered(vec![used(&rig, name)]);
        }
        rig.quiet_after(DETECTOR, 9.0).unwrap();
        rig.case(DETECTOR, "resets of fresh connections and of just used ones", Expected::Quiet).unwrap();
        let pool = ["d", "e", "f"].map(|name| used(&rig, name));
        sleep(POOL_IDLE + Duration::from_millis(500));
        never_answered(pool.into());
        rig.judged_when(DETECTOR, 15.0).unwrap();
        rig.case(DETECTOR, "requests on connections that died in the pool", Expected::Findings(&["stale_pool"]))
            .unwrap();
        let finding = rig.finding_when(DETECTOR, |finding| finding["kind"] == "stale_pool").unwrap();
        assert_eq!((&finding["severity"], &finding["inputs"]["requests"]), (&json!("warning"), &json!(3)), "{finding}");
        assert!(finding["inputs"]["least_idle_seconds"].as_f64().unwrap() >= POOL_IDLE.as_secs_f64(), "{finding}");
        for id in named(&finding) {
            let stream = rig.daemon.stream(id).unwrap();
            assert_eq!((stream.request_model.as_deref(), stream.status), (Some("scenario:gone"), None), "{stream:?}");
        }
        assert_eq!(named(&finding).len(), 3, "{finding}");
        rig.number_is("llm_stale_pool_requests_total", &[], 3.0).unwrap();
    });
}

/// Text, a silence, and an end without end marker.
fn cut_after(silence: Duration) -> Scenario {
    let silence = u64::try_from(silence.as_micros()).unwrap_or(u64::MAX);
    let steps = vec![Step::new(0, Say::Start), deltas(3, 10, 10_000), Step::new(silence, Say::Fault(Fault::Close))];
    Scenario::always(Reply::of(steps))
}

#[test]
fn streams_cut_at_an_idle_limit_are_told_streams_cut_before_are_not() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        // A cut counts from half a second before the limit to one and a half behind it: each of these
        // is a second from either end.
        let rig = Rig::tuned("detect: {pressure: {idle_limits_seconds: [4]}}\n").unwrap();
        rig.provider.register("early", cut_after(Duration::from_millis(500)));
        rig.provider.register("cut", cut_after(Duration::from_millis(4_400)));
        let run = |names: &[&str]| {
            let run = rig.run("openai-sync-chat").unwrap().env("CLIENT_PARALLEL", "3");
            run.start(&models(names)).unwrap().finish().unwrap();
        };
        run(&["early#a", "early#b", "early#c"]);
        rig.quiet_after(DETECTOR, 3.0).unwrap();
        rig.case(DETECTOR, "streams cut after half a second of silence", Expected::Quiet).unwrap();
        let cut = ["cut#a", "cut#b", "cut#c"];
        run(&cut);
        rig.judged_when(DETECTOR, 6.0).unwrap();
        rig.case(DETECTOR, "streams cut at an idle limit", Expected::Findings(&["idle_cut"])).unwrap();
        let finding = rig.finding_when(DETECTOR, |finding| finding["kind"] == "idle_cut").unwrap();
        assert_eq!((&finding["severity"], &finding["inputs"]["streams"]), (&json!("warning"), &json!(3)), "{finding}");
        assert_eq!(finding["baseline"]["idle_limit_seconds"], 4.0, "{finding}");
        let ended = rig.ended(&models(&cut)).unwrap();
        assert_eq!(named(&finding), ended.iter().map(|one| one.id.as_str()).collect());
    });
}

/// Text, silences and pings between them, and the end.
fn silent(silences: &[Duration]) -> Scenario {
    let pause = |silence: &Duration| Step::new(u64::try_from(silence.as_micros()).unwrap_or(u64::MAX), Say::Ping);
    let mut middle = vec![deltas(3, 10, 10_000)];
    middle.extend(silences.iter().map(pause));
    Scenario::always(Reply::of(answer(middle, "stop")))
}

#[test]
fn silences_near_an_idle_limit_are_told_before_one_is_cut() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        // Near is from 3 s to 5.5: each of these is almost a second from either end.
        let rig = Rig::tuned("detect: {pressure: {idle_limits_seconds: [6], headroom: 0.5}}\n").unwrap();
        rig.provider.register("silent", silent(&[Duration::from_millis(4_100)]));
        rig.provider.register("pings", silent(&[Duration::from_millis(2_050); 2]));
        let run = |names: &[&str]| {
            let run = rig.run("openai-sync-chat").unwrap().env("CLIENT_PARALLEL", "3");
            run.start(&models(names)).unwrap().finish().unwrap();
        };
        run(&["pings#a", "pings#b", "pings#c", "silent#a", "silent#b"]);
        rig.quiet_after(DETECTOR, 5.0).unwrap();
        rig.case(DETECTOR, "two streams silent near an idle limit, three with pings between", Expected::Quiet).unwrap();
        run(&["silent#c"]);
        rig.judged_when(DETECTOR, 6.0).unwrap();
        rig.case(DETECTOR, "the third stream silent near an idle limit", Expected::Findings(&["idle_headroom"]))
            .unwrap();
        let finding = rig.finding_when(DETECTOR, |finding| finding["kind"] == "idle_headroom").unwrap();
        assert_eq!((&finding["severity"], &finding["inputs"]["streams"]), (&json!("info"), &json!(3)), "{finding}");
        let of = |facts: &str, name: &str| finding[facts][name].as_f64().unwrap();
        assert!((4.1..5.5).contains(&of("inputs", "longest_silence_seconds")), "{finding}");
        assert_eq!(of("baseline", "idle_limit_seconds"), 6.0, "{finding}");
        let ended = rig.ended(&models(&["silent#a", "silent#b", "silent#c"])).unwrap();
        assert_eq!(named(&finding), ended.iter().map(|one| one.id.as_str()).collect());
    });
}

/// A small ring: the daemon is stopped until the stream has filled it several times over.
const RING: usize = 131_072;

#[test]
fn a_stream_with_lost_bytes_is_judged_neither_by_pressure_nor_by_chunks() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::tuned(&format!("kernel: {{ring_bytes: {RING}}}\n")).unwrap();
        // Much, and then so little that a daemon which lags behind has room for the end.
        let steps = answer(vec![deltas(2_000, 200, 300), deltas(3, 20, 1_000_000)], "stop");
        rig.provider.register("much", Scenario::always(Reply::of(steps)));
        let mut connection = Raw::connect(rig.provider.plain_address()).unwrap();
        connection.write("scenario:much", 10).unwrap();
        let begun =
            wait_for("the stream", BEGUN, || rig.daemon.streams().ok()?.iter().any(|one| one.chunks > 0).then_some(()));
        assert!(begun.is_ok());
        let pid = Pid::from_raw(i32::try_from(rig.daemon.pid()).unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        let skipped = connection.skip(4 * RING);
        kill_process(pid, Signal::CONT).unwrap();
        skipped.unwrap();
        connection.read().unwrap();
        for detector in [DETECTOR, "chunk_regression"] {
            assert_eq!(rig.judged_when(detector, 1.0).unwrap().evaluated, 0.0, "{detector}");
            assert_eq!(rig.withheld(detector, "lost_bytes").unwrap(), 1.0, "{detector}");
            rig.case(detector, "a full ring lost bytes of the stream", Expected::Withheld("lost_bytes")).unwrap();
        }
    });
}
