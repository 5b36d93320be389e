//! Detector 6.

use super::traffic::{Call, End, HOUR, Host, MINUTE, SECOND, Step};
use super::{Case, Expected};

const fn case(name: &'static str, expected: Expected, traffic: fn(&mut Host)) -> Case {
    Case { detector: "chunk_regression", name, expected, traffic, check: |_| {} }
}

pub(super) const CASES: &[Case] = &[
    Case {
        check: |ran| {
            let finding = ran.finding();
            assert_eq!(&*finding.subject.service, "shop");
            assert!(finding.verdict.starts_with("chunks became smaller: 16"), "{}", finding.verdict);
            assert!(ran.pipeline.call_table().find(&finding.streams[0]).is_some(), "the streams can be looked at");
            // Detection delay: the first deviant stream to the finding.
            assert!(finding.seen > finding.since && finding.ended.is_none());
            assert_eq!(ran.number("llm_chunk_regression_active", &[("kind", "smaller")]), 1.0);
            assert_eq!(ran.number("llm_chunk_regression_active", &[("kind", "larger")]), 0.0);
            let ratio = ran.number("llm_chunk_size_ratio", &[]);
            assert!((0.24..0.26).contains(&ratio), "{ratio}");
        },
        ..case("4 tokens every 80 ms become 1 token every 20 ms", Expected::Findings(&["smaller"]), |host| {
            changed(host, normal, |_| text(160, 4, 20));
        })
    },
    Case {
        check: |ran| {
            let verdict = &ran.finding().verdict;
            assert!(verdict.ends_with("characters a second (before: 199)"), "{verdict}");
        },
        ..case("1 token at a time, and a quarter slower", Expected::Findings(&["smaller"]), |host| {
            changed(host, normal, |_| text(160, 4, 27));
        })
    },
    case("1 token at a time, and half as fast again", Expected::Findings(&["smaller"]), |host| {
        changed(host, normal, |_| text(160, 4, 13));
    }),
    case("half the text in the first 200 ms, a quarter slower", Expected::Findings(&["head_burst"]), |host| {
        changed(host, normal, |_| burst(52 * 80));
    }),
    case("evenly paced, at half the rate", Expected::Quiet, |host| changed_quietly(host, |_| text(40, 16, 155))),
    case("evenly paced, at a fifth of the rate", Expected::Quiet, |host| changed_quietly(host, |_| text(40, 16, 400))),
    case("half as large and nearly half as fast: the rate explains it", Expected::Quiet, |host| {
        changed_quietly(host, |_| text(80, 8, 73));
    }),
    case("twice as large and twice as fast: as often as before", Expected::Quiet, |host| {
        changed_quietly(host, |_| text(20, 32, 80));
    }),
    case("4 tokens every 80 ms become 8 every 160 ms", Expected::Findings(&["larger"]), |host| {
        changed(host, normal, |_| text(20, 32, 160));
    }),
    case("half the text in the first 200 ms, then a trickle", Expected::Findings(&["head_burst"]), |host| {
        changed(host, normal, |_| head_burst());
    }),
    case("one pause of 2.5 s in every twelfth stream", Expected::Findings(&["stall"]), |host| {
        let end = learned(host, normal);
        for n in 0..150 {
            host.call(end + n * 20 * SECOND, &normal(n));
        }
        let end = end + HOUR;
        host.goes_wrong(end);
        for n in 0..140 {
            host.call(end + n * 20 * SECOND, &if n % 12 == 0 { paused() } else { normal(n) });
        }
    }),
    case(
        "the same at a thousand streams a minute, seconds after there is a baseline",
        Expected::Findings(&["stall"]),
        |host| {
            let from = MINUTE;
            busy(host, from, 600, |_| false);
            host.goes_wrong(from + 600 * BUSY_MS);
            busy(host, from + 600 * BUSY_MS, 130, |n| n % 12 == 0);
        },
    ),
    case("a pause in every sixth stream, as ever", Expected::Quiet, |host| {
        busy(host, MINUTE, 800, |n| n % 6 == 0);
    }),
    case("four events a read at an unchanged chunk size", Expected::Findings(&["coalescing"]), |host| {
        changed(host, normal, |_| gathered());
    }),
    case("drifts to three quarters in a week of small steps", Expected::Findings(&["smaller"]), |host| {
        let mut end = learned(host, normal);
        for step in 1..=5 {
            for n in 0..120 {
                // The same rate of text: shorter gaps.
                let chars: u8 = 16 - step;
                end = host
                    .call(end + 10 * SECOND, &text(640 / usize::from(chars), usize::from(chars), 5 * u64::from(chars)))
                    + SECOND;
                let _ = n;
            }
        }
    }),
    Case {
        check: |ran| assert!(ran.finding().ended.is_some(), "it is over"),
        ..case("is over when chunks are as before", Expected::Findings(&["smaller"]), |host| {
            let end = changed(host, normal, |_| text(160, 4, 20));
            for n in 0..64 {
                host.call(end + n * 20 * SECOND, &normal(n));
            }
        })
    },
    Case {
        check: |ran| {
            let finding = ran.finding();
            let clock = |facts: &[detectors::EvidenceFact]| facts.iter().any(|f| f.0 == "clock" && f.1 == "arrival");
            assert!(clock(&finding.inputs) && clock(&finding.baseline), "{finding:?}");
            assert!(finding.excluded.contains(&"a slow reader"), "{finding:?}");
        },
        ..case(
            "smaller by arrival, behind a reader that looks once a second",
            Expected::Findings(&["smaller"]),
            |host| {
                let end = arriving(host, 270, MINUTE, 1000, normal);
                host.goes_wrong(end);
                arriving(host, 30, end, 1000, |_| text(160, 4, 20));
            },
        )
    },
    case("four events an arrival at an unchanged chunk size", Expected::Findings(&["coalescing"]), |host| {
        let end = arriving(host, 270, MINUTE, 0, normal);
        host.goes_wrong(end);
        arriving(host, 30, end, 0, |_| gathered());
    }),
    case("a reader gets busy; all arrives as ever", Expected::Quiet, |host| {
        let end = arriving(host, 270, MINUTE, 0, normal);
        arriving(host, 100, end, 1000, normal);
    }),
    case("a reader looks but twice a stream; all arrives as ever", Expected::Quiet, |host| {
        let end = arriving(host, 270, MINUTE, 0, normal);
        arriving(host, 100, end, 1600, normal);
    }),
    Case {
        check: |ran| assert_eq!(ran.number("llm_detector_evaluated_total", &[("detector", "chunk_regression")]), 7.0),
        ..case("a baseline of reads, then streams whose arrival is known", Expected::Withheld("learning"), |host| {
            let end = learned(host, normal);
            arriving(host, 100, end, 0, |_| text(160, 4, 20));
        })
    },
    case("the same text padded with 300 bytes an event", Expected::Quiet, |host| changed_quietly(host, |_| padded())),
    case("smaller and slower alike: the provider is slower", Expected::Quiet, |host| {
        changed_quietly(host, |_| text(160, 4, 80));
    }),
    case("another model answers in other chunks", Expected::Quiet, |host| {
        changed_quietly(host, |_| Call { answered: "gpt-y".into(), ..text(160, 4, 20) });
    }),
    case("noise of a quarter around the same size", Expected::Quiet, |host| {
        changed_quietly(host, |n| text(40, 12 + (n % 9) as usize, 60 + 5 * (n % 9)));
    }),
    case("another script, other characters a token", Expected::Withheld("language_changed"), |host| {
        // Withheld from the change on, judged before.
        changed_quietly(host, |_| script());
    }),
    case("too few streams to learn from", Expected::Withheld("learning"), |host| {
        for n in 0..150 {
            host.call(n * 20 * SECOND, &normal(n));
        }
    }),
    case("bytes were lost in every stream", Expected::Withheld("lost_bytes"), |host| {
        for n in 0..300 {
            host.call(n * 20 * SECOND, &normal(n).step(Step::Lose(100)).says(1, 4, 10));
        }
    }),
    case("every stream was cancelled", Expected::Withheld("incomplete"), |host| {
        for n in 0..300 {
            host.call(n * 20 * SECOND, &normal(n).ends(End::Cancel));
        }
    }),
];

