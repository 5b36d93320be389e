//! Retry budget: attempts grouped into logical calls by their body, what a retry repeats and why,
//! and whether an agent has come to plan against retries instead of recovering by them.
//!
//! `observer/docs/detectors/retry.md` has the rules for operators.

mod budget;
mod group;
mod service;
mod tasks;

use self::group::AttemptGroup;
use self::service::RetryService;
use self::tasks::AgentTasks;
use super::common::program;
use super::config::{ConfigSection, thresholds, within};
use super::output::CallKey;
use super::{Detector, DetectorNow, DetectorOutput, RecentMap};
use crate::metrics;
use crate::subject::Subject;
use capture::limits;
use capture::units::Ns;
use dialects::finish::{self, FinishClass};
use dialects::prompt::Prompt;
use ledger::CallLabels;
use ledger::{CallEvent, CallEventKind, CallOutcome, Entry};

thresholds! {
    /// Thresholds of the retry budget.
    pub struct Config, RawConfig {
        /// Longest time from a failure (or from the end of its retry-after) to a retry.
        window_seconds: f64 = 120.0, within(1.0..=3600.0);
        /// Attempts at one logical call that are a storm.
        attempts: u32 = 9, within(3..=1000);
        /// The same body sent again after it was rejected (4xx).
        repeats: u32 = 3, within(2..=1000);
        /// Retries that came before the provider's retry-after was over.
        violations: u32 = 3, within(1..=1000);
        /// Retries allowed: a share of the logical calls, and so many a minute besides.
        budget_ratio: f64 = 0.2, within(0.01..=10.0);
        budget_floor: f64 = 10.0, within(0.0..=10_000.0);
        /// The budget must be overdrawn for so long.
        budget_minutes: f64 = 5.0, within(0.5..=1000.0);
        /// Tool calls a task over the baseline's, and the share of them that repair the arguments of another.
        task_growth: f64 = 1.5, within(1.05..=100.0);
        repair_share: f64 = 0.3, within(0.01..=1.0);
        quiet_minutes: f64 = 60.0, within(1.0..=100_000.0);
    }
}

/// What is the same in every attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct LogicalCall {
    who: Box<str>,
    server: Box<str>,
    body: u64,
}

/// An open call.
#[derive(Debug)]
struct OpenAttempt {
    logical: LogicalCall,
    /// Calls of tools since people spoke last, and how many of them repaired the arguments of another.
    task: (u64, u64),
}

pub(crate) struct RetryDetector {
    config: ConfigSection<Config>,
    groups: RecentMap<LogicalCall, AttemptGroup>,
    live: RecentMap<CallKey, OpenAttempt>,
    services: RecentMap<Box<str>, RetryService>,
    /// Repairs counted of a conversation.
    repaired: RecentMap<u64, u64>,
    ticked: Ns,
}

pub(crate) fn new(config: ConfigSection<Config>) -> RetryDetector {
    RetryDetector {
        config,
        groups: RecentMap::new(limits::RETRY_GROUPS),
        live: RecentMap::new(limits::OPEN_STREAMS),
        services: RecentMap::new(limits::PRESSURE_SERVICES),
        repaired: RecentMap::new(limits::RETRY_GROUPS),
        ticked: Ns(0),
    }
}

/// How often logical calls are looked through for those that nobody retries any more.
const SWEEP_NS: u64 = 5_000_000_000;

impl Detector for RetryDetector {
    fn on_call_event(&mut self, event: &CallEvent<'_>, out: &mut DetectorOutput<'_>) {
        let entry = event.entry;
        match event.what {
            CallEventKind::Prompt(prompt) => self.asked(entry, prompt, out),
            CallEventKind::Closed => self.closed(entry, out),
            _ => {}
        }
    }

    fn tick(&mut self, out: &mut DetectorOutput<'_>) {
        let now = out.now().at;
        if now - self.ticked < SWEEP_NS {
            return;
        }
        self.ticked = now;
        let config = &self.config;
        self.groups.retain(|_, group| {
            let Some(ended) = group.ended.filter(|_| group.open == 0) else { return true };
            let over = config.of(&group.subject.service).window_seconds;
            let since = group.retry_after.unwrap_or(ended).max(ended);
            let done = now.seconds_since(since) > over;
            if done && group.failure.is_some() {
                group.finish("failed", out);
            }
            !done
        });
        for (name, service) in self.services.iter_mut() {
            if let Some(config) = self.config.on(name) {
                service.budget.tick(config, &service.subject, out);
            }
        }
    }

    fn publish(&mut self, out: &mut DetectorOutput<'_>) {
        for (name, service) in self.services.iter() {
            if let Some(config) = self.config.on(name) {
                let used = service.budget.used(out.now().at, config);
                out.set(metrics::RETRY_BUDGET.of(&service.subject, &[]), used);
            }
        }
    }

