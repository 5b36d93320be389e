//! Quota clock: what the limit headers say before the first 429, whether it will run dry before it
//! fills again, and when in the day a quota without headers is full.
//!
//! `observer/docs/detectors/quota.md` has the rules for operators.

mod bucket;
mod clock;
mod headers;

use crate::metrics;
use ledger::CallLabels;
use std::collections::BTreeMap;
use std::sync::Arc;

use self::bucket::QuotaBucket;
use self::clock::QuotaClock;
pub(crate) use self::headers::http_date;
use super::common::quiet_ns;
use super::config::{ConfigSection, thresholds, within};
use super::{Detector, DetectorOutput, FindingReport, FindingSeverity, RecentMap, number};
use crate::subject::Subject;
use capture::limits;
use capture::units::Ns;
use ledger::{CallEvent, CallEventKind, Entry};

thresholds! {
    /// Thresholds of the quota clock.
    pub struct Config, RawConfig {
        /// Windows shorter than this fill again before anyone could act.
        horizon_hours: f64 = 1.0, within(0.01..=10_000.0);
        /// A quota must be about to run dry for so long before it is told.
        sustained_minutes: f64 = 15.0, within(0.1..=10_000.0);
        /// Refusals of a day, and their share in the last quarter of the quota's day, that are one verdict.
        tail_refusals: u32 = 20, within(5..=100_000);
        tail_share: f64 = 0.5, within(0.1..=1.0);
        /// Refusals for want of credit before it is told.
        spend: u32 = 2, within(1..=1000);
        quiet_minutes: f64 = 60.0, within(1.0..=100_000.0);
    }
}

/// One quota, for `inspect quota`.
#[derive(Clone, Debug)]
pub struct QuotaRow {
    pub subject: Arc<CallLabels>,
    pub dimension: String,
    pub window: &'static str,
    pub limit: Option<f64>,
    pub remaining: Option<f64>,
    pub ratio: Option<f64>,
    pub burn_per_second: Option<f64>,
    pub reset_at: Option<Ns>,
    pub exhausts_in: Option<f64>,
    pub margin: Option<f64>,
    pub seen: Ns,
}

/// Whose quota it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    provider: Box<str>,
    server: Box<str>,
    credential: Option<u64>,
    model: Box<str>,
}

#[derive(Debug)]
struct Account {
    subject: Subject,
    buckets: BTreeMap<String, QuotaBucket>,
    clock: QuotaClock,
    spend: u32,
    refused: Vec<String>,
}

pub(crate) struct QuotaDetector {
    config: ConfigSection<Config>,
    accounts: RecentMap<Key, Account>,
}

pub(crate) fn new(config: ConfigSection<Config>) -> QuotaDetector {
    QuotaDetector { config, accounts: RecentMap::new(limits::QUOTA_ACCOUNTS) }
}

impl Detector for QuotaDetector {
    fn on_call_event(&mut self, event: &CallEvent<'_>, out: &mut DetectorOutput<'_>) {
        let entry = event.entry;
        match event.what {
            CallEventKind::Responded => self.responded(entry, out),
            CallEventKind::Closed => self.closed(entry, out),
            _ => {}
        }
    }

    fn tick(&mut self, out: &mut DetectorOutput<'_>) {
        let now = out.now().at;
        for (_, account) in self.accounts.iter_mut() {
            if let Some(config) = self.config.on(&account.subject.service) {
                account.dry(now, config, out);
            }
        }
    }

    fn publish(&mut self, out: &mut DetectorOutput<'_>) {
        for (_, account) in self.accounts.iter() {
            if self.config.on(&account.subject.service).is_some() {
                account.publish(out);
            }
        }
    }

    fn quota(&self, now: Ns) -> Vec<QuotaRow> {
        self.accounts.iter().flat_map(|(_, account)| account.rows(now)).collect()
    }

    fn held(&self) -> usize {
        self.accounts.iter().map(|(_, a)| 1 + a.buckets.len() + a.clock.held() + a.refused.len()).sum()
    }

    fn forgotten(&self) -> u64 {
        self.accounts.forgotten()
    }
}

impl QuotaDetector {
    fn account(&mut self, entry: &Entry) -> &mut Account {
        let subject = Subject::of(entry);
        let key = Key {
            provider: subject.provider.clone(),
            server: subject.server.clone(),
            credential: entry.credential,
            model: subject.model.clone(),
        };
        self.accounts.touch(key, || Account {
            subject,
            buckets: BTreeMap::new(),
            clock: QuotaClock::default(),
            spend: 0,
            refused: Vec::new(),
        })
    }

