//! Detector 11.

use super::traffic::{Call, Host, MINUTE, Step};
use super::{Case, Expected};

const fn case(name: &'static str, expected: Expected, traffic: fn(&mut Host)) -> Case {
    Case { detector: "voice", name, expected, traffic, check: |_| {} }
}

pub const CASES: &[Case] = &[
    Case {
        check: |ran| {
            let verdict = &ran.finding().verdict;
            assert!(verdict.starts_with("the first audio comes 1.05 s after the request"), "{verdict}");
            assert!(verdict.ends_with("0.40 s of it are first sentence to tts request"), "{verdict}");
            let stage = |stage| ran.sum("llm_voice_stage_seconds", &[("stage", stage)]) / 30.0;
            for (name, want) in [
                ("llm_request_to_first_visible", 0.3),
                ("first_visible_to_first_sentence", 0.2),
                ("first_sentence_to_tts_request", 0.4),
                ("tts_request_to_first_audio", 0.15),
            ] {
                assert!((stage(name) - want).abs() < 0.003, "{name}: {}", stage(name));
            }
        },
        ..case("the sentence waits 400 ms before it is spoken", Expected::Findings(&["slow_first_audio"]), |host| {
            turns(host, 400, 150);
        })
    },
    Case {
        check: |ran| {
            assert!(ran.finding().verdict.ends_with("tts request to first audio"), "{}", ran.finding().verdict);
        },
        ..case("the voice takes 700 ms to begin", Expected::Findings(&["slow_first_audio"]), |host| {
            turns(host, 10, 700);
        })
    },
    case("660 ms in all", Expected::Quiet, |host| turns(host, 10, 150)),
    case("a filler is spoken before the model has said a word", Expected::Withheld("audio_before_text"), |host| {
        for n in 0..30 {
            let at = (1 + n) * MINUTE;
            host.call(at, &answer(n));
            host.call(at + 100, &speech(100));
        }
    }),
    case("another process speaks", Expected::Withheld("no_turn"), |host| {
        for n in 0..30 {
            let at = (1 + n) * MINUTE;
            host.call(at, &answer(n));
            host.call(at + 900, &speech(150).service("shop", 101));
        }
    }),
];

/// First word after 300 ms, first sentence 200 ms later, then more.
fn answer(n: u64) -> Call {
    let mut call = Call { think_ms: 250, ..Call::chat("gpt-x").user(&n.to_string()) };
    call.steps = vec![Step::Wait(50), Step::Say("Hello ".into()), Step::Wait(200), Step::Say("there. And ".into())];
    call.says(10, 10, 100)
}

fn speech(ms: u64) -> Call {
    let mut call = Call::chat("tts-1").member("input", "\"Hello there.\"").member("voice", "\"alloy\"");
    call.path_override = Some("/v1/audio/speech");
    call.document = Some("audio bytes".into());
    call.media = true;
    Call { think_ms: ms, ..call }
}

fn turns(host: &mut Host, wait_ms: u64, tts_ms: u64) {
    for n in 0..30 {
        let at = (1 + n) * MINUTE;
        host.call(at, &answer(n));
        host.call(at + 500 + wait_ms, &speech(tts_ms));
    }
}
