//! What detectors said: their findings, and how much they judged and withheld.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::rig::Rig;
use crate::wait_for;

/// How long a number may take to become what it will be: the daemon of a busy host lags behind.
pub(crate) const SETTLE: Duration = Duration::from_secs(30);

/// How many cases a detector looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    pub evaluated: f64,
    /// For whatever reason.
    pub withheld: f64,
}

impl Rig {
    /// The sum of the series of a metric whose labels have all of `parts`.
    ///
    /// # Errors
    /// If there are no metrics.
    pub fn number(&self, metric: &str, parts: &[&str]) -> Result<f64> {
        let text = self.daemon.metrics()?;
        let ours = |line: &&str| {
            line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && parts.iter().all(|part| line.contains(part))
        };
        Ok(text.lines().filter(ours).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Waits until that sum is `want`.
    ///
    /// # Errors
    /// If it does not become so; the error says what it is.
    pub fn number_is(&self, metric: &str, parts: &[&str], want: f64) -> Result<()> {
        let found = wait_for(metric, SETTLE, || (self.number(metric, parts).ok()? == want).then_some(()));
        ensure!(found.is_ok(), "{metric} {parts:?} is {:?}, not {want}", self.number(metric, parts));
        Ok(())
    }

    /// What a detector looked at so far.
    ///
    /// # Errors
    /// As `number`.
    pub fn judged(&self, detector: &str) -> Result<Judged> {
        let label = format!("detector=\"{detector}\"");
        Ok(Judged {
            evaluated: self.number("llm_detector_evaluated_total", &[&label])?,
            withheld: self.number("llm_detector_withheld_total", &[&label])?,
        })
    }

    /// The same, once it looked at `cases` in all.
    ///
    /// # Errors
    /// If it does not; the error says what it looked at, and why it withheld.
    pub fn judged_when(&self, detector: &str, cases: f64) -> Result<Judged> {
        let looked = || Some(self.judged(detector).ok()?).filter(|got| got.evaluated + got.withheld >= cases);
        let found = wait_for("cases of a detector", SETTLE, looked);
        let got = self.judged(detector)?;
        ensure!(found.is_ok() && got.evaluated + got.withheld == cases, "{detector}: {got:?}, not {cases} cases");
        Ok(got)
    }

    /// Looked at so many cases and judged them all, and found nothing.
    ///
    /// # Errors
    /// If it did otherwise; the error says what it did.
    pub fn quiet_after(&self, detector: &str, cases: f64) -> Result<()> {
        let judged = self.judged_when(detector, cases)?;
        ensure!(judged.evaluated == cases, "{detector}: {judged:?}, not {cases} judged");
        let findings = self.findings(detector)?;
        ensure!(findings.is_empty(), "{detector}: {findings:?}");
        Ok(())
    }

    /// How many cases a detector could not judge for this reason.
    ///
    /// # Errors
    /// As `number`.
    pub fn withheld(&self, detector: &str, reason: &str) -> Result<f64> {
        let labels = [format!("detector=\"{detector}\""), format!("reason=\"{reason}\"")];
        self.number("llm_detector_withheld_total", &[&labels[0], &labels[1]])
    }

    /// The findings of one detector, in the order of their beginning.
    ///
    /// # Errors
    /// If `inspect` fails.
    pub fn findings(&self, detector: &str) -> Result<Vec<Value>> {
        let mut all: Vec<Value> = self.daemon.inspect_json(&["findings"])?;
        all.retain(|finding| finding["detector"] == detector);
        all.sort_by_key(|finding| finding["since"].to_string());
        Ok(all)
    }

    /// The one finding of a detector that fits, once it does.
    ///
    /// # Errors
    /// If there is none, or several; the error shows what there is.
    pub fn finding_when(&self, detector: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let found = wait_for("a finding", SETTLE, || self.findings(detector).ok()?.into_iter().find(|one| fits(one)));
        let all = self.findings(detector)?;
        let one = found.with_context(|| format!("{detector}: {all:?}"))?;
        ensure!(all.len() == 1, "{detector} found more than was to be found: {all:?}");
        Ok(one)
    }
}
