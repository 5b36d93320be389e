//! One baseline and the newest streams beside it.

use crate::metrics;
use ledger::CallLabels;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::judge::{self, KINDS};
use super::{BaselineKey, Config, StreamSample};
use crate::{DetectorNow, DetectorOutput, QuantileSketch};
use capture::limits;
use capture::units::Ns;

/// Medians and spreads of a baseline are computed anew at most this often: of days, a minute moves
/// none of them. How many streams stalled is merely counted, and is never taken from before.
const FRESH_NS: u64 = 60_000_000_000;

/// Streams whose stalls are counted before the past weighs half; above what any configuration asks of a baseline.
const STALL_MEMORY: u64 = 200_000;

/// Seconds of a day.
const DAY: f64 = 86_400.0;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ChunkBaseline {
    size: QuantileSketch,
    speed: QuantileSketch,
    tokens: QuantileSketch,
    width: QuantileSketch,
    per_read: QuantileSketch,
    head: QuantileSketch,
    streams: u64,
    stalled: u64,
    /// Size and speed when the baseline was first complete: what a slow drift is held against.
    pub reference: Option<(f64, f64)>,
}

/// A baseline in numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct BaselineSummary {
    pub streams: u64,
    pub size: f64,
    pub spread: f64,
    pub speed: f64,
    pub tokens: Option<f64>,
    pub width: f64,
    pub per_read: f64,
    pub per_read_spread: f64,
    pub head: f64,
    /// `None`: of too few streams it is known whether they stalled. They are the newest ones for longer than others.
    pub stalls: Option<StallShare>,
}

/// Share of streams that stalled, and how many it rests on.
#[derive(Clone, Copy, Debug)]
pub(super) struct StallShare {
    pub share: f64,
    pub streams: f64,
}

#[derive(Debug, Default)]
pub(super) struct BaselineTrack {
    pub base: ChunkBaseline,
    summary: Option<(Ns, BaselineSummary)>,
    /// The newest streams; those that leave it are learned.
    pub window: VecDeque<StreamSample>,
    pub stalls: VecDeque<bool>,
    /// Since when each kind is so.
    pub active: BTreeMap<&'static str, Ns>,
    /// Sums of how far sizes lie below and above the reference.
    pub drift: [f64; 2],
    /// Size of the newest streams over the baseline's.
    pub ratio: Option<f64>,
}

/// What the gauges of a subject say.
#[derive(Debug, Default)]
pub(super) struct ShownGauges {
    ratio: Option<f64>,
    active: BTreeSet<&'static str>,
}

impl ShownGauges {
    pub(super) fn publish(self, subject: &CallLabels, out: &mut DetectorOutput<'_>) {
        let Some(ratio) = self.ratio else { return };
        out.set(metrics::CHUNK_RATIO.of(subject, &[]), ratio);
        for kind in KINDS {
            let active = f64::from(u8::from(self.active.contains(kind)));
            out.set(metrics::CHUNK_REGRESSION.of(subject, &[kind]), active);
        }
    }
}

/// What outlives a restart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedTrack {
    base: ChunkBaseline,
    /// Since when kinds are so, wall-clock seconds.
    active: Vec<(String, f64)>,
    drift: [f64; 2],
}

impl BaselineTrack {
    /// One more stream: judge, then learn what is old.
    pub(super) fn take(
        &mut self,
        sample: StreamSample,
        config: &Config,
        key: &BaselineKey,
        out: &mut DetectorOutput<'_>,
    ) {
        let (now, day) = (sample.at, day(out.now(), sample.at));
        self.stalls.push_back(sample.stalled);
        self.window.push_back(sample);
        while self.window.len() > limits::CHUNK_WINDOW
            && let Some(old) = self.window.pop_front()
        {
            self.learn(&old, day);
        }
        while self.stalls.len() > limits::CHUNK_STALLS
            && let Some(stalled) = self.stalls.pop_front()
        {
            self.learn_stall(stalled);
        }
        self.adopt(config, now);
        judge::judge(self, config, key, out);
    }

    /// The baseline in numbers, if it rests on enough streams.
    pub(super) fn summary(&mut self, config: &Config, now: Ns) -> Option<BaselineSummary> {
        let least = u64::from(config.baseline_streams);
        let stalls = self.base.stalls(least);
        if let Some((_, summary)) = self.summary.filter(|(at, _)| now - *at < FRESH_NS) {
            return Some(BaselineSummary { stalls, ..summary });
        }
        let summary = BaselineSummary { stalls, ..self.base.summary().filter(|summary| summary.streams >= least)? };
        self.base.reference.get_or_insert((summary.size, summary.speed));
        self.summary = Some((now, summary));
        Some(summary)
    }

