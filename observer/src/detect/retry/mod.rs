//! Retry budget: attempts grouped into logical calls by their body, what a retry repeats and why, and whether an agent has come to
//! plan against retries instead of recovering by them.
//!
//! `observer/docs/detectors/retry.md` has the rules for operators.

mod budget;
mod group;
mod service;
mod tasks;

use self::group::Group;
use self::service::Service;
use self::tasks::Tasks;
use super::config::{Section, thresholds, within};
use super::out::CallKey;
use super::{Detector, Now, Out, Recent, Subject};
use crate::dialect::finish::{self, Class};
use crate::dialect::prompt::Prompt;
use crate::ledger::{Entry, Happening, Outcome};
use crate::limits;
use crate::units::Ns;

thresholds! {
    /// Thresholds of the retry budget.
    pub struct Config, Typed {
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
struct Logical {
    who: Box<str>,
    server: Box<str>,
    body: u64,
}

/// An open call.
#[derive(Debug)]
struct Live {
    logical: Logical,
    /// Calls of tools since people spoke last, and how many of them repaired the arguments of another.
    task: (u64, u64),
}

pub struct Retry {
    config: Section<Config>,
    groups: Recent<Logical, Group>,
    live: Recent<CallKey, Live>,
    services: Recent<Box<str>, Service>,
    /// Repairs counted of a conversation.
    repaired: Recent<u64, u64>,
    ticked: Ns,
}

pub fn new(config: Section<Config>) -> Retry {
    Retry {
        config,
        groups: Recent::new(limits::RETRY_GROUPS),
        live: Recent::new(limits::OPEN_STREAMS),
        services: Recent::new(limits::PRESSURE_SERVICES),
        repaired: Recent::new(limits::RETRY_GROUPS),
        ticked: Ns(0),
    }
}

/// How often logical calls are looked through for those that nobody retries any more.
const SWEEP_NS: u64 = 5_000_000_000;

impl Detector for Retry {
    fn hear(&mut self, happening: &Happening<'_>, out: &mut Out<'_>) {
        match happening {
            Happening::Prompt { entry, prompt } => self.asked(entry, prompt, out),
            Happening::Closed(entry) => self.closed(entry, out),
            _ => {}
        }
    }

    fn tick(&mut self, out: &mut Out<'_>) {
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

    fn publish(&mut self, out: &mut Out<'_>) {
        for (name, service) in self.services.iter() {
            if let Some(config) = self.config.on(name) {
                let used = service.budget.used(out.now().at, config);
                out.set("llm_retry_budget_used_ratio", &service.subject, &[], used);
            }
        }
    }

    fn save(&self, _now: Now) -> Option<serde_json::Value> {
        let kept: Vec<(&str, &Subject, &Tasks)> =
            self.services.iter().map(|(name, service)| (&**name, &service.subject, &service.tasks)).collect();
        serde_json::to_value(kept).ok()
    }

    fn restore(&mut self, saved: serde_json::Value, _now: Now) {
        let kept: Vec<(Box<str>, Subject, Tasks)> = serde_json::from_value(saved).unwrap_or_default();
        for (name, subject, tasks) in kept.into_iter().take(limits::PRESSURE_SERVICES) {
            let mut service = Service::new(subject);
            service.tasks = tasks;
            self.services.insert(name, service);
        }
    }

    fn held(&self) -> usize {
        self.groups.len() + self.live.len() + self.services.len() + self.repaired.len()
    }

    fn forgotten(&self) -> u64 {
        self.groups.forgotten() + self.live.forgotten() + self.services.forgotten() + self.repaired.forgotten()
    }
}

impl Retry {
    fn asked(&mut self, entry: &Entry, prompt: &Prompt, out: &mut Out<'_>) {
        let Some(config) = self.config.on(&entry.identity.service).cloned() else { return };
        if prompt.truncated {
            return out.withheld("truncated_body");
        }
        out.evaluated();
        let subject = Subject::of(entry);
        let logical = Logical { who: who(entry), server: subject.server.clone(), body: prompt.body };
        let service = self.services.touch(subject.service.clone(), || Service::new(subject.clone()));
        service.subject.keep_common(&subject);
        let group = self.groups.touch(logical.clone(), || Group::new(subject.clone()));
        let retry = group.retried_by(entry, &config);
        if retry.is_none() && group.open == 0 && group.attempts > 0 {
            // The same words again, and no retry: another call.
            if group.failure.is_some() {
                group.finish("failed", out);
            }
            *group = Group::new(subject.clone());
        }
        let class = match (retry, entry.attempt) {
            (Some(failure), _) => failure,
            (None, Some(1..)) => "unknown",
            (None, _) => "first",
        };
        out.add("llm_attempts_total", &subject, &[class], 1.0);
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
        self.live.insert((entry.conn, entry.exchange), Live { logical, task });
    }

    /// Calls of tools in the present task, and the repairs among them; new repairs are counted.
    fn task(&mut self, entry: &Entry, prompt: &Prompt, out: &mut Out<'_>) -> (u64, u64) {
        let repairs = tasks::repairs(prompt);
        if let Some(conversation) = entry.conversation {
            let known = self.repaired.touch(conversation, || 0);
            for tool in repairs.iter().skip(usize::try_from(*known).unwrap_or(usize::MAX)) {
                out.add("llm_tool_arg_repairs_total", &Subject::of(entry), &[tool], 1.0);
            }
            *known = (*known).max(repairs.len() as u64);
        }
        let current = prompt.results.iter().filter(|result| !result.before_user).count() as u64;
        (current, (tasks::current_repairs(prompt) as u64).min(current))
    }

    fn closed(&mut self, entry: &Entry, out: &mut Out<'_>) {
        let Some(live) = self.live.remove(&(entry.conn, entry.exchange)) else { return };
        let Some(config) = self.config.on(&entry.identity.service).cloned() else { return };
        if let Some(group) = self.groups.get_mut(&live.logical) {
            group.closed(entry, out);
        }
        let done = entry.finish_reason.as_deref().is_some_and(|word| finish::class(word) == Class::Stop);
        if entry.outcome == Some(Outcome::Complete) && done && live.task.0 > 0 {
            let subject = Subject::of(entry);
            out.observe("llm_tool_calls_per_task", &subject, &[], live.task.0 as f64);
            if let Some(service) = self.services.get_mut(&subject.service) {
                service.tasks.done(live.task, entry, &config, &service.subject, out);
            }
        }
    }
}

/// The program that asks: its container, else its process.
fn who(entry: &Entry) -> Box<str> {
    match &entry.identity.container_id {
        Some(container) => container.as_str().into(),
        None => entry.identity.pid.to_string().into(),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 100,000 minutes")]
fn quiet(config: &Config) -> u64 {
    (config.quiet_minutes * 60e9) as u64
}
