//! Detector 5.

use super::traffic::{Call, End, Host, MINUTE, SECOND, Step};
use super::{Case, Expected};

const fn case(name: &'static str, expected: Expected, traffic: fn(&mut Host)) -> Case {
    Case { detector: "pressure", name, expected, traffic, check: |_| {} }
}

pub(super) const CASES: &[Case] = &[
    Case {
        check: |ran| {
            let finding = ran.finding();
            assert!(finding.verdict.contains("3 streams were cut after 60 s of silence"), "{}", finding.verdict);
            assert!(finding.verdict.contains("nginx and AWS ALB"), "{}", finding.verdict);
        },
        ..case("3 streams cut after 60 s of silence", Expected::Findings(&["idle_cut"]), |host| {
            for n in 0..3 {
                host.call((1 + n) * MINUTE, &silent(60_400).ends(End::Cut));
            }
        })
    },
    case("5 streams silent for 52 s", Expected::Findings(&["idle_headroom", "idle_headroom"]), |host| {
        // Near Heroku's 55 and near nginx' 60.
        for n in 0..5 {
            host.call((1 + n) * MINUTE, &silent(52_000).says(3, 4, 20));
        }
    }),
    case("52 s with pings between: no silence", Expected::Quiet, |host| {
        for n in 0..5 {
            let call = silent(20_000).step(Step::Ping).step(Step::Wait(20_000)).step(Step::Ping);
            host.call((1 + n) * MINUTE, &call.step(Step::Wait(12_000)).says(3, 4, 20));
        }
    }),
    case("cuts at no particular time", Expected::Quiet, |host| {
        for n in 0..6 {
            host.call((1 + n) * MINUTE, &silent(5_000 + 3_000 * n).ends(End::Reset));
        }
    }),
    Case {
        check: |ran| assert_eq!(ran.number("llm_stale_pool_requests_total", &[]), 3.0),
        ..case(
            "3 requests on connections idle for 351 s, never answered",
            Expected::Findings(&["stale_pool"]),
            |host| {
                for n in 0..3 {
                    let mut second = Call::chat("gpt-x").user("again").ends(End::Reset);
                    (second.status, second.think_ms) = (0, 60_000);
                    host.calls_on_one(MINUTE + n * SECOND, 351 * SECOND, &[text(), second]);
                }
            },
        )
    },
    case("3 resets on connections just used", Expected::Quiet, |host| {
        for n in 0..3 {
            let mut second = Call::chat("gpt-x").user("again").ends(End::Reset);
            second.status = 0;
            host.calls_on_one(MINUTE + n * SECOND, 2 * SECOND, &[text(), second]);
        }
    }),
    Case {
        check: |ran| {
            assert_eq!(ran.number("llm_streams_killed_by_exit_total", &[]), 4.0);
            assert!(ran.finding().verdict.contains("4 streams open"), "{}", ran.finding().verdict);
        },
        ..case("a roll-out kills 4 streams of two processes", Expected::Findings(&["killed_by_exit"]), |host| {
            for n in 0..4_u32 {
                host.call(MINUTE, &text().service("shop", 100 + n).ends(End::Exit));
            }
        })
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_streams_killed_by_exit_total", &[]), 1.0),
        ..case("one program stopped by its user", Expected::Quiet, |host| {
            host.call(MINUTE, &text().ends(End::Exit));
        })
    },
    Case {
        check: |ran| {
            let finding = ran.finding();
            assert!(finding.verdict.starts_with("60 streams are open at once (before: 30)"), "{}", finding.verdict);
            assert_eq!(ran.number("llm_autoscale_divergence_active", &[("service", "shop")]), 1.0);
        },
        ..case("twice the streams at the same CPU", Expected::Findings(&["divergence"]), |host| {
            concurrent(host, 0, 60, 30);
            host.goes_wrong(60 * MINUTE);
            concurrent(host, 60, 80, 60);
            host.cpu("shop", 0, 80, 0.2);
        })
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_autoscale_divergence_active", &[("service", "shop")]), 0.0),
        ..case("twice the streams at twice the CPU", Expected::Quiet, |host| {
            concurrent(host, 0, 60, 30);
            concurrent(host, 60, 80, 60);
            host.cpu("shop", 0, 60, 0.2);
            host.cpu("shop", 60, 80, 0.4);
        })
    },
    Case {
        check: |ran| {
            let cores =
                |facts: &[detectors::EvidenceFact]| facts.iter().find(|fact| fact.0 == "cores").unwrap().1.clone();
            let finding = ran.finding();
            assert_eq!((cores(&finding.inputs), cores(&finding.baseline)), (0.2.into(), 0.2.into()), "{finding:?}");
        },
        ..case("the same, the CPU looked at every 4 minutes", Expected::Findings(&["divergence"]), |host| {
            concurrent(host, 0, 60, 30);
            host.goes_wrong(60 * MINUTE);
            concurrent(host, 60, 80, 60);
            host.cpu_each(4, "shop", 0, 80, 0.2);
        })
    },
    case("twice the streams, and none of them needs CPU", Expected::Findings(&["divergence"]), |host| {
        concurrent(host, 0, 60, 30);
        host.goes_wrong(60 * MINUTE);
        concurrent(host, 60, 80, 60);
        host.cpu("shop", 0, 80, 0.0);
    }),
    case("nobody tells the CPU", Expected::Withheld("no_cpu"), |host| {
        concurrent(host, 0, 60, 30);
        concurrent(host, 60, 80, 60);
    }),
    case("bytes were lost", Expected::Withheld("lost_bytes"), |host| {
        for n in 0..3 {
            host.call((1 + n) * MINUTE, &silent(60_400).step(Step::Lose(50)).ends(End::Cut));
        }
    }),
];

fn text() -> Call {
    Call::chat("gpt-x").user("q").says(5, 4, 50)
}

/// Text, then silence.
fn silent(ms: u64) -> Call {
    text().step(Step::Wait(ms))
}

/// `open` streams of a minute each at any time, from one minute to another.
fn concurrent(host: &mut Host, from: u64, to: u64, open: u64) {
    for minute in from..to {
        for n in 0..open {
            let mut call = Call::chat("gpt-x").user(&format!("{minute} {n}"));
            for _ in 0..3 {
                call = call.step(Step::Wait(19_700)).step(Step::Ping);
            }
            let spread = n * 60 * SECOND / open;
            host.call(minute * MINUTE + spread, &Call { think_ms: 800, ..call.says(2, 4, 50) });
        }
    }
}
