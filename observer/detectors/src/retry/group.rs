//! Logical calls: attempts with the same body, why each failed, and what is wrong with the next.

use crate::metrics;
use std::collections::VecDeque;

use super::Config;
use super::service::RetryService;
use crate::common::quiet_ns;
use crate::subject::Subject;
use crate::{DetectorNow, DetectorOutput, FindingReport, FindingSeverity, quota};
use capture::units::Ns;
use ledger::{CallOutcome, Entry};

/// How much too early a retry may come.
const SLACK_NS: u64 = 500_000_000;

/// One logical call.
#[derive(Debug)]
pub(super) struct AttemptGroup {
    pub(super) subject: Subject,
    pub(super) attempts: u32,
    pub(super) open: u32,
    pub(super) ended: Option<Ns>,
    /// Why the last attempt failed; `None` if it did not.
    pub(super) failure: Option<&'static str>,
    pub(super) retry_after: Option<Ns>,
    rejected: u32,
    /// Attempts that were answered and cut: their input was paid for.
    cut: u32,
    pub(super) streams: VecDeque<String>,
}

impl AttemptGroup {
    pub(super) fn new(subject: Subject) -> AttemptGroup {
        AttemptGroup {
            subject,
            attempts: 0,
            open: 0,
            ended: None,
            failure: None,
            retry_after: None,
            rejected: 0,
            cut: 0,
            streams: VecDeque::new(),
        }
    }

    /// The class of the retry that `entry` is: why the attempt before it failed. `None`: it is none. What begins before
    /// the other has ended is fan-out or a hedge.
    pub(super) fn retried_by(&self, entry: &Entry, config: &Config) -> Option<&'static str> {
        let (failure, ended) = (self.failure?, self.ended?);
        let since = self.retry_after.unwrap_or(ended).max(ended);
        let soon = entry.started.seconds_since(since) <= config.window_seconds;
        (self.open == 0 && entry.started >= ended && soon).then_some(failure)
    }

    pub(super) fn closed(&mut self, entry: &Entry, out: &mut DetectorOutput<'_>) {
        self.open = self.open.saturating_sub(1);
        let ended = entry.ended.unwrap_or(entry.last_activity);
        self.ended = Some(ended);
        self.failure = failure(entry);
        self.retry_after = retry_after(entry, ended, out.now());
        match self.failure {
            Some("client_4xx") => self.rejected += 1,
            Some("stream_cut") => self.cut += 1,
            Some(_) => {}
            None if self.attempts > 0 => {
                if let (1.., Some(input)) = (self.cut, entry.usage.input) {
                    let wasted = f64::from(self.cut) * input as f64;
                    out.add(metrics::RETRY_WASTED.of(&self.subject, &[]), wasted);
                }
                let outcome = if entry.outcome == Some(CallOutcome::Complete) { "success" } else { "abandoned" };
                self.finish(outcome, out);
            }
            None => {}
        }
    }

    pub(super) fn finish(&mut self, outcome: &'static str, out: &mut DetectorOutput<'_>) {
        out.add(metrics::LOGICAL_CALLS.of(&self.subject, &[outcome]), 1.0);
        out.observe(metrics::RETRY_AMPLIFICATION.of(&self.subject, &[]), f64::from(self.attempts));
        *self = AttemptGroup { open: self.open, ..AttemptGroup::new(self.subject.clone()) };
    }

    /// A retry has just begun.
    pub(super) fn judge(
        &mut self,
        entry: &Entry,
        config: &Config,
        service: &mut RetryService,
        out: &mut DetectorOutput<'_>,
    ) {
        let early = self.retry_after.filter(|after| entry.started.0 + SLACK_NS < after.0);
        if let Some(after) = early {
            out.add(metrics::BACKOFF_VIOLATIONS.of(&self.subject, &[]), 1.0);
            service.violated(entry, after, config, out);
        }
        if self.attempts >= config.attempts {
            let verdict = format!("one call was attempted {} times: retries of retries multiply", self.attempts);
            self.report("storm", verdict, config, out);
        }
        if self.rejected >= config.repeats {
            let verdict =
                format!("the same body was sent again after it was rejected {} times: no retry helps", self.rejected);
            self.report("repeats_rejected", verdict, config, out);
        }
    }

    fn report(&self, kind: &'static str, verdict: String, config: &Config, out: &mut DetectorOutput<'_>) {
        out.report(FindingReport {
            key: &format!("{kind}|{}", self.subject.key()),
            kind,
            severity: FindingSeverity::Warning,
            since: out.now().at,
            subject: &self.subject,
            verdict,
            inputs: vec![
                ("attempts", self.attempts.into()),
                ("rejected", self.rejected.into()),
                ("last_failure", self.failure.into()),
            ],
            baseline: vec![("usual_attempts", 3.into())],
            excluded: vec!["identical prompts that succeeded", "parallel calls with the same body", "hedged requests"],
            streams: self.streams.iter().cloned().collect(),
            quiet_ns: Some(quiet_ns(config.quiet_minutes)),
        });
    }
}

/// Why an attempt failed, as the class of the retry that follows; `None` if it did not, or nobody can know.
fn failure(entry: &Entry) -> Option<&'static str> {
    Some(match entry.outcome? {
        CallOutcome::HttpError => match entry.status {
            Some(429) => "rate_limit",
            Some(408 | 409 | 500..) => "server",
            _ => "client_4xx",
        },
        CallOutcome::ErrorEvent => "stream_cut",
        CallOutcome::Reset | CallOutcome::Truncated | CallOutcome::IdleTimeout if entry.status.is_none() => "transport",
        CallOutcome::Reset | CallOutcome::Truncated | CallOutcome::IdleTimeout => "stream_cut",
        _ => return None,
    })
}

/// When the provider wants to be asked again.
fn retry_after(entry: &Entry, ended: Ns, now: DetectorNow) -> Option<Ns> {
    let facts = entry.answered.as_ref()?;
    let ms = facts.retry_after_ms.as_deref().and_then(|ms| ms.trim().parse::<f64>().ok()).map(|ms| ms / 1e3);
    let date = || {
        let at = quota::http_date(facts.retry_after.as_deref()?)?;
        let clock = facts.date.as_deref().and_then(quota::http_date).or(now.unix(ended))?;
        Some(at - clock)
    };
    let seconds = ms.or_else(|| facts.retry_after.as_deref()?.trim().parse().ok()).or_else(date)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within a day")]
    (0.0..86_400.0).contains(&seconds).then(|| Ns(ended.0 + (seconds * 1e9) as u64))
}
