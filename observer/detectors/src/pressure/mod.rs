//! Streaming pressure: what a fleet built for short requests does not see of long streams. Silences
//! that a proxy's idle limit cuts or will cut, connections that died in the pool, streams killed by
//! a process that ends, and concurrency that rises while the CPU that an autoscaler looks at does
//! not.
//!
//! `observer/docs/detectors/pressure.md` has the rules for operators.

mod divergence;
mod idle;

use crate::metrics;
use ledger::CallLabels;
use std::collections::VecDeque;

use self::divergence::ServiceLoad;
use self::idle::IdleSilences;
use super::common::quiet_ns;
use super::config::{ConfigSection, any, thresholds, within};
use super::{Detector, DetectorOutput, FindingReport, FindingSeverity, RecentMap, number};
use capture::limits;
use capture::record::ConnKey;
use capture::units::Ns;
use ledger::{CallEvent, CallEventKind, CallOutcome, Entry, HostEvent};

thresholds! {
    /// Thresholds of streaming pressure.
    pub struct Config, RawConfig {
        /// Idle limits of what may lie on the way, seconds: Heroku 55, nginx and ALB 60, Cloudflare
        /// 100, NAT and NLB 350.
        idle_limits_seconds: Vec<f64> = vec![55.0, 60.0, 100.0, 350.0], any;
        /// A silence is near a limit from this share of it on.
        headroom: f64 = 0.8, within(0.5..=0.99);
        /// Streams that came near a limit, were cut at one, or went out on a dead connection, before it is told.
        streams: u32 = 3, within(1..=1000);
        /// Streams that one ending of a service's processes kills before it is told.
        killed: u32 = 3, within(1..=10_000);
        /// Idle time of a connection in the pool after which no answer at all means that it was dead.
        pool_idle_seconds: f64 = 50.0, within(1.0..=100_000.0);
        /// Length of the windows in which open streams and CPU are averaged; the twelve before are
        /// what one is held against.
        window_minutes: f64 = 5.0, within(0.1..=60.0);
        /// Concurrency over that of the windows before, and CPU over theirs, that together are a divergence.
        concurrency_growth: f64 = 1.3, within(1.05..=10.0);
        cpu_growth: f64 = 1.1, within(1.0..=10.0);
        /// Fewer open streams are no pressure.
        least_streams: f64 = 20.0, within(1.0..=100_000.0);
        /// Without more of it for so long, a finding is over.
        quiet_minutes: f64 = 60.0, within(1.0..=100_000.0);
    }
}

/// Time within which cases of one kind belong together.
const TOGETHER_NS: u64 = 3_600_000_000_000;

/// Time within which the processes of one roll-out end.
const ROLLOUT_NS: u64 = 120_000_000_000;

pub(crate) struct PressureDetector {
    config: ConfigSection<Config>,
    services: RecentMap<Box<str>, Service>,
    /// When the last exchange of a connection ended.
    pool: RecentMap<ConnKey, Ns>,
}

/// What is known of one service.
#[derive(Debug)]
struct Service {
    /// What all its calls have in common.
    subject: CallLabels,
    load: ServiceLoad,
    silences: IdleSilences,
    killed: VecDeque<(Ns, String, f64)>,
    stale: VecDeque<(Ns, String, f64)>,
}

pub(crate) fn new(config: ConfigSection<Config>) -> PressureDetector {
    PressureDetector {
        config,
        services: RecentMap::new(limits::PRESSURE_SERVICES),
        pool: RecentMap::new(limits::PRESSURE_POOL),
    }
}

impl Detector for PressureDetector {
    fn on_call_event(&mut self, event: &CallEvent<'_>, out: &mut DetectorOutput<'_>) {
        let entry = event.entry;
        match event.what {
            CallEventKind::Opened => {
                let now = out.now().at;
                if self.config.on(&entry.identity.service).is_some() {
                    self.service(entry).load.opened(now);
                }
            }
            CallEventKind::Closed => self.closed(entry, out),
            _ => {}
        }
    }

    fn tick(&mut self, out: &mut DetectorOutput<'_>) {
        for (name, service) in self.services.iter_mut() {
            let Some(config) = self.config.on(name) else { continue };
            service.load.tick(config, &service.subject, out);
        }
    }

    fn on_host_event(&mut self, event: &HostEvent<'_>, _out: &mut DetectorOutput<'_>) {
        let HostEvent::CpuUsed { service, used, seconds } = *event else { return };
        if let Some(service) = self.services.get_mut(&service.into()) {
            service.load.cpu(used, seconds);
        }
    }

    fn publish(&mut self, out: &mut DetectorOutput<'_>) {
        for (name, service) in self.services.iter() {
            if self.config.on(name).is_some() {
                service.load.publish(&service.subject, out);
            }
        }
    }

    fn judges_shapes(&self) -> bool {
        true
    }

    fn held(&self) -> usize {
        let each = |service: &Service| 1 + service.killed.len() + service.stale.len() + service.silences.held();
        self.services.iter().map(|(_, service)| each(service)).sum::<usize>() + self.pool.len()
    }

    fn forgotten(&self) -> u64 {
        self.services.forgotten() + self.pool.forgotten()
    }
}

