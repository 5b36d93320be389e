//! Detector 4.

use super::traffic::{Call, End, Host, MINUTE, SECOND};
use super::{Case, Expected};

const fn case(name: &'static str, expected: Expected, traffic: fn(&mut Host)) -> Case {
    Case { detector: "retry", name, expected, traffic, check: |_| {} }
}

pub(super) const CASES: &[Case] = &[
    Case {
        check: |ran| {
            let attempts = |class| ran.number("llm_attempts_total", &[("class", class)]);
            assert_eq!((attempts("first"), attempts("rate_limit"), attempts("unknown")), (1.0, 2.0, 0.0));
            assert_eq!(ran.number("llm_logical_calls_total", &[("outcome", "success")]), 1.0);
            assert_eq!(ran.sum("llm_retry_amplification", &[]), 3.0);
            assert!(!ran.fed("llm_retry_wasted_tokens_total"), "a refusal costs nothing");
        },
        ..case("429 twice, then an answer: what a retry is for", Expected::Quiet, |host| {
            attempts(host, MINUTE, &[429, 429, 200]);
        })
    },
    Case {
        check: |ran| {
            assert_eq!(ran.number("llm_attempts_total", &[("class", "stream_cut")]), 2.0);
            assert_eq!(ran.number("llm_retry_wasted_tokens_total", &[]), 2.0 * 1500.0);
        },
        ..case("cut twice at token 20, then whole: the input was paid three times", Expected::Quiet, |host| {
            let end = host.call(MINUTE, &call().says(20, 4, 20).ends(End::Reset));
            let end = host.call(end + SECOND, &call().says(20, 4, 20).ends(End::Cut));
            host.call(end + SECOND, &call().says(40, 4, 20).usage(1500, 40));
        })
    },
    Case {
        check: |ran| {
            assert_eq!(ran.number("llm_logical_calls_total", &[("outcome", "failed")]), 1.0);
            assert_eq!(ran.sum("llm_retry_amplification", &[]), 3.0 + 1.0, "and the later call");
        },
        ..case("500 three times, then nobody tries again", Expected::Quiet, |host| {
            attempts(host, MINUTE, &[500, 500, 500]);
            host.call(10 * MINUTE, &Call::chat("gpt-x").user("later").says(3, 4, 20));
        })
    },
    Case {
        check: |ran| {
            assert!(ran.finding().verdict.starts_with("one call was attempted 27 times"), "{}", ran.finding().verdict);
        },
        ..case("an SDK in a gateway in a loop: 27 attempts", Expected::Findings(&["storm"]), |host| {
            attempts(host, MINUTE, &[503; 27]);
        })
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_attempts_total", &[("class", "client_4xx")]), 5.0),
        ..case("the same body after 400, again and again", Expected::Findings(&["repeats_rejected"]), |host| {
            attempts(host, MINUTE, &[400; 6]);
        })
    },
    Case {
        check: |ran| {
            assert_eq!(ran.number("llm_retry_backoff_violations_total", &[]), 3.0);
            assert_eq!(&*ran.finding().subject.model, "gpt-x", "whose retries they are");
        },
        ..case("retries 1 s after a retry-after of 20 s", Expected::Findings(&["ignores_retry_after"]), |host| {
            host.call(MINUTE, &Call::chat("gpt-z").user("hi").says(3, 4, 20));
            for n in 0..3 {
                let at = (1 + n) * 5 * MINUTE;
                let body = Call::chat("gpt-x").user(&n.to_string());
                let end =
                    host.call(at, &body.clone().answers_header("retry-after", "20").fails(429, "rate_limit_exceeded"));
                host.call(end + SECOND, &body.says(3, 4, 20));
            }
        })
    },
    case("retries after a retry-after of 20 s", Expected::Quiet, |host| {
        for n in 0..3 {
            let at = (1 + n) * 5 * MINUTE;
            let body = Call::chat("gpt-x").user(&n.to_string());
            let end =
                host.call(at, &body.clone().answers_header("retry-after", "20").fails(429, "rate_limit_exceeded"));
            host.call(end + 21 * SECOND, &body.says(3, 4, 20));
        }
    }),
    Case {
        check: |ran| {
            assert!(ran.number("llm_retry_budget_used_ratio", &[("service", "shop")]) > 1.0);
            let subject = &ran.finding().subject;
            let of = (&*subject.provider, &*subject.model, &*subject.server, &*subject.service);
            assert_eq!(of, ("openai", "", "api.openai.com", "shop"));
            assert_eq!((&*subject.namespace, &*subject.workload), ("", ""));
        },
        ..case("every call tried three times for 8 minutes", Expected::Findings(&["budget"]), |host| {
            host.call(MINUTE - SECOND, &Call::chat("gpt-z").user("hi").says(3, 4, 20));
            for n in 0..240 {
                let body = Call::chat("gpt-x").user(&n.to_string());
                let at = MINUTE + n * 2 * SECOND;
                let end = host.call(at, &body.clone().fails(503, "overloaded"));
                let end = host.call(end + 100, &body.clone().fails(503, "overloaded"));
                host.call(end + 100, &body.says(3, 4, 20));
            }
        })
    },
    case("the same for one minute", Expected::Quiet, |host| {
        for n in 0..30 {
            let body = Call::chat("gpt-x").user(&n.to_string());
            let end = host.call(MINUTE + n * 2 * SECOND, &body.clone().fails(503, "overloaded"));
            host.call(end + 100, &body.says(3, 4, 20));
        }
        host.call(20 * MINUTE, &call().says(3, 4, 20));
    }),
    Case {
        check: |ran| {
            assert!(ran.number("llm_tool_arg_repairs_total", &[("tool", "search")]) > 100.0);
            let finding = ran.finding();
            assert!(finding.verdict.contains("all these tasks still end with an answer"), "{}", finding.verdict);
        },
        ..case(
            "an agent whose tool rejects its arguments ever more often, and which always succeeds",
            Expected::Findings(&["plans_against_retries"]),
            |host| {
                host.goes_wrong(MINUTE + 200 * 5 * MINUTE);
                for n in 0..400 {
                    // Rejections: none for 200 tasks, then one, two and three.
                    task(host, n, if n < 200 { 0 } else { (n - 200) / 67 + 1 }, true);
                }
            },
        )
    },
    case("an agent that has more calls to make, and none rejected", Expected::Quiet, |host| {
        for n in 0..400 {
            task(host, n, if n < 200 { 0 } else { 3 }, false);
        }
    }),
    Case {
        check: |ran| assert_eq!(ran.number("llm_attempts_total", &[("class", "first")]), 60.0),
        ..case("a cron job with the same prompt each minute", Expected::Quiet, |host| {
            for n in 0..60 {
                host.call((1 + n) * MINUTE, &call().says(3, 4, 20));
            }
        })
    },
    Case {
        check: |ran| {
            assert_eq!(ran.number("llm_attempts_total", &[("class", "first")]), 20.0);
            assert_eq!(ran.number("llm_attempts_total", &[]), 20.0);
        },
        ..case("parallel fan-out of one body, some of it failing", Expected::Quiet, |host| {
            for n in 0..20_u64 {
                let call = if n % 4 == 0 {
                    Call { think_ms: 900, ..call().fails(503, "overloaded") }
                } else {
                    call().says(30, 4, 50)
                };
                host.call(MINUTE + n * 10, &call);
            }
        })
    },
    case("bodies that were not seen whole", Expected::Withheld("truncated_body"), |host| {
        for n in 0..12 {
            let mut call = call().fails(503, "overloaded");
            call.request_cut = Some(30);
            host.call((1 + n) * MINUTE, &call);
        }
    }),
];