/// Milliseconds between streams of a busy service.
const BUSY_MS: u64 = 50;

/// Streams of a busy service, `pauses` telling which of them pause.
fn busy(host: &mut Host, from: u64, streams: u64, pauses: fn(u64) -> bool) {
    for n in 0..streams {
        host.call(from + n * BUSY_MS, &if pauses(n) { paused() } else { normal(n) });
    }
}

/// 50 tokens a second.
fn text(chunks: usize, chars: usize, gap_ms: u64) -> Call {
    Call::chat("gpt-x").user("hi").says(chunks, chars, gap_ms).usage(10, (chunks * chars / 4) as u64)
}

/// 4 tokens every 80 ms.
fn normal(_: u64) -> Call {
    text(40, 16, 80)
}

/// Streams enough for a baseline; when they end.
fn learned(host: &mut Host, call: fn(u64) -> Call) -> u64 {
    let end = (0..270).map(|n| host.call(n * 20 * SECOND, &call(n))).last().unwrap() + MINUTE;
    host.goes_wrong(end);
    end
}

/// A baseline, then 30 streams of another kind.
fn changed(host: &mut Host, before: fn(u64) -> Call, after: fn(u64) -> Call) -> u64 {
    let end = learned(host, before);
    (0..30).map(|n| host.call(end + n * 20 * SECOND, &after(n))).last().unwrap() + MINUTE
}