    /// Headers ride on successes too.
    fn responded(&mut self, entry: &Entry, out: &mut DetectorOutput<'_>) {
        let Some(config) = self.config.on(&entry.identity.service).cloned() else { return };
        let Some(facts) = &entry.answered else { return };
        let (at, unix) = (entry.last_activity, out.now().unix(entry.last_activity));
        let told = headers::limits(&facts.limits, unix, facts.date.as_deref());
        if told.is_empty() {
            return out.withheld("no_headers");
        }
        out.evaluated();
        let account = self.account(entry);
        for limit in told {
            if account.buckets.len() >= limits::QUOTA_DIMENSIONS && !account.buckets.contains_key(&limit.dimension) {
                continue;
            }
            let bucket = account.buckets.entry(limit.dimension.clone()).or_default();
            if bucket.take(&limit, at) && bucket.class() == "window" {
                account.clock.reset(unix.unwrap_or(0.0));
            }
        }
        account.dry(at, &config, out);
    }

    fn closed(&mut self, entry: &Entry, out: &mut DetectorOutput<'_>) {
        let Some(config) = self.config.on(&entry.identity.service).cloned() else { return };
        let (at, unix) = (out.now().at, out.now().unix(out.now().at));
        let Some(kind) = self.refusal(entry, at) else {
            if entry.status.is_some_and(|status| status < 400) {
                self.account(entry).clock.served(at, unix);
            }
            return;
        };
        let account = self.account(entry);
        let window = account.buckets.values().find_map(|bucket| bucket.phase(at));
        let phase = quarter(window.or_else(|| account.clock.phase(unix?)));
        out.add(metrics::RATE_LIMITED.of(&entry.labels, &[kind, phase]), 1.0);
        account.refused.push(entry.id.clone());
        if account.refused.len() > limits::FINDING_STREAMS {
            account.refused.remove(0);
        }
        match kind {
            "spend" => account.spent(&config, out),
            "overload" => {}
            _ => {
                account.clock.refused(at, unix);
                account.tail(&config, out);
            }
        }
    }

    /// What kind of limit refused the call: `bucket`, `window`, `spend` or `overload`.
    fn refusal(&mut self, entry: &Entry, now: Ns) -> Option<&'static str> {
        let word = entry.error_kind.as_deref().unwrap_or_default().to_ascii_lowercase();
        let says = |parts: &[&str]| parts.iter().any(|part| word.contains(part));
        match entry.status? {
            402 => return Some("spend"),
            429 | 403 if says(&["insufficient_quota", "billing", "credit", "spend", "payment"]) => {
                return Some("spend");
            }
            503 | 529 => return Some("overload"),
            429 if says(&["overloaded", "capacity"]) => return Some("overload"),
            429 => {}
            _ => return None,
        }
        let facts = entry.answered.as_ref();
        let after = facts.and_then(|facts| headers::until(facts.retry_after.as_deref()?, None));
        let account = self.account(entry);
        let empty = account.buckets.values().any(|bucket| {
            bucket.class() == "window"
                && bucket.remaining == Some(0.0)
                && bucket.resets_in(now).is_some_and(|s| s > 0.0)
        });
        Some(if empty || after.is_some_and(|seconds| seconds >= 3600.0) { "window" } else { "bucket" })
    }
}

impl Account {
    /// A window that will run dry before it fills.
    fn dry(&mut self, now: Ns, config: &Config, out: &mut DetectorOutput<'_>) {
        for (dimension, bucket) in &mut self.buckets {
            let key = format!("dry|{}|{dimension}", self.subject.key());
            let long = bucket.horizon >= config.horizon_hours * 3600.0;
            match bucket.margin(now).filter(|margin| long && *margin < 0.0) {
                None => {
                    if bucket.dry_since.take().is_some() {
                        out.end(&key);
                    }
                }
                Some(margin) => {
                    let since = *bucket.dry_since.get_or_insert(now);
                    if now.seconds_since(since) >= config.sustained_minutes * 60.0 && bucket.seen == now {
                        report_dry(&key, &self.subject, dimension, bucket, margin, since, out);
                    }
                }
            }
        }
    }

    fn spent(&mut self, config: &Config, out: &mut DetectorOutput<'_>) {
        self.spend = self.spend.saturating_add(1);
        if self.spend < config.spend {
            return;
        }
        let now = out.now().at;
        out.report(FindingReport {
            key: &format!("spend|{}", self.subject.key()),
            kind: "spend",
            severity: FindingSeverity::Critical,
            since: now,
            subject: &self.subject,
            verdict: format!("{} refuses calls for want of credit: no retry helps", self.subject.provider),
            inputs: vec![("refusals", self.spend.into())],
            baseline: Vec::new(),
            excluded: vec!["a rate limit that fills again", "an overloaded provider"],
            streams: self.refused.clone(),
            quiet_ns: Some(quiet_ns(config.quiet_minutes)),
        });
    }

