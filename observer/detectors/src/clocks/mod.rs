//! Clocks: one trusted clock for all that happens on this host, and what can be said of the others:
//! how far a peer's `date` is off, with its uncertainty, when the wall clock of this host was set,
//! and how far the spans of applications are from their calls. Nothing is ever corrected.
//!
//! `observer/docs/detectors/clocks.md` has the rules for operators.

mod bounds;
mod order;
mod spans;

use self::bounds::{ClockBounds, centre};
use self::spans::SpanMatcher;
use super::common::quiet_ns;
use super::config::{ConfigSection, thresholds, within};
use super::quota::http_date;
use super::{Detector, DetectorOutput, FindingReport, FindingSeverity, RecentMap, number};
use crate::metrics;
use capture::limits;
use ledger::CallLabels;
use ledger::{CallEvent, CallEventKind, Entry, HostEvent};

thresholds! {
    /// Thresholds of clocks.
    pub struct Config, RawConfig {
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
struct PeerClock {
    /// What all calls to it have in common.
    subject: CallLabels,
    /// `date` minus our wall clock.
    bounds: ClockBounds,
}

pub(crate) struct ClocksDetector {
    config: ConfigSection<Config>,
    peers: RecentMap<Box<str>, PeerClock>,
    spans: SpanMatcher,
    wall: Option<i128>,
    steps: u64,
}

pub(crate) fn new(config: ConfigSection<Config>) -> ClocksDetector {
    ClocksDetector {
        config,
        peers: RecentMap::new(limits::CLOCK_PEERS),
        spans: SpanMatcher::default(),
        wall: None,
        steps: 0,
    }
}

impl Detector for ClocksDetector {
    fn on_call_event(&mut self, event: &CallEvent<'_>, out: &mut DetectorOutput<'_>) {
        let entry = event.entry;
        match event.what {
            CallEventKind::Opened if self.config.on(&entry.identity.service).is_some() => self.spans.opened(entry),
            CallEventKind::Responded => self.responded(entry, out),
            CallEventKind::Closed => {
                let Some(config) = self.config.on(&entry.identity.service) else { return };
                self.spans.closed(entry, config, out);
            }
            _ => {}
        }
    }

    fn on_host_event(&mut self, event: &HostEvent<'_>, out: &mut DetectorOutput<'_>) {
        match event {
            HostEvent::Exported { identity, span, salt, .. } => {
                let Some(config) = self.config.on(&identity.service) else { return };
                self.spans.exported(identity, span, salt, config, out);
            }
            HostEvent::Unexported { identity, why, .. } if self.config.on(&identity.service).is_some() => {
                out.withheld(why);
            }
            _ => {}
        }
    }

    /// The edge tells the offset between wall and boot clock twice a second; a jump of it is a step of the wall clock.
    fn tick(&mut self, out: &mut DetectorOutput<'_>) {
        self.spans.tick(self.config.base(), out);
        let Some(wall) = out.now().wall else { return };
        let Some(before) = self.wall.replace(wall) else { return };
        let step = (wall - before) as f64 / 1e9;
        let config = self.config.base();
        if step.abs() < config.step_seconds || !config.enabled {
            return;
        }
        self.steps += 1;
        out.add(metrics::CLOCK_STEPS.with(&[]), 1.0);
        // Bounds from before the step are of another clock.
        self.peers.iter_mut().for_each(|(_, peer)| peer.bounds.clear());
        self.spans.stepped(out);
        let now = out.now().at;
        out.report(FindingReport {
            key: "step",
            kind: "host_step",
            severity: if step.abs() >= 1.0 { FindingSeverity::Warning } else { FindingSeverity::Info },
            since: now,
            subject: &CallLabels::default(),
            verdict: format!("the wall clock of this host was set {step:+.3} s; durations here do not rest on it, time stamps of applications do"),
            inputs: vec![("step_seconds", number(step)), ("steps", self.steps.into())],
            baseline: Vec::new(),
            excluded: vec!["slewing (below a step)", "suspend (the boot clock counts it)"],
            streams: Vec::new(),
            quiet_ns: Some(quiet_ns(config.quiet_minutes)),
        });
    }

    fn publish(&mut self, out: &mut DetectorOutput<'_>) {
        for (peer, state) in self.peers.iter() {
            let Some((middle, half)) = state.bounds.within(out.now().at).map(centre) else { continue };
            out.set(metrics::CLOCK_OFFSET.with(&[peer]), middle);
            out.set(metrics::CLOCK_UNCERTAINTY.with(&[peer]), half);
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

impl ClocksDetector {
    /// A response's `date` was taken between the last byte of the request and the arrival of the
    /// head, and cut to a second.
    fn responded(&mut self, entry: &Entry, out: &mut DetectorOutput<'_>) {
        let Some(config) = self.config.on(&entry.identity.service).cloned() else { return };
        let Some(facts) = &entry.answered else { return };
        let Some(date) = facts.date.as_deref().and_then(http_date) else { return out.withheld("no_date") };
        let now = out.now();
        let sent = entry.request_sent.unwrap_or(entry.started);
        let (Some(sent), Some(answered)) = (now.unix(sent), now.unix(entry.last_activity)) else {
            return out.withheld("no_wall_clock");
        };
        let subject = &*entry.labels;
        let new = || PeerClock { subject: subject.clone(), bounds: ClockBounds::default() };
        let peer = self.peers.touch(subject.server.clone(), new);
        peer.subject.keep_common(subject);
        out.evaluated();
        // The server's clock stood between date and date + 1 when ours stood between sent and answered.
        peer.bounds.take((entry.last_activity, date - answered, date + 1.0 - sent), &entry.id);
        if let (Some(first), Some(ms)) = (entry.firsts.byte, facts.processing_ms) {
            out.observe(metrics::NETWORK_QUEUE.of(subject, &[]), (first - ms / 1e3).max(0.0));
        }
        peer.judge(&config, out);
    }
}

impl PeerClock {
    fn judge(&mut self, config: &Config, out: &mut DetectorOutput<'_>) {
        let key = format!("offset|{}", self.subject.server);
        let judged = self.bounds.judge(config.responses, config.offset_seconds, &key, out);
        let Some((middle, half)) = judged else { return };
        out.report(FindingReport {
            key: &key,
            kind: "peer_offset",
            severity: FindingSeverity::Info,
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
            quiet_ns: Some(quiet_ns(config.quiet_minutes)),
        });
    }
}

impl Config {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within an hour")]
    fn wait_ns(&self) -> u64 {
        (self.span_wait_seconds * 1e9) as u64
    }
}