fn call() -> Call {
    Call::chat("gpt-x").user("the same")
}

/// Attempts at one call, 2 s apart.
fn attempts(host: &mut Host, at: u64, statuses: &[u16]) {
    let mut at = at;
    for (n, status) in statuses.iter().enumerate() {
        let call = call().header("x-stainless-retry-count", &n.to_string());
        let call = if *status == 200 { call.says(3, 4, 20).usage(100, 3) } else { call.fails(*status, "no") };
        at = host.call(at, &call) + 2 * SECOND;
    }
}

/// A task of an agent: one question, `more` further calls of a tool (after a rejection each, if `rejected`), an answer.
fn task(host: &mut Host, n: u64, more: u64, rejected: bool) {
    let mut at = MINUTE + n * 5 * MINUTE;
    let mut call = Call::chat("gpt-x").user(&format!("task {n}"));
    for step in 0..=more {
        let turn = call.clone().step(super::traffic::Step::Tool("search", "{}".into())).ends(End::Done("tool_calls"));
        at = host.call(at, &turn) + SECOND;
        let last = step == more;
        let (arguments, result) =
            (format!(r#"{{\"q\":{step}}}"#), if rejected && !last { "Error: q is wrong" } else { "ok" });
        call.messages.push((
            "assistant\",\"tool_calls\":[{\"id\":\"c".to_owned()
                + &format!("{n}-{step}\",\"type\":\"function\",\"function\":{{\"name\":\"search\",\"arguments\":\"{arguments}\"}}}}],\"x\":\"y"),
            "null".into(),
        ));
        call.messages.push((format!("tool\",\"tool_call_id\":\"c{n}-{step}"), format!("{result:?}")));
    }
    host.call(at, &call.says(5, 4, 20));
}