impl PressureDetector {
    fn service(&mut self, entry: &Entry) -> &mut Service {
        let subject = &*entry.labels;
        let service = self.services.touch(entry.identity.service.as_str().into(), || Service {
            subject: subject.clone(),
            load: ServiceLoad::default(),
            silences: IdleSilences::default(),
            killed: VecDeque::new(),
            stale: VecDeque::new(),
        });
        service.subject.keep_common(subject);
        service
    }

    fn closed(&mut self, entry: &Entry, out: &mut DetectorOutput<'_>) {
        let ended = entry.ended.unwrap_or(entry.last_activity);
        let before = self.pool.get(&entry.conn).copied();
        self.pool.insert(entry.conn, ended);
        let Some(config) = self.config.on(&entry.identity.service).cloned() else { return };
        let now = out.now().at;
        let service = self.service(entry);
        service.load.closed(now, ended.seconds_since(entry.started));
        if entry.shape && entry.outcome == Some(CallOutcome::Lost) {
            return out.withheld("end_not_seen");
        }
        if entry.outcome == Some(CallOutcome::Lost) || !entry.lost.is_empty() {
            return out.withheld("lost_bytes");
        }
        out.evaluated();
        match entry.outcome {
            Some(CallOutcome::ProcessExit) => service.killed(entry, ended, &config, out),
            _ if unanswered(entry) => service.unanswered(entry, before, &config, out),
            _ => service.silences.closed(entry, ended, &config, &service.subject, out),
        }
    }
}

/// Nothing came back at all, and not for want of patience alone.
fn unanswered(entry: &Entry) -> bool {
    entry.status.is_none()
        && entry.firsts.byte.is_none()
        && entry.wire.records == 0
        && matches!(
            entry.outcome,
            Some(CallOutcome::Reset | CallOutcome::Truncated | CallOutcome::IdleTimeout | CallOutcome::ClientCancel)
        )
}

impl Service {
    /// A process ended with the stream open. One program that a user stopped is no roll-out.
    fn killed(&mut self, entry: &Entry, at: Ns, config: &Config, out: &mut DetectorOutput<'_>) {
        let age = at.seconds_since(entry.started);
        keep(&mut self.killed, (at, entry.id.clone(), age), ROLLOUT_NS);
        if self.killed.len() < config.killed as usize {
            return;
        }
        let oldest = self.killed.iter().map(|(_, _, age)| *age).fold(0.0, f64::max);
        let count = self.killed.len();
        self.report(
            "killed_by_exit",
            self.killed.front().map_or(at, |(first, _, _)| *first),
            format!(
                "processes of {} ended with {count} streams open, the oldest {oldest:.0} s old",
                self.subject.service
            ),
            vec![("streams", count.into()), ("oldest_seconds", number(oldest))],
            vec![("longest_stream_seconds", number(self.load.longest()))],
            vec!["one program that a user stopped", "streams that had ended and were not closed"],
            self.killed.iter().map(|(_, id, _)| id.clone()).collect(),
            config,
            out,
        );
    }

    /// A request got no answer at all: was it written on a connection that had been idle for long?
    fn unanswered(&mut self, entry: &Entry, before: Option<Ns>, config: &Config, out: &mut DetectorOutput<'_>) {
        let Some(before) = before else { return };
        let idle = entry.started.seconds_since(before);
        if idle < config.pool_idle_seconds {
            return;
        }
        out.add(metrics::STALE_POOL.of(&entry.labels, &[]), 1.0);
        keep(&mut self.stale, (entry.started, entry.id.clone(), idle), TOGETHER_NS);
        if self.stale.len() < config.streams as usize {
            return;
        }
        let least = self.stale.iter().map(|(_, _, idle)| *idle).fold(f64::INFINITY, f64::min);
        let count = self.stale.len();
        self.report(
            "stale_pool",
            self.stale.front().map_or(entry.started, |(first, _, _)| *first),
            format!("{count} requests went out on connections that had been idle for {least:.0} s or more, and were never answered"),
            vec![("requests", count.into()), ("least_idle_seconds", number(least))],
            vec![("pool_idle_seconds", number(config.pool_idle_seconds))],
            vec!["a fresh connection", "a provider that answered late"],
            self.stale.iter().map(|(_, id, _)| id.clone()).collect(),
            config,
            out,
        );
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one finding")]
    fn report(
        &self,
        kind: &'static str,
        since: Ns,
        verdict: String,
        inputs: Vec<super::EvidenceFact>,
        baseline: Vec<super::EvidenceFact>,
        excluded: Vec<&'static str>,
        streams: Vec<String>,
        config: &Config,
        out: &mut DetectorOutput<'_>,
    ) {
        out.report(FindingReport {
            key: &format!("{kind}|{}", self.subject.service),
            kind,
            severity: FindingSeverity::Warning,
            since,
            subject: &self.subject,
            verdict,
            inputs,
            baseline,
            excluded,
            streams,
            quiet_ns: Some(quiet_ns(config.quiet_minutes)),
        });
    }
}

/// Puts a case to those of the last while.
fn keep(cases: &mut VecDeque<(Ns, String, f64)>, case: (Ns, String, f64), for_ns: u64) {
    let now = case.0;
    cases.push_back(case);
    while cases.len() > limits::PRESSURE_CASES || cases.front().is_some_and(|(at, _, _)| now - *at > for_ns) {
        cases.pop_front();
    }
}
