//! The ledger's listener: every happening becomes samples in the store, at the moment it happens.
//!
//! A stream that lost bytes is left out of the histograms from then on: a gap measured across a hole is not a gap.

use std::collections::HashMap;

use crate::conn::Sockets;
use crate::detect::{self, Change, Detectors};
use crate::export::catalogue::{Id, Kind, metric, metric_named};
use crate::export::delivery::Delivery;
use crate::export::labels::{error_type, operation, operation_and, stream, stream_and};
use crate::export::live::{Gauges, Groups};
use crate::export::pressure;
use crate::export::store::{Caps, Series, Store};
use crate::ledger::{Audience, Book, Entry, Happening, Links, Milestone, Outcome};
use crate::record::ConnKey;
use crate::units::Ns;

/// How fast people read, characters a second: about 250 words a minute. The reader of `llm_stream_qoe_score`.
pub const READER_RATE: f64 = 25.0;

/// Feeds a store.
#[derive(Debug)]
pub struct Metrics {
    pub store: Store,
    gauges: Gauges,
    /// Load against CPU: sampled by whoever can read the latter.
    connections: pressure::Gauges,
    reader_rate: f64,
    streams: Streams,
    pub detectors: Detectors,
}

type Streams = HashMap<(ConnKey, u64), Live, foldhash::fast::RandomState>;

/// What an open stream needs besides its entry.
#[derive(Debug, Default)]
struct Live {
    delivery: Delivery,
    /// Series of the hot path, found once for a stream.
    chunk: Option<ChunkSeries>,
    read: Option<ReadSeries>,
    /// Seconds already in `llm_stream_open_seconds_total`.
    held: f64,
}

#[derive(Clone, Copy, Debug)]
struct ReadSeries {
    events: Series,
    lag: Option<Series>,
}

#[derive(Clone, Copy, Debug)]
struct ChunkSeries {
    /// Gaps on the two clocks.
    read: Option<Series>,
    arrival: Option<Series>,
    chars: Series,
    per_chunk: Series,
}

impl Metrics {
    /// A listener with an empty store. `reader_rate`: characters a second.
    #[must_use]
    pub fn new(caps: Caps, reader_rate: f64) -> Metrics {
        Metrics {
            store: Store::new(caps),
            detectors: Detectors::default(),
            gauges: Gauges::default(),
            connections: pressure::Gauges::default(),
            reader_rate,
            streams: HashMap::default(),
        }
    }

    /// The same with detectors set so.
    #[must_use]
    pub fn with_detectors(self, settings: &detect::Settings) -> Metrics {
        Metrics { detectors: Detectors::new(settings), ..self }
    }

    /// What is to be known of open streams and connections at a scrape.
    pub fn publish(&mut self, book: &Book, links: &Links, sockets: &Sockets, now: Ns) {
        self.gauges.publish(&Groups::of(book.open(), now), now, &mut self.store);
        self.connections.publish(&pressure::Groups::of(links.iter()), now, &mut self.store);
        pressure::sockets(sockets, &mut self.store);
        for entry in book.open() {
            self.held(entry, entry.duration_seconds(now));
        }
        let Metrics { store, detectors, .. } = self;
        let own = detect::DETECTORS.iter().flat_map(|row| row.metrics).filter_map(|name| metric_named(name));
        own.filter(|id| metric(*id).kind == Kind::Gauge).for_each(|id| store.clear(id));
        detectors.publish(now, &mut |sample| take(store, sample));
        for (detector, keys) in detectors.forgotten() {
            store.set_to(Id::DetectorForgotten, &[detector], keys as f64);
        }
    }

    /// A call has been open for `seconds` by now: what is not counted yet is.
    fn held(&mut self, entry: &Entry, seconds: f64) {
        let live = live(&mut self.streams, entry);
        let more = (seconds - live.held).max(0.0);
        live.held += more;
        self.store.add_to(Id::StreamOpenSeconds, &stream(entry), more);
    }

    /// The model is known by now: known label sets start at 0, so that the first one counts in a rate.
    fn requested(&mut self, entry: &Entry) {
        self.gauges.note(entry, entry.last_activity);
        for outcome in Outcome::ALL {
            self.store.series(Id::Streams, &stream_and(entry, outcome.name()));
        }
        for cause in ["provider", "network", "local", "unknown"] {
            self.store.series(Id::Stalls, &stream_and(entry, cause));
        }
    }

