//! Detector 9.

use super::traffic::{BOOT, Call, HOUR, Host, MINUTE, http_date};
use super::{Case, Expected};

const fn case(name: &'static str, expected: Expected, traffic: fn(&mut Host)) -> Case {
    Case { detector: "clocks", name, expected, traffic, check: |_| {} }
}

pub(super) const CASES: &[Case] = &[
    Case {
        check: |ran| {
            let middle = ran.number("llm_clock_offset_seconds", &[("peer", "api.openai.com")]);
            let half = ran.number("llm_clock_offset_uncertainty_seconds", &[("peer", "api.openai.com")]);
            assert!((middle - half..=middle + half).contains(&5.0), "{middle} ± {half} does not hold the truth");
            assert!(half < 0.3, "{half}");
        },
        ..case("a server 5 s fast", Expected::Findings(&["peer_offset"]), |host| dated(host, 5_000, 40))
    },
    Case {
        check: |ran| {
            let subject = &ran.finding().subject;
            let of = (&*subject.provider, &*subject.model, &*subject.server, &*subject.service);
            assert_eq!(of, ("openai", "", "api.openai.com", ""));
            assert_eq!((&*subject.namespace, &*subject.workload), ("", ""));
            for model in ["gpt-x", "gpt-z"] {
                assert_eq!(ran.number("llm_network_queue_seconds", &[("gen_ai_request_model", model)]), 20.0);
            }
        },
        ..case(
            "a server 5 s fast, asked by two services for two models",
            Expected::Findings(&["peer_offset"]),
            |host| {
                for n in 0..40 {
                    let at = MINUTE + n * 1_170;
                    let mut call = call(at, 5_000).answers_header("openai-processing-ms", "200");
                    if n % 2 == 1 {
                        call = Call { model: "gpt-z".into(), ..call.service("other", 101) };
                    }
                    host.call(at, &call);
                }
            },
        )
    },
    Case {
        check: |ran| {
            let middle = ran.number("llm_clock_offset_seconds", &[]);
            assert!((middle + 86_400.0).abs() < 1.0, "{middle}");
        },
        ..case("a server a day slow", Expected::Findings(&["peer_offset"]), |host| dated(host, -86_400_000, 40))
    },
    Case {
        check: |ran| {
            let middle = ran.number("llm_clock_offset_seconds", &[]);
            let half = ran.number("llm_clock_offset_uncertainty_seconds", &[]);
            assert!((middle - half..=middle + half).contains(&0.4), "{middle} ± {half}");
        },
        ..case("a server 400 ms fast", Expected::Quiet, |host| dated(host, 400, 200))
    },
    Case {
        check: |ran| {
            assert_eq!(ran.number("llm_host_clock_steps_total", &[]), 1.0);
            let finding = ran.finding();
            assert!(finding.verdict.contains("was set +3.000 s"), "{}", finding.verdict);
            // Durations do not bend: every call took what it took.
            for entry in ran.pipeline.call_table().ended() {
                let seconds = entry.duration_seconds(entry.last_activity);
                assert!((seconds - 0.36).abs() < 0.01, "{seconds}");
            }
        },
        ..case("the wall clock is set 3 s forward", Expected::Findings(&["host_step"]), |host| {
            dated(host, 0, 40);
            host.goes_wrong(20 * MINUTE);
            host.step_wall(20 * MINUTE, 3_000_000_000);
            for n in 0..20 {
                host.call(21 * MINUTE + n * 1_170, &call(21 * MINUTE + n * 1_170, 3_000));
            }
        })
    },
    Case {
        check: |ran| {
            // 300 ms to the head, of which the server says that 200 were its own.
            let mean = ran.sum("llm_network_queue_seconds", &[]) / ran.number("llm_network_queue_seconds", &[]);
            assert!((mean - 0.1).abs() < 0.005, "{mean}");
        },
        ..case("a date each, and the server's own account", Expected::Quiet, |host| {
            for n in 0..20 {
                let at = HOUR + n * 1_170;
                host.call(at, &call(at, 0).answers_header("openai-processing-ms", "200"));
            }
        })
    },
    case("no date", Expected::Withheld("no_date"), |host| {
        for n in 0..20 {
            host.call(MINUTE + n * 1_170, &Call::chat("gpt-x").user(&n.to_string()).says(3, 4, 20));
        }
    }),
    case("a replay that nobody told the wall time", Expected::Withheld("no_wall_clock"), |host| {
        dated(host, 5_000, 40);
        host.wall = None;
    }),
];

/// Calls to a server whose clock is so many milliseconds ahead.
fn dated(host: &mut Host, ahead_ms: i64, calls: u64) {
    for n in 0..calls {
        let at = MINUTE + n * 1_170;
        host.call(at, &call(at, ahead_ms));
    }
}

/// A call at this time: the server stamps its date halfway to the head, 150 ms later.
fn call(at: u64, ahead_ms: i64) -> Call {
    let server = BOOT + (i128::from(at) + 150 + i128::from(ahead_ms)) * 1_000_000;
    Call::chat("gpt-x").user(&at.to_string()).answers_header("date", &http_date(server)).says(3, 4, 20)
}
