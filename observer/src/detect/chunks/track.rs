//! One baseline and the newest streams beside it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::judge::{self, KINDS};
use super::{Config, Key, Sample};
use crate::detect::{Now, Out, Sketch, Subject};
use crate::limits;
use crate::units::Ns;

/// Medians and spreads of a baseline are computed anew at most this often: of days, a minute moves none of them. How many streams
/// stalled is merely counted, and is never taken from before.
const FRESH_NS: u64 = 60_000_000_000;

/// Streams whose stalls are counted before the past weighs half; above what any configuration asks of a baseline.
const STALL_MEMORY: u64 = 200_000;

/// Seconds of a day.
const DAY: f64 = 86_400.0;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Base {
    size: Sketch,
    speed: Sketch,
    tokens: Sketch,
    width: Sketch,
    per_read: Sketch,
    head: Sketch,
    streams: u64,
    stalled: u64,
    /// Size and speed when the baseline was first complete: what a slow drift is held against.
    pub reference: Option<(f64, f64)>,
}

/// A baseline in numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summary {
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
    pub stalls: Option<Stalls>,
}

/// Share of streams that stalled, and how many it rests on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stalls {
    pub share: f64,
    pub streams: f64,
}

#[derive(Debug, Default)]
pub(super) struct Track {
    pub base: Base,
    summary: Option<(Ns, Summary)>,
    /// The newest streams; those that leave it are learned.
    pub window: VecDeque<Sample>,
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
pub(super) struct Shown {
    ratio: Option<f64>,
    active: BTreeSet<&'static str>,
}

impl Shown {
    pub fn publish(self, subject: &Subject, out: &mut Out<'_>) {
        let Some(ratio) = self.ratio else { return };
        out.set("llm_chunk_size_ratio", subject, &[], ratio);
        for kind in KINDS {
            let active = f64::from(u8::from(self.active.contains(kind)));
            out.set("llm_chunk_regression_active", subject, &[kind], active);
        }
    }
}

/// What outlives a restart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    base: Base,
    /// Since when kinds are so, wall-clock seconds.
    active: Vec<(String, f64)>,
    drift: [f64; 2],
}

impl Track {
    /// One more stream: judge, then learn what is old.
    pub fn take(&mut self, sample: Sample, config: &Config, key: &Key, out: &mut Out<'_>) {
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
    pub fn summary(&mut self, config: &Config, now: Ns) -> Option<Summary> {
        let least = u64::from(config.baseline_streams);
        let stalls = self.base.stalls(least);
        if let Some((_, summary)) = self.summary.filter(|(at, _)| now - *at < FRESH_NS) {
            return Some(Summary { stalls, ..summary });
        }
        let summary = Summary { stalls, ..self.base.summary().filter(|summary| summary.streams >= least)? };
        self.base.reference.get_or_insert((summary.size, summary.speed));
        self.summary = Some((now, summary));
        Some(summary)
    }

    /// Adds its gauges to those of its subject.
    pub fn show(&self, shown: &mut Shown) {
        let Some(ratio) = self.ratio else { return };
        let worse = shown.ratio.is_none_or(|other| ratio.ln().abs() > other.ln().abs());
        shown.ratio = if worse { Some(ratio) } else { shown.ratio };
        shown.active.extend(self.active.keys());
    }

    pub fn keep(&self, now: Now) -> Kept {
        let since = |at: &Ns| now.unix(*at).unwrap_or(0.0);
        let active = self.active.iter().map(|(kind, at)| ((*kind).to_owned(), since(at))).collect();
        Kept { base: self.base.clone(), active, drift: self.drift }
    }

    pub fn restore(kept: Kept, now: Now) -> Track {
        let since = |unix: f64| now.moment(unix).unwrap_or(Ns(0));
        let kind = |name: &str| KINDS.into_iter().find(|kind| *kind == name);
        let active = kept.active.iter().filter_map(|(name, unix)| Some((kind(name)?, since(*unix)))).collect();
        Track { base: kept.base, active, drift: kept.drift, ..Track::default() }
    }

    pub fn held(&self) -> usize {
        1 + self.window.len()
    }

    /// What is flagged is not learned: a regression must not become its own baseline.
    fn learn(&mut self, sample: &Sample, day: u32) {
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
            *self = Track { window, stalls, ..Track::default() };
        }
    }
}

impl Base {
    fn summary(&self) -> Option<Summary> {
        Some(Summary {
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
    fn stalls(&self, least: u64) -> Option<Stalls> {
        let streams = self.streams as f64;
        (self.streams >= least).then(|| Stalls { share: self.stalled as f64 / streams, streams })
    }
}

/// Days since the epoch, or since the boot where nobody told the wall time.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn day(now: Now, at: Ns) -> u32 {
    (now.unix(at).unwrap_or(at.0 as f64 / 1e9) / DAY) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the first streams of all are the ones that stall, there is no share of before to hold against them.
    #[test]
    fn of_too_few_streams_nobody_knows_how_many_stall() {
        let base = |streams, stalled| Base { streams, stalled, ..Base::default() };
        assert!(base(0, 0).stalls(20).is_none() && base(19, 19).stalls(20).is_none());
        let Stalls { share, streams } = base(20, 5).stalls(20).unwrap();
        assert_eq!((share, streams), (0.25, 20.0));
    }
}
