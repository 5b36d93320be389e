//! What does not grow: buffers, tables, the ring of calls that ended.

use super::*;
use crate::CallLimits;

#[test]
fn the_longest_idle_connection_goes_when_the_table_is_full() {
    let mut pipeline = Pipeline::new(PipelineSettings { conns: 2, ..PipelineSettings::default() }, Ear::default());
    for tgid in 1..=3 {
        let mut script = FakeTlsConn::new(tgid, 1);
        script.wait_ms(u64::from(tgid) * 5_000).write(chat());
        script.records().iter().for_each(|record| pipeline.record(&record.get()));
    }
    assert_eq!((pipeline.counters().evicted, pipeline.connection_count()), (1, 2));
    let gone: Vec<_> = pipeline.call_table().ended().map(|e| (e.identity.pid, e.outcome)).collect();
    assert_eq!(gone, [(1, Some(CallOutcome::Lost))]);
}

#[test]
fn a_long_stream_does_not_grow() {
    let mut pipeline = Pipeline::new(PipelineSettings::default(), ());
    let mut script = begun();
    script.records().iter().for_each(|record| pipeline.record(&record.get()));
    let mut held = Vec::new();
    for _ in 0..30 {
        let from = script.records().len();
        script.read_each(20, std::iter::repeat_n(delta("word "), 200));
        script.records()[from..].iter().for_each(|record| pipeline.record(&record.get()));
        held.push(pipeline.held());
    }
    assert_eq!(pipeline.call_table().open().next().unwrap().chunks, 6001);
    assert!(held.windows(2).all(|w| w[0] == w[1]), "{held:?}");
    let id = pipeline.call_table().open().next().unwrap().id.clone();
    let (entry, points, before) = pipeline.call_table().find(&id).unwrap();
    assert_eq!((points.len(), before), (limits::TIMELINE, entry.events - limits::TIMELINE as u64));
}

#[test]
fn the_ended_ring_is_bounded() {
    let ledger = CallLimits { ended: 5, ..CallLimits::default() };
    let mut pipeline = Pipeline::new(PipelineSettings { ledger, ..PipelineSettings::default() }, ());
    let mut script = FakeTlsConn::new(10, 1);
    for _ in 0..12 {
        script.wait_ms(50).write(chat()).read([HEAD, &delta("Hello"), DONE, LAST].concat());
    }
    script.records().iter().for_each(|record| pipeline.record(&record.get()));
    let started: Vec<Ns> = pipeline.call_table().ended().map(|entry| entry.started).collect();
    assert_eq!(started.len(), 5);
    assert!(started.windows(2).all(|w| w[0] > w[1]), "newest first");
}