    fn save(&self, _now: DetectorNow) -> Option<serde_json::Value> {
        let subject = |service: &RetryService| Subject::from(service.subject.clone());
        let kept: Vec<(&str, Subject, &AgentTasks)> =
            self.services.iter().map(|(name, service)| (&**name, subject(service), &service.tasks)).collect();
        serde_json::to_value(kept).ok()
    }

    fn restore(&mut self, saved: serde_json::Value, _now: DetectorNow) -> bool {
        let Ok(kept) = serde_json::from_value::<Vec<(Box<str>, Subject, AgentTasks)>>(saved) else { return false };
        for (name, subject, tasks) in kept.into_iter().take(limits::PRESSURE_SERVICES) {
            let mut service = RetryService::new(CallLabels::clone(&subject));
            service.tasks = tasks;
            self.services.insert(name, service);
        }
        true
    }

    fn held(&self) -> usize {
        self.groups.len() + self.live.len() + self.services.len() + self.repaired.len()
    }

    fn forgotten(&self) -> u64 {
        self.groups.forgotten() + self.live.forgotten() + self.services.forgotten() + self.repaired.forgotten()
    }
}

impl RetryDetector {
    fn asked(&mut self, entry: &Entry, prompt: &Prompt, out: &mut DetectorOutput<'_>) {
        let Some(config) = self.config.on(&entry.identity.service).cloned() else { return };
        if prompt.truncated {
            return out.withheld("truncated_body");
        }
        out.evaluated();
        let subject = Subject::of(entry);
        let logical = LogicalCall { who: program(entry), server: subject.server.clone(), body: prompt.body };
        let service = self.services.touch(subject.service.clone(), || RetryService::new(CallLabels::clone(&subject)));
        service.subject.keep_common(&subject);
        let group = self.groups.touch(logical.clone(), || AttemptGroup::new(subject.clone()));
        let retry = group.retried_by(entry, &config);
        if retry.is_none() && group.open == 0 && group.attempts > 0 {
            // The same words again, and no retry: another call.
            if group.failure.is_some() {
                group.finish("failed", out);
            }
            *group = AttemptGroup::new(subject.clone());
        }
        let class = match (retry, entry.attempt) {
            (Some(failure), _) => failure,
            (None, Some(1..)) => "unknown",
            (None, _) => "first",
        };
        out.add(metrics::ATTEMPTS.of(&subject, &[class]), 1.0);
        service.budget.attempt(out.now().at, class != "first");
        group.open += 1;
        if retry.is_some() || group.attempts == 0 {
            group.attempts += 1;
        }
        group.streams.push_back(entry.id.clone());
        if group.streams.len() > limits::FINDING_STREAMS {
            group.streams.pop_front();
        }
        if retry.is_some() {
            group.judge(entry, &config, service, out);
        }
        let task = self.task(entry, prompt, out);
        self.live.insert((entry.conn, entry.exchange), OpenAttempt { logical, task });
    }

    /// Calls of tools in the present task, and the repairs among them; new repairs are counted.
    fn task(&mut self, entry: &Entry, prompt: &Prompt, out: &mut DetectorOutput<'_>) -> (u64, u64) {
        let repairs = tasks::repairs(prompt);
        if let Some(conversation) = entry.conversation {
            let known = self.repaired.touch(conversation, || 0);
            for tool in repairs.iter().skip(usize::try_from(*known).unwrap_or(usize::MAX)) {
                out.add(metrics::TOOL_REPAIRS.of(&entry.labels, &[tool]), 1.0);
            }
            *known = (*known).max(repairs.len() as u64);
        }
        let current = prompt.results.iter().filter(|result| !result.before_user).count() as u64;
        (current, (tasks::current_repairs(prompt) as u64).min(current))
    }

    fn closed(&mut self, entry: &Entry, out: &mut DetectorOutput<'_>) {
        let Some(live) = self.live.remove(&(entry.conn, entry.exchange)) else { return };
        let Some(config) = self.config.on(&entry.identity.service).cloned() else { return };
        if let Some(group) = self.groups.get_mut(&live.logical) {
            group.closed(entry, out);
        }
        let done = entry.finish_reason.as_deref().is_some_and(|word| finish::class(word) == FinishClass::Stop);
        if entry.outcome == Some(CallOutcome::Complete) && done && live.task.0 > 0 {
            let subject = &entry.labels;
            out.observe(metrics::TOOL_CALLS_PER_TASK.of(subject, &[]), live.task.0 as f64);
            if let Some(service) = self.services.get_mut(&subject.service) {
                service.tasks.done(live.task, entry, &config, &service.subject, out);
            }
        }
    }
}