/// Streams whose arrival is known, from `from` on; when they end.
fn arriving(host: &mut Host, streams: u64, from: u64, reads_every_ms: u64, call: fn(u64) -> Call) -> u64 {
    let end = (0..streams).map(|n| host.call_arriving(from + n * 20 * SECOND, &call(n), reads_every_ms)).last();
    end.unwrap() + MINUTE
}

fn changed_quietly(host: &mut Host, after: fn(u64) -> Call) {
    let end = learned(host, normal);
    for n in 0..100 {
        host.call(end + n * 20 * SECOND, &after(n));
    }
}

/// As long as 39 gaps of 80 ms in all.
fn head_burst() -> Call {
    burst(39 * 80)
}

/// Half of the text within 200 ms, the rest so slow that all takes `all_ms`.
fn burst(all_ms: u64) -> Call {
    let call = Call::chat("gpt-x").user("hi").says(1, 16, 80).says(19, 16, 10);
    call.says(20, 16, (all_ms - 19 * 10) / 20).usage(10, 160)
}

fn paused() -> Call {
    Call::chat("gpt-x").user("hi").says(20, 16, 80).step(Step::Wait(2500)).says(20, 16, 80).usage(10, 160)
}

fn gathered() -> Call {
    let mut call = Call::chat("gpt-x").user("hi");
    for _ in 0..10 {
        call = call.step(Step::Wait(320)).step(Step::Together(4));
        for _ in 0..4 {
            call = call.step(Step::Say("abcdefghijklmnop".into()));
        }
    }
    call.usage(10, 160)
}

fn padded() -> Call {
    let mut call = normal(0);
    call.answered = format!("gpt-x\",\"obfuscation\":\"{}", "p".repeat(300));
    call
}

fn script() -> Call {
    let mut call = Call::chat("gpt-x").user("hi");
    for _ in 0..40 {
        call = call.step(Step::Wait(80)).step(Step::Say("日本語で".into()));
    }
    call.usage(10, 160)
}
