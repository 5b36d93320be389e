//! Detector 3.

use super::traffic::{Api, Call, End, Host, MINUTE, SECOND, Step};
use super::{Case, Expected};

const fn case(name: &'static str, expected: Expected, traffic: fn(&mut Host)) -> Case {
    Case { detector: "reasoning", name, expected, traffic, check: |_| {} }
}

pub(super) const CASES: &[Case] = &[
    Case {
        check: |ran| {
            let verdict = &ran.finding().verdict;
            assert!(verdict.starts_with("70 % of the output tokens are reasoning (before: 30 %)"), "{verdict}");
            assert!(verdict.ends_with("reasoning comes as hidden"), "{verdict}");
            assert_eq!(ran.number("llm_reasoning_hidden_streams_total", &[]), 231.0);
            assert_eq!(ran.number("llm_reasoning_tokens_total", &[("mode", "hidden")]), 200.0 * 30.0 + 31.0 * 70.0);
        },
        ..case("hidden reasoning from 30 to 70 of 100 tokens", Expected::Findings(&["share_grew"]), |host| {
            host.goes_wrong(201 * MINUTE);
            for n in 0..231 {
                host.call((1 + n) * MINUTE, &answer(n, if n < 200 { 30 } else { 70 }));
            }
        })
    },
    Case {
        check: |ran| {
            assert_eq!(ran.number("llm_reasoning_tokens_total", &[("mode", "plain")]), 40.0 * 60.0);
            assert_eq!(ran.sum("llm_reasoning_budget_used_ratio", &[]), 40.0 * 0.5);
        },
        ..case("reasoning and nothing else, the limit being reached", Expected::Findings(&["reasoning_only"]), |host| {
            for n in 0..40 {
                let call = Call::chat("gpt-r").user(&n.to_string()).member("thinking", r#"{"budget_tokens":120}"#);
                let call = call.step(Step::Reason("hm ".repeat(80))).ends(End::Done("length"));
                host.call((1 + n) * MINUTE, &Call { usage: Some((10, 60, 60, 0)), ..call });
            }
        })
    },
    Case {
        check: |ran| {
            // 100 ms between the parts, whatever the fidelity.
            let phase = ran.sum("llm_reasoning_phase_seconds", &[]) / ran.number("llm_reasoning_phase_seconds", &[]);
            assert!((0.099..0.103).contains(&phase), "{phase}");
            assert_eq!(ran.number("llm_reasoning_tokens_total", &[("mode", "summary")]), 40.0 * 500.0);
        },
        ..case("a summary of 500 tokens, as ever", Expected::Quiet, |host| {
            for n in 0..200 {
                let call =
                    Call::new(Api::Responses, "gpt-r").user(&n.to_string()).step(Step::Reason("a summary".into()));
                let call = call.step(Step::Wait(100)).says(5, 10, 0);
                let call = Call { usage: Some((10, 600, 500, 0)), ..call };
                if n < 40 {
                    host.call((1 + n) * MINUTE, &call);
                } else {
                    host.call((1 + n) * MINUTE, &Call { usage: Some((10, 600, 500, 0)), ..plain(n) });
                }
            }
        })
    },
    Case {
        check: |ran| {
            let verdict = &ran.finding().verdict;
            assert!(verdict.ends_with("reasoning comes as encrypted"), "{verdict}");
            let tokens = ran.number("llm_reasoning_tokens_total", &[("mode", "encrypted")]);
            assert_eq!(tokens, 200.0 * 30.0 + 31.0 * 70.0);
            assert_eq!(ran.number("llm_reasoning_hidden_streams_total", &[]), 0.0);
        },
        ..case("encrypted reasoning from 30 to 70 of 100 tokens", Expected::Findings(&["share_grew"]), |host| {
            host.goes_wrong(201 * MINUTE);
            for n in 0..231 {
                host.call((1 + n) * MINUTE, &sealed(n, if n < 200 { 30 } else { 70 }));
            }
        })
    },
    Case {
        check: |ran| {
            assert_eq!(ran.number("llm_reasoning_tokens_total", &[("mode", "encrypted")]), 200.0 * 30.0);
            assert_eq!(ran.number("llm_reasoning_tokens_total", &[]), 200.0 * 30.0);
        },
        ..case("encrypted reasoning at an unchanged share", Expected::Quiet, |host| {
            for n in 0..200 {
                host.call((1 + n) * MINUTE, &sealed(n, 30));
            }
        })
    },
    case("redacted thinking whose tokens nobody counts", Expected::Withheld("no_usage"), |host| {
        for n in 0..60 {
            let call = Call::anthropic("claude-y").user(&n.to_string()).step(Step::Sealed).says(5, 10, 20);
            host.call((1 + n) * MINUTE, &call);
        }
    }),
    case("twice the calls, the same share", Expected::Quiet, |host| {
        for n in 0..300 {
            host.call(MINUTE + if n < 200 { n * MINUTE } else { 200 * MINUTE + n * SECOND }, &answer(n, 30));
        }
    }),
    case("tool calls and refusals without text", Expected::Quiet, |host| {
        for n in 0..200 {
            let call = Call::chat("gpt-r").user(&n.to_string());
            let call = match n % 2 {
                0 => call.step(Step::Tool("f", "{}".into())).ends(End::Done("tool_calls")),
                _ => call.step(Step::Refuse("no")),
            };
            host.call((1 + n) * MINUTE, &Call { usage: Some((10, 60, 30, 0)), ..call });
        }
    }),
    case("a provider that reports no reasoning tokens", Expected::Withheld("no_usage"), |host| {
        for n in 0..200 {
            host.call((1 + n) * MINUTE, &Call::anthropic("claude-y").user(&n.to_string()).says(5, 10, 20));
        }
    }),
];

/// 100 tokens, so many of them hidden reasoning.
fn answer(n: u64, reasoning: u64) -> Call {
    let call = Call::chat("gpt-r").user(&n.to_string()).says(5, 10, 20);
    Call { usage: Some((10, 100, reasoning, 0)), ..call }
}

fn plain(n: u64) -> Call {
    Call::chat("gpt-r").user(&n.to_string()).step(Step::Reason("so ".repeat(700))).step(Step::Wait(100)).says(5, 10, 0)
}

/// 100 tokens, so many of them reasoning that only the provider can read.
fn sealed(n: u64, reasoning: u64) -> Call {
    let call = Call::new(Api::Responses, "gpt-r").user(&n.to_string()).step(Step::Wait(100)).step(Step::Sealed);
    Call { usage: Some((10, 100, reasoning, 0)), ..call.says(5, 10, 20) }
}
