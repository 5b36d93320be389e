//! Clocks on live traffic: what is said of a peer's clock holds the truth, which the provider's script is.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use kernel_tests::cases::Expected;
use kernel_tests::rig::Rig;
use kernel_tests::skipped;
use kernel_tests::steady::on_a_steady_host;
use provider::script::{Reply, Scenario, answer, deltas};
use serde_json::json;

const DETECTOR: &str = "clocks";

const OFFSET: &str = "llm_clock_offset_seconds";

/// Responses that a verdict rests on, unless configured otherwise.
const RESPONSES: usize = 10;

/// The daemon asks twice a second what time it is: a clock that is being slewed is off by less than this in between.
const SLEWED: f64 = 0.01;

/// So many answers of a provider whose clock is so far ahead.
fn ask(rig: &Rig, ahead: Option<i64>, times: usize) {
    let reply = Reply::of(answer(vec![deltas(2, 8, 1_000)], "stop")).clock_ahead(ahead);
    rig.provider.register("clock", Scenario::always(reply));
    let models = vec!["scenario:clock#live".to_owned(); times];
    let (ended, status) = rig.run("anthropic-sync").unwrap().start(&models).unwrap().finish().unwrap();
    assert!(status.success() && ended.iter().all(|said| said.error.is_none()), "{ended:?}");
}

/// The gauges say where the peer's clock can be; that is where it is.
fn gauges_hold(rig: &Rig, truth: f64) {
    let middle = rig.number(OFFSET, &["peer="]).unwrap();
    let uncertainty = rig.number("llm_clock_offset_uncertainty_seconds", &["peer="]).unwrap();
    assert!((middle - truth).abs() <= uncertainty + SLEWED, "{truth} is not within {middle} ± {uncertainty}");
    assert!(uncertainty > 0.0, "a date says no more than its second");
}

#[test]
fn a_peer_an_hour_ahead_is_told_with_the_tenth_answer() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        ask(&rig, Some(3_600), RESPONSES - 1);
        rig.quiet_after(DETECTOR, 9.0).unwrap();
        rig.case(DETECTOR, "nine answers of a peer an hour ahead", Expected::Quiet).unwrap();
        gauges_hold(&rig, 3_600.0);
        ask(&rig, Some(3_600), 1);
        rig.case(DETECTOR, "the tenth answer of a peer an hour ahead", Expected::Findings(&["peer_offset"])).unwrap();
        let finding = rig.finding_when(DETECTOR, |finding| finding["kind"] == "peer_offset").unwrap();
        assert_eq!((&finding["severity"], &finding["inputs"]["responses"]), (&json!("info"), &json!(10)), "{finding}");
        assert!(finding["server_address"].as_str().unwrap().starts_with("localhost"), "{finding}");
        let of = |name: &str| finding["inputs"][name].as_f64().unwrap();
        // Numbers of the evidence have four digits.
        let rounded = of("uncertainty_seconds") + SLEWED + 0.5;
        assert!((of("offset_seconds") - 3_600.0).abs() <= rounded, "{finding}");
        for id in finding["streams"].as_array().unwrap() {
            let stream = rig.daemon.stream(id.as_str().unwrap()).unwrap();
            assert_eq!(stream.request_model.as_deref(), Some("scenario:clock#live"));
        }
        gauges_hold(&rig, 3_600.0);
    });
}

#[test]
fn a_clock_that_is_a_second_off_is_not_told() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        ask(&rig, Some(1), RESPONSES + 2);
        rig.quiet_after(DETECTOR, 12.0).unwrap();
        rig.case(DETECTOR, "twelve answers of a peer a second ahead", Expected::Quiet).unwrap();
        gauges_hold(&rig, 1.0);
    });
}

#[test]
fn without_a_date_nothing_is_said() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        ask(&rig, None, RESPONSES + 2);
        assert_eq!(rig.judged_when(DETECTOR, 12.0).unwrap().evaluated, 0.0);
        assert_eq!(rig.withheld(DETECTOR, "no_date").unwrap(), 12.0);
        rig.case(DETECTOR, "answers without a date", Expected::Withheld("no_date")).unwrap();
        assert!(!rig.daemon.metrics().unwrap().contains(&format!("{OFFSET}{{")), "an offset of nobody's clock");
        assert!(rig.findings(DETECTOR).unwrap().is_empty());
    });
}
