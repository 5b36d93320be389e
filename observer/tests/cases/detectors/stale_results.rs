//! Detector 8.

use super::traffic::{Api, Call, Host, MINUTE, SECOND};
use super::{Case, Expected};

const fn case(name: &'static str, expected: Expected, traffic: fn(&mut Host)) -> Case {
    Case { detector: "stale_results", name, expected, traffic, check: |_| {} }
}

pub(super) const CASES: &[Case] = &[
    Case {
        check: |ran| {
            let verdict = &ran.finding().verdict;
            assert!(verdict.contains("a result of status that is 10"), "{verdict}");
            assert!(verdict.contains("seen to change every 300 s"), "{verdict}");
            assert_eq!(ran.number("llm_tool_result_volatility_seconds", &[("tool", "status")]), 4.0);
            assert_eq!(ran.number("llm_tool_result_stale_reuse_total", &[("tool", "status")]), 2.0);
            // 7 and 17 minutes old.
            let ages = ran.sum("llm_tool_result_age_seconds", &[("tool", "status")]);
            assert!((ages - (420.0 + 1020.0)).abs() < 5.0, "{ages}");
        },
        ..case(
            "a status that changes every 5 minutes, 7 and 17 minutes old",
            Expected::Findings(&["stale_reuse"]),
            |host| {
                rhythm(host);
                let read = talk("x").message_json("assistant", &used("x")).message_json("user", &result("x", "5"));
                host.call(20 * MINUTE, &read.clone().says(5, 10, 20));
                let next = read.message("assistant", "it is 5").user("and now?");
                host.goes_wrong(27 * MINUTE);
                host.call(27 * MINUTE, &next.clone().says(5, 10, 20));
                host.call(37 * MINUTE, &next.message("assistant", "still 5").user("and now?").says(5, 10, 20));
            },
        )
    },
    case("the same, and the tool is called again in each turn", Expected::Quiet, |host| {
        rhythm(host);
        let read = talk("x").message_json("assistant", &used("x")).message_json("user", &result("x", "5"));
        host.call(20 * MINUTE, &read.clone().says(5, 10, 20));
        let next = read.message("assistant", "it is 5").user("and now?");
        let again = next.message_json("assistant", &used("y")).message_json("user", &result("y", "6"));
        host.call(27 * MINUTE, &again.says(5, 10, 20));
    }),
    case("a status that is 2 minutes old", Expected::Quiet, |host| {
        rhythm(host);
        let read = talk("x").message_json("assistant", &used("x")).message_json("user", &result("x", "5"));
        host.call(20 * MINUTE, &read.clone().says(5, 10, 20));
        let next = read.message("assistant", "it is 5").user("and now?");
        host.call(21 * MINUTE, &next.clone().says(5, 10, 20));
        host.call(22 * MINUTE, &next.message("assistant", "still 5").user("and now?").says(5, 10, 20));
    }),
    Case {
        check: |ran| assert_eq!(ran.number("llm_prompt_cache_cliff_total", &[("why", "prefix_changed")]), 3.0),
        ..case(
            "three conversations lose 27,800 cached tokens when the system prompt changes",
            Expected::Findings(&["cache_broken"]),
            |host| {
                for n in 0..3 {
                    cached(host, n, "you help", "you help. Today is Sunday", 30 * SECOND);
                }
            },
        )
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_prompt_cache_cliff_total", &[("why", "evicted")]), 3.0),
        ..case("the same with an unchanged prompt", Expected::Findings(&["cache_evicted"]), |host| {
            for n in 0..3 {
                cached(host, n, "you help", "you help", 30 * SECOND);
            }
        })
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_prompt_cache_cliff_total", &[("why", "expired")]), 3.0),
        ..case("the same after 10 minutes without a word", Expected::Quiet, |host| {
            for n in 0..3 {
                cached(host, n, "you help", "you help", 10 * MINUTE);
            }
        })
    },
    case("a history that the provider holds", Expected::Withheld("server_held"), |host| {
        let call = Call::new(Api::Responses, "gpt-x").user("and now?").member("previous_response_id", "\"resp_0\"");
        host.call(MINUTE, &call.says(5, 10, 20));
    }),
    case("bodies that were not seen whole", Expected::Withheld("truncated_body"), |host| {
        let mut call = talk("x").says(5, 10, 20);
        call.request_cut = Some(40);
        host.call(MINUTE, &call);
    }),
];

fn talk(id: &str) -> Call {
    Call::anthropic("claude-y").user(&format!("what is the status of {id}?"))
}

fn used(id: &str) -> String {
    format!(r#"[{{"type":"tool_use","id":"t{id}","name":"status","input":{{"of":"a"}}}}]"#)
}

fn result(id: &str, value: &str) -> String {
    format!(r#"[{{"type":"tool_result","tool_use_id":"t{id}","content":"{value}"}}]"#)
}

/// Four readings, each another: the tool changes every 5 minutes.
fn rhythm(host: &mut Host) {
    for n in 0..4_u64 {
        let id = format!("r{n}");
        let call = talk(&id).message_json("assistant", &used(&id)).message_json("user", &result(&id, &n.to_string()));
        host.call(n * 5 * MINUTE + 1000, &call.says(5, 10, 20));
    }
}

/// Two turns of a conversation: 27,800 cached tokens, then none.
fn cached(host: &mut Host, n: u64, first: &str, second: &str, apart: u64) {
    let one = Call::chat("gpt-x").user(&format!("talk {n}"));
    let end = host.call(
        MINUTE * (1 + n),
        &Call { usage: Some((30_000, 10, 0, 27_800)), ..one.clone().system(first).says(5, 10, 20) },
    );
    let two = one.message("assistant", "a").user("more").system(second).says(5, 10, 20);
    host.call(end + apart, &Call { usage: Some((30_100, 10, 0, 0)), ..two });
}
