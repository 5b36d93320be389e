//! First token: where it is defined. "Time to first chunk" counts the first event that carries
//! anything; users wait for the first text that they can see. A reasoning upgrade moves the second
//! and leaves the first where it was.
//!
//! `observer/docs/detectors/first_token.md` has the rules for operators.

use crate::metrics;
use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::config::{ConfigSection, any, thresholds, within};
use super::output::CallKey;
use super::{Detector, DetectorNow, DetectorOutput, FindingReport, FindingSeverity, QuantileSketch, RecentMap, number};
use crate::subject::Subject;
use capture::limits;
use capture::units::Ns;
use ledger::{CallEvent, CallEventKind, CallMilestone, CallOutcome, Entry};

thresholds! {
    /// Thresholds of first token.
    pub struct Config, RawConfig {
        /// Streams that a baseline needs, and newest ones that are held against it.
        baseline_streams: u32 = 100, within(20..=100_000);
        streams: u32 = 30, within(10..=64);
        /// The invisible wait grew: so many times the baseline's, by so many seconds, by so many deviations.
        growth: f64 = 2.0, within(1.1..=100.0);
        least_seconds: f64 = 0.5, within(0.01..=600.0);
        deviations: f64 = 5.0, within(1.0..=50.0);
        /// Objective for the first visible text, seconds; 0: none.
        objective_seconds: f64 = 0.0, within(0.0..=600.0);
        /// The application shows reasoning to its users: it counts as visible.
        reasoning_is_visible: bool = false, any;
        /// A change that lasts this long becomes the baseline.
        adopt_hours: f64 = 168.0, within(1.0..=10_000.0);
    }
}

/// Added to waits before their logarithm is taken, seconds: most are 0, and 10 ms more is no change.
const FLOOR: f64 = 0.05;

/// A verdict that is on goes off below this share of what turned it on.
const RELEASE: f64 = 0.7;

/// Share of streams that reason, before and after, from which on reasoning began.
const FEW: f64 = 0.1;
const MOST: f64 = 0.5;

#[derive(Clone, Debug)]
struct Sample {
    at: Ns,
    id: String,
    emitted: f64,
    visible: f64,
    silent: f64,
    reasoned: bool,
    answered: Box<str>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Base {
    emitted: QuantileSketch,
    visible: QuantileSketch,
    wait: QuantileSketch,
    streams: u64,
    reasoned: u64,
    answered: Box<str>,
}

#[derive(Debug, Default)]
struct Track {
    base: Base,
    window: VecDeque<Sample>,
    active: Option<Ns>,
    over_objective: bool,
    gap: Option<f64>,
}

#[derive(Serialize, Deserialize)]
struct SavedFirstTokens {
    key: Key,
    base: Base,
}

/// One baseline: not of the model that answers, since that is what may have changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Key {
    subject: Subject,
    api: Box<str>,
}

pub(crate) struct FirstTokenDetector {
    config: ConfigSection<Config>,
    tracks: RecentMap<Key, Track>,
    /// Longest silence before the first visible text, seconds.
    silent: RecentMap<CallKey, f64>,
}

pub(crate) fn new(config: ConfigSection<Config>) -> FirstTokenDetector {
    FirstTokenDetector {
        config,
        tracks: RecentMap::new(limits::CHUNK_KEYS),
        silent: RecentMap::new(limits::OPEN_STREAMS),
    }
}

impl Detector for FirstTokenDetector {
    fn on_call_event(&mut self, event: &CallEvent<'_>, out: &mut DetectorOutput<'_>) {
        let entry = event.entry;
        match event.what {
            CallEventKind::First { milestone: CallMilestone::Visible, .. } => {
                self.silent.insert((entry.conn, entry.exchange), entry.longest_silence as f64 / 1e9);
            }
            CallEventKind::Closed => self.closed(entry, out),
            _ => {}
        }
    }

    fn publish(&mut self, out: &mut DetectorOutput<'_>) {
        for (key, track) in self.tracks.iter() {
            if let Some(gap) = track.gap {
                out.set(metrics::DEFINITION_GAP.of(&key.subject, &[]), gap);
            }
        }
    }

    fn save(&self, _now: DetectorNow) -> Option<serde_json::Value> {
        let kept: Vec<SavedFirstTokens> = self
            .tracks
            .iter()
            .map(|(key, track)| SavedFirstTokens { key: key.clone(), base: track.base.clone() })
            .collect();
        serde_json::to_value(kept).ok()
    }

    fn restore(&mut self, saved: serde_json::Value, _now: DetectorNow) -> bool {
        let Ok(kept) = serde_json::from_value::<Vec<SavedFirstTokens>>(saved) else { return false };
        for SavedFirstTokens { key, base } in kept.into_iter().take(limits::CHUNK_KEYS) {
            self.tracks.insert(key, Track { base, ..Track::default() });
        }
        true
    }

