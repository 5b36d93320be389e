//! Detector 7.

use super::traffic::{Call, Host, MINUTE};
use super::{Case, Expected};

const fn case(name: &'static str, expected: Expected, traffic: fn(&mut Host)) -> Case {
    Case { detector: "tool_rot", name, expected, traffic, check: |_| {} }
}

const V1: &str = r#"[{"name":"refund","description":"d","input_schema":{"type":"object","required":["id"],"properties":{"id":{"type":"integer"}}}}]"#;
const V2: &str = r#"[{"name":"refund","description":"d","input_schema":{"type":"object","required":["id","key"],"properties":{"id":{"type":"integer"},"key":{"type":"string"}}}}]"#;
const MISSING: &str = "Error 422: missing required field key";

pub(super) const CASES: &[Case] = &[
    Case {
        check: |ran| {
            let verdict = &ran.finding().verdict;
            assert!(verdict.starts_with("10 of the last 40 calls of refund were valid"), "{verdict}");
            assert_eq!(ran.number("llm_tool_errors_total", &[("class", "contract_rot")]), 10.0);
            assert!(ran.number("llm_tool_definition_age_seconds", &[("tool", "refund")]) > 2000.0);
        },
        ..case(
            "the API demands a key, the description says nothing of it",
            Expected::Findings(&["contract_rot"]),
            |host| {
                host.goes_wrong(31 * MINUTE);
                calls(host, 40, |n| (V1, format!(r#"{{"id":{n}}}"#), if n < 30 { "done" } else { MISSING }));
            },
        )
    },
    Case {
        check: |ran| {
            assert_eq!(ran.number("llm_tool_errors_total", &[("class", "model_error")]), 10.0);
            assert_eq!(ran.number("llm_tool_errors_total", &[("class", "contract_rot")]), 0.0);
        },
        ..case("the model writes a name where the schema wants a number", Expected::Quiet, |host| {
            calls(host, 40, |n| match n {
                0..30 => (V1, format!(r#"{{"id":{n}}}"#), "done"),
                _ => (V1, r#"{"id":"seven"}"#.into(), "Error 422: invalid id"),
            });
        })
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_tool_definition_changes_total", &[("tool", "refund")]), 1.0),
        ..case("the definition changes with the API", Expected::Quiet, |host| {
            calls(host, 40, |n| match n {
                0..30 => (V1, format!(r#"{{"id":{n}}}"#), "done"),
                _ => (V2, format!(r#"{{"id":{n},"key":"k"}}"#), "done"),
            });
        })
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_tool_errors_total", &[("class", "transient")]), 10.0),
        ..case("the tool times out", Expected::Quiet, |host| {
            calls(host, 40, |n| {
                (V1, format!(r#"{{"id":{n}}}"#), if n < 30 { "done" } else { "Error: upstream timed out" })
            });
        })
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_tool_repeat_bad_call_total", &[("tool", "refund")]), 3.0),
        ..case("the same rejected call four times", Expected::Findings(&["contract_rot"]), |host| {
            calls(host, 4, |_| (V1, r#"{"id":7}"#.into(), MISSING));
        })
    },
    case("bodies that were not seen whole", Expected::Withheld("truncated_body"), |host| {
        for n in 0..20 {
            let mut call = call(n, V1, r#"{"id":1}"#, MISSING);
            call.request_cut = Some(60);
            host.call((1 + n) * MINUTE, &call);
        }
    }),
];

/// The request after a call of the tool: its arguments and its result are in the history.
fn call(n: u64, tools: &str, input: &str, result: &str) -> Call {
    let mut call = Call::anthropic("claude-y").user(&format!("order {n}")).member("tools", tools);
    call.messages
        .push(("assistant".into(), format!(r#"[{{"type":"tool_use","id":"t{n}","name":"refund","input":{input}}}]"#)));
    let failed = result.starts_with("Error");
    call.messages.push((
        "user".into(),
        format!(r#"[{{"type":"tool_result","tool_use_id":"t{n}","content":"{result}","is_error":{failed}}}]"#),
    ));
    call.says(5, 10, 20)
}

fn calls(host: &mut Host, count: u64, of: fn(u64) -> (&'static str, String, &'static str)) {
    for n in 0..count {
        let (tools, input, result) = of(n);
        host.call((1 + n) * MINUTE, &call(n, tools, &input, result));
    }
}
