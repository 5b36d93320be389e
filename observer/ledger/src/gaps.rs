//! Quantiles of the gaps between chunks, in bounded memory.

use super::stalls::is_stall;
use super::varint;

/// Gaps kept exactly; a longer stream goes over to buckets.
const EXACT: u64 = 512;

/// Room for them is asked for in such steps.
const STEP: usize = 256;

/// Bucket bounds grow by this factor, and a bucket answers with its geometric middle: at most 2 % off.
const GROWTH: f64 = 1.04;

/// Buckets from 1 µs up to 1,000 s and more: ln(1e9) / ln(1.04) = 529. Shorter gaps are 0, longer
/// ones fall in the last.
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
/// always exact. Some 2 KB, never more than 5, and 24 bytes of numbers once the call has ended.
#[derive(Clone, Debug, Default)]
pub struct StreamGaps {
    kept: GapStorage,
    count: u64,
    max: u64,
}

#[derive(Clone, Debug)]
enum GapStorage {
    /// Each gap, packed.
    Exact(Vec<u8>),
    Buckets(Box<GapBuckets>),
    Final(Option<GapStats>),
}

/// How many gaps fell where. A stream's gaps are of a kind: only the buckets between its shortest
/// and its longest are there.
#[derive(Clone, Debug, Default)]
struct GapBuckets {
    /// Gaps shorter than the first bucket.
    zeros: u64,
    /// The number of the first of `counts`.
    first: usize,
    counts: Vec<u32>,
}

impl Default for GapStorage {
    fn default() -> Self {
        GapStorage::Exact(Vec::new())
    }
}

impl StreamGaps {
    /// One more gap, nanoseconds.
    pub fn add(&mut self, ns: u64) {
        self.max = self.max.max(ns);
        self.count += 1;
        match &mut self.kept {
            GapStorage::Exact(packed) if self.count <= EXACT => {
                if packed.capacity() - packed.len() < varint::LONGEST {
                    packed.reserve_exact(STEP); // doubled, half of it would stand empty
                }
                varint::put(ns, |byte| packed.push(byte));
            }
            GapStorage::Exact(packed) => {
                let mut buckets = Box::<GapBuckets>::default();
                unpack(packed).chain([ns]).for_each(|gap| buckets.count(gap));
                self.kept = GapStorage::Buckets(buckets);
            }
            GapStorage::Buckets(buckets) => buckets.count(ns),
            GapStorage::Final(_) => {}
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
        if let GapStorage::Final(stats) = self.kept {
            return stats;
        }
        let seconds = |ns: u64| ns as f64 / 1e9;
        Some(GapStats { p50: seconds(self.quantile(0.5)?), p95: seconds(self.quantile(0.95)?), max: seconds(self.max) })
    }

    /// The call ended: keep the answer, free the samples.
    pub(super) fn freeze(&mut self) {
        self.kept = GapStorage::Final(self.stats());
    }

    fn quantile(&self, q: f64) -> Option<u64> {
        match &self.kept {
            GapStorage::Exact(packed) => {
                let mut sorted: Vec<u64> = unpack(packed).collect();
                sorted.sort_unstable();
                sorted.get(usize::try_from(rank(q, sorted.len() as u64)?).ok()?).copied()
            }
            GapStorage::Buckets(buckets) => Some(buckets.at(rank(q, self.count)?)?.min(self.max)),
            GapStorage::Final(_) => None,
        }
    }
}

fn unpack(packed: &[u8]) -> impl Iterator<Item = u64> {
    let mut bytes = packed.iter().copied();
    std::iter::from_fn(move || varint::take(&mut bytes))
}

impl GapBuckets {
    fn count(&mut self, ns: u64) {
        let Some(bucket) = bucket(ns) else {
            self.zeros += 1;
            return;
        };
        if let Some(n) = self.slot(bucket) {
            *n = n.saturating_add(1);
        }
    }

    /// A bucket's count, for which room is made.
    fn slot(&mut self, bucket: usize) -> Option<&mut u32> {
        if self.counts.is_empty() {
            self.first = bucket;
        }
        let before = self.first.saturating_sub(bucket);
        let beyond = (bucket + 1).saturating_sub(self.first + self.counts.len());
        if before + beyond > 0 {
            self.counts.reserve_exact(before + beyond);
            self.counts.resize(self.counts.len() + before + beyond, 0);
            self.counts.rotate_right(before);
            self.first -= before;
        }
        self.counts.get_mut(bucket - self.first)
    }

    /// The gap of this rank, as its bucket's middle.
    fn at(&self, rank: u64) -> Option<u64> {
        let mut seen = self.zeros;
        if rank < seen {
            return Some(0);
        }
        let place = self.counts.iter().position(|&n| {
            seen += u64::from(n);
            rank < seen
        })?;
        Some(middle(self.first + place))
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

    impl StreamGaps {
        fn held(&self) -> usize {
            match &self.kept {
                GapStorage::Exact(packed) => packed.capacity(),
                GapStorage::Buckets(buckets) => size_of::<GapBuckets>() + size_of_val(buckets.counts.as_slice()),
                GapStorage::Final(_) => 0,
            }
        }
    }

    fn filled(gaps: impl IntoIterator<Item = u64>) -> StreamGaps {
        let mut all = StreamGaps::default();
        gaps.into_iter().for_each(|g| all.add(g));
        all
    }

    #[test]
    fn none_without_gaps() {
        assert_eq!(StreamGaps::default().stats(), None);
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
        assert!(gaps.held() < 2_500);
        let (mut frozen, before) = (gaps.clone(), gaps.stats());
        frozen.freeze();
        assert_eq!(frozen.stats(), before);
    }

    #[test]
    fn a_stream_of_a_steady_pace_takes_little_room() {
        let pace = |i: u64| 20_000_000 + i * 7_919 % 90_000_000; // 20 to 110 ms
        for (count, most) in [(100, 600), (512, 2_600), (513, 300), (100_000, 300)] {
            let held = filled((0..count).map(pace)).held();
            assert!(held <= most, "{held} bytes for {count} gaps");
        }
        let longest = filled(std::iter::repeat_n(u64::MAX, 512)).held();
        assert!(longest < 5_500, "{longest} bytes");
    }

    #[test]
    fn the_order_in_which_buckets_are_met_does_not_matter() {
        let gaps: Vec<u64> = (0..2000u64).map(|i| 1_500 << (i * 7 % 23)).collect();
        let mut sorted = gaps.clone();
        sorted.sort_unstable();
        let backwards = filled(sorted.iter().rev().copied());
        assert_eq!(filled(gaps).stats(), filled(sorted.iter().copied()).stats());
        assert_eq!(backwards.stats(), filled(sorted).stats());
    }

    #[test]
    fn the_longest_possible_gap_is_no_problem() {
        let gaps = filled(std::iter::repeat_n(u64::MAX, 600));
        assert!(gaps.stats().unwrap().p50 > 1000.0);
    }
}
