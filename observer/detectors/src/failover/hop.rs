//! One hop: its labels, its findings.

use super::Config;
use super::attempt::FailoverAttempt;
use super::names::family;
use crate::common::quiet_ns;
use crate::metrics;
use crate::{DetectorOutput, EvidenceFact, FindingReport, FindingSeverity, number};
use ledger::CallLabels;
use ledger::Entry;

pub(super) struct FailoverHop<'a> {
    from: &'a FailoverAttempt,
    to: &'a FailoverAttempt,
    /// Names of both ends: providers where they differ, else models, hosts, or hosts with their ports.
    ends: (&'a str, &'a str),
    continuation: &'static str,
}

impl<'a> FailoverHop<'a> {
    pub(super) fn new(from: &'a FailoverAttempt, to: &'a FailoverAttempt) -> FailoverHop<'a> {
        let (a, b) = (&from.subject, &to.subject);
        let ends: (&str, &str) = if a.provider != b.provider {
            (&a.provider, &b.provider)
        } else if family(&a.model) != family(&b.model) {
            (&a.model, &b.model)
        } else if a.server != b.server {
            (&a.server, &b.server)
        } else {
            (&from.address, &to.address)
        };
        FailoverHop { from, to, ends, continuation: continuation(from, to) }
    }

    /// It goes on from the text that the user saw.
    pub(super) fn continued(&self) -> bool {
        self.continuation != "none"
    }

    pub(super) fn record(&self, attempts: &[FailoverAttempt], config: &Config, out: &mut DetectorOutput<'_>) {
        let (from, to) = self.ends;
        let (phase, reason) = (self.from.phase(), self.from.failure.unwrap_or("timeout"));
        out.add(metrics::FAILOVER_HOPS.of(&self.to.subject, &[from, to, phase, reason, self.continuation]), 1.0);
        if phase == "mid_stream" && !self.continued() {
            let chars = self.from.visible_chars as f64;
            out.add(metrics::FAILOVER_DISCARDED.of(&self.to.subject, &[]), chars);
        }
        if phase == "mid_stream" {
            let verdict = format!(
                "an answer broke off after {} visible characters ({reason}) and {to} {}",
                self.from.visible_chars,
                if self.continued() { "went on with it" } else { "began it anew" }
            );
            self.report("mid_stream", FindingSeverity::Warning, verdict, config, out);
        } else {
            let verdict = format!("{from} failed ({reason}) and {to} answers instead");
            self.report("failover", FindingSeverity::Info, verdict, config, out);
        }
        self.settings(config, out);
        self.ping_pong(attempts, config, out);
    }

    pub(super) fn flipped(&self, turns: usize, config: &Config, out: &mut DetectorOutput<'_>) {
        let (from, to) = self.ends;
        out.add(metrics::FAILOVER_FLIPS.of(&self.to.subject, &[from, to]), 1.0);
        let verdict =
            format!("{to} refused a turn that it took over from {from}, which had not refused the {turns} before");
        self.report("refusal_flip", FindingSeverity::Critical, verdict, config, out);
    }

    pub(super) fn tools_lost(&self, config: &Config, out: &mut DetectorOutput<'_>) {
        let (_, to) = self.ends;
        let verdict = format!("{to} went on in prose with an answer that had {} tools to call", self.from.tools);
        self.report("tools_lost", FindingSeverity::Warning, verdict, config, out);
    }

    fn settings(&self, config: &Config, out: &mut DetectorOutput<'_>) {
        let (a, b) = (self.from, self.to);
        let mut changed = Vec::new();
        // A continuation's own system message is its mark, and no change of the application's.
        if a.system != b.system && self.continuation != "system" {
            changed.push("the system prompt");
        }
        if a.tools != b.tools {
            changed.push("the tools");
        }
        if a.temperature != b.temperature {
            changed.push("the temperature");
        }
        if a.max_tokens.is_some() && b.max_tokens.is_some() && a.max_tokens != b.max_tokens {
            changed.push("the token limit");
        }
        if !changed.is_empty() {
            let (from, to) = self.ends;
            let verdict = format!("the hop from {from} to {to} changed {}", changed.join(" and "));
            self.report("settings_changed", FindingSeverity::Warning, verdict, config, out);
        }
    }

    /// Back to where this turn has been before.
    fn ping_pong(&self, attempts: &[FailoverAttempt], config: &Config, out: &mut DetectorOutput<'_>) {
        let earlier = |attempt: &&FailoverAttempt| attempt.started < self.from.started && !attempt.elsewhere(self.to);
        if self.from.hop.is_some() && attempts.iter().any(|attempt| earlier(&attempt)) {
            let (from, to) = self.ends;
            let verdict = format!("one turn went from {to} to {from} and back");
            self.report("ping_pong", FindingSeverity::Warning, verdict, config, out);
        }
    }

    fn report(
        &self,
        kind: &'static str,
        severity: FindingSeverity,
        verdict: String,
        config: &Config,
        out: &mut DetectorOutput<'_>,
    ) {
        let (from, to) = self.ends;
        let since = self.from.ended.unwrap_or(self.to.started);
        out.report(FindingReport {
            key: &format!("{kind}|{}|{from}|{to}", self.to.subject.service),
            kind,
            severity,
            since,
            subject: &self.to.subject,
            verdict,
            inputs: side(self.to, Some(self.continuation), self.to.started.seconds_since(since)),
            baseline: side(self.from, None, 0.0),
            excluded: vec![
                "a retry at the same place",
                "another program's call of the same text",
                "a call begun before the other failed",
            ],
            streams: vec![self.from.id.clone(), self.to.id.clone()],
            quiet_ns: Some(quiet_ns(config.quiet_minutes)),
        });
    }
}

