//! First token on live traffic: a model that begins to reason, an unmodified SDK, the product's own thresholds.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use kernel_tests::cases::Expected;
use kernel_tests::rig::Rig;
use kernel_tests::skipped;
use kernel_tests::steady::on_a_steady_host;
use provider::script::{Reply, Say, Scenario, Step, answer, deltas};
use serde_json::json;

const DETECTOR: &str = "first_token";

/// A baseline is that of one model name.
const MODEL: &str = "scenario:first#live";

/// Calls at once.
const PARALLEL: usize = 12;

/// Streams of a baseline, and the newest ones that are not yet part of it: these are learned, the next one is judged.
const LEARNING: usize = 100 + 64 - 1;

fn text() -> Reply {
    Reply::of(answer(vec![deltas(5, 8, 2_000)], "stop"))
}

/// More than a second of reasoning first, which begins as early as text did.
fn reasons() -> Reply {
    let thinks = Step::new(2_000, Say::Reasoning(20));
    let more = Step::new(300_000, Say::Reasoning(20)).times(4);
    Reply::of(answer(vec![thinks, more, deltas(5, 8, 2_000)], "stop"))
}

fn ask(rig: &Rig, reply: Reply, streams: usize, asked: &mut usize) {
    rig.provider.register("first", Scenario::always(reply));
    let run = rig.run("anthropic-sync").unwrap().env("CLIENT_PARALLEL", &PARALLEL.to_string());
    let (ended, status) = run.start(&vec![MODEL.to_owned(); streams]).unwrap().finish().unwrap();
    assert!(status.success() && ended.len() == streams && ended.iter().all(|said| said.error.is_none()), "{ended:?}");
    *asked += streams;
    rig.judged_when(DETECTOR, *asked as f64).unwrap();
}

#[test]
fn text_that_waits_for_reasoning_is_told_a_provider_that_is_late_is_not() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        let mut asked = 0;
        ask(&rig, text(), LEARNING, &mut asked);
        assert_eq!(rig.judged(DETECTOR).unwrap().evaluated, 0.0);
        rig.case(DETECTOR, "a hundred streams are known but for the newest", Expected::Withheld("learning")).unwrap();
        // Late from the first byte on: text as late as the first chunk.
        ask(&rig, Reply { head_delay_us: 1_200_000, ..text() }, 24, &mut asked);
        assert_eq!(rig.judged(DETECTOR).unwrap().evaluated, 24.0);
        rig.case(DETECTOR, "first chunk and text alike come a second later", Expected::Quiet).unwrap();
        // Of the newest 30, twelve wait: their median does not.
        ask(&rig, reasons(), 12, &mut asked);
        rig.case(DETECTOR, "twelve of 30 streams reason before their text", Expected::Quiet).unwrap();
        ask(&rig, reasons(), 12, &mut asked);
        rig.case(DETECTOR, "most streams reason before their text", Expected::Findings(&["invisible_wait"])).unwrap();
        let finding = rig.finding_when(DETECTOR, |finding| finding["kind"] == "invisible_wait").unwrap();
        assert_eq!((&finding["severity"], &finding["model"]), (&json!("warning"), &json!(MODEL)), "{finding}");
        let of = |facts: &str, name: &str| finding[facts][name].as_f64().unwrap();
        // A busy host sends the first piece of 1.2 s of reasoning late, and the text no earlier.
        assert!(of("inputs", "invisible_wait") >= 0.6 && of("baseline", "invisible_wait") < 0.5, "{finding}");
        assert!(of("inputs", "reasoning_share") > 0.5 && of("baseline", "reasoning_share") == 0.0, "{finding}");
        assert!(finding["verdict"].as_str().unwrap().contains("the model began to reason"), "{finding}");
        for id in finding["streams"].as_array().unwrap() {
            let firsts = rig.daemon.stream(id.as_str().unwrap()).unwrap().first_seconds;
            assert!(firsts.visible.unwrap() - firsts.reasoning.unwrap() >= 0.6, "{firsts:?}");
        }
        ask(&rig, text(), 24, &mut asked);
        rig.finding_when(DETECTOR, |finding| !finding["ended"].is_null()).unwrap();
    });
}
