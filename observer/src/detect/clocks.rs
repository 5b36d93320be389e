//! Clocks: one trusted clock for all that happens on this host, and what can be said of the others: how far a peer's `date` is off, with
//! its uncertainty, and when the wall clock of this host was set. Nothing is ever corrected.
//!
//! `observer/docs/detectors/clocks.md` has the rules for operators.

use std::collections::VecDeque;

use super::config::{Section, thresholds, within};
use super::quota::http_date;
use super::{Change, Detector, Out, Recent, Report, Severity, Subject, number};
use crate::ledger::{Entry, Happening};
use crate::limits;
use crate::units::Ns;

thresholds! {
    /// Thresholds of clocks.
    pub struct Config, Typed {
        /// A peer's clock is off if all of its bounds lie so far from this host's, seconds.
        offset_seconds: f64 = 2.0, within(0.1..=86_400.0);
        /// Responses that such a verdict rests on.
        responses: u32 = 10, within(2..=1000);
        /// A jump of this host's wall clock against its boot clock, seconds.
        step_seconds: f64 = 0.05, within(0.001..=3600.0);
        quiet_minutes: f64 = 60.0, within(1.0..=100_000.0);
    }
}

/// Bounds of one peer that are intersected: the newest. A clock drifts by 50 ppm, 30 ms in ten minutes.
const BOUNDS: usize = 64;

/// Bounds older than this are not used any more.
const OLD_NS: u64 = 600_000_000_000;

/// Shows how a peer's clock may lie to ours.
#[derive(Debug)]
struct Peer {
    subject: Subject,
    /// (when, at least, at most): `date` minus our wall clock, seconds.
    bounds: VecDeque<(Ns, f64, f64)>,
    streams: VecDeque<String>,
    off: bool,
}

pub struct Clocks {
    config: Section<Config>,
    peers: Recent<Box<str>, Peer>,
    wall: Option<i128>,
    steps: u64,
}

pub fn new(config: Section<Config>) -> Clocks {
    Clocks { config, peers: Recent::new(limits::CLOCK_PEERS), wall: None, steps: 0 }
}

impl Detector for Clocks {
    fn hear(&mut self, happening: &Happening<'_>, out: &mut Out<'_>) {
        if let Happening::Responded(entry) = happening {
            self.responded(entry, out);
        }
    }

    /// The edge tells the offset between wall and boot clock twice a second; a jump of it is a step of the wall clock.
    fn tick(&mut self, out: &mut Out<'_>) {
        let Some(wall) = out.now().wall else { return };
        let Some(before) = self.wall.replace(wall) else { return };
        let step = (wall - before) as f64 / 1e9;
        let config = self.config.base();
        if step.abs() < config.step_seconds || !config.enabled {
            return;
        }
        self.steps += 1;
        out.bare("llm_host_clock_steps_total", &[], Change::Add(1.0));
        // Bounds from before the step are of another clock.
        self.peers.iter_mut().for_each(|(_, peer)| peer.bounds.clear());
        let now = out.now().at;
        out.report(Report {
            key: "step",
            kind: "host_step",
            severity: if step.abs() >= 1.0 { Severity::Warning } else { Severity::Info },
            since: now,
            subject: &Subject::default(),
            verdict: format!("the wall clock of this host was set {step:+.3} s; durations here do not rest on it, time stamps of applications do"),
            inputs: vec![("step_seconds", number(step)), ("steps", self.steps.into())],
            baseline: Vec::new(),
            excluded: vec!["slewing (below a step)", "suspend (the boot clock counts it)"],
            streams: Vec::new(),
            quiet_ns: Some(quiet(config)),
        });
    }

    fn publish(&mut self, out: &mut Out<'_>) {
        for (peer, state) in self.peers.iter() {
            let Some((low, high)) = state.bound(out.now().at) else { continue };
            out.bare("llm_clock_offset_seconds", &[peer], Change::Set(f64::midpoint(low, high)));
            out.bare("llm_clock_offset_uncertainty_seconds", &[peer], Change::Set((high - low) / 2.0));
        }
    }

    fn held(&self) -> usize {
        self.peers.iter().map(|(_, peer)| 1 + peer.bounds.len()).sum()
    }
}

