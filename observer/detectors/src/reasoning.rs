//! Reasoning: how much of what is paid for nobody sees, and when that changes. Counted, never kept:
//! no text of it leaves the pipeline.
//!
//! `observer/docs/detectors/reasoning.md` has the rules for operators.

use crate::metrics;
use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::common::median;
use super::config::{ConfigSection, thresholds, within};
use super::output::CallKey;
use super::{Detector, DetectorNow, DetectorOutput, FindingReport, FindingSeverity, QuantileSketch, RecentMap, number};
use crate::subject::Subject;
use capture::limits;
use capture::units::Ns;
use dialects::ProviderMark;
use dialects::prompt::Prompt;
use ledger::{CallEvent, CallEventKind, CallOutcome, Entry};

thresholds! {
    /// Thresholds of reasoning.
    pub struct Config, RawConfig {
        /// Answers that a baseline needs, and newest ones that are held against it.
        baseline_answers: u32 = 100, within(20..=100_000);
        answers: u32 = 30, within(10..=64);
        /// The share of output spent on reasoning grew by this factor, and by so much.
        growth: f64 = 1.5, within(1.05..=100.0);
        least_share: f64 = 0.15, within(0.01..=1.0);
        /// Share of the newest answers that are reasoning and nothing else.
        empty_share: f64 = 0.2, within(0.01..=1.0);
        /// A change that lasts this long becomes the baseline.
        adopt_hours: f64 = 168.0, within(1.0..=10_000.0);
    }
}

/// A verdict that is on goes off below this share of what turned it on.
const RELEASE: f64 = 0.7;

/// Added to shares before they are compared: 0 has no factor.
const FLOOR: f64 = 0.05;

#[derive(Clone, Debug)]
struct Sample {
    at: Ns,
    id: String,
    share: f64,
    output: f64,
    empty: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Base {
    share: QuantileSketch,
    output: QuantileSketch,
}

#[derive(Debug, Default)]
struct Track {
    base: Base,
    window: VecDeque<Sample>,
    active: Option<Ns>,
    empty: bool,
}

/// What an open call asked for.
#[derive(Debug)]
struct ReasoningRequest {
    budget: Option<u64>,
}

pub(crate) struct ReasoningDetector {
    config: ConfigSection<Config>,
    tracks: RecentMap<Subject, Track>,
    asked: RecentMap<CallKey, ReasoningRequest>,
}

pub(crate) fn new(config: ConfigSection<Config>) -> ReasoningDetector {
    ReasoningDetector {
        config,
        tracks: RecentMap::new(limits::CHUNK_KEYS),
        asked: RecentMap::new(limits::OPEN_STREAMS),
    }
}

impl Detector for ReasoningDetector {
    fn on_call_event(&mut self, event: &CallEvent<'_>, out: &mut DetectorOutput<'_>) {
        let entry = event.entry;
        match event.what {
            CallEventKind::Prompt(prompt) => self.asked(entry, prompt),
            CallEventKind::Closed => self.closed(entry, out),
            _ => {}
        }
    }

    fn save(&self, _now: DetectorNow) -> Option<serde_json::Value> {
        let kept: Vec<(&Subject, &Base)> = self.tracks.iter().map(|(subject, track)| (subject, &track.base)).collect();
        serde_json::to_value(kept).ok()
    }

    fn restore(&mut self, saved: serde_json::Value, _now: DetectorNow) -> bool {
        let Ok(kept) = serde_json::from_value::<Vec<(Subject, Base)>>(saved) else { return false };
        for (subject, base) in kept.into_iter().take(limits::CHUNK_KEYS) {
            self.tracks.insert(subject, Track { base, ..Track::default() });
        }
        true
    }

    fn held(&self) -> usize {
        self.asked.len() + self.tracks.iter().map(|(_, track)| 1 + track.window.len()).sum::<usize>()
    }

    fn forgotten(&self) -> u64 {
        self.tracks.forgotten() + self.asked.forgotten()
    }
}

impl ReasoningDetector {
    fn asked(&mut self, entry: &Entry, prompt: &Prompt) {
        let asked = ReasoningRequest { budget: prompt.budget };
        self.asked.insert((entry.conn, entry.exchange), asked);
    }