/// One end of a hop.
fn side(attempt: &FailoverAttempt, continuation: Option<&str>, after: f64) -> Vec<EvidenceFact> {
    let mut facts: Vec<EvidenceFact> = vec![
        ("provider", (*attempt.subject.provider).into()),
        ("server", (*attempt.address).into()),
        ("model", (*attempt.subject.model).into()),
        ("tools", attempt.tools.into()),
        ("temperature", attempt.temperature.as_deref().into()),
        ("max_tokens", attempt.max_tokens.into()),
    ];
    match continuation {
        Some(word) => facts.extend([("continuation", word.into()), ("seconds_after_failure", number(after))]),
        None => facts.extend([
            ("reason", attempt.failure.into()),
            ("phase", attempt.phase().into()),
            ("status", attempt.status.into()),
            ("visible_chars", attempt.visible_chars.into()),
        ]),
    }
    facts
}

/// How the second attempt takes up what the first had said.
fn continuation(from: &FailoverAttempt, to: &FailoverAttempt) -> &'static str {
    match to.prefill {
        Some(prefill) if from.visible_chars > 0 && (from.said(prefill) || from.prefill.is_none()) => {
            if from.system == to.system { "prefill" } else { "system" }
        }
        _ => "none",
    }
}

/// A hop that a gateway made behind one stream.
pub(super) fn inside(
    entry: &Entry,
    subject: &CallLabels,
    (from, to): (&str, &str),
    mid: bool,
    config: &Config,
    out: &mut DetectorOutput<'_>,
) {
    let phase = if mid { "mid_stream" } else { "pre_visible" };
    out.add(metrics::FAILOVER_HOPS.of(subject, &[from, to, phase, "hidden", "gateway"]), 1.0);
    out.report(FindingReport {
        key: &format!("hidden|{}|{from}|{to}", subject.service),
        kind: "hidden",
        severity: if mid { FindingSeverity::Warning } else { FindingSeverity::Info },
        since: entry.started,
        subject,
        verdict: format!("a gateway went from {from} to {to} inside one stream"),
        inputs: vec![("answered_by", to.into()), ("phase", phase.into())],
        baseline: vec![("answered_by", from.into())],
        excluded: vec!["an alias of the same model"],
        streams: vec![entry.id.clone()],
        quiet_ns: Some(quiet_ns(config.quiet_minutes)),
    });
}
