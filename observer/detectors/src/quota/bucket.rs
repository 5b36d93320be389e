//! One limit over time: how fast it is used up, and whether that is faster than it fills.

use std::collections::VecDeque;

use super::headers::QuotaLimit;
use capture::units::Ns;

/// Samples of one limit. At most one for each `SHARE` of the horizon.
const SAMPLES: usize = 32;

/// The rate is that of the last such share of the horizon …
const LOOK_BACK: f64 = 0.1;

/// … and of this share of that …
const SHORT: f64 = 0.2;

/// … but of so many seconds at least.
const LEAST_SECONDS: f64 = 10.0;

/// What fills within so long is a bucket, not a window.
const BUCKET_SECONDS: f64 = 120.0;

/// More left than before by this share of the limit: a reset.
const JUMP: f64 = 0.3;

#[derive(Clone, Debug, Default)]
pub(super) struct QuotaBucket {
    pub limit: Option<f64>,
    /// Left, in units of the limit where known, else as a share.
    pub remaining: Option<f64>,
    pub ratio: Option<f64>,
    pub reset_at: Option<Ns>,
    /// Longest time to a reset that was told: tells a window from a bucket also shortly before its end.
    pub horizon: f64,
    pub seen: Ns,
    samples: VecDeque<(Ns, f64)>,
    /// Since when it is being used up faster than it fills.
    pub dry_since: Option<Ns>,
    /// Requests of our own since the first sample.
    own: u64,
}

impl QuotaBucket {
    /// What a response says; true if it jumped up: a reset.
    pub(super) fn take(&mut self, said: &QuotaLimit, now: Ns) -> bool {
        self.seen = now;
        self.limit = said.limit.or(self.limit);
        if let Some(seconds) = said.reset {
            self.reset_at = after(now, seconds);
            self.horizon = self.horizon.max(seconds);
        }
        let ratio = said.ratio.or_else(|| said.remaining.zip(self.limit).filter(|(_, l)| *l > 0.0).map(|(r, l)| r / l));
        let Some(left) = said.remaining.or(ratio) else { return false };
        let before = self.remaining.replace(left);
        let whole = self.limit.filter(|_| said.remaining.is_some()).unwrap_or(if said.remaining.is_some() {
            left
        } else {
            1.0
        });
        self.ratio = ratio;
        let jumped = before.is_some_and(|before| left - before > JUMP * whole);
        if jumped {
            self.samples.clear();
            self.own = 0;
        }
        self.own += 1;
        let apart = self.horizon * LOOK_BACK / SAMPLES as f64;
        if self.samples.back().is_none_or(|(at, _)| now.seconds_since(*at) >= apart) {
            self.samples.push_back((now, left));
        }
        let look_back = (self.horizon * LOOK_BACK).max(LEAST_SECONDS);
        while self.samples.len() > SAMPLES
            || (self.samples.len() > 2 && self.samples.get(1).is_some_and(|(at, _)| now.seconds_since(*at) > look_back))
        {
            self.samples.pop_front();
        }
        jumped
    }

    /// A window of an hour or a day; what fills in two minutes is a bucket.
    pub(super) fn class(&self) -> &'static str {
        if self.horizon > BUCKET_SECONDS { "window" } else { "bucket" }
    }

    /// Used a second; `None` if that cannot be told yet. The lower one of a long and a short look
    /// back: what lasts counts, and what has stopped does not.
    pub(super) fn burn(&self) -> Option<f64> {
        let short = self.horizon * LOOK_BACK * SHORT;
        let recent = self.samples.iter().find(|(at, _)| self.seen.seconds_since(*at) <= short);
        let long = self.rate(self.samples.front()?)?;
        match recent.filter(|(at, _)| *at < self.seen) {
            Some(from) => self.rate(from).map(|short| short.min(long)),
            None => Some(long),
        }
    }

    fn rate(&self, (from, most): &(Ns, f64)) -> Option<f64> {
        let (seconds, left) = (self.seen.seconds_since(*from), self.remaining?);
        (seconds > 0.0 && *most > left).then(|| (most - left) / seconds)
    }

    /// Seconds until it fills again.
    pub(super) fn resets_in(&self, now: Ns) -> Option<f64> {
        Some(self.reset_at?.seconds_since(now))
    }

    /// Seconds until it is used up, at the present rate.
    pub(super) fn exhausts_in(&self, now: Ns) -> Option<f64> {
        Some((self.remaining? / self.burn()? - now.seconds_since(self.seen)).max(0.0))
    }

    /// Time of exhaustion minus time of reset: negative, and it runs dry.
    pub(super) fn margin(&self, now: Ns) -> Option<f64> {
        Some(self.exhausts_in(now)? - self.resets_in(now).filter(|seconds| *seconds > 0.0)?)
    }

    /// How far the window has gone, 0 to 1; `None` for buckets.
    pub(super) fn phase(&self, now: Ns) -> Option<f64> {
        let left = self.resets_in(now).filter(|_| self.class() == "window")?;
        Some((1.0 - left / self.horizon).clamp(0.0, 1.0))
    }

    /// The share of what was used that our own requests do not explain (others use the same key). Only for requests.
    pub(super) fn unexplained(&self) -> Option<f64> {
        let used = self.samples.front()?.1 - self.remaining?;
        (used >= 10.0 && self.own > 1).then(|| (1.0 - (self.own - 1) as f64 / used).clamp(0.0, 1.0))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn after(now: Ns, seconds: f64) -> Option<Ns> {
    now.0.checked_add((seconds * 1e9) as u64).map(Ns)
}
