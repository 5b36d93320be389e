//! Quantiles of the gaps between chunks, in bounded memory.

use super::stalls::is_stall;

/// Gaps kept exactly; a longer stream goes over to buckets.
const EXACT: usize = 512;

/// Bucket bounds grow by this factor, and a bucket answers with its geometric middle: at most 2 % off.
const GROWTH: f64 = 1.04;

/// Buckets from 1 µs up to 1,000 s and more: ln(1e9) / ln(1.04) = 529. Shorter gaps are 0, longer ones fall in the last.
const BUCKETS: usize = 530;

/// Quantiles of the gaps between chunks, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GapStats {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// Largest.
    pub max: f64,
}

impl GapStats {
    /// The largest is a stall.
    #[must_use]
    pub fn stalled(&self) -> bool {
        is_stall(self.max, self.p50)
    }
}

/// The gaps of one stream. Quantiles (nearest rank) are exact up to 512 gaps and within 2 % beyond; the largest is
/// always exact. Never more than 5 KB, and 24 bytes of numbers once the call has ended.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    kept: Kept,
    count: u64,
    max: u64,
}

#[derive(Clone, Debug)]
enum Kept {
    Exact(Vec<u64>),
    Buckets { zeros: u64, counts: Box<[u32; BUCKETS]> },
    Final(Option<GapStats>),
}

impl Default for Kept {
    fn default() -> Self {
        Kept::Exact(Vec::new())
    }
}

impl Gaps {
    /// One more gap, nanoseconds.
    pub fn add(&mut self, ns: u64) {
        self.max = self.max.max(ns);
        self.count += 1;
        match &mut self.kept {
            Kept::Exact(gaps) if gaps.len() < EXACT => gaps.push(ns),
            Kept::Exact(gaps) => {
                let mut buckets = Kept::Buckets { zeros: 0, counts: Box::new([0; BUCKETS]) };
                gaps.iter().chain([&ns]).for_each(|&gap| buckets.count(gap));
                self.kept = buckets;
            }
            Kept::Buckets { .. } => self.kept.count(ns),
            Kept::Final(_) => {}
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The median, nanoseconds; `None` without gaps.
    #[must_use]
    pub fn median(&self) -> Option<u64> {
        self.quantile(0.5)
    }

    /// The quantiles; `None` without gaps.
    #[must_use]
    pub fn stats(&self) -> Option<GapStats> {
        if let Kept::Final(stats) = self.kept {
            return stats;
        }
        let seconds = |ns: u64| ns as f64 / 1e9;
        Some(GapStats { p50: seconds(self.quantile(0.5)?), p95: seconds(self.quantile(0.95)?), max: seconds(self.max) })
    }

    /// The call ended: keep the answer, free the samples.
    pub(super) fn freeze(&mut self) {
        self.kept = Kept::Final(self.stats());
    }

    fn quantile(&self, q: f64) -> Option<u64> {
        match &self.kept {
            Kept::Exact(gaps) => {
                let mut sorted = gaps.clone();
                sorted.sort_unstable();
                sorted.get(usize::try_from(rank(q, sorted.len() as u64)?).ok()?).copied()
            }
            Kept::Buckets { zeros, counts } => {
                let rank = rank(q, self.count)?;
                let mut seen = *zeros;
                if rank < seen {
                    return Some(0);
                }
                let bucket = counts.iter().position(|&n| {
                    seen += u64::from(n);
                    rank < seen
                })?;
                Some(middle(bucket).min(self.max))
            }
            Kept::Final(_) => None,
        }
    }
}

impl Kept {
    fn count(&mut self, ns: u64) {
        let Kept::Buckets { zeros, counts } = self else { return };
        match bucket(ns).and_then(|b| counts.get_mut(b)) {
            Some(n) => *n = n.saturating_add(1),
            None => *zeros += 1,
        }
    }
}

/// Zero-based nearest rank of quantile `q` among `n`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 < q <= 1, so the rank is in 1..=n")]
fn rank(q: f64, n: u64) -> Option<u64> {
    ((q * n as f64).ceil() as u64).max(1).checked_sub(1).filter(|&r| r < n)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a logarithm of at least 1, clamped")]
fn bucket(ns: u64) -> Option<usize> {
    (ns >= 1000).then(|| (((ns as f64 / 1000.0).ln() / GROWTH.ln()) as usize).min(BUCKETS - 1))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number of nanoseconds below 2^41"
)]
fn middle(bucket: usize) -> u64 {
    (1000.0 * GROWTH.powf(bucket as f64 + 0.5)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(gaps: impl IntoIterator<Item = u64>) -> Gaps {
        let mut all = Gaps::default();
        gaps.into_iter().for_each(|g| all.add(g));
        all
    }

    #[test]
    fn none_without_gaps() {
        assert_eq!(Gaps::default().stats(), None);
    }

    #[test]
    fn exact_for_short_streams() {
        let stats = filled((1..=100).rev().map(|ms| ms * 1_000_000)).stats().unwrap();
        assert_eq!(stats, GapStats { p50: 0.050, p95: 0.095, max: 0.100 });
        assert_eq!(filled([7]).stats().unwrap(), GapStats { p50: 7e-9, p95: 7e-9, max: 7e-9 });
    }

    #[test]
    fn zeros_count() {
        assert_eq!(filled([0, 0, 0, 5_000_000_000]).stats().unwrap().p50, 0.0);
        let many = filled((0..2000).map(|i| if i % 4 == 0 { 1_000_000 } else { 0 }));
        assert_eq!(many.stats().unwrap().p50, 0.0);
    }

    #[test]
    fn long_streams_stay_within_two_percent_and_five_kilobytes() {
        let all: Vec<u64> = (1..=100_000u64).map(|i| i * i / 3 + 2_000).collect();
        let gaps = filled(all.iter().copied());
        for (q, got) in [(0.5, gaps.stats().unwrap().p50), (0.95, gaps.stats().unwrap().p95)] {
            let want = all[usize::try_from(rank(q, all.len() as u64).unwrap()).unwrap()] as f64 / 1e9;
            assert!((got / want - 1.0).abs() <= 0.02, "{q}: {got} for {want}");
        }
        assert_eq!(gaps.stats().unwrap().max, *all.last().unwrap() as f64 / 1e9);
        assert_eq!(gaps.count(), 100_000);
        assert!(size_of::<[u32; BUCKETS]>() + size_of::<Gaps>() < 5_000);
        let (mut frozen, before) = (gaps.clone(), gaps.stats());
        frozen.freeze();
        assert_eq!(frozen.stats(), before);
    }

    #[test]
    fn the_longest_possible_gap_is_no_problem() {
        let gaps = filled(std::iter::repeat_n(u64::MAX, 600));
        assert!(gaps.stats().unwrap().p50 > 1000.0);
    }
}
