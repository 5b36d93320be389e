//! The sink behind `/metrics`: every event becomes samples in the store, at the moment it happens.
//!
//! A stream that lost bytes is left out of the histograms from then on: a gap measured across a hole is not a gap.

use std::collections::HashMap;

use crate::export::catalogue::{calls, observer as own};
use crate::export::delivery::DeliverySplit;
use crate::export::labels::{error_type, operation, operation_and};
use crate::export::live::{StreamGauges, StreamGroups};
use crate::export::pressure;
use crate::export::store::{SeriesCaps, SeriesHandle, SeriesStore};
use capture::conn::SocketTable;
use capture::record::ConnKey;
use capture::units::Ns;
use ledger::{
    CallEvent, CallEventKind, CallMilestone, CallOutcome, CallTable, Entry, EventSink, HostEvent, ModelConnections,
};

/// How fast people read, characters a second: about 250 words a minute. The reader of `llm_stream_qoe_score`.
pub const READER_RATE: f64 = 25.0;

/// Feeds a store.
#[derive(Debug)]
pub struct MetricsSink {
    pub store: SeriesStore,
    gauges: StreamGauges,
    /// Load against CPU: sampled by whoever can read the latter.
    connections: pressure::ConnectionGauges,
    reader_rate: f64,
    streams: Streams,
}

type Streams = HashMap<(ConnKey, u64), OpenStreamMetrics, foldhash::fast::RandomState>;

/// What an open stream needs besides its entry.
#[derive(Debug, Default)]
struct OpenStreamMetrics {
    delivery: DeliverySplit,
    /// Series of the hot path, found once for a stream.
    chunk: Option<ChunkSeries>,
    read: Option<ReadSeries>,
    /// Seconds already in `llm_stream_open_seconds_total`.
    held: f64,
}

#[derive(Clone, Copy, Debug)]
struct ReadSeries {
    events: SeriesHandle,
    lag: Option<SeriesHandle>,
}

#[derive(Clone, Copy, Debug)]
struct ChunkSeries {
    /// Gaps on the two clocks.
    read: Option<SeriesHandle>,
    arrival: Option<SeriesHandle>,
    chars: SeriesHandle,
    per_chunk: SeriesHandle,
}

impl MetricsSink {
    /// A sink with an empty store. `reader_rate`: characters a second.
    #[must_use]
    pub fn new(caps: SeriesCaps, reader_rate: f64) -> MetricsSink {
        MetricsSink {
            store: SeriesStore::new(caps),
            gauges: StreamGauges::default(),
            connections: pressure::ConnectionGauges::default(),
            reader_rate,
            streams: HashMap::default(),
        }
    }

    /// What is to be known of open streams and connections at a scrape.
    pub fn publish(&mut self, call_table: &CallTable, connections: &ModelConnections, sockets: &SocketTable, now: Ns) {
        self.gauges.publish(&StreamGroups::of(call_table.open(), now), now, &mut self.store);
        self.connections.publish(&pressure::ConnectionGroups::of(connections.iter()), now, &mut self.store);
        pressure::sockets(sockets, &mut self.store);
        for entry in call_table.open() {
            self.held(entry, entry.duration_seconds(now));
        }
    }

    /// A call has been open for `seconds` by now: what is not counted yet is.
    fn held(&mut self, entry: &Entry, seconds: f64) {
        let live = live(&mut self.streams, entry);
        let more = (seconds - live.held).max(0.0);
        live.held += more;
        self.store.add_to(calls::STREAM_OPEN_SECONDS.of(&entry.labels, &[]), more);
    }

    /// The model is known by now: known label sets start at 0, so that the first one counts in a rate.
    fn requested(&mut self, entry: &Entry) {
        self.gauges.note(entry, entry.last_activity);
        for outcome in CallOutcome::ALL {
            self.store.series(calls::STREAMS.of(&entry.labels, &[outcome.name()]));
        }
        for cause in ["provider", "network", "local", "unknown"] {
            self.store.series(calls::STALLS.of(&entry.labels, &[cause]));
        }
    }

    fn first(&mut self, entry: &Entry, milestone: CallMilestone, seconds: f64) {
        let timed = entry.streaming || milestone == CallMilestone::Audio;
        if !timed || lost(entry) || failed(entry) {
            return;
        }
        self.store.observe_in(calls::TIME_TO_FIRST.of(&entry.labels, &[milestone.name()]), seconds);
        match milestone {
            CallMilestone::Emitted => {
                self.store.observe_in(calls::TIME_TO_FIRST_CHUNK.of(&entry.labels, &operation(entry)), seconds);
            }
            CallMilestone::Visible => {
                if let Some(emitted) = entry.firsts.emitted {
                    self.store.observe_in(calls::INVISIBLE_WAIT.of(&entry.labels, &[]), (seconds - emitted).max(0.0));
                }
            }
            _ => {}
        }
    }