    /// The same part of the day always meets the exhausted tail.
    fn tail(&mut self, config: &Config, out: &mut DetectorOutput<'_>) {
        let Some((refusals, share)) = self.clock.tail() else { return out.withheld("no_boundary") };
        let Some((at, confidence)) = self.clock.inferred() else { return };
        out.evaluated();
        if refusals < config.tail_refusals as usize || share <= config.tail_share {
            return;
        }
        let now = out.now().at;
        let clock = format!("{:02.0}:{:02.0}", (at / 3600.0).floor(), (at % 3600.0 / 60.0).floor());
        out.report(FindingReport {
            key: &format!("tail|{}", self.subject.key()),
            kind: "exhausted_tail",
            severity: FindingSeverity::Warning,
            since: now,
            subject: &self.subject,
            verdict: format!(
                "{:.0} % of the last day's {refusals} refusals fall in the last quarter before the quota is full again at {clock} UTC: whoever works then meets the exhausted tail",
                100.0 * share
            ),
            inputs: vec![
                ("refusals", refusals.into()),
                ("share_in_last_quarter", number(share)),
                ("reset_utc_seconds", number(at)),
                ("confidence", number(confidence)),
            ],
            baseline: vec![("share_if_even", number(0.25))],
            excluded: vec!["refusals spread over the day", "short buckets (a run must last 10 minutes)"],
            streams: self.refused.clone(),
            quiet_ns: Some(quiet_ns(config.quiet_minutes).max(93_600_000_000_000)),
        });
    }

    fn publish(&self, out: &mut DetectorOutput<'_>) {
        let now = out.now();
        for (dimension, bucket) in &self.buckets {
            let own = [dimension.as_str(), bucket.class()];
            if let Some(ratio) = bucket.ratio {
                out.set(metrics::RATELIMIT_REMAINING.of(&self.subject, &own), ratio);
            }
            if let Some(at) = bucket.reset_at.and_then(|at| now.unix(at)) {
                out.set(metrics::RATELIMIT_RESET.of(&self.subject, &own), at);
            }
            if let Some(margin) = bucket.margin(now.at) {
                out.set(metrics::RATELIMIT_MARGIN.of(&self.subject, &own), margin);
            }
            if let Some(share) = bucket.unexplained().filter(|_| dimension.starts_with("requests")) {
                out.set(metrics::RATELIMIT_UNEXPLAINED.of(&self.subject, &own), share);
            }
        }
        if let Some((at, confidence)) = self.clock.inferred() {
            out.set(metrics::QUOTA_OFFSET.of(&self.subject, &[]), at);
            out.set(metrics::QUOTA_CONFIDENCE.of(&self.subject, &[]), confidence);
        }
    }

    fn rows(&self, now: Ns) -> Vec<QuotaRow> {
        let row = |(dimension, bucket): (&String, &QuotaBucket)| QuotaRow {
            subject: Arc::clone(self.subject.labels()),
            dimension: dimension.clone(),
            window: bucket.class(),
            limit: bucket.limit,
            remaining: bucket.remaining,
            ratio: bucket.ratio,
            burn_per_second: bucket.burn(),
            reset_at: bucket.reset_at,
            exhausts_in: bucket.exhausts_in(now),
            margin: bucket.margin(now),
            seen: bucket.seen,
        };
        self.buckets.iter().map(row).collect()
    }
}

fn report_dry(
    key: &str,
    subject: &CallLabels,
    dimension: &str,
    bucket: &QuotaBucket,
    margin: f64,
    since: Ns,
    out: &mut DetectorOutput<'_>,
) {
    let now = out.now().at;
    let value = |number_: Option<f64>| number_.map_or(serde_json::Value::Null, number);
    out.report(FindingReport {
        key,
        kind: "runs_dry",
        severity: FindingSeverity::Warning,
        since,
        subject,
        verdict: format!(
            "the quota of {dimension} at {} will be used up {} before it is full again",
            subject.provider,
            span(-margin)
        ),
        inputs: vec![
            ("remaining", value(bucket.remaining)),
            ("limit", value(bucket.limit)),
            ("burn_per_second", value(bucket.burn())),
            ("exhausts_in_seconds", value(bucket.exhausts_in(now))),
            ("resets_in_seconds", value(bucket.resets_in(now))),
            ("margin_seconds", number(margin)),
            ("unexplained_share", value(bucket.unexplained().filter(|_| dimension.starts_with("requests")))),
        ],
        baseline: vec![("horizon_seconds", number(bucket.horizon))],
        excluded: vec!["a bucket that fills within minutes", "a short burst"],
        streams: Vec::new(),
        quiet_ns: None,
    });
}

/// Which quarter of the window.
fn quarter(phase: Option<f64>) -> &'static str {
    match phase {
        None => "unknown",
        Some(phase) if phase < 0.25 => "first",
        Some(phase) if phase < 0.5 => "second",
        Some(phase) if phase < 0.75 => "third",
        Some(_) => "last",
    }
}

fn span(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