impl Clocks {
    /// A response's `date` was taken between the last byte of the request and the arrival of the head, and cut to a second.
    fn responded(&mut self, entry: &Entry, out: &mut Out<'_>) {
        let Some(config) = self.config.on(&entry.identity.service).cloned() else { return };
        let Some(facts) = &entry.answered else { return };
        let Some(date) = facts.date.as_deref().and_then(http_date) else { return out.withheld("no_date") };
        let now = out.now();
        let sent = entry.request_sent.unwrap_or(entry.started);
        let (Some(sent), Some(answered)) = (now.unix(sent), now.unix(entry.last_activity)) else {
            return out.withheld("no_wall_clock");
        };
        let subject = Subject::of(entry);
        let peer = self.peers.touch(subject.server.clone(), || Peer {
            subject,
            bounds: VecDeque::new(),
            streams: VecDeque::new(),
            off: false,
        });
        out.evaluated();
        // The server's clock stood between date and date + 1 when ours stood between sent and answered.
        peer.take((entry.last_activity, date - answered, date + 1.0 - sent), entry);
        if let (Some(first), Some(ms)) = (entry.firsts.byte, facts.processing_ms) {
            out.observe("llm_network_queue_seconds", &peer.subject, &[], (first - ms / 1e3).max(0.0));
        }
        peer.judge(&config, out);
    }
}

impl Peer {
    fn take(&mut self, (at, low, high): (Ns, f64, f64), entry: &Entry) {
        // A bound that contradicts all others is another clock behind the same name (or it was set): begin anew.
        if self.bound(at).is_some_and(|(least, most)| low > most || high < least) {
            self.bounds.clear();
        }
        self.bounds.push_back((at, low, high));
        self.streams.push_back(entry.id.clone());
        while self.bounds.len() > BOUNDS || self.bounds.front().is_some_and(|(old, ..)| at - *old > OLD_NS) {
            self.bounds.pop_front();
        }
        while self.streams.len() > 4 {
            self.streams.pop_front();
        }
    }

    /// What all bounds allow: the peer's clock minus ours, at least and at most.
    fn bound(&self, now: Ns) -> Option<(f64, f64)> {
        let fresh = self.bounds.iter().filter(|(at, ..)| now - *at <= OLD_NS);
        let both = fresh.fold((f64::NEG_INFINITY, f64::INFINITY), |(low, high), (_, least, most)| {
            (low.max(*least), high.min(*most))
        });
        (both.0.is_finite() && both.0 <= both.1).then_some(both)
    }

    fn judge(&mut self, config: &Config, out: &mut Out<'_>) {
        let now = out.now().at;
        let Some((low, high)) = self.bound(now).filter(|_| self.bounds.len() >= config.responses as usize) else {
            return;
        };
        let key = format!("offset|{}", self.subject.server);
        let off = low > config.offset_seconds || high < -config.offset_seconds;
        if !off {
            if std::mem::replace(&mut self.off, false) {
                out.over(&key);
            }
            return;
        }
        self.off = true;
        let (middle, half) = (f64::midpoint(low, high), (high - low) / 2.0);
        out.report(Report {
            key: &key,
            kind: "peer_offset",
            severity: Severity::Info,
            since: self.bounds.front().map_or(now, |(at, ..)| *at),
            subject: &self.subject,
            verdict: format!(
                "the clock of {} (or of the edge before it) is {middle:+.1} s (±{half:.1}) from this host's: spans that mix both are drawn in a wrong order",
                self.subject.server
            ),
            inputs: vec![
                ("offset_seconds", number(middle)),
                ("uncertainty_seconds", number(half)),
                ("responses", self.bounds.len().into()),
            ],
            baseline: vec![("threshold_seconds", number(config.offset_seconds))],
            excluded: vec!["the second that `date` is cut to", "time on the way (it is in the uncertainty)"],
            streams: self.streams.iter().cloned().collect(),
            quiet_ns: Some(quiet(config)),
        });
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 100,000 minutes")]
fn quiet(config: &Config) -> u64 {
    (config.quiet_minutes * 60e9) as u64
}
