//! Chunk regression: the provider cuts its text differently, more than another rate of text
//! explains. Tokens a second stay green while users see text that twitches, bursts or pauses.
//!
//! One sample a stream, by subject, API and the model that answered; a baseline of days against the
//! newest streams. What is judged is visible characters, never bytes: providers pad.
//! `observer/docs/detectors/chunk_regression.md` has the rules for operators.

mod clock;
mod judge;
mod track;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use self::clock::{ChunkTimeline, OpenStreamChunks};
use self::track::{BaselineTrack, ShownGauges};
use super::config::{ConfigSection, thresholds, within};
use super::{Detector, DetectorNow, DetectorOutput, RecentMap};
use capture::limits;
use capture::units::Ns;
use ledger::{CallEvent, CallEventKind, CallOutcome, Entry};

use super::output::CallKey;
use crate::subject::Subject;

thresholds! {
    /// Thresholds of chunk regression.
    pub struct Config, RawConfig {
        /// Streams that a baseline needs.
        baseline_streams: u32 = 200, within(20..=100_000);
        /// Newest streams that are held against it.
        streams: u32 = 30, within(10..=64);
        /// Chunks a stream must have to count.
        min_chunks: u64 = 8, within(2..=1000);
        /// Smaller: characters a chunk fell below this share of the baseline. Larger: above its inverse.
        ratio: f64 = 0.6, within(0.1..=0.9);
        /// Deviations of the baseline's spread that a change must be.
        deviations: f64 = 5.0, within(1.0..=50.0);
        /// Head burst: by which share the rate of text may have fallen. At half the rate, evenly
        /// paced text has less than twice the head.
        speed_tolerance: f64 = 0.5, within(0.01..=0.9);
        /// Rate of text in the first 200 ms over that of the stream: how many times the baseline's is a head burst.
        head_burst: f64 = 3.0, within(1.5..=100.0);
        /// Share of streams with a stall, above that of the baseline, that is one verdict.
        stalled_share: f64 = 0.05, within(0.01..=0.9);
        /// A change that lasts this long becomes the baseline.
        adopt_hours: f64 = 168.0, within(1.0..=10_000.0);
    }
}

/// What one stream was like.
#[derive(Clone, Debug)]
struct StreamSample {
    at: Ns,
    id: String,
    /// Visible characters a chunk.
    size: f64,
    /// Visible characters a second.
    speed: f64,
    /// Visible tokens a chunk, where the provider's report leaves no doubt.
    tokens: Option<f64>,
    /// UTF-8 bytes a character: tells scripts apart.
    width: f64,
    /// Events a read; on the arrival clock, chunks an arrival.
    per_read: f64,
    /// Rate of text in the first 200 ms over that of the whole stream.
    head: f64,
    /// The stream stalled, and nobody on this host or on the way is to blame.
    stalled: bool,
}

/// Streams that have one baseline.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct BaselineKey {
    subject: Subject,
    api: Box<str>,
    /// The model that answered: a new one has a new baseline.
    answered: Box<str>,
    /// What its times are taken from: numbers of two clocks never share a baseline.
    #[serde(default)]
    clock: ChunkTimeline,
}

pub(crate) struct ChunkRegressionDetector {
    config: ConfigSection<Config>,
    live: RecentMap<CallKey, OpenStreamChunks>,
    tracks: RecentMap<BaselineKey, BaselineTrack>,
}

#[derive(Serialize, Deserialize)]
struct SavedChunkBaselines {
    key: BaselineKey,
    track: track::SavedTrack,
}

pub(crate) fn new(config: ConfigSection<Config>) -> ChunkRegressionDetector {
    ChunkRegressionDetector {
        config,
        live: RecentMap::new(limits::OPEN_STREAMS),
        tracks: RecentMap::new(limits::CHUNK_KEYS),
    }
}

