//! Detector 9: spans that applications export.

use testkit::spans::FakeSpan;

use super::traffic::spans::unix;
use super::traffic::{Call, Host, MINUTE, Ran};
use super::{Case, Expected};

const fn case(name: &'static str, expected: Expected, traffic: fn(&mut Host)) -> Case {
    Case { detector: "clocks", name, expected, traffic, check: |_| {} }
}

/// The gauges hold the truth, and are not vaguer than this.
fn holds(ran: &Ran, truth: f64, vague: f64) {
    let of = |name| ran.number(name, &[("service", "shop")]);
    let (middle, half) = (of("llm_span_skew_seconds"), of("llm_span_skew_uncertainty_seconds"));
    assert!((middle - half..=middle + half).contains(&truth), "{middle} ± {half} does not hold {truth}");
    assert!(half < vague, "{half}");
}

fn impossible(ran: &Ran, kind: &str) -> f64 {
    ran.number("llm_impossible_order_total", &[("service", "shop"), ("kind", kind)])
}

pub(super) const CASES: &[Case] = &[
    Case {
        check: |ran| {
            holds(ran, 3.0, 0.05);
            let verdict = &ran.finding().verdict;
            assert!(verdict.starts_with("spans that shop exports are stamped +3.0"), "{verdict}");
            assert_eq!(impossible(ran, "request_before_span"), 10.0);
            assert_eq!(ran.finding().streams.len(), 8);
        },
        ..case("spans stamped 3 s late, named by their answers", Expected::Findings(&["span_skew"]), |host| {
            spans(host, 10, 3_000, &Named::Response);
        })
    },
    Case {
        check: |ran| {
            holds(ran, -1.0, 0.2);
            assert_eq!(impossible(ran, "span_ends_before_response"), 10.0);
        },
        ..case("spans of requests stamped a second early, in JSON", Expected::Findings(&["span_skew"]), |host| {
            spans(host, 10, -1_000, &Named::Traceparent);
        })
    },
    Case {
        check: |ran| holds(ran, 0.4, 0.05),
        ..case(
            "spans stamped 400 ms late that name nothing, one at a time",
            Expected::Findings(&["span_skew"]),
            |host| {
                spans(host, 10, 400, &Named::Nothing);
            },
        )
    },
    Case {
        check: |ran| {
            holds(ran, 0.06, 0.05);
            assert_eq!(ran.number("llm_impossible_order_total", &[("service", "shop")]), 10.0);
        },
        ..case("spans stamped 60 ms late", Expected::Quiet, |host| spans(host, 10, 60, &Named::Response))
    },
    Case {
        check: |ran| {
            holds(ran, 0.0, 0.05);
            assert_eq!(ran.number("llm_impossible_order_total", &[]), 0.0);
        },
        ..case("spans around their calls", Expected::Quiet, |host| spans(host, 200, 0, &Named::Response))
    },
    Case {
        check: |ran| {
            holds(ran, 3.0, 0.3);
            assert_eq!(impossible(ran, "request_before_span"), 10.0);
        },
        ..case(
            "fetches stamped 3 s late that end with their stream's head, told of while it goes on",
            Expected::Findings(&["span_skew"]),
            |host| under_way(host, 10, 200),
        )
    },
    Case {
        check: |ran| assert!(!ran.fed("llm_span_skew_seconds")),
        ..case("fetches of streams that go on for more than a minute after", Expected::Withheld("no_call"), |host| {
            under_way(host, 3, 4_000);
        })
    },
    case("four spans stamped 3 s late", Expected::Quiet, |host| spans(host, 4, 3_000, &Named::Response)),
    Case {
        check: |ran| {
            // Each of two tasks has its own calls; either may be any span's.
            assert!(!ran.fed("llm_span_skew_seconds"));
        },
        ..case("spans of calls at once that name nothing", Expected::Withheld("ambiguous"), |host| {
            for n in 0..10 {
                let at = (1 + n) * MINUTE;
                let (one, two) = (call(n, &Named::Nothing), call(n + 100, &Named::Nothing));
                host.call(at, &one);
                let end = host.call(at + 10, &two);
                let told =
                    [told(n, at, end, 3_000, &Named::Nothing), told(n + 100, at + 10, end, 3_000, &Named::Nothing)];
                host.export(end + 100, &one, &told);
            }
        })
    },
    case("spans of answers that were not seen", Expected::Withheld("no_call"), |host| {
        for n in 0..10 {
            let at = (1 + n) * MINUTE;
            let end = host.call(at, &call(n, &Named::Response));
            host.export(end + 100, &call(n, &Named::Response), &[told(n + 50, at, end, 3_000, &Named::Response)]);
        }
    }),
    case("spans that end before their answer's head came", Expected::Withheld("span_shorter"), |host| {
        for n in 0..10 {
            let at = (1 + n) * MINUTE;
            let end = host.call(at, &call(n, &Named::Response));
            let short = told(n, at, at + 50, 3_000, &Named::Response);
            host.export(end + 100, &call(n, &Named::Response), &[short]);
        }
    }),
    case("exports of which bytes were lost", Expected::Withheld("export_lost"), |host| {
        for n in 0..10 {
            let at = (1 + n) * MINUTE;
            let end = host.call(at, &call(n, &Named::Response));
            let told = told(n, at, end, 3_000, &Named::Response);
            host.export_losing(end + 100, &call(n, &Named::Response), &[told], 20);
        }
    }),
    case("spans of a process that calls no model", Expected::Withheld("nothing"), |host| {
        for n in 0..10 {
            let at = (1 + n) * MINUTE;
            let other = call(n, &Named::Response).service("billing", 300);
            host.export(at, &other, &[told(n, at, at, 3_000, &Named::Response)]);
        }
    }),
    Case {
        check: |ran| assert_eq!(impossible(ran, "child_before_parent"), 10.0),
        ..case("children that begin 50 ms before their parents", Expected::Findings(&["impossible_order"]), |host| {
            family(host, -50, 10);
        })
    },
    Case {
        check: |ran| assert_eq!(impossible(ran, "child_before_parent"), 0.0),
        ..case("children that begin 10 ms before their parents and outlive them", Expected::Quiet, |host| {
            family(host, -10, 10);
        })
    },
    Case {
        check: |ran| assert_eq!(impossible(ran, "child_before_parent"), 2.0),
        ..case("two children that begin 50 ms before their parents", Expected::Quiet, |host| family(host, -50, 2))
    },
    Case {
        check: |ran| assert_eq!(impossible(ran, "ends_before_start"), 5.0),
        ..case("spans that end before they begin", Expected::Findings(&["impossible_order"]), |host| {
            for n in 0..5 {
                let at = (1 + n) * MINUTE;
                let end = host.call(at, &call(n, &Named::Nothing));
                let own = FakeSpan { end: unix(0), ..told(n, at, end, 0, &Named::Response) };
                host.export(
                    end + 100,
                    &call(n, &Named::Nothing),
                    &[FakeSpan { attributes: Vec::new(), kind: 1, ..own }],
                );
            }
        })
    },
];

