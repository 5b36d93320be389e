//! Detector 12.

use super::traffic::{Api, Call, End, Host, MINUTE, SECOND, Step};
use super::{Case, Expected};

const fn case(name: &'static str, expected: Expected, traffic: fn(&mut Host)) -> Case {
    Case { detector: "first_token", name, expected, traffic, check: |_| {} }
}

pub(super) const CASES: &[Case] = &[
    Case {
        check: |ran| {
            let verdict = &ran.finding().verdict;
            assert!(verdict.starts_with("users wait 5.0 s from the first chunk"), "{verdict}");
            assert!(verdict.contains("the model began to reason"), "{verdict}");
            assert!(verdict.contains("first chunk comes after 0.6"), "{verdict}");
            let gap = ran.number("llm_first_token_definition_gap_ratio", &[]);
            assert!((8.5..10.0).contains(&gap), "{gap}");
        },
        ..case(
            "a reasoning upgrade: first chunk at 612 ms as ever, text after 5 s",
            Expected::Findings(&["invisible_wait"]),
            |host| {
                changed(host, |n| reasoning(n, "gpt-x"));
            },
        )
    },
    Case {
        check: |ran| {
            assert!(ran.finding().verdict.contains("gpt-x-2 answers instead of gpt-x"), "{}", ran.finding().verdict);
        },
        ..case("the same, under another model's name", Expected::Findings(&["invisible_wait"]), |host| {
            changed(host, |n| reasoning(n, "gpt-x-2"));
        })
    },
    case("5 s to the first chunk and to text alike: the provider is slow", Expected::Quiet, |host| {
        changed(host, |n| Call { think_ms: 5_000, ..plain(n) });
    }),
    case("role-only chunk, empty delta and whitespace before the text", Expected::Quiet, |host| {
        changed(host, |n| {
            let mut call = Call { think_ms: 500, ..Call::chat("gpt-x").user(&n.to_string()) };
            call.steps = vec![Step::Say(String::new()), Step::Wait(100), Step::Say(" ".into()), Step::Wait(12)];
            call.says(20, 12, 30)
        });
    }),
    case("a model that has always reasoned", Expected::Quiet, |host| {
        for n in 0..240 {
            host.call((1 + n) * MINUTE, &reasoning(n, "gpt-x"));
        }
    }),
    case("tool calls only: no text was due", Expected::Withheld("nothing_visible"), |host| {
        for n in 0..200 {
            let call = Call::chat("gpt-x").user(&n.to_string()).step(Step::Tool("f", "{}".into()));
            host.call((1 + n) * MINUTE, &call.ends(End::Done("tool_calls")));
        }
    }),
    case("bytes were lost before the text", Expected::Withheld("lost_bytes"), |host| {
        for n in 0..200 {
            let call = Call::new(Api::Chat, "gpt-x").user(&n.to_string()).step(Step::Lose(50)).says(20, 12, 30);
            host.call((1 + n) * MINUTE, &call);
        }
    }),
];

/// First chunk and text after 612 ms.
fn plain(n: u64) -> Call {
    Call { think_ms: 582, ..Call::chat("gpt-x").user(&n.to_string()).says(20, 12, 30) }
}

/// First chunk after 612 ms, text 5 s later.
fn reasoning(n: u64, answered: &str) -> Call {
    let mut call = Call { think_ms: 582, answered: answered.into(), ..Call::chat("gpt-x").user(&n.to_string()) };
    for step in 0..51 {
        call = call.step(Step::Wait(if step == 0 { 30 } else { 100 })).step(Step::Reason("hm ".into()));
    }
    call.says(20, 12, 30).usage(10, 100)
}

fn changed(host: &mut Host, after: fn(u64) -> Call) {
    for n in 0..180 {
        host.call((1 + n) * MINUTE, &plain(n));
    }
    host.goes_wrong(181 * MINUTE);
    for n in 180..211 {
        host.call((1 + n) * MINUTE + SECOND, &after(n));
    }
}
