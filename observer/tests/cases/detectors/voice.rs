//! Detector 11.

use super::traffic::{Call, Host, MINUTE, Step};
use super::{Case, Expected};

const fn case(name: &'static str, expected: Expected, traffic: fn(&mut Host)) -> Case {
    Case { detector: "voice", name, expected, traffic, check: |_| {} }
}

pub(super) const CASES: &[Case] = &[
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
    Case {
        check: |ran| {
            let stage = [("stage", "tts_request_to_first_audio")];
            let mean = ran.sum("llm_voice_stage_seconds", &stage) / 30.0;
            assert!((mean - 0.7).abs() < 0.003, "{mean}");
        },
        ..case(
            "the voice sends its head at once, and its first audio 690 ms later",
            Expected::Findings(&["slow_first_audio"]),
            |host| {
                spoken(host, 10, &speech(10).step(Step::Wait(690)));
            },
        )
    },
    case("the head of the voice came, and its audio was lost", Expected::Withheld("lost_bytes"), |host| {
        spoken(host, 10, &speech(10).step(Step::Lose("audio bytes".len() as u64)));
    }),
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
    Case {
        check: |ran| {
            let stage = [("stage", "first_audio_to_media_out")];
            assert_eq!(ran.number("llm_voice_stage_seconds", &stage), 29.0, "the first turn opens the way");
            let mean = ran.sum("llm_voice_stage_seconds", &stage) / 29.0;
            assert!((mean - 0.35).abs() < 0.003, "{mean}");
            let verdict = &ran.finding().verdict;
            assert_eq!(verdict, "the first audio of the voice waits 0.35 s in this process before it is sent on");
        },
        ..case("the sound waits 350 ms before it is sent on", Expected::Findings(&["slow_media_out"]), |host| {
            sent_on(host, 30, &[350, 370, 390]);
        })
    },
    Case {
        check: |ran| {
            let stage = [("stage", "first_audio_to_media_out")];
            let mean = ran.sum("llm_voice_stage_seconds", &stage) / ran.number("llm_voice_stage_seconds", &stage);
            assert!((mean - 0.15).abs() < 0.003, "{mean}");
        },
        ..case("the sound is sent on within 150 ms", Expected::Quiet, |host| sent_on(host, 30, &[150, 170, 190]))
    },
    Case {
        check: |ran| {
            assert_eq!(
                ran.number("llm_detector_withheld_total", &[("detector", "voice"), ("reason", "media_flows")]),
                29.0
            );
            assert!(ran.number("llm_voice_stage_seconds", &[("stage", "first_audio_to_media_out")]) <= 1.0);
        },
        ..case("sound flows all the time, silence included", Expected::Quiet, |host| {
            let always: Vec<u64> = (0..3_000).map(|n| n * 20).collect();
            sent_on(host, 30, &always);
        })
    },
    Case {
        check: |ran| {
            assert_eq!(
                ran.number("llm_detector_withheld_total", &[("detector", "voice"), ("reason", "media_unseen")]),
                29.0
            );
        },
        ..case("the sound leaves by a way that is not seen", Expected::Quiet, |host| turns(host, 10, 150))
    },
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
    spoken(host, wait_ms, &speech(tts_ms));
}

fn spoken(host: &mut Host, wait_ms: u64, speech: &Call) {
    for n in 0..30 {
        let at = (1 + n) * MINUTE;
        host.call(at, &answer(n));
        host.call(at + 500 + wait_ms, speech);
    }
}

/// Turns whose sound the process sends on so many milliseconds after it came, each time in such
/// messages. It opens its socket when it has had speech made, and keeps it.
fn sent_on(host: &mut Host, count: u64, after_ms: &[u64]) {
    turns(host, 10, 150);
    let first = MINUTE + 500 + 10 + 150;
    let sound: Vec<(u64, usize)> =
        (1..count).flat_map(|n| after_ms.iter().map(move |after| (first + n * MINUTE + after, 400))).collect();
    host.media(MINUTE + 5_000, &answer(0), &sound);
}
