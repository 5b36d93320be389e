//! Failover by its shape: calls whose plaintext nobody sees. The turn is not known then, nor the
//! answer; what is left is that a program's call to one host broke off and that it called another
//! host right afterwards, which it had not done before.

use super::attempt::failure;
use super::{Config, after};
use crate::common::{self, quiet_ns};
use crate::metrics;
use crate::output::CallKey;
use crate::{DetectorOutput, EvidenceFact, FindingReport, FindingSeverity, RecentMap, number};
use capture::limits;
use capture::units::Ns;
use ledger::CallLabels;
use ledger::{CallOutcome, Entry};
use std::sync::Arc;

/// Where calls of a program went, by the name in their ClientHello.
pub(super) struct UnobservedCalls {
    programs: RecentMap<Box<str>, Program>,
}

/// Oldest first; at most `limits::FAILOVER_ATTEMPTS` each.
#[derive(Default)]
struct Program {
    attempts: Vec<UnobservedAttempt>,
    /// When each host was last called, those in `attempts` included.
    hosts: Vec<(Box<str>, Ns)>,
}

#[derive(Clone)]
struct UnobservedAttempt {
    call: CallKey,
    id: String,
    subject: Arc<CallLabels>,
    started: Ns,
    /// The host had been called by this program within the window before.
    usual: Option<Ns>,
    ended: Option<Ns>,
    failure: Option<&'static str>,
    /// Something of the answer had come.
    answered: bool,
    /// It is the far end of a hop that was told.
    hop: bool,
}

impl UnobservedCalls {
    pub(super) fn new() -> UnobservedCalls {
        UnobservedCalls { programs: RecentMap::new(limits::FAILOVER_PLACES) }
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.programs.forgotten()
    }

    pub(super) fn held(&self) -> usize {
        self.programs.iter().map(|(_, program)| program.attempts.len() + program.hosts.len()).sum()
    }

    pub(super) fn opened(&mut self, entry: &Entry, config: &Config, out: &mut DetectorOutput<'_>) {
        out.evaluated();
        let program = self.programs.touch(common::program(entry), Program::default);
        let to = UnobservedAttempt::new(entry, program.called(entry.host(), entry.started));
        let from = program.attempts.iter().rev().find(|from| from.failed_into(&to, config)).cloned();
        keep(&mut program.attempts, to);
        if let (Some(from), Some(to)) = (from, program.attempts.last_mut()) {
            hop(&from, to, config, out);
        }
    }

    /// An end may be told after the call that takes over has begun.
    pub(super) fn closed(&mut self, entry: &Entry, config: &Config, out: &mut DetectorOutput<'_>) {
        let Some(program) = self.programs.get_mut(&common::program(entry)) else { return };
        let call = (entry.conn, entry.exchange);
        let Some(from) = program.attempts.iter_mut().find(|attempt| attempt.call == call) else { return };
        from.close(entry, config);
        let from = from.clone();
        let next = program.attempts.iter_mut().find(|to| !to.hop && from.failed_into(to, config));
        if let Some(to) = next {
            hop(&from, to, config, out);
        }
    }
}

impl Program {
    /// Marks a host as called; returns when it had been called before.
    fn called(&mut self, host: &str, at: Ns) -> Option<Ns> {
        if let Some((_, last)) = self.hosts.iter_mut().find(|(name, _)| **name == *host) {
            return Some(std::mem::replace(last, at.max(*last)));
        }
        keep(&mut self.hosts, (host.into(), at));
        None
    }
}

fn keep<T>(list: &mut Vec<T>, item: T) {
    if list.len() >= limits::FAILOVER_ATTEMPTS {
        list.remove(0);
    }
    list.push(item);
}

impl UnobservedAttempt {
    fn new(entry: &Entry, usual: Option<Ns>) -> UnobservedAttempt {
        UnobservedAttempt {
            call: (entry.conn, entry.exchange),
            id: entry.id.clone(),
            subject: Arc::clone(&entry.labels),
            started: entry.started,
            usual,
            ended: None,
            failure: None,
            answered: false,
            hop: false,
        }
    }

    fn close(&mut self, entry: &Entry, config: &Config) {
        self.ended = entry.ended;
        // Of a connection's first answer the first byte is not told: it may have been a ticket's.
        self.answered = entry.firsts.byte.is_some() || entry.wire.records > 0;
        // An orderly end tells nothing: whether the answer was whole, only its text says.
        self.failure = match entry.outcome {
            Some(CallOutcome::Reset) if self.answered => Some("truncated"),
            Some(CallOutcome::Reset) => Some("connect"),
            _ => failure(entry, config),
        };
    }

    fn failed_into(&self, to: &UnobservedAttempt, config: &Config) -> bool {
        let (Some(reason), Some(ended)) = (self.failure, self.ended) else { return false };
        let window = if reason == "timeout" { config.cancel_window_seconds } else { config.window_seconds };
        self.subject.server != to.subject.server
            && to.started > self.started
            && after(to.started, ended)
            && to.started.seconds_since(ended) <= window
    }

    /// The program called this host shortly before anyway: that it does again says nothing.
    fn as_usual(&self, config: &Config) -> bool {
        self.usual.is_some_and(|before| self.started.seconds_since(before) <= USUAL_WINDOWS * config.window_seconds)
    }
}

/// A host that was called within so many windows is one that the program uses side by side with the other.
const USUAL_WINDOWS: f64 = 20.0;

fn hop(from: &UnobservedAttempt, to: &mut UnobservedAttempt, config: &Config, out: &mut DetectorOutput<'_>) {
    to.hop = true;
    if to.as_usual(config) {
        return out.withheld("both_in_use");
    }
    let (a, b) = (&from.subject, &to.subject);
    let ends: (&str, &str) = if a.provider == b.provider { (&a.server, &b.server) } else { (&a.provider, &b.provider) };
    let reason = from.failure.unwrap_or("timeout");
    // Of what came, nobody knows whether it was text.
    let phase = if from.answered { "unknown" } else { "pre_headers" };
    out.add(metrics::FAILOVER_HOPS.of(b, &[ends.0, ends.1, phase, reason, "unknown"]), 1.0);
    let since = from.ended.unwrap_or(to.started);
    out.report(FindingReport {
        key: &format!("by_name|{}|{}|{}", b.service, ends.0, ends.1),
        kind: "by_name",
        severity: FindingSeverity::Info,
        since,
        subject: b,
        verdict: format!(
            "a call to {} broke off ({reason}) and the program, which had not called {} before, did so then; what was asked is not seen",
            a.server, b.server
        ),
        inputs: vec![
            ("provider", (*b.provider).into()),
            ("server", (*b.server).into()),
            ("seconds_after_failure", number(to.started.seconds_since(since))),
            ("visibility", "shape".into()),
        ],
        baseline: side(from, reason),
        excluded: vec!["a retry at the same host", "a program that calls both hosts anyway", "a call begun before the other failed"],
        streams: vec![from.id.clone(), to.id.clone()],
        quiet_ns: Some(quiet_ns(config.quiet_minutes)),
    });
}

fn side(from: &UnobservedAttempt, reason: &'static str) -> Vec<EvidenceFact> {
    vec![
        ("provider", (*from.subject.provider).into()),
        ("server", (*from.subject.server).into()),
        ("reason", reason.into()),
        ("answered", from.answered.into()),
    ]
}
