//! Tool rot: the description of a tool no longer tells how to call it. Arguments that are valid
//! against the advertised schema and are answered with a validation error are the contract's fault;
//! arguments that are not valid are the model's.
//!
//! `observer/docs/detectors/tool_rot.md` has the rules for operators.

mod schema;

use crate::metrics;
use ledger::CallLabels;
use std::collections::VecDeque;
use std::sync::Arc;

use super::common::quiet_ns;
use super::config::{ConfigSection, thresholds, within};
use super::{Detector, DetectorOutput, FindingReport, FindingSeverity, RecentMap, number};
use capture::limits;
use capture::units::Ns;
use dialects::prompt::{Prompt, ResultTrouble, ToolCall, ToolResult};
use ledger::{CallEvent, CallEventKind, Entry};

thresholds! {
    /// Thresholds of tool rot.
    pub struct Config, RawConfig {
        /// Calls of a tool that a verdict rests on, within an hour, …
        calls: u32 = 20, within(5..=100_000);
        /// … and the share of them that are valid and rejected nevertheless.
        rot_share: f64 = 0.05, within(0.01..=1.0);
        /// Rejections that it must be at least.
        rejections: u32 = 3, within(1..=10_000);
        /// The same rejected arguments again.
        repeats: u32 = 3, within(2..=1000);
        quiet_minutes: f64 = 60.0, within(1.0..=100_000.0);
    }
}

const HOUR_NS: u64 = 3_600_000_000_000;

/// One definition of one tool.
#[derive(Debug)]
struct Tool {
    hash: u64,
    since: Ns,
    /// Newest calls: when, and whether they were valid and rejected nevertheless.
    calls: VecDeque<(Ns, bool, String)>,
    /// Rejected arguments, and how often.
    rejected: RecentMap<u64, u32>,
    changes: u32,
    subject: Arc<CallLabels>,
}

pub(crate) struct ToolRotDetector {
    config: ConfigSection<Config>,
    tools: RecentMap<(Box<str>, Box<str>), Tool>,
    /// Results that have been counted.
    counted: RecentMap<(Box<str>, u64), ()>,
}

pub(crate) fn new(config: ConfigSection<Config>) -> ToolRotDetector {
    ToolRotDetector { config, tools: RecentMap::new(limits::TOOLS), counted: RecentMap::new(limits::RETRY_GROUPS) }
}

impl Detector for ToolRotDetector {
    fn on_call_event(&mut self, event: &CallEvent<'_>, out: &mut DetectorOutput<'_>) {
        if let CallEventKind::Prompt(prompt) = event.what {
            self.asked(event.entry, prompt, out);
        }
    }

    fn publish(&mut self, out: &mut DetectorOutput<'_>) {
        let now = out.now().at;
        for ((_, name), tool) in self.tools.iter() {
            // A lower bound: the definition may be older than this daemon.
            out.set(metrics::TOOL_AGE.of(&tool.subject, &[name]), now.seconds_since(tool.since));
        }
    }

    fn held(&self) -> usize {
        self.counted.len()
            + self.tools.iter().map(|(_, tool)| 1 + tool.calls.len() + tool.rejected.len()).sum::<usize>()
    }

    fn forgotten(&self) -> u64 {
        self.tools.forgotten() + self.counted.forgotten()
    }
}

impl ToolRotDetector {
    fn asked(&mut self, entry: &Entry, prompt: &Prompt, out: &mut DetectorOutput<'_>) {
        let Some(config) = self.config.on(&entry.identity.service).cloned() else { return };
        if prompt.truncated {
            return out.withheld("truncated_body");
        }
        if prompt.tools.is_empty() && prompt.results.is_empty() {
            return;
        }
        let subject = &entry.labels;
        for definition in &prompt.tools {
            self.defined(&definition.name, definition.hash, entry, subject, out);
        }
        for result in &prompt.results {
            let Some(id) = result.id else { continue };
            if self.counted.get(&(subject.service.clone(), id)).is_some() {
                continue;
            }
            self.counted.insert((subject.service.clone(), id), ());
            let call = prompt.calls.iter().rev().find(|call| call.id == Some(id));
            match call {
                Some(call) => self.answered(call, result, prompt, entry, (&config, subject), out),
                None => out.withheld("call_not_in_history"),
            }
        }
    }

