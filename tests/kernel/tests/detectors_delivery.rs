//! Chunk regression on live traffic: an unmodified SDK, streams that are cut otherwise at the same rate of text.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use kernel_tests::cases::Expected;
use kernel_tests::rig::Rig;
use kernel_tests::skipped;
use kernel_tests::steady::on_a_steady_host;
use provider::script::{Reply, Say, Scenario, Shape, Step, Tokens, answer, deltas};
use serde_json::{Value, json};

const DETECTOR: &str = "chunk_regression";

/// A baseline of twenty streams, the newest ten against it. A busy host bends rates, bursts and
/// pauses, which are not what these tests are about: only what no scheduler does to many streams is
/// a burst, and nothing is a pause. Chunks become a quarter or two and a half times their size, and
/// ten events come at once: a host so busy that its provider sends two at a time is none of these.
const CONFIG: &str = "detect:
  chunk_regression:
    ratio: 0.45
    baseline_streams: 20
    streams: 10
    head_burst: 2
    stalled_share: 0.9
";

/// Streams that leave the detector's window of 64 are learned: the first judged one is the 84th.
const LEARNING: f64 = 83.0;

/// Streams that `CONFIG` holds against a baseline.
const NEWEST: f64 = 10.0;

/// The model all of these tests ask for: a baseline is that of one model.
const MODEL: &str = "scenario:cut#live";

/// Calls at once.
const PARALLEL: usize = 12;

/// 320 characters of 80 tokens in all, so cut.
fn cut(middle: Vec<Step>) -> Reply {
    Reply::of(answer(middle, "stop")).usage(Tokens { input: 20, output: 80, ..Tokens::default() })
}

/// 16 characters every 40 ms.
fn large() -> Reply {
    cut(vec![deltas(20, 16, 40_000)])
}

/// The same text at the same rate, a quarter at a time.
fn small() -> Reply {
    cut(vec![deltas(80, 4, 10_000)])
}

fn ask(rig: &Rig, reply: Reply, streams: usize) {
    ask_reading(rig, reply, streams, "0");
}

/// The same, the client looking away for so many seconds in the middle of each answer.
fn ask_reading(rig: &Rig, reply: Reply, streams: usize, pause: &str) {
    rig.provider.register("cut", Scenario::always(reply));
    let run = rig.run("openai-sync-chat").unwrap().env("CLIENT_PARALLEL", &PARALLEL.to_string());
    let run = run.env("CLIENT_LOOK_AWAY", pause);
    let (ended, status) = run.start(&vec![MODEL.to_owned(); streams]).unwrap().finish().unwrap();
    assert!(status.success() && ended.len() == streams && ended.iter().all(|said| said.error.is_none()), "{ended:?}");
}

/// Streams of `large` until one was judged; how many.
fn learn(rig: &Rig) -> f64 {
    let mut asked = 0;
    loop {
        ask(rig, large(), 3 * PARALLEL);
        asked += 3 * PARALLEL;
        let judged = rig.judged_when(DETECTOR, asked as f64).unwrap();
        assert_eq!(judged.withheld, rig.withheld(DETECTOR, "learning").unwrap());
        if judged.evaluated > 0.0 {
            assert!(judged.withheld >= LEARNING, "{judged:?}");
            assert!(rig.findings(DETECTOR).unwrap().is_empty());
            return asked as f64;
        }
        // Streams of which one arrival is not known have a baseline of their own: then it takes some more.
        assert!(asked < 300, "no baseline of {asked} streams: {judged:?}");
    }
}

/// So many more streams, of which those that are held against the baseline are judged. On a busy
/// host an arrival may not be known; such a stream has a baseline of its own, which it still learns.
fn judged_too(rig: &Rig, reply: Reply, streams: usize, before: &mut f64) {
    let (evaluated, learning) = (rig.judged(DETECTOR).unwrap().evaluated, rig.withheld(DETECTOR, "learning").unwrap());
    ask(rig, reply, streams);
    *before += streams as f64;
    let judged = rig.judged_when(DETECTOR, *before).unwrap().evaluated - evaluated;
    assert!(judged >= NEWEST, "{judged} of {streams} were judged");
    let learned = rig.withheld(DETECTOR, "learning").unwrap() - learning;
    assert_eq!(judged + learned, streams as f64, "{learned} have a baseline of their own");
}

fn near(value: &Value, want: f64) -> bool {
    (value.as_f64().unwrap() / want - 1.0).abs() < 0.05
}

