//! Orders that cannot be among exported spans: one that ends before it begins, a child that begins before its parent.

use crate::metrics;
use ledger::CallLabels;
use std::collections::VecDeque;

use super::Config;
use crate::common::quiet_ns;
use crate::{DetectorOutput, FindingReport, FindingSeverity, RecentMap, number};
use capture::limits;
use capture::units::Ns;
use dialects::spans::ExportedSpan;

/// Cases older than this are no evidence any more.
const OLD_NS: u64 = 3_600_000_000_000;

/// Cases kept of one service.
const CASES: usize = 256;

#[derive(Debug)]
pub(super) struct SpanOrder {
    /// When spans began, on their own clock.
    starts: RecentMap<u64, u64>,
    /// By spans that were not told of yet, when the first of their children began.
    children: RecentMap<u64, u64>,
    /// When it was so, and by how much.
    cases: RecentMap<Box<str>, VecDeque<(Ns, f64)>>,
}

impl Default for SpanOrder {
    fn default() -> Self {
        SpanOrder {
            starts: RecentMap::new(limits::SPAN_STARTS),
            children: RecentMap::new(limits::SPAN_STARTS),
            cases: RecentMap::new(limits::EXPORTING_PROCESSES),
        }
    }
}

impl SpanOrder {
    pub(super) fn look(&mut self, service: &str, span: &ExportedSpan, config: &Config, out: &mut DetectorOutput<'_>) {
        if span.start == 0 || span.end == 0 {
            return;
        }
        if span.end < span.start {
            let by = (span.start - span.end) as f64 / 1e9;
            self.case(service, "ends_before_start", by, config, out);
        }
        let (early, compared) = self.relatives(span);
        if compared {
            out.evaluated();
        }
        if early > config.order_seconds {
            self.case(service, "child_before_parent", early, config, out);
        }
    }

    /// By how many seconds it begins before its parent, or a child of it before itself; and whether
    /// any of them is known.
    fn relatives(&mut self, span: &ExportedSpan) -> (f64, bool) {
        let (mut early, mut compared) = (0.0_f64, false);
        let before = |child: u64, parent: u64| parent.saturating_sub(child) as f64 / 1e9;
        if let Some(parent) = span.parent {
            if let Some(start) = self.starts.get(&parent) {
                (early, compared) = (before(span.start, *start), true);
            } else {
                let first = self.children.touch(parent, || span.start);
                *first = span.start.min(*first);
            }
        }
        if let Some(id) = span.id {
            self.starts.insert(id, span.start);
            if let Some(child) = self.children.remove(&id) {
                (early, compared) = (early.max(before(child, span.start)), true);
            }
        }
        (early, compared)
    }

    fn case(&mut self, service: &str, kind: &'static str, by: f64, config: &Config, out: &mut DetectorOutput<'_>) {
        out.add(metrics::IMPOSSIBLE_ORDER.with(&[service, kind]), 1.0);
        let now = out.now().at;
        let cases = self.cases.touch(service.into(), VecDeque::new);
        cases.push_back((now, by));
        while cases.len() > CASES || cases.front().is_some_and(|(at, _)| now - *at > OLD_NS) {
            cases.pop_front();
        }
        if cases.len() < config.orders as usize {
            return;
        }
        let worst = cases.iter().map(|(_, by)| *by).fold(0.0, f64::max);
        out.report(FindingReport {
            key: &format!("order|{service}"),
            kind: "impossible_order",
            severity: FindingSeverity::Info,
            since: cases.front().map_or(now, |(at, _)| *at),
            subject: &CallLabels { service: service.into(), ..CallLabels::default() },
            verdict: format!(
                "spans that {service} exports are in an order that cannot be ({}), by up to {worst:.3} s: more than one clock stamped them",
                kind.replace('_', " ")
            ),
            inputs: vec![
                ("cases", cases.len().into()),
                ("last", kind.into()),
                ("worst_seconds", number(worst)),
            ],
            baseline: vec![("tolerance_seconds", number(config.order_seconds))],
            excluded: vec!["differences below the tolerance", "children that outlive their parent (they may)"],
            streams: Vec::new(),
            quiet_ns: Some(quiet_ns(config.quiet_minutes)),
        });
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.starts.forgotten() + self.children.forgotten() + self.cases.forgotten()
    }

    pub(super) fn held(&self) -> usize {
        self.starts.len() + self.children.len() + self.cases.iter().map(|(_, cases)| cases.len()).sum::<usize>()
    }
}
