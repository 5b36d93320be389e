//! Strangers choose names: exchanges each of which has a model, host, key, service, tool,
//! conversation and quota of its own, through the whole pipeline. Neither memory nor series grow,
//! and what was folded and forgotten is counted.
//!
//! A debug build takes some of them (`EXCHANGES`); a million are
//! `cargo test --release -p observer --test cases hostile::`.

use std::process::Command;

use capture::units::Ns;
use detectors::metrics::DETECTOR_FORGOTTEN;
use ledger::metric::MetricId;
use ledger::pipeline::{Pipeline, PipelineSettings};
use observer::export::catalogue::calls::STREAMS;
use observer::export::catalogue::observer::SERIES_OVERFLOW;
use observer::export::catalogue::place;
use observer::export::store::{MetricsSnapshot, SeriesValue};
use observer::sinks::{self, DaemonSinks};
use testkit::spans::FakeSpan;

use super::traffic::{BOOT, Call, End, Host, Step};

/// Exchanges in all, and after how many of them nothing may grow any more. Of the largest tables,
/// which hold tens of thousands of keys, a debug build fills half.
const EXCHANGES: u64 = if cfg!(debug_assertions) { 24_000 } else { 1_000_000 };
const FULL: u64 = if cfg!(debug_assertions) { 18_000 } else { 250_000 };

/// The largest a process may become by all that.
const RESIDENT_MIB: f64 = 256.0;

/// More series there are not: the caps of all metrics that such calls feed.
const SERIES: usize = 8_000;

/// More things detectors do not hold: the caps of all of their tables.
const HELD: usize = 160_000;

/// Detectors that have something to remember of such calls.
const REMEMBER: [&str; 10] = [
    "failover",
    "quota",
    "retry",
    "first_token",
    "reasoning",
    "tool_rot",
    "stale_results",
    "pressure",
    "chunk_regression",
    "claims",
];

/// Milliseconds between exchanges, each of which ends before the next begins.
const APART_MS: u64 = 20;

/// Time passes in steps of this.
const TICK_NS: u64 = 5_000_000_000;