    fn chunk(&mut self, entry: &Entry, gap: Option<f64>, arrival_gap: Option<f64>, chars: u32) {
        if lost(entry) {
            return;
        }
        let MetricsSink { store, streams, .. } = self;
        let live = live(streams, entry);
        live.delivery.chunk(entry.last_activity, chars);
        let series = live.chunk.get_or_insert_with(|| ChunkSeries::find(store, entry));
        store.observe(series.chars, f64::from(chars));
        if let Some(gap) = gap {
            store.observe(series.per_chunk, gap);
        }
        // Chunks of one read have the same stamp: their distance says nothing.
        let read = gap.filter(|_| !entry.arrival_only());
        for (clock, place, gap) in [("read", &mut series.read, read), ("arrival", &mut series.arrival, arrival_gap)] {
            if let Some(gap) = gap.filter(|gap| *gap > 0.0) {
                let series = *place.get_or_insert_with(|| store.series(calls::CHUNK_GAP.of(&entry.labels, &[clock])));
                store.observe(series, gap);
            }
        }
    }

    fn read(&mut self, entry: &Entry, events: u32, lag: Option<f64>) {
        if lost(entry) || !entry.streaming {
            return;
        }
        let MetricsSink { store, streams, .. } = self;
        let live = live(streams, entry);
        let series = live.read.get_or_insert_with(|| ReadSeries {
            events: store.series(calls::EVENTS_PER_READ.of(&entry.labels, &[])),
            lag: None,
        });
        store.observe(series.events, f64::from(events));
        if let Some(lag) = lag {
            let series = *series.lag.get_or_insert_with(|| store.series(calls::READ_LAG.of(&entry.labels, &[])));
            store.observe(series, lag);
        }
    }

    fn closed(&mut self, entry: &Entry) {
        self.gauges.note(entry, entry.ended.unwrap_or(entry.last_activity));
        self.held(entry, entry.duration_seconds(entry.last_activity));
        let live = self.streams.remove(&(entry.conn, entry.exchange)).unwrap_or_default();
        let outcome = entry.outcome.unwrap_or(CallOutcome::Lost);
        self.store.add_to(calls::STREAMS.of(&entry.labels, &[outcome.name()]), 1.0);
        let killed = f64::from(u8::from(outcome == CallOutcome::ProcessExit));
        self.store.add_to(calls::STREAMS_KILLED_BY_EXIT.of(&entry.labels, &[]), killed);
        self.usage(entry);
        let Some(ended) = entry.ended.filter(|_| !lost(entry) && outcome != CallOutcome::Lost) else { return };
        let seconds = ended.seconds_since(entry.started);
        if entry.live_input {
            return; // it was not asked for at a moment from which it could be timed
        }
        if !entry.shape {
            self.store.observe_in(
                calls::OPERATION_DURATION.of(&entry.labels, &operation_and(entry, &error_type(entry))),
                seconds,
            );
        }
        if entry.streaming && !failed(entry) {
            self.store.observe_in(calls::STREAM_DURATION.of(&entry.labels, &[]), seconds);
            self.delivered(entry, &live.delivery);
        }
    }

    fn delivered(&mut self, entry: &Entry, delivery: &DeliverySplit) {
        let samples = [
            (calls::HEAD_BURST, entry.head_burst_ratio),
            (calls::QOE, delivery.qoe(self.reader_rate)),
            (calls::CHUNK_TOKENS, tokens_per_chunk(entry)),
        ];
        for (metric, sample) in samples {
            if let Some(sample) = sample {
                self.store.observe_in(metric.of(&entry.labels, &[]), sample);
            }
        }
    }

    /// Tokens as the provider reported them; a field it did not report makes no series.
    fn usage(&mut self, entry: &Entry) {
        let usage = &entry.usage;
        for (metric, tokens) in [
            (calls::INPUT_TOKENS, usage.input),
            (calls::OUTPUT_TOKENS, usage.output),
            (calls::CACHE_READ_TOKENS, usage.cached),
            (calls::CACHE_WRITE_TOKENS, usage.cache_write),
            (calls::REASONING_TOKENS, usage.reasoning),
        ] {
            if let Some(tokens) = tokens {
                // The provider's report does not say which modality the tokens were of.
                self.store.add_to(metric.of(&entry.labels, &operation_and(entry, "unknown")), tokens as f64);
            }
        }
    }
}