    fn first(&mut self, entry: &Entry, milestone: Milestone, seconds: f64) {
        let timed = entry.streaming || milestone == Milestone::Audio;
        if !timed || lost(entry) || failed(entry) {
            return;
        }
        self.store.observe_in(Id::TimeToFirst, &stream_and(entry, milestone.name()), seconds);
        match milestone {
            Milestone::Emitted => self.store.observe_in(Id::TimeToFirstChunk, &operation(entry), seconds),
            Milestone::Visible => {
                if let Some(emitted) = entry.firsts.emitted {
                    self.store.observe_in(Id::InvisibleWait, &stream(entry), (seconds - emitted).max(0.0));
                }
            }
            _ => {}
        }
    }

    fn chunk(&mut self, entry: &Entry, gap: Option<f64>, arrival_gap: Option<f64>, chars: u32) {
        if lost(entry) {
            return;
        }
        let Metrics { store, streams, .. } = self;
        let live = live(streams, entry);
        live.delivery.chunk(entry.last_activity, chars);
        let series = live.chunk.get_or_insert_with(|| ChunkSeries::find(store, entry));
        store.observe(Id::ChunkChars, series.chars, f64::from(chars));
        if let Some(gap) = gap {
            store.observe(Id::TimePerChunk, series.per_chunk, gap);
        }
        // Chunks of one read have the same stamp: their distance says nothing.
        let read = gap.filter(|_| !entry.arrival_only());
        for (clock, place, gap) in [("read", &mut series.read, read), ("arrival", &mut series.arrival, arrival_gap)] {
            if let Some(gap) = gap.filter(|gap| *gap > 0.0) {
                let series = *place.get_or_insert_with(|| store.series(Id::ChunkGap, &stream_and(entry, clock)));
                store.observe(Id::ChunkGap, series, gap);
            }
        }
    }

    fn read(&mut self, entry: &Entry, events: u32, lag: Option<f64>) {
        if lost(entry) || !entry.streaming {
            return;
        }
        let Metrics { store, streams, .. } = self;
        let live = live(streams, entry);
        let series = live
            .read
            .get_or_insert_with(|| ReadSeries { events: store.series(Id::EventsPerRead, &stream(entry)), lag: None });
        store.observe(Id::EventsPerRead, series.events, f64::from(events));
        if let Some(lag) = lag {
            let series = *series.lag.get_or_insert_with(|| store.series(Id::ReadLag, &stream(entry)));
            store.observe(Id::ReadLag, series, lag);
        }
    }

    fn closed(&mut self, entry: &Entry) {
        self.gauges.note(entry, entry.ended.unwrap_or(entry.last_activity));
        self.held(entry, entry.duration_seconds(entry.last_activity));
        let live = self.streams.remove(&(entry.conn, entry.exchange)).unwrap_or_default();
        let outcome = entry.outcome.unwrap_or(Outcome::Lost);
        self.store.add_to(Id::Streams, &stream_and(entry, outcome.name()), 1.0);
        let killed = f64::from(u8::from(outcome == Outcome::ProcessExit));
        self.store.add_to(Id::StreamsKilledByExit, &stream(entry), killed);
        self.usage(entry);
        let Some(ended) = entry.ended.filter(|_| !lost(entry) && outcome != Outcome::Lost) else { return };
        let seconds = ended.seconds_since(entry.started);
        if entry.live {
            return; // it was not asked for at a moment from which it could be timed
        }
        if !entry.shape {
            self.store.observe_in(Id::OperationDuration, &operation_and(entry, &error_type(entry)), seconds);
        }
        if entry.streaming && !failed(entry) {
            self.store.observe_in(Id::StreamDuration, &stream(entry), seconds);
            self.delivered(entry, &live.delivery);
        }
    }

    fn delivered(&mut self, entry: &Entry, delivery: &Delivery) {
        let samples = [
            (Id::HeadBurst, entry.head_burst_ratio),
            (Id::Qoe, delivery.qoe(self.reader_rate)),
            (Id::ChunkTokens, tokens_per_chunk(entry)),
        ];
        for (id, sample) in samples {
            if let Some(sample) = sample {
                self.store.observe_in(id, &stream(entry), sample);
            }
        }
    }

