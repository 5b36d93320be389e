//! Throughput of the pure pipeline, from records to ledger, on one core: no kernel, no root. `cargo
//! xtask bench` runs it first; arguments choose cases by a part of their name. Each figure is the
//! best of a few runs, because whatever else the machine does can only make it worse.

mod cases;
mod frames;
mod table;

use std::alloc::System;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use capture::limits::ENDED_STREAMS;
use edge::clock::WallClock;
use ledger::EventSink;
use ledger::pipeline::{Pipeline, PipelineSettings};
use observer::export::inspect::queries;
use observer::sinks::{self, DaemonSinks};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use testkit::OwnedRecord;

use cases::Case;
use table::{Goal, Table};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Events of a stream that is measured.
const EVENTS: usize = 4000;

/// How long each figure is taken.
const TIME: Duration = Duration::from_millis(1200);

fn main() -> Result<()> {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str()));
    let mut table = Table::default();
    for case in cases::all(EVENTS).iter().filter(|case| wanted(case.name)) {
        check(case)?;
        let goal = if case.name == "openai.chat, HTTP/1.1" { Goal::AtLeast(1e6) } else { Goal::None };
        table.row(&format!("{}: events/s", case.name), speed(case, || ()) * case.events as f64, goal);
        let mebibytes = case.bytes() as f64 / f64::from(1 << 20);
        table.row(&format!("{}: MiB/s", case.name), speed(case, || ()) * mebibytes, Goal::None);
        let goal = if case.visible { Goal::AtMost(0.01) } else { Goal::None };
        table.row(&format!("{}: allocations an event", case.name), allocations(case), goal);
        if case.name == "openai.chat, HTTP/1.1" {
            let sinks = || DaemonSinks::new(&sinks::SinkSettings::default());
            table.row(
                &format!("{}: events/s, metrics included", case.name),
                speed(case, sinks) * case.events as f64,
                Goal::None,
            );
        }
    }
    for case in cases::ignored().iter().filter(|case| wanted(case.name)) {
        let megabytes = case.bytes() as f64 / 1e6;
        table.row(&format!("{}: MB/s", case.name), speed(case, || ()) * megabytes, Goal::AtLeast(500.0));
    }
    if wanted("memory") {
        memory(&mut table);
    }
    if wanted("inspect streams") {
        inspect(&mut table);
    }
    println!("\n{table}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/throughput.json");
    std::fs::create_dir_all(file.parent().context("no parent")?)?;
    std::fs::write(&file, serde_json::to_string_pretty(&table.json())?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!("written to target/throughput.json");
    table.verdict()
}

/// A figure of a stream that was not understood would be worth nothing.
fn check(case: &Case) -> Result<()> {
    let mut pipeline = Pipeline::new(PipelineSettings::default(), ());
    play(&mut pipeline, &case.records);
    let entries: Vec<_> = pipeline.call_table().ended().chain(pipeline.call_table().open()).collect();
    let [entry] = entries.as_slice() else { anyhow::bail!("{}: {} calls, not one", case.name, entries.len()) };
    let found = (entry.api, entry.events >= case.events as u64, entry.visible_chars > 0, entry.lost.is_empty());
    anyhow::ensure!(found == (case.api, true, case.visible, true), "{}: {found:?} of {entry:?}", case.name);
    Ok(())
}

fn play<S: EventSink>(pipeline: &mut Pipeline<S>, records: &[OwnedRecord]) {
    for owned in records {
        pipeline.record(&owned.get());
        black_box(pipeline.verdicts().count());
    }
}

/// Passes a second.
fn speed<S: EventSink>(case: &Case, sink: impl Fn() -> S) -> f64 {
    let (mut best, begun) = (Duration::MAX, Instant::now());
    while begun.elapsed() < TIME {
        let mut pipeline = Pipeline::new(PipelineSettings::default(), sink());
        let start = Instant::now();
        play(&mut pipeline, &case.records);
        best = best.min(start.elapsed());
        black_box(&pipeline);
    }
    1.0 / best.as_secs_f64()
}

/// Allocations in the second half of the stream, where all buffers have their size, a record's event each.
fn allocations(case: &Case) -> f64 {
    let mut pipeline = Pipeline::new(PipelineSettings::default(), ());
    let half = case.records.len() / 2;
    let (first, second) = case.records.split_at(half);
    play(&mut pipeline, first);
    let events = |pipeline: &Pipeline<()>| pipeline.call_table().open().map(|entry| entry.events).sum::<u64>();
    let before = events(&pipeline);
    // The last records end the call; what that costs is not an event's.
    let body = second.get(..second.len().saturating_sub(12)).unwrap_or_default();
    let region = Region::new(ALLOCATOR);
    play(&mut pipeline, body);
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / (events(&pipeline) - before).max(1) as f64
}

/// What `inspect streams` costs the pipeline's thread when as many calls have ended as are kept; then its rows, which
/// another thread makes.
fn inspect(table: &mut Table) {
    let mut pipeline = Pipeline::new(PipelineSettings::default(), DaemonSinks::new(&sinks::SinkSettings::default()));
    for tgid in 1..=u32::try_from(ENDED_STREAMS).unwrap_or(u32::MAX) {
        play(&mut pipeline, &cases::open_chat(tgid, 10));
        let mut end = testkit::FakeTlsConn::new(tgid, 1);
        play(&mut pipeline, end.exit().records().last().map(std::slice::from_ref).unwrap_or_default());
    }
    let (now, wall) = (pipeline.now(), WallClock::fixed(0));
    let (mut asked, mut made, begun) = (Duration::MAX, Duration::MAX, Instant::now());
    while begun.elapsed() < TIME {
        let start = Instant::now();
        let found = pipeline.sink().detectors.findings();
        let streams = queries::StreamsSnapshot::new(pipeline.call_table(), found, f64::INFINITY, &[], now, &wall);
        asked = asked.min(start.elapsed());
        let start = Instant::now();
        assert_eq!(black_box(streams.rows()).len(), ENDED_STREAMS, "every call has ended and is kept");
        made = made.min(start.elapsed());
    }
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let what = format!("inspect streams, {ENDED_STREAMS} ended: ms");
    table.row(&format!("{what} of the pipeline's thread"), milliseconds(asked), Goal::AtMost(5.0));
    table.row(&format!("{what} of the thread that makes rows"), milliseconds(made), Goal::None);
}

/// Bytes of an open stream, by its length. After 500 events all that is kept of single events and gaps is full.
fn memory(table: &mut Table) {
    for (length, streams) in [(100, 200), (500, 200), (1000, 200), (10_000, 100), (100_000, 20)] {
        let region = Region::new(ALLOCATOR);
        let mut pipeline = Pipeline::new(PipelineSettings::default(), ());
        let live = |change: stats_alloc::Stats| change.bytes_allocated as f64 - change.bytes_deallocated as f64;
        let mut held = 0.0;
        for tgid in 1..=streams {
            let before = live(region.change());
            {
                let case = cases::open_chat(tgid, length);
                play(&mut pipeline, &case);
            }
            held += live(region.change()) - before;
        }
        black_box(&pipeline);
        let each = held / f64::from(streams) / 1024.0;
        table.row(&format!("memory of an open stream after {length} events: KiB"), each, Goal::AtMost(16.0));
    }
}