impl EventSink for MetricsSink {
    fn on_call_event(&mut self, event: &CallEvent<'_>) {
        let entry = event.entry;
        match event.what {
            CallEventKind::Opened | CallEventKind::Prompt(_) | CallEventKind::Text(_) | CallEventKind::Responded => {}
            CallEventKind::Requested => self.requested(entry),
            CallEventKind::First { milestone, seconds } => self.first(entry, milestone, seconds),
            CallEventKind::Chunk { gap, arrival_gap, chars } => self.chunk(entry, gap, arrival_gap, chars),
            CallEventKind::Read { events, lag } => self.read(entry, events, lag),
            CallEventKind::Stall(stall) => {
                self.store.add_to(calls::STALLS.of(&entry.labels, &[stall.cause.unwrap_or("unknown")]), 1.0);
            }
            CallEventKind::Record { gap } => {
                if let Some(gap) = gap.filter(|gap| *gap > 0.0) {
                    self.store.observe_in(calls::RECORD_GAP.of(&entry.labels, &[]), gap);
                }
            }
            CallEventKind::Closed => self.closed(entry),
        }
    }

    fn on_host_event(&mut self, event: &HostEvent<'_>) {
        match event {
            HostEvent::Lost { bytes, cause } => {
                self.store.add_to(own::EVENTS_LOST.with(&[cause.name()]), 1.0);
                self.store.add_to(own::LOST_BYTES.with(&[cause.name()]), bytes.unwrap_or(0) as f64);
            }
            HostEvent::Connection { connection, news } => pressure::count(connection, *news, &mut self.store),
            HostEvent::ParserNote(note) => {
                self.store.add_to(own::PARSE_ERRORS.with(&[note.protocol, note.reason]), 1.0);
            }
            HostEvent::Acted { .. }
            | HostEvent::Exported { .. }
            | HostEvent::Unexported { .. }
            | HostEvent::SentOn { .. }
            | HostEvent::CpuUsed { .. } => {}
        }
    }
}

impl ChunkSeries {
    fn find(store: &mut SeriesStore, entry: &Entry) -> ChunkSeries {
        ChunkSeries {
            read: None,
            arrival: None,
            chars: store.series(calls::CHUNK_CHARS.of(&entry.labels, &[])),
            per_chunk: store.series(calls::TIME_PER_CHUNK.of(&entry.labels, &operation(entry))),
        }
    }
}

fn live<'a>(streams: &'a mut Streams, entry: &Entry) -> &'a mut OpenStreamMetrics {
    streams.entry((entry.conn, entry.exchange)).or_default()
}

fn lost(entry: &Entry) -> bool {
    !entry.lost.is_empty()
}

fn failed(entry: &Entry) -> bool {
    entry.status.is_some_and(|status| status >= 400)
}

/// Visible tokens per chunk.
fn tokens_per_chunk(entry: &Entry) -> Option<f64> {
    Some(entry.visible_tokens()? as f64 / entry.chunks as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::pipeline::{Pipeline, PipelineSettings};
    use testkit::FakeTlsConn;

    const REQUEST: &str =
        "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 27\r\n\r\n{\"model\":\"m\",\"stream\":true}";
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    const CHUNK: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ab\"}}]}\n\n";

    fn chunked(text: &str) -> String {
        format!("{:x}\r\n{text}\r\n", text.len())
    }

    /// However calls end, nothing is kept for them: `Closed` is the last event of a call.
    #[test]
    fn ended_streams_leave_nothing_behind() {
        let mut pipeline =
            Pipeline::new(PipelineSettings::default(), MetricsSink::new(SeriesCaps::default(), READER_RATE));
        for tgid in 1..200 {
            let mut script = FakeTlsConn::new(tgid, 1);
            script.write(REQUEST).wait_ms(10).read(HEAD).read(chunked(CHUNK)).read(chunked(CHUNK));
            match tgid % 4 {
                0 => script.read(chunked("data: [DONE]\n\n")).read("0\r\n\r\n").close(),
                // The end marker and a chunk in one read, then silence.
                1 => script.read(chunked(&format!("{CHUNK}data: [DONE]\n\n"))).exit(),
                2 => script.read_end(false).close(),
                _ => script.close(),
            };
            script.exit();
            for owned in script.records() {
                pipeline.record(&owned.get());
            }
        }
        pipeline.tick(Ns(3_600_000_000_000));
        assert_eq!(pipeline.call_table().open().count(), 0);
        assert!(pipeline.sink().streams.is_empty(), "{}", pipeline.sink().streams.len());
    }
}