    /// Tokens as the provider reported them; a field it did not report makes no series.
    fn usage(&mut self, entry: &Entry) {
        let usage = &entry.usage;
        for (id, tokens) in [
            (Id::InputTokens, usage.input),
            (Id::OutputTokens, usage.output),
            (Id::CacheReadTokens, usage.cached),
            (Id::CacheWriteTokens, usage.cache_write),
            (Id::ReasoningTokens, usage.reasoning),
        ] {
            if let Some(tokens) = tokens {
                // The provider's report does not say which modality the tokens were of.
                self.store.add_to(id, &operation_and(entry, "unknown"), tokens as f64);
            }
        }
    }
}

/// A detector's sample into the store.
fn take(store: &mut Store, sample: detect::Sample<'_>) {
    let Some(id) = metric_named(sample.metric) else { return };
    let common = sample.subject.map(detect::Subject::labels);
    // The last labels of a subject are those of the program.
    let left_out = common.iter().flatten().count().saturating_sub(metric(id).common.len());
    let labels: Vec<&str> = common.iter().flatten().skip(left_out).chain(sample.own).copied().collect();
    match sample.change {
        Change::Add(by) => store.add_to(id, &labels, by),
        Change::Observe(value) => store.observe_in(id, &labels, value),
        Change::Set(to) => store.set_to(id, &labels, to),
    }
}

impl Audience for Metrics {
    fn tick(&mut self, now: Ns) {
        let Metrics { store, detectors, .. } = self;
        detectors.tick(now, &mut |sample| take(store, sample));
    }

    fn hear(&mut self, happening: Happening<'_>) {
        let Metrics { store, detectors, .. } = self;
        detectors.hear(&happening, &mut |sample| take(store, sample));
        match happening {
            Happening::Opened(_)
            | Happening::Prompt { .. }
            | Happening::Said { .. }
            | Happening::Responded(_)
            | Happening::Acted { .. }
            | Happening::Exported { .. }
            | Happening::Unexported { .. }
            | Happening::SentOn { .. } => {}
            Happening::Requested(entry) => self.requested(entry),
            Happening::First { entry, milestone, seconds } => self.first(entry, milestone, seconds),
            Happening::Chunk { entry, gap, arrival_gap, chars } => self.chunk(entry, gap, arrival_gap, chars),
            Happening::Read { entry, events, lag } => self.read(entry, events, lag),
            Happening::Stall { entry, stall } => {
                self.store.add_to(Id::Stalls, &stream_and(entry, stall.cause.unwrap_or("unknown")), 1.0);
            }
            Happening::Closed(entry) => self.closed(entry),
            Happening::Lost { bytes, cause } => {
                self.store.add_to(Id::EventsLost, &[cause.name()], 1.0);
                self.store.add_to(Id::LostBytes, &[cause.name()], bytes.unwrap_or(0) as f64);
            }
            Happening::Record { entry, gap } => {
                if let Some(gap) = gap.filter(|gap| *gap > 0.0) {
                    self.store.observe_in(Id::RecordGap, &stream(entry), gap);
                }
            }
            Happening::Link { link, news } => pressure::hear(link, news, &mut self.store),
            Happening::Odd(note) => self.store.add_to(Id::ParseErrors, &[note.protocol, note.reason], 1.0),
        }
    }
}

impl ChunkSeries {
    fn find(store: &mut Store, entry: &Entry) -> ChunkSeries {
        ChunkSeries {
            read: None,
            arrival: None,
            chars: store.series(Id::ChunkChars, &stream(entry)),
            per_chunk: store.series(Id::TimePerChunk, &operation(entry)),
        }
    }
}

fn live<'a>(streams: &'a mut Streams, entry: &Entry) -> &'a mut Live {
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
    use crate::conn::testing::Script;
    use crate::pipeline::{Pipeline, Settings};

    const REQUEST: &str =
        "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 27\r\n\r\n{\"model\":\"m\",\"stream\":true}";
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    const CHUNK: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ab\"}}]}\n\n";

    fn chunked(text: &str) -> String {
        format!("{:x}\r\n{text}\r\n", text.len())
    }

    /// However calls end, nothing is kept for them: `Closed` is the last that is heard of a call.
    #[test]
    fn ended_streams_leave_nothing_behind() {
        let mut pipeline = Pipeline::new(Settings::default(), Metrics::new(Caps::default(), READER_RATE));
        for tgid in 1..200 {
            let mut script = Script::new(tgid, 1);
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
        assert_eq!(pipeline.book().open().count(), 0);
        assert!(pipeline.audience().streams.is_empty(), "{}", pipeline.audience().streams.len());
    }
}