    fn closed(&mut self, entry: &Entry, out: &mut DetectorOutput<'_>) {
        let asked = self.asked.remove(&(entry.conn, entry.exchange));
        let Some(config) = self.config.on(&entry.identity.service).cloned() else { return };
        if entry.status.is_none_or(|status| status >= 400) {
            return;
        }
        if !entry.lost.is_empty() {
            return out.withheld("lost_bytes");
        }
        if entry.outcome != Some(CallOutcome::Complete) {
            return out.withheld("incomplete");
        }
        let subject = Subject::of(entry);
        let mode = mode(entry);
        measure(entry, mode, asked.as_ref(), &subject, out);
        match sample(entry) {
            Err(reason) => out.withheld(reason),
            Ok(sample) => {
                let now = out.now();
                self.tracks.touch(subject.clone(), Track::default).take(sample, now, &config, &subject, mode, out);
            }
        }
    }
}

/// `plain`, `summary`, `encrypted`, `hidden` or `none`: how much of the reasoning came along.
fn mode(entry: &Entry) -> &'static str {
    let tokens = entry.usage.reasoning.unwrap_or(0);
    match (entry.reasoning_chars, tokens) {
        // A summary is a few words for many tokens: text of 4 characters a token would be 4 times as long.
        (1.., 1..) if entry.reasoning_chars < tokens && entry.api == "openai.responses" => "summary",
        (1.., _) => "plain",
        // A provider that counts none may sign its answer all the same.
        (0, _) if entry.mark(ProviderMark::Sealed).is_some() && entry.usage.reasoning != Some(0) => "encrypted",
        (0, 1..) => "hidden",
        (0, 0) => "none",
    }
}

fn measure(
    entry: &Entry,
    mode: &'static str,
    asked: Option<&ReasoningRequest>,
    subject: &Subject,
    out: &mut DetectorOutput<'_>,
) {
    if let Some(tokens) = entry.usage.reasoning.filter(|tokens| *tokens > 0) {
        out.add(metrics::DETECT_REASONING_TOKENS.of(subject, &[mode]), tokens as f64);
        if let Some(budget) = asked.and_then(|asked| asked.budget).filter(|budget| *budget > 0) {
            out.observe(metrics::REASONING_BUDGET.of(subject, &[]), tokens as f64 / budget as f64);
        }
    }
    if mode == "hidden" {
        out.add(metrics::REASONING_HIDDEN.of(subject, &[]), 1.0);
    }
    if let Some(share) = share(entry) {
        out.observe(metrics::REASONING_RATIO.of(subject, &[]), share);
    }
    let firsts = &entry.firsts;
    let until = firsts.visible.or(firsts.tool);
    // Reasoning that nobody can read is the silence before the first delta; what came along has a beginning of its own.
    let phase = match mode {
        "none" => None,
        "hidden" | "encrypted" => until.zip(firsts.byte).map(|(until, byte)| until - byte),
        _ => until.zip(firsts.reasoning).map(|(until, from)| until - from),
    };
    if let Some(seconds) = phase.filter(|seconds| *seconds >= 0.0) {
        out.observe(metrics::REASONING_PHASE.of(subject, &[]), seconds);
    }
}

/// The share of the output tokens that went into reasoning, where the provider reports both.
fn share(entry: &Entry) -> Option<f64> {
    let (output, reasoning) = (entry.usage.output?, entry.usage.reasoning?);
    (output > 0).then(|| (reasoning as f64 / output as f64).clamp(0.0, 1.0))
}

fn sample(entry: &Entry) -> Result<Sample, &'static str> {
    let share = share(entry).ok_or("no_usage")?;
    let shown = entry.visible_chars + entry.tool_chars + entry.refusal_chars;
    Ok(Sample {
        at: entry.ended.unwrap_or(entry.last_activity),
        id: entry.id.clone(),
        share,
        output: entry.usage.output.unwrap_or(0) as f64,
        empty: shown == 0 && entry.media_bytes == 0,
    })
}

impl Track {
    fn take(
        &mut self,
        sample: Sample,
        now: DetectorNow,
        config: &Config,
        subject: &Subject,
        mode: &'static str,
        out: &mut DetectorOutput<'_>,
    ) {
        if self.active.is_some_and(|since| sample.at.seconds_since(since) > config.adopt_hours * 3600.0) {
            out.end(&name("share", subject));
            *self = Track { window: std::mem::take(&mut self.window), ..Track::default() };
        }
        let day = day(now, sample.at);
        self.window.push_back(sample);
        while self.window.len() > limits::CHUNK_WINDOW
            && let Some(old) = self.window.pop_front()
        {
            if self.active.is_none() {
                self.base.share.add(day, old.share + FLOOR);
                self.base.output.add(day, old.output);
            }
        }
        self.judge(config, subject, mode, out);
    }

