//! Tasks of an agent: from what people said to an answer without another call of a tool. Do they
//! need more calls than they did, and are the additional ones repairs of rejected arguments?

use ledger::CallLabels;
use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Config;
use crate::common::quiet_ns;
use crate::{DetectorOutput, FindingReport, FindingSeverity, number};
use capture::units::Ns;
use dialects::prompt::{Prompt, ToolCall};
use ledger::Entry;

/// Newest tasks, and tasks that a baseline needs.
const WINDOW: usize = 50;
const BASELINE: u64 = 100;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct AgentTasks {
    #[serde(skip)]
    window: VecDeque<(u64, u64, String)>,
    #[serde(skip)]
    since: Option<Ns>,
    sum: u64,
    count: u64,
}

impl AgentTasks {
    /// A task ended with an answer.
    pub(super) fn done(
        &mut self,
        (calls, repairs): (u64, u64),
        entry: &Entry,
        config: &Config,
        subject: &CallLabels,
        out: &mut DetectorOutput<'_>,
    ) {
        self.window.push_back((calls, repairs, entry.id.clone()));
        if self.window.len() > WINDOW
            && let Some((calls, ..)) = self.window.pop_front()
            && self.since.is_none()
        {
            self.sum += calls;
            self.count += 1;
            // The mean of the past forgets slowly: a drift of weeks must not become its own baseline.
            if self.count > 20 * BASELINE {
                self.sum /= 2;
                self.count /= 2;
            }
        }
        if self.window.len() < WINDOW || self.count < BASELINE {
            return;
        }
        let before = self.sum as f64 / self.count as f64;
        let sum: u64 = self.window.iter().map(|(calls, ..)| calls).sum();
        let repairs: u64 = self.window.iter().map(|(_, repairs, _)| repairs).sum();
        let (now, share) = (sum as f64 / WINDOW as f64, repairs as f64 / sum.max(1) as f64);
        let key = format!("plans|{}", subject.service);
        if now < config.task_growth * before || share < config.repair_share {
            if self.since.take().is_some() {
                out.end(&key);
            }
            return;
        }
        let since = *self.since.get_or_insert(out.now().at);
        out.report(FindingReport {
            key: &key,
            kind: "plans_against_retries",
            severity: FindingSeverity::Info,
            since,
            subject,
            verdict: format!(
                "tasks take {now:.1} calls of tools (before: {before:.1}), and {:.0} % of them repair the arguments of a rejected one; all these tasks still end with an answer",
                100.0 * share
            ),
            inputs: vec![("calls_per_task", number(now)), ("repair_share", number(share)), ("tasks", WINDOW.into())],
            baseline: vec![("calls_per_task", number(before)), ("tasks", self.count.into())],
            excluded: vec!["transport errors and rate limits", "more tools of another kind", "tasks that failed"],
            streams: self.window.iter().rev().filter(|(_, repairs, _)| *repairs > 0).take(4).map(|(.., id)| id.clone()).collect(),
            quiet_ns: Some(quiet_ns(config.quiet_minutes)),
        });
    }
}

/// The tools whose rejected arguments the history repairs: the same tool again with other
/// arguments, after a result that is an error. In the order of the history.
pub(super) fn repairs(prompt: &Prompt) -> Vec<Box<str>> {
    repaired(prompt, false)
}

/// How many of them since people spoke last.
pub(super) fn current_repairs(prompt: &Prompt) -> usize {
    repaired(prompt, true).len()
}

fn repaired(prompt: &Prompt, current: bool) -> Vec<Box<str>> {
    let mut repairs = Vec::new();
    let errors = prompt.results.iter().filter(|result| result.failed() && !(current && result.before_user));
    for error in errors {
        let call = prompt.calls.iter().rposition(|call| match (call.id, error.id) {
            (Some(call), Some(error)) => call == error,
            _ => error.name.as_ref().is_some_and(|name| *name == call.name) && call.message < error.message,
        });
        let Some((call, later)) = call.and_then(|at| Some((prompt.calls.get(at)?, prompt.calls.get(at + 1..)?))) else {
            continue;
        };
        let again = |next: &&ToolCall| next.name == call.name && next.message > error.message;
        if later.iter().find(again).is_some_and(|next| next.arguments != call.arguments) {
            repairs.push(call.name.clone());
        }
    }
    repairs
}
