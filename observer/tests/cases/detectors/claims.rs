//! Detector 10.

use testkit::spans::FakeSpan;

use super::traffic::spans::unix;
use super::traffic::{Act, Call, Host, MINUTE, SECOND, Step};
use super::{Case, Expected};

const fn case(name: &'static str, expected: Expected, traffic: fn(&mut Host)) -> Case {
    Case { detector: "claims", name, expected, traffic, check: |_| {} }
}

pub(super) const CASES: &[Case] = &[
    Case {
        check: |ran| {
            let verdict = &ran.finding().verdict;
            assert!(verdict.starts_with("60 of 60 answers that say \"i have verified\""), "{verdict}");
            assert!(verdict.contains("without any evidence observed"), "{verdict}");
            assert_eq!(ran.number("llm_verification_claims_total", &[("evidence", "none")]), 60.0);
        },
        ..case("60 answers that claim it, and no call of any tool", Expected::Findings(&["no_evidence"]), |host| {
            claims(host, 60, |_| 0);
        })
    },
    case("a tool was called in one of ten", Expected::Quiet, |host| claims(host, 60, |n| u64::from(n % 10 == 0))),
    Case {
        check: |ran| assert_eq!(ran.number("llm_verification_claims_total", &[("evidence", "tool_call")]), 60.0),
        ..case("a tool was called each time", Expected::Quiet, |host| claims(host, 60, |_| 1))
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_verification_claim_after_error_total", &[]), 60.0),
        ..case("the tool failed, and the answer claims it all the same", Expected::Quiet, |host| {
            claims(host, 60, |_| 2);
        })
    },
    Case {
        check: |ran| assert!(!ran.fed("llm_verification_claims_total"), "words of the user are no claim"),
        ..case("the user says it", Expected::Withheld("nothing"), |host| {
            for n in 0..60 {
                let call = Call::chat("gpt-x").user(&format!("I have verified that {n}, go on"));
                host.call((1 + n) * MINUTE, &call.says(5, 10, 20));
            }
        })
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_verification_claims_total", &[("evidence", "host_activity")]), 60.0),
        ..case("a program was started between question and claim each time", Expected::Quiet, |host| {
            acting(host, 60, 100, Act::Program);
        })
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_verification_claims_total", &[("evidence", "host_activity")]), 60.0),
        ..case("a connection to another host each time", Expected::Quiet, |host| {
            acting(host, 60, 100, Act::Connect("192.0.2.99:5432"));
        })
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_verification_claims_total", &[("evidence", "none")]), 60.0),
        ..case(
            "the process exports the spans of its calls, over a new connection each time",
            Expected::Findings(&["no_evidence"]),
            |host| {
                for n in 0..60 {
                    let (call, at) = (claiming(n), (1 + n) * MINUTE);
                    host.call(at, &call);
                    host.export_to("192.0.2.99:4318", at + 10, &call, &[span(n, at)]);
                }
            },
        )
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_verification_claims_total", &[("evidence", "none")]), 60.0),
        ..case(
            "programs of another process, and one before each question",
            Expected::Findings(&["no_evidence"]),
            |host| {
                acting(host, 60, 101, Act::Program);
                for n in 0..60 {
                    host.act((1 + n) * MINUTE - SECOND, Some(100), Act::Program);
                }
            },
        )
    },
    case("the kernel dropped what it had to say of programs", Expected::Withheld("activity_lost"), |host| {
        for n in 0..60 {
            host.call((1 + n) * MINUTE, &claiming(n));
            host.act((1 + n) * MINUTE + 10, None, Act::Program);
        }
    }),
    case("bodies that were not seen whole", Expected::Withheld("truncated_body"), |host| {
        for n in 0..60 {
            let mut call = claiming(n);
            call.request_cut = Some(30);
            host.call((1 + n) * MINUTE, &call);
        }
    }),
];

/// A span of the process, of the call or not.
fn span(n: u64, at_ms: u64) -> FakeSpan {
    let (start, end) = (unix(at_ms.cast_signed()), unix(at_ms.cast_signed() + 8));
    FakeSpan { trace: u8::try_from(n + 1).unwrap(), id: 1, kind: 3, start, end, ..FakeSpan::default() }
}

/// Claims without a tool, and in the middle of each answer something else that a process did.
fn acting(host: &mut Host, count: u64, pid: u32, act: Act) {
    for n in 0..count {
        host.call((1 + n) * MINUTE, &claiming(n));
        host.act((1 + n) * MINUTE + 10, Some(pid), act);
    }
}

/// The claim goes over the end of a delta.
fn claiming(n: u64) -> Call {
    let call = Call::anthropic("claude-y").user(&format!("verify {n}"));
    call.step(Step::Say("Done: I have ver".into())).step(Step::Wait(20)).step(Step::Say("ified the sum.".into()))
}

/// Evidence: 0 none, 1 a tool's result, 2 one that is an error.
fn claims(host: &mut Host, count: u64, evidence: fn(u64) -> u64) {
    for n in 0..count {
        let mut call = claiming(n);
        if evidence(n) > 0 {
            let failed = evidence(n) == 2;
            call = call
                .message_json("assistant", &format!(r#"[{{"type":"tool_use","id":"t{n}","name":"sum","input":{{}}}}]"#))
                .message_json(
                    "user",
                    &format!(r#"[{{"type":"tool_result","tool_use_id":"t{n}","content":"r","is_error":{failed}}}]"#),
                );
        }
        host.call((1 + n) * MINUTE, &call);
    }
}