/// What a span has to be known by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    Response,
    Traceparent,
    Nothing,
}

/// A call to a server that stamps no date.
fn call(n: u64, named: &Named) -> Call {
    let mut call = Call::chat("gpt-x").user(&n.to_string()).says(3, 4, 20);
    if *named == Named::Response {
        call.id = format!("chatcmpl-{n}");
    }
    if *named == Named::Traceparent {
        let byte = format!("{:02x}", n + 1);
        call = call.header("traceparent", &format!("00-{}-{}-01", byte.repeat(16), byte.repeat(8)));
    }
    call
}

/// The span of a call from `at` to `end`: from 20 ms before to 5 ms after, by a clock that is so much ahead.
fn told(n: u64, at: u64, end: u64, ahead_ms: i64, named: &Named) -> FakeSpan {
    let id = u8::try_from(n % 250 + 1).unwrap();
    let mut attributes = vec![("server.address", "api.openai.com".to_owned())];
    if *named == Named::Response {
        attributes.push(("gen_ai.response.id", format!("chatcmpl-{n}")));
    }
    let start = unix(i64::try_from(at).unwrap() + ahead_ms - 20);
    let end = unix(i64::try_from(end).unwrap() + ahead_ms + 5);
    FakeSpan { trace: id, id, kind: 3, start, end, attributes, ..FakeSpan::default() }
}

/// So many calls, each with its span.
fn spans(host: &mut Host, count: u64, ahead_ms: i64, named: &Named) {
    for n in 0..count {
        // Within the time that calls wait for their span.
        let at = MINUTE + n * 20_000;
        let end = host.call(at, &call(n, named));
        let told = [told(n, at, end, ahead_ms, named)];
        match named {
            Named::Traceparent => host.export_json(end + 100, &call(n, named), &told),
            _ => host.export(end + 4_000, &call(n, named), &told),
        }
    }
}

/// So many calls whose requests name spans of HTTP, which end with the head and are exported a
/// second later: their streams go on.
fn under_way(host: &mut Host, count: u64, gap_ms: u64) {
    for n in 0..count {
        let at = MINUTE + n * 2 * MINUTE;
        let named = Named::Traceparent;
        host.call(at, &call(n, &named).says(20, 4, gap_ms));
        let told = FakeSpan { attributes: Vec::new(), bare: true, ..told(n, at, at + 500, 3_000, &named) };
        host.export_json(at + 1_000, &call(n, &named), &[told]);
    }
}

/// So many traces of a task and a step of it, which is exported first.
fn family(host: &mut Host, child_ms: i64, count: u8) {
    for n in 0..count {
        let at = (1 + u64::from(n)) * MINUTE;
        let end = host.call(at, &call(n.into(), &Named::Nothing));
        let begin = i64::try_from(at).unwrap() - 100;
        let of = |id, parent, start_ms: i64, end_ms: i64| FakeSpan {
            trace: n + 1,
            id,
            parent,
            kind: 1,
            start: unix(begin + start_ms),
            end: unix(begin + end_ms),
            ..FakeSpan::default()
        };
        host.export(end + 100, &call(n.into(), &Named::Nothing), &[of(2, 1, child_ms, 900)]);
        host.export(end + 5_000, &call(n.into(), &Named::Nothing), &[of(1, 0, 0, 800)]);
    }
}
