//! Clocks: one trusted clock for all that happens on this host, and what can be said of the others: how far a peer's `date` is off, with
//! its uncertainty, when the wall clock of this host was set, and how far the spans of applications are from their calls. Nothing is ever
//! corrected.
//!
//! `observer/docs/detectors/clocks.md` has the rules for operators.

mod bounds;
mod order;
mod spans;

use self::bounds::{Bounds, centre};
use self::spans::Spans;
use super::config::{Section, thresholds, within};
use super::quota::http_date;
use super::{Change, Detector, Out, Recent, Report, Severity, Subject, number};
use crate::ledger::{Entry, Happening};
use crate::limits;

thresholds! {
    /// Thresholds of clocks.
    pub struct Config, Typed {
        /// A peer's clock is off if all of its bounds lie so far from this host's, seconds.
        offset_seconds: f64 = 2.0, within(0.1..=86_400.0);
        /// Responses that such a verdict rests on.
        responses: u32 = 10, within(2..=1000);
        /// A jump of this host's wall clock against its boot clock, seconds.
        step_seconds: f64 = 0.05, within(0.001..=3600.0);
        /// The clock of exported spans is off if all of its bounds lie so far from this host's, seconds.
        span_skew_seconds: f64 = 0.1, within(0.005..=86_400.0);
        /// Spans that such a verdict rests on.
        spans: u32 = 5, within(2..=64);
        /// Spans wait so long for their call to end, and calls for their span.
        span_wait_seconds: f64 = 60.0, within(1.0..=3600.0);
        /// A child that begins so much before its parent has another clock, seconds.
        order_seconds: f64 = 0.02, within(0.001..=3600.0);
        /// Such cases within an hour that a verdict rests on.
        orders: u32 = 3, within(1..=256);
        quiet_minutes: f64 = 60.0, within(1.0..=100_000.0);
    }
}

/// Shows how a peer's clock may lie to ours.
#[derive(Debug)]
struct Peer {
    /// What all calls to it have in common.
    subject: Subject,
    /// `date` minus our wall clock.
    bounds: Bounds,
}

pub struct Clocks {
    config: Section<Config>,
    peers: Recent<Box<str>, Peer>,
    spans: Spans,
    wall: Option<i128>,
    steps: u64,
}

pub fn new(config: Section<Config>) -> Clocks {
    Clocks { config, peers: Recent::new(limits::CLOCK_PEERS), spans: Spans::default(), wall: None, steps: 0 }
}

impl Detector for Clocks {
    fn hear(&mut self, happening: &Happening<'_>, out: &mut Out<'_>) {
        match happening {
            Happening::Opened(entry) if self.config.on(&entry.identity.service).is_some() => self.spans.opened(entry),
            Happening::Responded(entry) => self.responded(entry, out),
            Happening::Closed(entry) => {
                let Some(config) = self.config.on(&entry.identity.service) else { return };
                self.spans.closed(entry, config, out);
            }
            Happening::Exported { identity, span, salt, .. } => {
                let Some(config) = self.config.on(&identity.service) else { return };
                self.spans.exported(identity, span, salt, config, out);
            }
            Happening::Unexported { identity, why, .. } if self.config.on(&identity.service).is_some() => {
                out.withheld(why);
            }
            _ => {}
        }
    }

    /// The edge tells the offset between wall and boot clock twice a second; a jump of it is a step of the wall clock.
    fn tick(&mut self, out: &mut Out<'_>) {
        self.spans.tick(self.config.base(), out);
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
        self.spans.stepped(out);
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
            let Some((middle, half)) = state.bounds.within(out.now().at).map(centre) else { continue };
            out.bare("llm_clock_offset_seconds", &[peer], Change::Set(middle));
            out.bare("llm_clock_offset_uncertainty_seconds", &[peer], Change::Set(half));
        }
        self.spans.publish(out);
    }

    fn held(&self) -> usize {
        self.peers.iter().map(|(_, peer)| 1 + peer.bounds.len()).sum::<usize>() + self.spans.held()
    }

    fn forgotten(&self) -> u64 {
        self.peers.forgotten() + self.spans.forgotten()
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
        let new = || Peer { subject: subject.clone(), bounds: Bounds::default() };
        let peer = self.peers.touch(subject.server.clone(), new);
        peer.subject.keep_common(&subject);
        out.evaluated();
        // The server's clock stood between date and date + 1 when ours stood between sent and answered.
        peer.bounds.take((entry.last_activity, date - answered, date + 1.0 - sent), &entry.id);
        if let (Some(first), Some(ms)) = (entry.firsts.byte, facts.processing_ms) {
            out.observe("llm_network_queue_seconds", &subject, &[], (first - ms / 1e3).max(0.0));
        }
        peer.judge(&config, out);
    }
}

impl Peer {
    fn judge(&mut self, config: &Config, out: &mut Out<'_>) {
        let key = format!("offset|{}", self.subject.server);
        let judged = self.bounds.judge(config.responses, config.offset_seconds, &key, out);
        let Some((middle, half)) = judged else { return };
        out.report(Report {
            key: &key,
            kind: "peer_offset",
            severity: Severity::Info,
            since: self.bounds.since().unwrap_or(out.now().at),
            subject: &self.subject,
            verdict: format!(
                "the clock of {} (or of the edge before it) is {middle:+.2} s (±{half:.2}) from this host's: spans that mix both are drawn in a wrong order",
                self.subject.server
            ),
            inputs: vec![
                ("offset_seconds", number(middle)),
                ("uncertainty_seconds", number(half)),
                ("responses", self.bounds.len().into()),
            ],
            baseline: vec![("threshold_seconds", number(config.offset_seconds))],
            excluded: vec!["the second that `date` is cut to", "time on the way (it is in the uncertainty)"],
            streams: self.bounds.streams(),
            quiet_ns: Some(quiet(config)),
        });
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 100,000 minutes")]
fn quiet(config: &Config) -> u64 {
    (config.quiet_minutes * 60e9) as u64
}

impl Config {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within an hour")]
    fn wait_ns(&self) -> u64 {
        (self.span_wait_seconds * 1e9) as u64
    }
}
