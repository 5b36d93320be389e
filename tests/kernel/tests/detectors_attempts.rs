//! Retries, a hop that changes the answer, and limits, on live traffic. The client is this program
//! itself, over plain HTTP: an SDK retries as it likes, these have to be told one by one.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::thread::sleep;
use std::time::{Duration, Instant};

use kernel_tests::cases::Expected;
use kernel_tests::raw::Raw;
use kernel_tests::rig::Rig;
use kernel_tests::skipped;
use kernel_tests::steady::on_a_steady_host;
use provider::script::{Fault, Quota, Reply, Say, Scenario, Step, answer, deltas};
use serde_json::{Value, json};

/// A window of limits that lasts long enough to count, and a burn rate that is told within seconds.
const CONFIG: &str = "detect: {quota: {horizon_hours: 0.05, sustained_minutes: 0.1}}\n";

fn text() -> Reply {
    Reply::of(answer(vec![deltas(5, 8, 1_000)], "stop"))
}

/// Attempts at one call, one after the other, as long after each other as that.
fn attempts(rig: &Rig, scenario: &str, times: usize, apart: Duration) {
    let mut connection = Raw::connect(rig.provider.plain_address()).unwrap();
    // Another question each: the same one at another model would be a hop.
    let question = json!([{"role": "user", "content": format!("about {scenario}")}]);
    let body = json!({"model": format!("scenario:{scenario}"), "stream": true, "messages": question});
    for n in 0..times {
        if n > 0 {
            sleep(apart);
        }
        connection.post("/v1/chat/completions", &body).unwrap();
        connection.read().unwrap();
    }
}

/// The detectors have heard of so many attempts of all kinds.
fn heard(rig: &Rig, attempts: &mut f64, more: usize) {
    *attempts += more as f64;
    for detector in ["retry", "failover"] {
        rig.judged_when(detector, *attempts).unwrap();
    }
}

#[test]
fn storms_rejected_bodies_and_retries_too_early_are_told_patient_ones_are_not() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::tuned(CONFIG).unwrap();
        let soon = Duration::from_millis(50);
        let mut all = 0.0;
        let fails = |status, then| Scenario { replies: vec![Reply::status(status), Reply::status(status), then] };
        rig.provider.register("twice", fails(503, text()));
        attempts(&rig, "twice", 3, soon);
        heard(&rig, &mut all, 3);
        rig.case("retry", "503 twice, then an answer", Expected::Quiet).unwrap();
        rig.case("failover", "two retries at the same place", Expected::Quiet).unwrap();
        rig.provider.register("storm", Scenario::always(Reply::status(503)));
        attempts(&rig, "storm", 8, soon);
        heard(&rig, &mut all, 8);
        rig.case("retry", "eight attempts at one call", Expected::Quiet).unwrap();
        attempts(&rig, "storm", 1, soon);
        rig.case("retry", "the ninth attempt at one call", Expected::Findings(&["storm"])).unwrap();
        heard(&rig, &mut all, 1);
        rig.provider.register("rejected", Scenario::always(Reply::status(400)));
        attempts(&rig, "rejected", 3, soon);
        heard(&rig, &mut all, 3);
        rig.case("retry", "a body that was rejected is sent again, twice", Expected::Quiet).unwrap();
        attempts(&rig, "rejected", 1, soon);
        rig.case("retry", "the same a third time", Expected::Findings(&["repeats_rejected"])).unwrap();
        heard(&rig, &mut all, 1);
        let limited = |after: &str| Scenario::first_then(Reply::status(429).header("retry-after", after), text());
        for n in 0..3 {
            rig.provider.register("patient", limited("1"));
            attempts(&rig, &format!("patient#{n}"), 2, Duration::from_millis(1_200));
        }
        heard(&rig, &mut all, 6);
        rig.case("retry", "retries after the retry-after", Expected::Quiet).unwrap();
        for n in 0..3 {
            rig.provider.register("early", limited("20"));
            attempts(&rig, &format!("early#{n}"), 2, soon);
        }
        rig.case("retry", "three retries before the retry-after", Expected::Findings(&["ignores_retry_after"]))
            .unwrap();
        heard(&rig, &mut all, 6);
        refused_elsewhere(&rig);
        limits(&rig);
    });
}

fn conversation(model: &str, turns: usize) -> Value {
    let mut messages = vec![json!({"role": "user", "content": "question 0"})];
    for turn in 1..turns {
        messages.push(json!({"role": "assistant", "content": "answer"}));
        messages.push(json!({"role": "user", "content": format!("question {turn}")}));
    }
    json!({"model": format!("scenario:{model}"), "stream": true, "max_tokens": 100, "messages": messages})
}

/// Two turns are answered by one provider, the third breaks there, and another refuses it.
fn refused_elsewhere(rig: &Rig) {
    let broken = vec![Step::new(0, Say::Start), deltas(5, 8, 1_000), Step::new(0, Say::Fault(Fault::Reset))];
    rig.provider.register("turns", Scenario { replies: vec![text(), text(), Reply::of(broken)] });
    rig.provider.register("strict", Scenario::always(Reply::of(answer(Vec::new(), "filter"))));
    let mut connection = Raw::connect(rig.provider.plain_address()).unwrap();
    for turns in 1..=3 {
        connection.post("/v1/chat/completions", &conversation("turns", turns)).unwrap();
        assert_eq!(connection.read().is_ok(), turns < 3, "turn {turns}");
    }
    let mut other = Raw::connect(rig.provider.plain_address()).unwrap();
    other.post("/v1/messages", &conversation("strict", 3)).unwrap();
    other.read().unwrap();
    let both = Expected::Findings(&["mid_stream", "refusal_flip"]);
    rig.case("failover", "turn 3 breaks, goes on at another provider and is refused", both).unwrap();
}

/// Two accounts used at the same rate: one that will be empty long before its window ends, and one that will not.
fn limits(rig: &Rig) {
    let window = |requests| Quota { requests, tokens: 1_000_000, window_us: 200_000_000 };
    rig.provider.register("wide", Scenario::always(text().quota(window(10_000))));
    rig.provider.register("narrow", Scenario::always(text().quota(window(100))));
    let use_up = |scenario: &str| {
        let begun = Instant::now();
        // The rate must last for six seconds before it is told.
        while begun.elapsed() < Duration::from_millis(7_500) {
            attempts(rig, scenario, 1, Duration::ZERO);
            sleep(Duration::from_millis(650));
        }
    };
    use_up("wide");
    rig.case("quota", "a window of 200 s used at a rate it can bear", Expected::Quiet).unwrap();
    use_up("narrow");
    rig.case("quota", "a window of 200 s that will be used up within 70", Expected::Findings(&["runs_dry"])).unwrap();
}