    fn defined(&mut self, name: &str, hash: u64, entry: &Entry, subject: &CallLabels, out: &mut DetectorOutput<'_>) {
        let key = (subject.service.clone(), Box::from(name));
        let tool = self.tools.touch(key, || Tool {
            hash,
            since: entry.started,
            calls: VecDeque::new(),
            rejected: RecentMap::new(limits::FINDING_STREAMS),
            changes: 0,
            subject: Arc::clone(&entry.labels),
        });
        if tool.hash != hash {
            (tool.hash, tool.since) = (hash, entry.started);
            tool.calls.clear();
            tool.rejected = RecentMap::new(limits::FINDING_STREAMS);
            tool.changes = tool.changes.saturating_add(1);
            out.add(metrics::TOOL_CHANGES.of(subject, &[name]), 1.0);
            out.end(&key_of("rot", subject, name));
        }
    }

    /// A call has its result.
    fn answered(
        &mut self,
        call: &ToolCall,
        result: &ToolResult,
        prompt: &Prompt,
        entry: &Entry,
        (config, subject): (&Config, &CallLabels),
        out: &mut DetectorOutput<'_>,
    ) {
        let Some(tool) = self.tools.get_mut(&(subject.service.clone(), call.name.clone())) else {
            return out.withheld("no_definition");
        };
        if !result.failed() {
            out.evaluated();
            return tool.push(entry, false);
        }
        let definition = prompt.tools.iter().find(|definition| definition.name == call.name);
        let schema = definition.and_then(|definition| definition.schema.as_ref());
        let valid = schema.zip(call.text.as_ref()).and_then(|(schema, text)| schema::valid(&text.0, &schema.0));
        let class = match (result.trouble, valid) {
            (ResultTrouble::Transient, _) => "transient",
            (_, Some(false)) => "model_error",
            (ResultTrouble::Validation, Some(true)) => "contract_rot",
            (ResultTrouble::Validation, None) => {
                out.withheld("arguments_not_seen");
                "other"
            }
            _ => "other",
        };
        out.evaluated();
        out.add(metrics::TOOL_ERRORS.of(subject, &[&call.name, class]), 1.0);
        tool.push(entry, class == "contract_rot");
        let times = tool.rejected.touch(call.arguments, || 0);
        *times += 1;
        let repeated = *times;
        if repeated > 1 {
            out.add(metrics::TOOL_REPEATS.of(subject, &[&call.name]), 1.0);
        }
        if class == "contract_rot" {
            tool.judge(call, repeated, config, subject, out);
        }
    }
}

impl Tool {
    fn push(&mut self, entry: &Entry, rot: bool) {
        let now = entry.started;
        self.calls.push_back((now, rot, entry.id.clone()));
        while self.calls.len() > 256 || self.calls.front().is_some_and(|(at, ..)| now - *at > HOUR_NS) {
            self.calls.pop_front();
        }
    }

    fn judge(
        &mut self,
        call: &ToolCall,
        repeated: u32,
        config: &Config,
        subject: &CallLabels,
        out: &mut DetectorOutput<'_>,
    ) {
        let rotten: Vec<&(Ns, bool, String)> = self.calls.iter().filter(|(_, rot, _)| *rot).collect();
        let (count, bad) = (self.calls.len(), rotten.len());
        let share = bad as f64 / count.max(1) as f64;
        let often = count >= config.calls as usize && share > config.rot_share && bad >= config.rejections as usize;
        if !often && repeated < config.repeats {
            return;
        }
        let now = out.now().at;
        out.report(FindingReport {
            key: &key_of("rot", subject, &call.name),
            kind: "contract_rot",
            severity: FindingSeverity::Warning,
            since: rotten.first().map_or(now, |(at, ..)| *at),
            subject,
            verdict: format!(
                "{bad} of the last {count} calls of {} were valid by its description and rejected by it nevertheless; the description has not changed for {:.0} min",
                call.name,
                now.seconds_since(self.since) / 60.0
            ),
            inputs: vec![
                ("tool", (*call.name).into()),
                ("calls", count.into()),
                ("contract_errors", bad.into()),
                ("share", number(share)),
                ("same_arguments_again", repeated.into()),
            ],
            baseline: vec![
                ("threshold", number(config.rot_share)),
                ("definition_age_seconds", number(now.seconds_since(self.since))),
                ("definition_changes", self.changes.into()),
            ],
            excluded: vec!["arguments that the schema does not allow (the model's error)", "time-outs and rate limits of the tool", "a definition that changed with the API"],
            streams: rotten.iter().rev().take(4).map(|(.., id)| id.clone()).collect(),
            quiet_ns: Some(quiet_ns(config.quiet_minutes)),
        });
    }
}

fn key_of(kind: &str, subject: &CallLabels, tool: &str) -> String {
    format!("{kind}|{}|{tool}", subject.service)
}
