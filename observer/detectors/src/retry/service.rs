//! Services: a budget, the tasks of their agents, and retries that came too early.

use ledger::CallLabels;
use std::collections::VecDeque;

use super::Config;
use super::budget::RetryBudget;
use super::tasks::AgentTasks;
use crate::common::quiet_ns;
use crate::{DetectorOutput, EvidenceFact, FindingReport, FindingSeverity, number};
use capture::limits;
use capture::units::Ns;
use ledger::Entry;

const HOUR_NS: u64 = 3_600_000_000_000;

/// One service.
#[derive(Debug)]
pub(super) struct RetryService {
    /// What all its calls have in common.
    pub(super) subject: CallLabels,
    pub(super) budget: RetryBudget,
    pub(super) tasks: AgentTasks,
    violations: VecDeque<(Ns, String)>,
}

impl RetryService {
    pub(super) fn new(subject: CallLabels) -> RetryService {
        RetryService {
            subject,
            budget: RetryBudget::default(),
            tasks: AgentTasks::default(),
            violations: VecDeque::new(),
        }
    }

    pub(super) fn violated(&mut self, entry: &Entry, after: Ns, config: &Config, out: &mut DetectorOutput<'_>) {
        let now = entry.started;
        self.violations.push_back((now, entry.id.clone()));
        while self.violations.len() > limits::PRESSURE_CASES
            || self.violations.front().is_some_and(|(at, _)| now - *at > HOUR_NS)
        {
            self.violations.pop_front();
        }
        if self.violations.len() < config.violations as usize {
            return;
        }
        let count = self.violations.len();
        let facts: Vec<EvidenceFact> =
            vec![("violations", count.into()), ("seconds_too_early", number(after.seconds_since(now)))];
        out.report(FindingReport {
            key: &format!("retry_after|{}", self.subject.service),
            kind: "ignores_retry_after",
            severity: FindingSeverity::Warning,
            since: self.violations.front().map_or(now, |(at, _)| *at),
            subject: &entry.labels,
            verdict: format!("{count} retries came before the time that the provider had asked for"),
            inputs: facts,
            baseline: Vec::new(),
            excluded: vec!["retries at another place", "half a second of slack"],
            streams: self.violations.iter().rev().take(4).map(|(_, id)| id.clone()).collect(),
            quiet_ns: Some(quiet_ns(config.quiet_minutes)),
        });
    }
}