/// The n-th: nothing of it is that of another.
fn exchange(n: u64) -> Call {
    let tool = format!("tool-{n}");
    let mut call = Call::anthropic(&format!("model-{n}"))
        .service(&format!("service-{n}"), 1000 + u32::try_from(n).unwrap())
        .system(&format!("you are {n}"))
        .user(&format!("turn {n}"))
        .message_json(
            "assistant",
            &format!(r#"[{{"type":"tool_use","id":"i{n}","name":"{tool}","input":{{"a":{n}}}}}]"#),
        )
        .message_json(
            "user",
            &format!(r#"[{{"type":"tool_result","tool_use_id":"i{n}","content":"{n}","is_error":true}}]"#),
        )
        .member("tools", &format!(r#"[{{"name":"{tool}","input_schema":{{}}}}]"#))
        .answers_header(&format!("anthropic-ratelimit-kind-{n}-limit"), "10")
        .answers_header(&format!("anthropic-ratelimit-kind-{n}-remaining"), "9")
        .answers_header(&format!("anthropic-ratelimit-kind-{n}-reset"), "2026-03-02T00:00:00Z");
    call.key = format!("sk-{n}");
    call.host = format!("host-{n}.test");
    call.answered = format!("answered-{n}");
    call.think_ms = 5;
    match n % 8 {
        7 => said(n, &call),
        0 | 4 => call.fails(429, "insufficient_quota"),
        1 | 5 => call.says(2, 5, 1).ends(End::Reset),
        2 | 6 => call.says(2, 5, 1).ends(End::Exit),
        _ => call.says(2, 5, 1),
    }
}

/// One of an API that counts reasoning, with chunks enough to be judged, and with a claim.
fn said(n: u64, like: &Call) -> Call {
    let mut call = Call::chat(&like.model).service(&like.service, like.pid).user(&format!("turn {n}"));
    (call.key, call.host, call.answered) = (like.key.clone(), like.host.clone(), like.answered.clone());
    (call.think_ms, call.usage) = (5, Some((10, 9, 3, 0)));
    call.says(9, 5, 1).step(Step::Say(" I have verified it.".into()))
}

/// A span of it, as its process exports it.
fn span(n: u64) -> FakeSpan {
    let trace = u8::try_from(n % 255 + 1).unwrap();
    FakeSpan { trace, id: trace, parent: trace ^ 0x5a, kind: 3, start: n + 1, end: 1, ..FakeSpan::default() }
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Things that detectors hold.
    held: usize,
    series: usize,
    resident_mib: f64,
}

fn published(pipeline: &mut Pipeline<DaemonSinks>) -> MetricsSnapshot {
    let now = pipeline.now();
    pipeline.show(|call_table, links, sockets, sinks| sinks.publish(call_table, links, sockets, now));
    pipeline.sink_mut().metrics.store.snapshot()
}

fn sizes(pipeline: &mut Pipeline<DaemonSinks>) -> Sizes {
    let series = published(pipeline).families.iter().map(Vec::len).sum();
    Sizes { held: pipeline.sink().detectors.held(), series, resident_mib: resident_mib() }
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// The sum of a counter's series whose first label is `first`, if any.
fn sum(snapshot: &MetricsSnapshot, id: MetricId, first: Option<&str>) -> f64 {
    let of = |value: &SeriesValue| if let SeriesValue::Number(number) = value { *number } else { 0.0 };
    let rows = snapshot.families[place(id)].iter();
    rows.filter(|(labels, _)| first.is_none_or(|first| &*labels[0] == first)).map(|(_, value)| of(value)).sum()
}

/// Set in the process that is measured.
const ALONE: &str = "HOSTILE_ALONE";

/// The test's name, by which it starts itself.
pub(super) const NAME: &str = "detectors::hostile::strangers_names_grow_neither_memory_nor_series";

/// In a process of its own: other tests take memory too.
pub(super) fn strangers_names_grow_neither_memory_nor_series() {
    if std::env::var_os(ALONE).is_some() {
        return flood();
    }
    let own = ["--exact", NAME];
    // Its result is no second one: what it printed is shown if it fails.
    let output = Command::new(std::env::current_exe().unwrap()).args(own).env(ALONE, "1").output().unwrap();
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && printed[0].contains("1 passed"), "{}", printed.concat());
}

fn flood() {
    let mut pipeline = Pipeline::new(PipelineSettings::default(), DaemonSinks::new(&sinks::SinkSettings::default()));
    pipeline.sink_mut().detectors.set_wall(BOOT);
    let mut host = Host::new();
    let (mut ticked, mut full) = (Ns(0), sizes(&mut pipeline));
    println!("before: {full:?}");
    for n in 0..EXCHANGES {
        let (at, call) = (1000 + n * APART_MS, exchange(n));
        host.call(at, &call);
        host.export(at + 16, &call, &[span(n)]);
        for owned in host.take() {
            pipeline.record(&owned.get());
        }
        if pipeline.now() - ticked >= TICK_NS {
            ticked = pipeline.now();
            pipeline.tick(ticked);
            pipeline.verdicts().for_each(drop);
        }
        if n + 1 == FULL {
            full = sizes(&mut pipeline);
        }
    }
    let end = sizes(&mut pipeline);
    println!("after {FULL}: {full:?}\nafter {EXCHANGES}: {end:?}");
    bounded(full, end);
    counted(&published(&mut pipeline));
    let findings = pipeline.sink().detectors.findings().list().len();
    assert!(findings <= 64 * detectors::DETECTORS.len() + 1024, "{findings}");
}

fn bounded(full: Sizes, end: Sizes) {
    // A series may be missing until its first case.
    assert!(end.series <= full.series + 8 && end.series < SERIES, "{full:?} {end:?}");
    assert!(end.held <= full.held + full.held / 8 && end.held < HELD, "{full:?} {end:?}");
    assert!(end.resident_mib <= 1.25 * full.resident_mib && end.resident_mib < RESIDENT_MIB, "{full:?} {end:?}");
}

/// Every stream is counted under some name, and what lost its own name or its place is counted as that.
fn counted(snapshot: &MetricsSnapshot) {
    let all = EXCHANGES as f64;
    assert_eq!(sum(snapshot, STREAMS.id(), None), all);
    let folded = sum(snapshot, SERIES_OVERFLOW.id(), Some("llm_streams_total"));
    assert!(folded > 0.9 * all, "{folded} label sets of streams were folded");
    for detector in REMEMBER {
        let forgotten = sum(snapshot, DETECTOR_FORGOTTEN.id(), Some(detector));
        assert!(forgotten > 0.1 * all, "{detector} forgot {forgotten} names of {all}");
    }
}
