//! The budget in the form of tower and linkerd: retries may be a share of the calls, and a few besides.

use ledger::CallLabels;
use std::collections::VecDeque;

use super::Config;
use crate::common::quiet_ns;
use crate::{DetectorOutput, FindingReport, FindingSeverity, number};
use capture::units::Ns;

/// Time over which calls and retries are held against each other.
const MINUTE_NS: u64 = 60_000_000_000;

/// Slots of the minute.
const SLOT_NS: u64 = 10_000_000_000;

#[derive(Debug, Default)]
pub(super) struct RetryBudget {
    /// (slot, calls, retries).
    slots: VecDeque<(u64, u64, u64)>,
    over_since: Option<Ns>,
}

impl RetryBudget {
    pub(super) fn attempt(&mut self, now: Ns, retry: bool) {
        let slot = now.0 / SLOT_NS;
        if self.slots.back().is_none_or(|(last, ..)| *last != slot) {
            self.slots.push_back((slot, 0, 0));
        }
        if let Some((_, calls, retries)) = self.slots.back_mut() {
            if retry {
                *retries += 1;
            } else {
                *calls += 1;
            }
        }
        while self.slots.len() as u64 > MINUTE_NS / SLOT_NS {
            self.slots.pop_front();
        }
    }

    /// Retries over what is allowed, in the last minute.
    pub(super) fn used(&self, now: Ns, config: &Config) -> f64 {
        let (calls, retries) = self.sums(now);
        let allowed = config.budget_ratio * calls as f64 + config.budget_floor;
        if allowed > 0.0 { retries as f64 / allowed } else { 0.0 }
    }

    pub(super) fn tick(&mut self, config: &Config, subject: &CallLabels, out: &mut DetectorOutput<'_>) {
        let now = out.now().at;
        let used = self.used(now, config);
        let key = format!("budget|{}", subject.service);
        if used <= 1.0 {
            if self.over_since.take().is_some() {
                out.end(&key);
            }
            return;
        }
        let since = *self.over_since.get_or_insert(now);
        if now.seconds_since(since) < config.budget_minutes * 60.0 {
            return;
        }
        let (calls, retries) = self.sums(now);
        out.report(FindingReport {
            key: &key,
            kind: "budget",
            severity: FindingSeverity::Warning,
            since,
            subject,
            verdict: format!(
                "{retries} retries for {calls} calls in the last minute: {used:.1} times what the budget allows"
            ),
            inputs: vec![("retries", retries.into()), ("calls", calls.into()), ("used", number(used))],
            baseline: vec![("ratio", number(config.budget_ratio)), ("floor_a_minute", number(config.budget_floor))],
            excluded: vec!["a short burst of failures", "identical prompts that are no retries"],
            streams: Vec::new(),
            quiet_ns: Some(quiet_ns(config.quiet_minutes)),
        });
    }

    fn sums(&self, now: Ns) -> (u64, u64) {
        let oldest = (now.0 / SLOT_NS).saturating_sub(MINUTE_NS / SLOT_NS);
        let fresh = self.slots.iter().filter(|(slot, ..)| *slot > oldest);
        fresh.fold((0, 0), |(calls, retries), (_, c, r)| (calls + c, retries + r))
    }
}