impl Detector for ChunkRegressionDetector {
    fn on_call_event(&mut self, event: &CallEvent<'_>, out: &mut DetectorOutput<'_>) {
        let entry = event.entry;
        match event.what {
            CallEventKind::Chunk { gap, arrival_gap, chars } => {
                let live = self.live.touch((entry.conn, entry.exchange), OpenStreamChunks::default);
                live.chunk(gap, arrival_gap, u64::from(chars));
            }
            CallEventKind::Closed => self.closed(entry, out),
            _ => {}
        }
    }

    fn publish(&mut self, out: &mut DetectorOutput<'_>) {
        // The labels know neither models that answered nor clocks: of several baselines, the most alarming is shown.
        let mut shown: HashMap<&Subject, ShownGauges> = HashMap::new();
        for (key, track) in self.tracks.iter() {
            track.show(shown.entry(&key.subject).or_default());
        }
        shown.into_iter().for_each(|(subject, shown)| shown.publish(subject, out));
    }

    fn save(&self, now: DetectorNow) -> Option<serde_json::Value> {
        let kept: Vec<SavedChunkBaselines> = self
            .tracks
            .iter()
            .map(|(key, track)| SavedChunkBaselines { key: key.clone(), track: track.keep(now) })
            .collect();
        serde_json::to_value(kept).ok()
    }

    fn restore(&mut self, saved: serde_json::Value, now: DetectorNow) -> bool {
        let Ok(kept) = serde_json::from_value::<Vec<SavedChunkBaselines>>(saved) else { return false };
        for SavedChunkBaselines { key, track } in kept.into_iter().take(limits::CHUNK_KEYS) {
            self.tracks.insert(key, BaselineTrack::restore(track, now));
        }
        true
    }

    fn held(&self) -> usize {
        self.live.len() + self.tracks.iter().map(|(_, track)| track.held()).sum::<usize>()
    }

    fn forgotten(&self) -> u64 {
        self.live.forgotten() + self.tracks.forgotten()
    }
}

impl ChunkRegressionDetector {
    fn closed(&mut self, entry: &Entry, out: &mut DetectorOutput<'_>) {
        let live = self.live.remove(&(entry.conn, entry.exchange));
        let Some(config) = self.config.on(&entry.identity.service) else { return };
        let Some(live) = live.filter(|_| entry.streaming) else { return };
        let sample = match sample(entry, &live, config) {
            Ok(sample) => sample,
            Err(reason) => return out.withheld(reason),
        };
        let key = BaselineKey {
            subject: Subject::of(entry),
            api: entry.api.into(),
            answered: entry.response_model.as_deref().unwrap_or_default().into(),
            clock: live.clock(),
        };
        let track = self.tracks.touch(key.clone(), BaselineTrack::default);
        track.take(sample, config, &key, out);
    }
}

/// What a stream says of its delivery; `Err`: why it says nothing.
fn sample(entry: &Entry, live: &OpenStreamChunks, config: &Config) -> Result<StreamSample, &'static str> {
    if !entry.lost.is_empty() {
        return Err("lost_bytes");
    }
    if entry.outcome != Some(CallOutcome::Complete) {
        return Err("incomplete");
    }
    let delivery = live.delivery(entry);
    let seconds = delivery.seconds;
    if entry.chunks < config.min_chunks || seconds <= 0.0 {
        return Err("short");
    }
    let (chars, chunks) = (entry.visible_chars as f64, entry.chunks as f64);
    Ok(StreamSample {
        at: entry.ended.unwrap_or(entry.last_activity),
        id: entry.id.clone(),
        size: chars / chunks,
        speed: entry.visible_chars.saturating_sub(live.first_chars()) as f64 / seconds,
        tokens: entry.visible_tokens().map(|tokens| tokens as f64 / chunks),
        width: entry.visible_bytes as f64 / chars,
        per_read: delivery.together,
        head: delivery.head_share * seconds.max(clock::HEAD_SECONDS) / clock::HEAD_SECONDS,
        stalled: delivery.stalled,
    })
}
