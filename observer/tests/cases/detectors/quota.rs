//! Detector 2.

use super::traffic::{Call, HOUR, Host, MINUTE};
use super::{Case, Expected};

const fn case(name: &'static str, expected: Expected, traffic: fn(&mut Host)) -> Case {
    Case { detector: "quota", name, expected, traffic, check: |_| {} }
}

/// Boot is at midnight UTC; the quota's day begins at 08:00 UTC (midnight in UTC−8).
const RESET: u64 = 8 * HOUR;

pub(super) const CASES: &[Case] = &[
    Case {
        check: |ran| {
            let finding = ran.finding();
            assert!(finding.verdict.contains("quota of requests-day at openai will be used up"), "{}", finding.verdict);
            // 1,440 requests in the 8 hours until the reset, 1,000 left: dry at hour 5.6.
            let margin = finding.inputs.iter().find(|(name, _)| *name == "margin_seconds").unwrap().1.as_f64().unwrap();
            assert!(margin < 0.0, "{margin}");
            assert!(ran.number("llm_rate_limited_total", &[]) == 0.0, "told before the first 429");
            assert!(ran.number("llm_ratelimit_exhaust_margin_seconds", &[("dimension", "requests-day")]) < -3600.0);
        },
        ..case(
            "a daily quota that will be used up 2 h before midnight in California",
            Expected::Findings(&["runs_dry"]),
            |host| {
                for n in 0..180 {
                    let at = n * 20_000 + MINUTE;
                    let call = day_quota(1000 - n, (RESET - at) / 1000, 2000);
                    host.call(at, &call);
                }
            },
        )
    },
    Case {
        check: |ran| {
            let offset = ran.number("llm_quota_reset_offset_seconds", &[]);
            // Requests come every 5 minutes.
            assert!((offset - 28_800.0).abs() <= 300.0, "{offset}");
            assert!(ran.number("llm_quota_reset_offset_confidence", &[]) > 0.6);
            assert!(ran.number("llm_rate_limited_total", &[("phase", "last")]) > 0.0);
            let verdict = &ran.finding().verdict;
            assert!(verdict.contains("full again at 07:5") || verdict.contains("full again at 08:0"), "{verdict}");
        },
        ..case(
            "no headers: refused from 03:00 to 08:00 UTC, day after day",
            Expected::Findings(&["exhausted_tail"]),
            |host| {
                for slot in 1..5 * 288 {
                    let at = slot * 5 * MINUTE;
                    let of_day = at % (24 * HOUR);
                    let refused = (3 * HOUR..8 * HOUR).contains(&of_day);
                    let call = Call::chat("gpt-x").user(&slot.to_string());
                    host.call(at, &if refused { call.fails(429, "rate_limit_exceeded") } else { call.says(3, 4, 20) });
                }
            },
        )
    },
    Case {
        check: |ran| {
            assert_eq!(ran.number("llm_rate_limited_total", &[("kind", "spend")]), 3.0);
            assert_eq!(ran.finding().severity.name(), "critical");
        },
        ..case("no credit left", Expected::Findings(&["spend"]), |host| {
            for n in 0..3 {
                host.call((1 + n) * MINUTE, &Call::chat("gpt-x").user(&n.to_string()).fails(429, "insufficient_quota"));
            }
        })
    },
    Case {
        check: |ran| assert_eq!(ran.number("llm_rate_limited_total", &[("kind", "bucket")]), 20.0),
        ..case("a bucket that fills each minute refuses now and then", Expected::Quiet, |host| {
            for n in 0..200_u64 {
                let left = (n % 10).to_string();
                let call = Call::chat("gpt-x")
                    .user(&n.to_string())
                    .answers_header("x-ratelimit-limit-requests", "10")
                    .answers_header("x-ratelimit-remaining-requests", &left)
                    .answers_header("x-ratelimit-reset-requests", "6s");
                let call = if n % 10 == 0 { call.fails(429, "rate_limit_exceeded") } else { call.says(3, 4, 20) };
                host.call(MINUTE + n * 6_000, &call);
            }
        })
    },
    Case {
        check: |ran| {
            let margin = ran.number("llm_ratelimit_exhaust_margin_seconds", &[("dimension", "requests-day")]);
            assert!(margin > 0.0, "{margin}");
        },
        ..case("a daily quota used at half the rate that would matter", Expected::Quiet, |host| {
            for n in 0..180 {
                let at = n * 20_000 + MINUTE;
                host.call(at, &day_quota(4000 - n, (RESET - at) / 1000, 5000));
            }
        })
    },
    case("a burst that would use it up, for 5 minutes", Expected::Quiet, |host| {
        let mut left = 5000;
        for n in 0..700 {
            let at = MINUTE + n * 10_000;
            left -= if (300..330).contains(&n) { 30 } else { 1 };
            host.call(at, &day_quota(left, (RESET - at) / 1000, 5000));
        }
    }),
    Case {
        check: |ran| {
            // Reset is told by a clock that is 5 minutes slow: the server's date says so.
            let at = ran.number("llm_ratelimit_reset_timestamp_seconds", &[("dimension", "requests")]);
            let want = super::traffic::BOOT as f64 / 1e9 + 60.3 + 30.0;
            assert!((at - want).abs() < 1.5, "{at} for {want}");
        },
        ..case("an absolute reset from a server with another clock", Expected::Quiet, |host| {
            let call = Call::anthropic("claude-y")
                .user("q")
                .answers_header("date", "Sat, 28 Feb 2026 23:56:00 GMT")
                .answers_header("anthropic-ratelimit-requests-limit", "50")
                .answers_header("anthropic-ratelimit-requests-remaining", "49")
                .answers_header("anthropic-ratelimit-requests-reset", "2026-02-28T23:56:30Z");
            host.call(MINUTE, &call.says(3, 4, 20));
        })
    },
    case("429s and no header at all", Expected::Withheld("no_boundary"), |host| {
        for n in 0..30 {
            host.call((1 + n) * MINUTE, &Call::chat("gpt-x").user(&n.to_string()).fails(429, "rate_limit_exceeded"));
        }
    }),
];

/// A call that is told of a daily quota of requests.
fn day_quota(left: u64, reset_seconds: u64, limit: u64) -> Call {
    let reset = format!("{}h{}m{}s", reset_seconds / 3600, reset_seconds / 60 % 60, reset_seconds % 60);
    Call::chat("gpt-x")
        .user(&left.to_string())
        .answers_header("x-ratelimit-limit-requests-day", &limit.to_string())
        .answers_header("x-ratelimit-remaining-requests-day", &left.to_string())
        .answers_header("x-ratelimit-reset-requests-day", &reset)
        .says(3, 4, 20)
}