#[test]
fn chunks_of_a_quarter_at_the_same_rate_are_smaller_until_they_are_as_before() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::tuned(CONFIG).unwrap();
        let mut asked = learn(&rig);
        judged_too(&rig, small(), 16, &mut asked);
        rig.case(DETECTOR, "16 characters every 40 ms become 4 every 10 ms", Expected::Findings(&["smaller"])).unwrap();
        let finding = rig.finding_when(DETECTOR, |finding| finding["inputs"]["chars_per_chunk"] == 4.0).unwrap();
        assert_eq!((&finding["kind"], &finding["severity"]), (&json!("smaller"), &json!("warning")), "{finding}");
        assert_eq!((&finding["model"], &finding["ended"]), (&json!(MODEL), &Value::Null), "{finding}");
        let (now, then) = (&finding["inputs"], &finding["baseline"]);
        assert!(now["streams"] == 10 && near(&now["tokens_per_chunk"], 1.0), "{finding}");
        assert!(near(&then["chars_per_chunk"], 16.0) && near(&then["tokens_per_chunk"], 4.0), "{finding}");
        let excluded = finding["excluded_causes"].as_array().unwrap();
        assert!(excluded.contains(&json!("a slower or faster provider")), "{finding}");
        for id in finding["streams"].as_array().unwrap() {
            let stream = rig.daemon.stream(id.as_str().unwrap()).unwrap();
            assert_eq!((stream.chunks, stream.visible_chars), (80, 320), "a stream to look at is one that changed");
        }
        rig.number_is("llm_chunk_regression_active", &["kind=\"smaller\""], 1.0).unwrap();
        assert_eq!(rig.number("llm_chunk_regression_active", &[]).unwrap(), 1.0);
        judged_too(&rig, large(), 16, &mut asked);
        rig.finding_when(DETECTOR, |finding| finding["kind"] == "smaller" && !finding["ended"].is_null()).unwrap();
        rig.number_is("llm_chunk_regression_active", &[], 0.0).unwrap();
        judged_too(&rig, cut(vec![deltas(8, 40, 100_000)]), 16, &mut asked);
        rig.case(DETECTOR, "16 characters every 40 ms become 40 every 100 ms", Expected::Findings(&["larger"]))
            .unwrap();
        judged_too(&rig, large(), 16, &mut asked);
        // Nearly all of it at once and the rest as late as ever: a burst of the head, and no other pace.
        let head = cut(vec![deltas(17, 16, 8_000), deltas(3, 16, 220_000)]);
        judged_too(&rig, head, 16, &mut asked);
        rig.case(DETECTOR, "17 of 20 chunks in the first 200 ms, then a trickle", Expected::Findings(&["head_burst"]))
            .unwrap();
    });
}

/// An event of 16 characters that is padded with a thousand more bytes, in the manner of the vendor.
fn padded() -> Say {
    let delta = json!([{"index": 0, "delta": {"content": "sixteen letters."}, "finish_reason": null}]);
    let chunk = json!({
        "id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": delta,
        "obfuscation": "x".repeat(1_000),
    });
    Say::Raw(format!("data: {chunk}\n\n"))
}

#[test]
fn neither_padding_nor_a_slower_provider_nor_gathered_events_are_chunks_of_another_size() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::tuned(CONFIG).unwrap();
        let mut asked = learn(&rig);
        judged_too(&rig, cut(vec![Step::new(40_000, padded()).times(20)]), 16, &mut asked);
        rig.case(DETECTOR, "a thousand bytes of padding an event", Expected::Quiet).unwrap();
        // A quarter of the text at a time, and a quarter of the rate.
        judged_too(&rig, cut(vec![deltas(20, 4, 40_000)]), 16, &mut asked);
        rig.case(DETECTOR, "a quarter of the text at a time, at a quarter of the rate", Expected::Quiet).unwrap();
        rig.number_is("llm_chunk_regression_active", &[], 0.0).unwrap();
        // Ten events in one record: that is a finding, of its own kind. Fewer would not stand out from the
        // baseline of a host that is stopped for moments, whose provider then sends some at once.
        let hold = Shape { hold: true, ..Shape::default() };
        let ten = |_| [deltas(9, 16, 0).shape(hold), deltas(1, 16, 400_000)];
        judged_too(&rig, cut((0..2).flat_map(ten).collect()), 16, &mut asked);
        rig.case(DETECTOR, "ten events in one record", Expected::Findings(&["coalescing"])).unwrap();
        let finding = rig.finding_when(DETECTOR, |finding| finding["kind"] == "coalescing").unwrap();
        assert!(near(&finding["inputs"]["chars_per_chunk"], 16.0), "{finding}");
    });
}