    fn judge(&mut self, config: &Config, subject: &Subject, mode: &'static str, out: &mut DetectorOutput<'_>) {
        let wanted = config.answers as usize;
        if self.window.len() < wanted {
            return out.withheld("few_answers");
        }
        let newest: Vec<&Sample> = self.window.iter().rev().take(wanted).collect();
        let share = median(newest.iter().map(|s| s.share).collect()).unwrap_or(0.0);
        let output = median(newest.iter().map(|s| s.output).collect()).unwrap_or(0.0);
        let empty = newest.iter().filter(|s| s.empty).count() as f64 / wanted as f64;
        let ids: Vec<String> = newest.iter().filter(|s| s.empty).take(4).map(|s| s.id.clone()).collect();
        self.empty = report_empty(empty, self.empty, ids, config, subject, mode, out);
        let (Some(before), Some(output_before)) = (self.base.share.median(), self.base.output.median()) else {
            return out.withheld("learning");
        };
        if self.base.share.count() < u64::from(config.baseline_answers) {
            return out.withheld("learning");
        }
        out.evaluated();
        let grown = (share + FLOOR) / before;
        let strength = (grown.ln() / config.growth.ln()).min((share + FLOOR - before) / config.least_share);
        let on = self.active.is_some();
        if strength < 1.0 && !(on && strength >= RELEASE) {
            if self.active.take().is_some() {
                out.end(&name("share", subject));
            }
            return;
        }
        let deviant = |s: &&&Sample| s.share + FLOOR > f64::midpoint(before, share + FLOOR);
        let first = newest.iter().rev().find(deviant).map_or(out.now().at, |s| s.at);
        let since = *self.active.get_or_insert(first);
        let before = before - FLOOR;
        out.report(FindingReport {
            key: &name("share", subject),
            kind: "share_grew",
            severity: FindingSeverity::Warning,
            since,
            subject,
            verdict: format!(
                "{:.0} % of the output tokens are reasoning (before: {:.0} %), {output:.0} tokens an answer (before: {output_before:.0}); reasoning comes as {mode}",
                100.0 * share,
                100.0 * before.max(0.0)
            ),
            inputs: vec![
                ("reasoning_share", number(share)),
                ("output_tokens", number(output)),
                ("mode", mode.into()),
                ("answers", wanted.into()),
            ],
            baseline: vec![
                ("reasoning_share", number(before.max(0.0))),
                ("output_tokens", number(output_before)),
                ("answers", self.base.share.count().into()),
            ],
            excluded: vec!["more calls (shares are of an answer)", "answers without a report of tokens", "a few odd answers (medians of 30)"],
            streams: newest.iter().filter(deviant).take(4).map(|s| s.id.clone()).collect(),
            quiet_ns: None,
        });
    }
}

/// Answers that end with reasoning and nothing else: paid for, and nobody sees a word.
fn report_empty(
    share: f64,
    was: bool,
    streams: Vec<String>,
    config: &Config,
    subject: &Subject,
    mode: &'static str,
    out: &mut DetectorOutput<'_>,
) -> bool {
    let key = name("only", subject);
    if share < config.empty_share {
        if was {
            out.end(&key);
        }
        return false;
    }
    out.report(FindingReport {
        key: &key,
        kind: "reasoning_only",
        severity: FindingSeverity::Warning,
        since: out.now().at,
        subject,
        verdict: format!(
            "{:.0} % of the newest answers are reasoning and nothing else: users see an empty answer",
            100.0 * share
        ),
        inputs: vec![("share", number(share)), ("mode", mode.into())],
        baseline: vec![("threshold", number(config.empty_share))],
        excluded: vec!["tool calls", "refusals", "answers that were cut or lost"],
        streams,
        quiet_ns: None,
    });
    true
}

fn name(kind: &str, subject: &Subject) -> String {
    format!("{kind}|{}", subject.key())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn day(now: DetectorNow, at: Ns) -> u32 {
    (now.unix(at).unwrap_or(at.0 as f64 / 1e9) / 86_400.0) as u32
}
