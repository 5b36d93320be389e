//! The reset clock inferred from traffic: the times of day at which runs of refusals end.

use std::collections::VecDeque;
use std::f64::consts::TAU;

use capture::units::Ns;

/// Resets remembered.
const RESETS: usize = 64;

/// Resets that an inference needs.
const LEAST: usize = 3;

/// A run of refusals that is a window and no bucket.
const RUN_SECONDS: f64 = 600.0;

/// Seconds of a day.
pub(super) const DAY: f64 = 86_400.0;

#[derive(Clone, Debug, Default)]
pub(super) struct QuotaClock {
    /// First and last refusal of the run that lasts.
    run: Option<(Ns, Ns)>,
    /// Wall times of resets, seconds.
    resets: VecDeque<f64>,
    /// Wall times of refusals by windows, the last day's.
    refused: VecDeque<f64>,
}

impl QuotaClock {
    pub(super) fn refused(&mut self, now: Ns, unix: Option<f64>) {
        let (first, _) = self.run.unwrap_or((now, now));
        self.run = Some((first, now));
        self.refused.extend(unix);
        while self.refused.len() > 4096 || self.refused.front().zip(unix).is_some_and(|(at, now)| now - at > DAY) {
            self.refused.pop_front();
        }
    }

    /// A call went through: a long run of refusals ended between the last one and now.
    pub(super) fn served(&mut self, now: Ns, unix: Option<f64>) {
        let Some((first, last)) = self.run.take() else { return };
        if last.seconds_since(first) >= RUN_SECONDS
            && let Some(unix) = unix
        {
            self.reset(unix - now.seconds_since(last) / 2.0);
        }
    }

    /// A limit was full again at this wall time.
    pub(super) fn reset(&mut self, unix: f64) {
        self.resets.push_back(unix);
        if self.resets.len() > RESETS {
            self.resets.pop_front();
        }
    }

    /// (seconds after midnight UTC, confidence from 0 to 1): the circular mean of the times of day,
    /// and how close together they lie.
    pub(super) fn inferred(&self) -> Option<(f64, f64)> {
        if self.resets.len() < LEAST {
            return None;
        }
        let angles = self.resets.iter().map(|at| at.rem_euclid(DAY) / DAY * TAU);
        let (sin, cos) = angles.fold((0.0, 0.0), |(sin, cos), angle| (sin + angle.sin(), cos + angle.cos()));
        let count = self.resets.len() as f64;
        let together = (sin * sin + cos * cos).sqrt() / count;
        let at = sin.atan2(cos).rem_euclid(TAU) / TAU * DAY;
        Some((at, together * (1.0 - 1.0 / count)))
    }

    /// Where in the day of the quota a wall time lies, 0 to 1, where the reset is known well enough.
    pub(super) fn phase(&self, unix: f64) -> Option<f64> {
        let (at, confidence) = self.inferred()?;
        (confidence > 0.6).then(|| (unix - at).rem_euclid(DAY) / DAY)
    }

    /// (refusals of the last day, share of them in the last quarter of the quota's day).
    pub(super) fn tail(&self) -> Option<(usize, f64)> {
        let phases: Vec<f64> = self.refused.iter().filter_map(|at| self.phase(*at)).collect();
        let last = phases.iter().filter(|phase| **phase >= 0.75).count();
        (!phases.is_empty()).then(|| (phases.len(), last as f64 / phases.len() as f64))
    }

    pub(super) fn held(&self) -> usize {
        self.resets.len() + self.refused.len()
    }
}
