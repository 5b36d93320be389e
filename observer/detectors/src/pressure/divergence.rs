//! Concurrency against CPU: one window, five minutes unless configured otherwise, against the twelve before.

use crate::metrics;
use ledger::CallLabels;
use std::collections::VecDeque;

use super::Config;
use crate::common::{median, quiet_ns};
use crate::{DetectorOutput, FindingReport, FindingSeverity, number};
use capture::units::Ns;

/// Windows that one is held against.
const WINDOWS: usize = 12;

/// Windows that a comparison needs.
const LEAST_WINDOWS: usize = 6;

/// Windows in a row that must diverge.
const IN_A_ROW: u32 = 2;

/// Streams of one service, and its CPU.
#[derive(Debug, Default)]
pub(super) struct ServiceLoad {
    open: u64,
    /// Since when `open` has been summed up.
    since: Option<Ns>,
    began: Option<Ns>,
    stream_seconds: f64,
    opens: u64,
    holds: f64,
    closes: u64,
    /// CPU seconds used, and in how many seconds.
    cpu: Option<(f64, f64)>,
    windows: VecDeque<Window>,
    row: u32,
    active: bool,
    judged: bool,
    longest: f64,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Ns,
    /// Streams open, on average.
    concurrency: f64,
    /// Streams begun a second.
    rate: f64,
    /// Seconds a stream lasted.
    hold: Option<f64>,
    /// Cores used; `None` where nobody told.
    cores: Option<f64>,
}

impl ServiceLoad {
    pub(super) fn opened(&mut self, now: Ns) {
        self.sum(now);
        self.open += 1;
        self.opens += 1;
    }

    pub(super) fn closed(&mut self, now: Ns, seconds: f64) {
        self.sum(now);
        self.open = self.open.saturating_sub(1);
        self.closes += 1;
        self.holds += seconds;
        self.longest = self.longest.max(seconds);
    }

    /// CPU seconds used in the last so many seconds. Looks at the CPU and windows do not end together.
    pub(super) fn cpu(&mut self, used: f64, seconds: f64) {
        let cpu = self.cpu.get_or_insert((0.0, 0.0));
        *cpu = (cpu.0 + used, cpu.1 + seconds);
    }

    /// Longest stream seen, seconds.
    pub(super) fn longest(&self) -> f64 {
        self.longest
    }

    pub(super) fn tick(&mut self, config: &Config, subject: &CallLabels, out: &mut DetectorOutput<'_>) {
        let now = out.now().at;
        self.sum(now);
        let began = *self.began.get_or_insert(now);
        if now.seconds_since(began) < config.window_minutes * 60.0 {
            return;
        }
        let window = self.window(began, now);
        self.judge(window, config, subject, out);
        // What diverges is not learned.
        if self.row == 0 {
            self.windows.push_back(window);
        }
        while self.windows.len() > WINDOWS {
            self.windows.pop_front();
        }
    }

    pub(super) fn publish(&self, subject: &CallLabels, out: &mut DetectorOutput<'_>) {
        if self.judged {
            out.set(metrics::DIVERGENCE_ACTIVE.of(subject, &[]), f64::from(u8::from(self.active)));
        }
    }

    fn sum(&mut self, now: Ns) {
        let since = self.since.replace(now).unwrap_or(now);
        self.stream_seconds += self.open as f64 * now.seconds_since(since);
    }

    fn window(&mut self, began: Ns, now: Ns) -> Window {
        let seconds = now.seconds_since(began);
        let window = Window {
            began,
            concurrency: self.stream_seconds / seconds,
            rate: self.opens as f64 / seconds,
            hold: (self.closes > 0).then(|| self.holds / self.closes as f64),
            cores: self.cpu.take().and_then(|(used, looked_at)| (looked_at > 0.0).then(|| used / looked_at)),
        };
        (self.stream_seconds, self.opens, self.holds, self.closes) = (0.0, 0, 0.0, 0);
        self.began = Some(now);
        window
    }

    fn judge(&mut self, now: Window, config: &Config, subject: &CallLabels, out: &mut DetectorOutput<'_>) {
        let key = format!("divergence|{}", subject.service);
        let Some(cores) = now.cores else { return out.withheld("no_cpu") };
        let before: Vec<f64> = self.windows.iter().map(|window| window.concurrency).collect();
        let cores_before: Vec<f64> = self.windows.iter().filter_map(|window| window.cores).collect();
        if cores_before.len() < LEAST_WINDOWS {
            return out.withheld("learning");
        }
        let (Some(then), Some(cores_then)) = (median(before), median(cores_before)) else { return };
        out.evaluated();
        self.judged = true;
        let grown = now.concurrency >= config.least_streams && now.concurrency >= config.concurrency_growth * then;
        // Streams that need no CPU at all are the blindest.
        let blind = grown && cores <= config.cpu_growth * cores_then;
        self.row = if blind { self.row + 1 } else { 0 };
        let was = self.active;
        self.active = self.row >= IN_A_ROW;
        if was && !self.active {
            out.end(&key);
        }
        if self.active {
            self.report(&key, now, (then, cores), cores_then, config, subject, out);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "both sides of one comparison")]
    fn report(
        &self,
        key: &str,
        now: Window,
        (then, cores): (f64, f64),
        cores_then: f64,
        config: &Config,
        subject: &CallLabels,
        out: &mut DetectorOutput<'_>,
    ) {
        let rates: Vec<f64> = self.windows.iter().map(|window| window.rate).collect();
        let holds: Vec<f64> = self.windows.iter().filter_map(|window| window.hold).collect();
        let number_of = |value: Option<f64>| value.map_or(serde_json::Value::Null, number);
        out.report(FindingReport {
            key,
            kind: "divergence",
            severity: FindingSeverity::Warning,
            since: Ns(now.began.0.saturating_sub(u64::from(self.row - 1) * window_ns(config))),
            subject,
            verdict: format!(
                "{:.0} streams are open at once (before: {then:.0}) while the CPU stayed at {cores:.2} cores ({cores_then:.2}): an autoscaler on CPU does not see it",
                now.concurrency
            ),
            inputs: vec![
                ("concurrency", number(now.concurrency)),
                ("opens_per_second", number(now.rate)),
                ("hold_seconds", number_of(now.hold)),
                ("cores", number(cores)),
                ("cores_per_stream", number(cores / now.concurrency)),
                ("capacity_per_second_at_this_hold", number_of(now.hold.map(|hold| now.concurrency / hold))),
            ],
            baseline: vec![
                ("concurrency", number(then)),
                ("opens_per_second", number_of(median(rates))),
                ("hold_seconds", number_of(median(holds))),
                ("cores", number(cores_then)),
                ("cores_per_stream", number(cores_then / then)),
            ],
            excluded: vec!["CPU that grew with the streams", "a handful of streams"],
            streams: Vec::new(),
            quiet_ns: Some(quiet_ns(config.quiet_minutes).max(3 * window_ns(config))),
        });
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within an hour")]
fn window_ns(config: &Config) -> u64 {
    (config.window_minutes * 60e9) as u64
}