    /// Adds its gauges to those of its subject.
    pub(super) fn show(&self, shown: &mut ShownGauges) {
        let Some(ratio) = self.ratio else { return };
        let worse = shown.ratio.is_none_or(|other| ratio.ln().abs() > other.ln().abs());
        shown.ratio = if worse { Some(ratio) } else { shown.ratio };
        shown.active.extend(self.active.keys());
    }

    pub(super) fn keep(&self, now: DetectorNow) -> SavedTrack {
        let since = |at: &Ns| now.unix(*at).unwrap_or(0.0);
        let active = self.active.iter().map(|(kind, at)| ((*kind).to_owned(), since(at))).collect();
        SavedTrack { base: self.base.clone(), active, drift: self.drift }
    }

    pub(super) fn restore(kept: SavedTrack, now: DetectorNow) -> BaselineTrack {
        let since = |unix: f64| now.moment(unix).unwrap_or(Ns(0));
        let kind = |name: &str| KINDS.into_iter().find(|kind| *kind == name);
        let active = kept.active.iter().filter_map(|(name, unix)| Some((kind(name)?, since(*unix)))).collect();
        BaselineTrack { base: kept.base, active, drift: kept.drift, ..BaselineTrack::default() }
    }

    pub(super) fn held(&self) -> usize {
        1 + self.window.len()
    }

    /// What is flagged is not learned: a regression must not become its own baseline.
    fn learn(&mut self, sample: &StreamSample, day: u32) {
        if !self.active.is_empty() {
            return;
        }
        let base = &mut self.base;
        base.size.add(day, sample.size);
        base.speed.add(day, sample.speed);
        base.width.add(day, sample.width);
        base.per_read.add(day, sample.per_read);
        base.head.add(day, sample.head);
        if let Some(tokens) = sample.tokens {
            base.tokens.add(day, tokens);
        }
    }

    fn learn_stall(&mut self, stalled: bool) {
        if !self.active.contains_key("stall") {
            self.base.streams += 1;
            self.base.stalled += u64::from(stalled);
        }
        // The share forgets too.
        if self.base.streams >= STALL_MEMORY {
            self.base.streams /= 2;
            self.base.stalled /= 2;
        }
    }

    /// What has been so for long is how it is.
    fn adopt(&mut self, config: &Config, now: Ns) {
        let old = |since: &Ns| now.seconds_since(*since) > config.adopt_hours * 3600.0;
        if self.active.values().any(old) {
            let (window, stalls) = (std::mem::take(&mut self.window), std::mem::take(&mut self.stalls));
            *self = BaselineTrack { window, stalls, ..BaselineTrack::default() };
        }
    }
}

impl ChunkBaseline {
    fn summary(&self) -> Option<BaselineSummary> {
        Some(BaselineSummary {
            streams: self.size.count(),
            size: self.size.median()?,
            spread: self.size.spread()?,
            speed: self.speed.median()?,
            // A median of few tells nothing of all.
            tokens: self.tokens.median().filter(|_| self.tokens.count() * 2 > self.size.count()),
            width: self.width.median()?,
            per_read: self.per_read.median()?,
            per_read_spread: self.per_read.spread()?,
            head: self.head.median()?,
            stalls: None,
        })
    }

    /// How many streams stalled, if so many are known at least.
    fn stalls(&self, least: u64) -> Option<StallShare> {
        let streams = self.streams as f64;
        (self.streams >= least).then(|| StallShare { share: self.stalled as f64 / streams, streams })
    }
}

/// Days since the epoch, or since the boot where nobody told the wall time.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn day(now: DetectorNow, at: Ns) -> u32 {
    (now.unix(at).unwrap_or(at.0 as f64 / 1e9) / DAY) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the first streams of all are the ones that stall, there is no share of before to hold against them.
    #[test]
    fn of_too_few_streams_nobody_knows_how_many_stall() {
        let base = |streams, stalled| ChunkBaseline { streams, stalled, ..ChunkBaseline::default() };
        assert!(base(0, 0).stalls(20).is_none() && base(19, 19).stalls(20).is_none());
        let StallShare { share, streams } = base(20, 5).stalls(20).unwrap();
        assert_eq!((share, streams), (0.25, 20.0));
    }
}