#[test]
fn short_streams_broken_ones_and_few_whole_ones_are_withheld() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::tuned(CONFIG).unwrap();
        let run = |models: &[&str]| {
            let models: Vec<String> = models.iter().map(|model| format!("scenario:{model}")).collect();
            rig.run("openai-sync-chat").unwrap().start(&models).unwrap().finish().unwrap();
        };
        // Five chunks each; six and then a reset.
        run(&["length#a", "length#b", "length#c", "reset#d", "reset#e"]);
        ask(&rig, large(), 24);
        ask(&rig, small(), 24);
        let judged = rig.judged_when(DETECTOR, 53.0).unwrap();
        assert_eq!(judged.evaluated, 0.0);
        for (reason, want) in [("short", 3.0), ("incomplete", 2.0), ("learning", 48.0)] {
            assert_eq!(rig.withheld(DETECTOR, reason).unwrap(), want, "{reason}");
        }
        rig.case(DETECTOR, "streams of five chunks", Expected::Withheld("short")).unwrap();
        rig.case(DETECTOR, "streams that break off", Expected::Withheld("incomplete")).unwrap();
        rig.case(DETECTOR, "too few streams to learn from", Expected::Withheld("learning")).unwrap();
    });
}

/// The product's own thresholds of pauses; what a busy host does to rates and bursts besides is not told.
const PAUSES: &str = "detect: {chunk_regression: {ratio: 0.1, head_burst: 100, speed_tolerance: 0.01}}\n";

/// Streams of a baseline, of which the newest 128 are not yet part, and as many that are judged by it.
const KNOWN: f64 = 200.0 + 128.0;

fn even() -> Reply {
    cut(vec![deltas(12, 16, 5_000)])
}

/// The same with a pause of a second.
fn paused() -> Reply {
    cut(vec![deltas(6, 16, 5_000), deltas(1, 16, 1_000_000), deltas(5, 16, 5_000)])
}

/// So many more streams, of which so many pause; the detector has looked at all of them.
fn pausing(rig: &Rig, pauses: usize, streams: usize, asked: &mut f64) {
    ask(rig, paused(), pauses);
    ask(rig, even(), streams - pauses);
    *asked += streams as f64;
    rig.judged_when(DETECTOR, *asked).unwrap();
}

#[test]
fn pauses_in_a_few_more_streams_are_told_a_reader_that_looks_away_is_not() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::tuned(PAUSES).unwrap();
        let mut asked = 0.0;
        pausing(&rig, 0, 240, &mut asked);
        rig.case(DETECTOR, "240 streams are too few to know how many pause", Expected::Withheld("learning")).unwrap();
        // Streams of which one arrival is not known have a baseline of their own: then it takes some more.
        while rig.judged(DETECTOR).unwrap().evaluated <= KNOWN - 264.0 {
            assert!(asked < 600.0, "no baseline: {:?}", rig.judged(DETECTOR));
            pausing(&rig, 0, 48, &mut asked);
        }
        ask_reading(&rig, even(), 24, "1");
        asked += 24.0;
        rig.judged_when(DETECTOR, asked).unwrap();
        let local = rig.number("llm_stream_stalls_total", &["cause=\"local\""]).unwrap();
        assert!(local >= 20.0, "{local} of 24 readers looked away");
        rig.case(DETECTOR, "a reader looks away for a second in each of 24 streams", Expected::Quiet).unwrap();
        // Of the newest 128, five: a share of 4 %.
        pausing(&rig, 5, 128, &mut asked);
        rig.case(DETECTOR, "a pause of a second in five of 128 streams", Expected::Quiet).unwrap();
        rig.number_is("llm_chunk_regression_active", &[], 0.0).unwrap();
        pausing(&rig, 14, 96, &mut asked);
        rig.case(DETECTOR, "a pause of a second in every seventh stream", Expected::Findings(&["stall"])).unwrap();
        let finding = rig.finding_when(DETECTOR, |finding| finding["kind"] == "stall").unwrap();
        assert_eq!((&finding["severity"], &finding["model"]), (&json!("warning"), &json!(MODEL)), "{finding}");
        let share = |facts: &str| finding[facts]["stalled_share"].as_f64().unwrap();
        assert!(share("inputs") >= 0.05 && share("baseline") <= 0.03, "{finding}");
        for id in finding["streams"].as_array().unwrap() {
            let stream = rig.daemon.stream(id.as_str().unwrap()).unwrap();
            assert!(!stream.stalls.is_empty(), "a stream to look at is one that paused: {stream:?}");
        }
        rig.number_is("llm_chunk_regression_active", &["kind=\"stall\""], 1.0).unwrap();
        pausing(&rig, 0, 192, &mut asked);
        rig.finding_when(DETECTOR, |finding| !finding["ended"].is_null()).unwrap();
        rig.number_is("llm_chunk_regression_active", &[], 0.0).unwrap();
    });
}