    fn held(&self) -> usize {
        self.silent.len() + self.tracks.iter().map(|(_, track)| 1 + track.window.len()).sum::<usize>()
    }

    fn forgotten(&self) -> u64 {
        self.tracks.forgotten() + self.silent.forgotten()
    }
}

impl FirstTokenDetector {
    fn closed(&mut self, entry: &Entry, out: &mut DetectorOutput<'_>) {
        let silent = self.silent.remove(&(entry.conn, entry.exchange)).unwrap_or(0.0);
        let Some(config) = self.config.on(&entry.identity.service).cloned() else { return };
        if !entry.streaming {
            return;
        }
        match sample(entry, silent, &config) {
            Err(reason) => out.withheld(reason),
            Ok(sample) => {
                out.observe(metrics::SILENT_WAIT.of(&entry.labels, &[]), sample.silent);
                let key = Key { subject: Subject::of(entry), api: entry.api.into() };
                let track = self.tracks.touch(key.clone(), Track::default);
                track.take(sample, &config, &key, out);
            }
        }
    }
}

fn sample(entry: &Entry, silent: f64, config: &Config) -> Result<Sample, &'static str> {
    if !entry.lost.is_empty() || entry.outcome == Some(CallOutcome::Lost) {
        return Err("lost_bytes");
    }
    if entry.status.is_some_and(|status| status >= 400) {
        return Err("failed");
    }
    let firsts = &entry.firsts;
    let visible = match (firsts.visible, firsts.reasoning.filter(|_| config.reasoning_is_visible)) {
        (Some(text), Some(reasoning)) => Some(text.min(reasoning)),
        (text, reasoning) => text.or(reasoning),
    };
    let (Some(visible), Some(emitted)) = (visible, firsts.emitted) else { return Err("nothing_visible") };
    Ok(Sample {
        at: entry.ended.unwrap_or(entry.last_activity),
        id: entry.id.clone(),
        emitted,
        visible,
        silent,
        reasoned: entry.reasoning_chars > 0 || entry.usage.reasoning.is_some_and(|tokens| tokens > 0),
        answered: entry.response_model.as_deref().unwrap_or_default().into(),
    })
}

/// Two sides of a comparison.
struct Sides {
    wait: f64,
    emitted: f64,
    visible: f64,
    emitted_95: f64,
    visible_95: f64,
    silent: f64,
    reasoned: f64,
}

impl Track {
    fn take(&mut self, sample: Sample, config: &Config, key: &Key, out: &mut DetectorOutput<'_>) {
        let (now, at) = (out.now(), sample.at);
        if self.active.is_some_and(|since| at.seconds_since(since) > config.adopt_hours * 3600.0) {
            out.end(&name("invisible_wait", key));
            *self = Track { window: std::mem::take(&mut self.window), ..Track::default() };
        }
        self.window.push_back(sample);
        while self.window.len() > limits::CHUNK_WINDOW
            && let Some(old) = self.window.pop_front()
        {
            self.learn(&old, day(now, at));
        }
        self.judge(config, key, out);
    }

    fn learn(&mut self, old: &Sample, day: u32) {
        if self.active.is_some() {
            return;
        }
        let base = &mut self.base;
        base.emitted.add(day, old.emitted);
        base.visible.add(day, old.visible);
        base.wait.add(day, (old.visible - old.emitted).max(0.0) + FLOOR);
        base.streams += 1;
        base.reasoned += u64::from(old.reasoned);
        base.answered.clone_from(&old.answered);
    }

    fn judge(&mut self, config: &Config, key: &Key, out: &mut DetectorOutput<'_>) {
        let wanted = config.streams as usize;
        if self.window.len() < wanted {
            return out.withheld("few_streams");
        }
        let newest: Vec<Sample> = self.window.iter().rev().take(wanted).cloned().collect();
        let now = sides(&newest);
        self.gap = Some(now.visible_95 / now.emitted_95.max(1e-3));
        self.objective(&now, &newest, config, key, out);
        let (Some(wait), Some(spread)) = (self.base.wait.median(), self.base.wait.spread()) else {
            return out.withheld("learning");
        };
        if self.base.wait.count() < u64::from(config.baseline_streams) {
            return out.withheld("learning");
        }
        out.evaluated();
        let grown = (now.wait + FLOOR) / wait;
        let strength = (grown.ln() / config.growth.ln())
            .min((now.wait + FLOOR - wait) / config.least_seconds)
            .min(grown.ln() / spread / config.deviations);
        let on = self.active.is_some();
        if strength >= 1.0 || (on && strength >= RELEASE) {
            self.report_wait(wait - FLOOR, &now, &newest, key, out);
        } else if on {
            self.active = None;
            out.end(&name("invisible_wait", key));
        }
    }

