//! Detector 1.

use super::traffic::{Call, End, Host, MINUTE, SECOND, Step};
use super::{Case, Expected};

const fn case(name: &'static str, expected: Expected, traffic: fn(&mut Host)) -> Case {
    Case { detector: "failover", name, expected, traffic, check: |_| {} }
}

/// What A said before it broke off.
const SAID: usize = 40 * 4;

pub(super) const CASES: &[Case] = &[
    Case {
        check: |ran| {
            let labels = [("from", "openai"), ("to", "anthropic"), ("phase", "mid_stream"), ("reason", "truncated")];
            assert_eq!(ran.number("llm_failover_hops_total", &labels), 1.0);
            assert_eq!(ran.number("llm_failover_hops_total", &[("continuation", "none")]), 1.0);
            assert_eq!(ran.number("llm_failover_discarded_visible_chars_total", &[]), SAID as f64);
            // A's last chunk, 1 ms to its end, 1 s to B, 300 ms to its head, 50 ms to its first chunk.
            let gap = ran.sum("llm_failover_gap_seconds", &[]);
            assert!((1.34..1.37).contains(&gap), "{gap}");
            let streams = &ran.finding().streams;
            let (first, second) = (streams[0].clone(), streams[1].clone());
            let (entry, ..) = ran.pipeline.call_table().find(&second).unwrap();
            let call = (entry.conn, entry.exchange);
            assert_eq!(ran.pipeline.sink().detectors.findings().hop_of(&call), Some(first.as_str()));
        },
        ..case("40 chunks, reset, anew at another provider", Expected::Findings(&["mid_stream"]), |host| {
            let end = host.call(MINUTE, &broken(End::Reset));
            host.call(end + SECOND, &other().user("q"));
        })
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_failover_hops_total", &[("reason", "truncated")]), 1.0),
        ..case(
            "40 chunks, reset, and the connection is freed only after the other began",
            Expected::Findings(&["mid_stream"]),
            |host| {
                let end = host.call(MINUTE, &broken(End::ResetLate(3000)));
                host.call(end - 2000, &other().user("q"));
            },
        )
    },
    case("40 chunks, an orderly end without end marker", Expected::Findings(&["mid_stream"]), |host| {
        let end = host.call(MINUTE, &broken(End::Cut));
        host.call(end + SECOND, &other().user("q"));
    }),
    Case {
        check: |ran| {
            let labels = [("continuation", "prefill"), ("reason", "in_stream_error")];
            assert_eq!(ran.number("llm_failover_hops_total", &labels), 1.0);
            assert!(!ran.fed("llm_failover_discarded_visible_chars_total"));
        },
        ..case("an error event, continued from what was said", Expected::Findings(&["mid_stream"]), |host| {
            let end = host.call(MINUTE, &broken(End::Cut).step(Step::Error("overloaded_error")));
            host.call(end + SECOND, &other().user("q").message("assistant", &said()));
        })
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_failover_hops_total", &[("continuation", "system")]), 1.0),
        ..case("continued with a system message of the gateway's", Expected::Findings(&["mid_stream"]), |host| {
            let end = host.call(MINUTE, &broken(End::Reset));
            let next = Call::chat("other-model").system("You are continuing an answer.").user("q");
            host.call(end + SECOND, &next.message("assistant", &said()).says(5, 4, 50));
        })
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_failover_hops_total", &[("reason", "timeout")]), 1.0),
        ..case("silent for 20 s, cancelled, elsewhere within 2 s", Expected::Findings(&["mid_stream"]), |host| {
            let end = host.call(MINUTE, &broken(End::Cancel).step(Step::Wait(20_000)));
            host.call(end + SECOND, &other().user("q"));
        })
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_failover_hops_total", &[("reason", "timeout")]), 1.0),
        ..case("silent for 20 s, elsewhere first, then cancelled", Expected::Findings(&["mid_stream"]), |host| {
            let end = host.call(MINUTE, &broken(End::Cancel).step(Step::Wait(20_000)));
            host.call(end - 1500, &other().user("q"));
        })
    },
    Case {
        check: |ran| {
            let labels = [("phase", "pre_headers"), ("reason", "rate_limit")];
            assert_eq!(ran.number("llm_failover_hops_total", &labels), 1.0);
        },
        ..case("429, then another provider", Expected::Findings(&["failover"]), |host| {
            let end = host.call(MINUTE, &Call::chat("gpt-x").user("q").fails(429, "rate_limit_exceeded"));
            host.call(end + SECOND, &other().user("q"));
        })
    },
    Case {
        check: |ran| {
            let labels = [("from", "gpt-x"), ("to", "gpt-x-mini"), ("reason", "5xx")];
            assert_eq!(ran.number("llm_failover_hops_total", &labels), 1.0);
        },
        ..case("503, then a smaller model of the same provider", Expected::Findings(&["failover"]), |host| {
            let end = host.call(MINUTE, &Call::chat("gpt-x").user("q").fails(503, "overloaded"));
            host.call(end + SECOND, &Call::chat("gpt-x-mini").user("q").says(5, 4, 50));
        })
    },
    Case {
        check: |ran| {
            let labels = [("from", "127.0.0.1:8001"), ("to", "127.0.0.1:8002"), ("reason", "5xx")];
            assert_eq!(ran.number("llm_failover_hops_total", &labels), 1.0);
        },
        ..case("503, then another gateway on the same host", Expected::Findings(&["failover"]), |host| {
            let at = |address: &str| Call { host: address.into(), ..Call::chat("gpt-x").user("q") };
            let end = host.call(MINUTE, &at("127.0.0.1:8001").fails(503, "overloaded"));
            host.call(end + SECOND, &at("127.0.0.1:8002").says(5, 4, 50));
        })
    },
    case("503, then the same host with its usual port spelled out", Expected::Quiet, |host| {
        let at = |address: &str| Call { host: address.into(), ..Call::chat("gpt-x").user("q") };
        let end = host.call(MINUTE, &at("gateway.internal").fails(503, "overloaded"));
        host.call(end + SECOND, &at("gateway.internal:443").says(5, 4, 50));
    }),
    Case {
        check: |ran| {
            assert_eq!(ran.number("llm_failover_refusal_flips_total", &[("from", "openai"), ("to", "anthropic")]), 1.0);
            let flip = ran.findings().into_iter().find(|f| f.kind == "refusal_flip").unwrap().clone();
            assert_eq!(flip.severity.name(), "critical");
        },
        ..case("turn 3 goes elsewhere and is refused", Expected::Findings(&["mid_stream", "refusal_flip"]), |host| {
            let at = two_turns(host);
            host.goes_wrong(at);
            let end = host.call(at, &third(Call::chat("gpt-x")).says(40, 4, 20).ends(End::Reset));
            host.call(end + SECOND, &third(other()).ends(End::Done("refusal")));
        })
    },
    case("a refusal, then a fallback that answers", Expected::Findings(&["failover"]), |host| {
        let refused = Call::chat("gpt-x").user("q").step(Step::Refuse("no")).ends(End::Done("content_filter"));
        let end = host.call(MINUTE, &refused);
        host.call(end + SECOND, &other().user("q"));
    }),
    case("the hop loses system prompt and tools", Expected::Findings(&["failover", "settings_changed"]), |host| {
        let tools = r#"[{"type":"function","function":{"name":"f"}}]"#;
        let first = Call::chat("gpt-x").system("be kind").user("q").member("tools", tools);
        let end = host.call(MINUTE, &first.fails(500, "server_error"));
        host.call(end + SECOND, &other().user("q"));
    }),
    case("A, B and back to A in one turn", Expected::Findings(&["failover", "failover", "ping_pong"]), |host| {
        let fails = |call: Call| call.user("q").fails(503, "overloaded");
        let end = host.call(MINUTE, &fails(Call::chat("gpt-x")));
        let end = host.call(end + SECOND, &fails(other()));
        host.call(end + SECOND, &Call::chat("gpt-x").user("q").says(5, 4, 50));
    }),
    Case {
        check: |ran| assert_eq!(ran.number("llm_failover_hops_total", &[("reason", "hidden"), ("to", "gpt-z")]), 1.0),
        ..case("a gateway changes the model inside one stream", Expected::Findings(&["hidden"]), |host| {
            let call = Call::chat("gpt-x").user("q").says(5, 4, 50).step(Step::Model("gpt-z")).says(5, 4, 50);
            host.call(MINUTE, &call);
        })
    },
    case("a gateway lets its provider's name through and then says the one it was asked by", Expected::Quiet, |host| {
        let first = Step::Model("anthropic/claude-y");
        host.call(
            MINUTE,
            &Call::chat("my-alias").user("q").step(first).says(3, 4, 50).step(Step::Model("my-alias")).says(5, 4, 50),
        );
    }),
    case("a gateway lets its provider's name through with the last event", Expected::Quiet, |host| {
        let call = Call::chat("my-alias").user("q").says(5, 4, 50).step(Step::Model("anthropic/claude-y"));
        host.call(MINUTE, &call);
    }),
    case("a gateway lets its provider's name through in the middle", Expected::Quiet, |host| {
        let call =
            Call::chat("my-alias").user("q").says(5, 4, 50).step(Step::Model("anthropic/claude-y")).says(1, 4, 50);
        host.call(MINUTE, &call.step(Step::Model("my-alias")).says(5, 4, 50));
    }),
    case("two retries at the same place", Expected::Quiet, |host| {
        let fails = Call::chat("gpt-x").user("q").fails(503, "overloaded");
        let end = host.call(MINUTE, &fails);
        let end = host.call(end + SECOND, &fails);
        host.call(end + SECOND, &Call::chat("gpt-x").user("q").says(5, 4, 50));
    }),
    case("two users, the same question, two processes", Expected::Quiet, |host| {
        let end = host.call(MINUTE, &broken(End::Reset));
        host.call(end + SECOND, &other().user("q").service("shop", 101));
    }),
    case("shadow traffic begun before A failed", Expected::Quiet, |host| {
        host.call(MINUTE, &broken(End::Reset));
        host.call(MINUTE + 100, &other().user("q"));
    }),
    case("a hedge: the slower of two is cancelled", Expected::Quiet, |host| {
        host.call(MINUTE, &Call::chat("gpt-x").user("q").says(40, 4, 100).ends(End::Cancel));
        host.call(MINUTE + 1000, &other().user("q"));
    }),
    case("turns routed to different models on purpose", Expected::Quiet, |host| {
        let at = two_turns(host);
        host.call(at, &third(other()).says(5, 4, 50));
    }),
    case("another turn after a failure", Expected::Quiet, |host| {
        let end = host.call(MINUTE, &broken(End::Reset));
        host.call(end + SECOND, &other().user("something else"));
    }),
    case("the same turn 5 minutes later", Expected::Quiet, |host| {
        let end = host.call(MINUTE, &broken(End::Reset));
        host.call(end + 5 * MINUTE, &other().user("q"));
    }),
    Case {
        check: |ran| {
            let labels = [("from", "openai"), ("to", "mistral_ai"), ("phase", "unknown"), ("reason", "truncated")];
            assert_eq!(ran.number("llm_failover_hops_total", &labels), 1.0);
            assert_eq!(ran.finding().streams.len(), 2);
        },
        ..case(
            "by shape alone: reset, and a host that was never called takes over",
            Expected::Findings(&["by_name"]),
            |host| {
                let end = host.call_outside(MINUTE, "api.openai.com", true);
                host.call_outside(end + SECOND, "api.mistral.ai", false);
            },
        )
    },
    case("by shape alone: reset, and the same host again", Expected::Quiet, |host| {
        let end = host.call_outside(MINUTE, "api.openai.com", true);
        host.call_outside(end + SECOND, "api.openai.com", false);
    }),
    case("by shape alone: the other host after an answer that ended well", Expected::Quiet, |host| {
        let end = host.call_outside(MINUTE, "api.openai.com", false);
        host.call_outside(end + SECOND, "api.mistral.ai", false);
    }),
    case("by shape alone: both hosts in use anyway", Expected::Withheld("both_in_use"), |host| {
        let before = host.call_outside(MINUTE, "api.mistral.ai", false);
        let end = host.call_outside(before + SECOND, "api.openai.com", true);
        host.call_outside(end + SECOND, "api.mistral.ai", false);
    }),
    case("the request bodies were not seen whole", Expected::Withheld("truncated_body"), |host| {
        let mut first = broken(End::Reset);
        first.request_cut = Some(20);
        let mut second = other().user("q");
        second.request_cut = Some(20);
        let end = host.call(MINUTE, &first);
        host.call(end + SECOND, &second);
    }),
];

fn broken(end: End) -> Call {
    Call::chat("gpt-x").user("q").says(40, 4, 20).ends(end)
}

/// What `broken` says.
fn said() -> String {
    (b'a'..=b'z').cycle().take(SAID).map(char::from).collect()
}

fn other() -> Call {
    Call::anthropic("claude-y").says(5, 4, 50)
}

/// Two turns that A answers; when the third may come.
fn two_turns(host: &mut Host) -> u64 {
    let first = Call::chat("gpt-x").user("one").says(5, 4, 50);
    let end = host.call(MINUTE, &first);
    let second = Call::chat("gpt-x").user("one").message("assistant", "a").user("two").says(5, 4, 50);
    host.call(end + 10 * SECOND, &second) + 10 * SECOND
}

fn third(call: Call) -> Call {
    call.user("one").message("assistant", "a").user("two").message("assistant", "b").user("three")
}
