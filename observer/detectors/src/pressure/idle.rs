//! Silences against the idle limits of what may lie on the way.

use crate::metrics;
use ledger::CallLabels;
use std::collections::VecDeque;

use super::{Config, TOGETHER_NS, keep};
use crate::common::quiet_ns;
use crate::{DetectorOutput, FindingReport, FindingSeverity, number};
use capture::limits;
use capture::units::Ns;
use ledger::{CallOutcome, Entry};

/// A cut comes at its limit, or so much later: timers of proxies are coarse.
const LATE_SECONDS: f64 = 1.5;

/// Stamps and the way of the cut to us.
const EARLY_SECONDS: f64 = 0.5;

/// Cases by limit.
#[derive(Debug, Default)]
pub(super) struct IdleSilences {
    /// By place in the configuration: streams that came near the limit, and streams cut at it.
    limits: Vec<(VecDeque<Case>, VecDeque<Case>)>,
}

type Case = (Ns, String, f64);

impl IdleSilences {
    pub(super) fn closed(
        &mut self,
        entry: &Entry,
        ended: Ns,
        config: &Config,
        subject: &CallLabels,
        out: &mut DetectorOutput<'_>,
    ) {
        let longest = entry.longest_silence.max(ended - entry.last_read) as f64 / 1e9;
        if entry.streaming {
            out.observe(metrics::IDLE_GAP.of(&entry.labels, &[]), longest);
        }
        let last = ended.seconds_since(entry.last_read);
        let cut = matches!(entry.outcome, Some(CallOutcome::Truncated | CallOutcome::Reset));
        let wanted = config.idle_limits_seconds.len().min(limits::PRESSURE_LIMITS);
        self.limits.resize_with(wanted, Default::default);
        for (limit, (near, cuts)) in config.idle_limits_seconds.iter().zip(&mut self.limits) {
            if cut && (limit - EARLY_SECONDS..limit + LATE_SECONDS).contains(&last) {
                keep(cuts, (ended, entry.id.clone(), last), TOGETHER_NS);
                if cuts.len() >= config.streams as usize {
                    report("idle_cut", *limit, cuts, config, subject, out);
                }
            } else if !cut && (config.headroom * limit..limit - EARLY_SECONDS).contains(&longest) {
                keep(near, (ended, entry.id.clone(), longest), TOGETHER_NS);
                if near.len() >= config.streams as usize {
                    report("idle_headroom", *limit, near, config, subject, out);
                }
            }
        }
    }

    pub(super) fn held(&self) -> usize {
        self.limits.iter().map(|(near, cuts)| near.len() + cuts.len()).sum()
    }
}

fn report(
    kind: &'static str,
    limit: f64,
    cases: &VecDeque<Case>,
    config: &Config,
    subject: &CallLabels,
    out: &mut DetectorOutput<'_>,
) {
    let longest = cases.iter().map(|(_, _, silence)| *silence).fold(0.0, f64::max);
    let (count, whose) = (cases.len(), whose(limit));
    let verdict = match kind {
        "idle_cut" => {
            format!("{count} streams were cut after {limit:.0} s of silence, which is the idle limit of {whose}")
        }
        _ => format!("{count} streams were silent for up to {longest:.0} s: {whose} would cut them at {limit:.0} s"),
    };
    out.report(FindingReport {
        key: &format!("{kind}|{}|{limit}", subject.service),
        kind,
        severity: if kind == "idle_cut" { FindingSeverity::Warning } else { FindingSeverity::Info },
        since: cases.front().map_or(out.now().at, |(at, _, _)| *at),
        subject,
        verdict,
        inputs: vec![
            ("streams", count.into()),
            ("longest_silence_seconds", number(longest)),
            ("headroom_seconds", number(limit - longest)),
        ],
        baseline: vec![("idle_limit_seconds", number(limit))],
        excluded: vec!["keep-alives from the provider (they count as bytes)", "an application that gave up"],
        streams: cases.iter().rev().take(4).map(|(_, id, _)| id.clone()).collect(),
        quiet_ns: Some(quiet_ns(config.quiet_minutes)),
    });
}

/// Whose default a limit is.
fn whose(limit: f64) -> &'static str {
    match limit {
        55.0 => "Heroku",
        60.0 => "nginx and AWS ALB",
        100.0 => "Cloudflare",
        350.0 => "AWS NAT and NLB",
        _ => "what lies on the way",
    }
}