    fn report_wait(&mut self, wait: f64, now: &Sides, newest: &[Sample], key: &Key, out: &mut DetectorOutput<'_>) {
        let deviant = |s: &&Sample| s.visible - s.emitted > (wait + now.wait) / 2.0;
        let first = newest.iter().rev().find(deviant).map_or(out.now().at, |sample| sample.at);
        let since = *self.active.get_or_insert(first);
        let answered = newest.first().map_or("", |sample| &*sample.answered);
        let base = &self.base;
        let before = base.reasoned as f64 / base.streams.max(1) as f64;
        let mut because = Vec::new();
        if before < FEW && now.reasoned > MOST {
            because.push("the model began to reason".to_owned());
        }
        if *answered != *base.answered {
            because.push(format!("{} answers instead of {}", answered, base.answered));
        }
        let because = if because.is_empty() { String::new() } else { format!(" ({})", because.join(", ")) };
        let median = |sketch: &QuantileSketch| sketch.median().map_or(serde_json::Value::Null, number);
        out.report(FindingReport {
            key: &name("invisible_wait", key),
            kind: "invisible_wait",
            severity: FindingSeverity::Warning,
            since,
            subject: &key.subject,
            verdict: format!(
                "users wait {:.1} s from the first chunk to the first visible text (before: {wait:.1} s), while the first chunk comes after {:.2} s{because}",
                now.wait, now.emitted
            ),
            inputs: facts(now, answered),
            baseline: vec![
                ("streams", base.streams.into()),
                ("invisible_wait", number(wait)),
                ("first_chunk", median(&base.emitted)),
                ("first_visible", median(&base.visible)),
                ("reasoning_share", number(before)),
                ("answered_by", (*base.answered).into()),
            ],
            excluded: vec!["tool calls and refusals (nothing visible was due)", "lost bytes", "a few odd streams (medians of 30)"],
            streams: newest.iter().filter(deviant).take(4).map(|sample| sample.id.clone()).collect(),
            quiet_ns: None,
        });
    }

    /// The objective is met by the first chunk and missed by the first visible text.
    fn objective(&mut self, now: &Sides, newest: &[Sample], config: &Config, key: &Key, out: &mut DetectorOutput<'_>) {
        let limit = config.objective_seconds;
        let hidden = limit > 0.0 && now.visible_95 > limit && now.emitted_95 < limit;
        let name = name("objective_hidden", key);
        if !hidden && std::mem::replace(&mut self.over_objective, hidden) {
            return out.end(&name);
        }
        self.over_objective = hidden;
        if !hidden {
            return;
        }
        out.report(FindingReport {
            key: &name,
            kind: "objective_hidden",
            severity: FindingSeverity::Warning,
            since: newest.last().map_or(out.now().at, |sample| sample.at),
            subject: &key.subject,
            verdict: format!(
                "95 % of first chunks come within {:.2} s, 95 % of first visible texts within {:.2} s: an objective of {limit} s on the first chunk is green and users wait",
                now.emitted_95, now.visible_95
            ),
            inputs: facts(now, newest.first().map_or("", |sample| &*sample.answered)),
            baseline: vec![("objective_seconds", number(limit))],
            excluded: vec!["a provider that is slow from the first byte on"],
            streams: newest.iter().filter(|s| s.visible > limit).take(4).map(|s| s.id.clone()).collect(),
            quiet_ns: None,
        });
    }
}

fn facts(now: &Sides, answered: &str) -> Vec<super::EvidenceFact> {
    vec![
        ("invisible_wait", number(now.wait)),
        ("first_chunk", number(now.emitted)),
        ("first_visible", number(now.visible)),
        ("first_chunk_p95", number(now.emitted_95)),
        ("first_visible_p95", number(now.visible_95)),
        ("silent_wait", number(now.silent)),
        ("reasoning_share", number(now.reasoned)),
        ("answered_by", answered.into()),
    ]
}

fn sides(newest: &[Sample]) -> Sides {
    let at = |q: f64, field: fn(&Sample) -> f64| {
        let mut values: Vec<f64> = newest.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
        let index = (q * (values.len().saturating_sub(1)) as f64).round() as usize;
        values.get(index).copied().unwrap_or(0.0)
    };
    Sides {
        wait: at(0.5, |s| (s.visible - s.emitted).max(0.0)),
        emitted: at(0.5, |s| s.emitted),
        visible: at(0.5, |s| s.visible),
        emitted_95: at(0.95, |s| s.emitted),
        visible_95: at(0.95, |s| s.visible),
        silent: at(0.5, |s| s.silent),
        reasoned: newest.iter().filter(|s| s.reasoned).count() as f64 / newest.len().max(1) as f64,
    }
}

fn name(kind: &str, key: &Key) -> String {
    format!("{kind}|{}|{}", key.subject.key(), key.api)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn day(now: DetectorNow, at: Ns) -> u32 {
    (now.unix(at).unwrap_or(at.0 as f64 / 1e9) / 86_400.0) as u32
}
