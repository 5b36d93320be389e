//! A distribution in bounded memory that can be kept in a file: counts in buckets that grow by 3 %, a day each, so that
//! old days go whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Buckets grow by this factor; a quantile is at most half of it off.
const GROWTH: f64 = 1.03;

/// Days kept.
const DAYS: usize = 8;

/// Buckets of a day: 3 % steps over nine orders of magnitude are 700.
const BUCKETS: usize = 700;

/// Values of the last days. Zero and negative values share the lowest bucket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuantileSketch {
    days: BTreeMap<u32, Day>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Day {
    counts: BTreeMap<i16, u32>,
}

impl QuantileSketch {
    /// One more value, on a day (since whatever epoch the caller likes).
    pub fn add(&mut self, day: u32, value: f64) {
        let counts = &mut self.days.entry(day).or_default().counts;
        let bucket = bucket(value);
        if counts.len() < BUCKETS || counts.contains_key(&bucket) {
            let count = counts.entry(bucket).or_default();
            *count = count.saturating_add(1);
        }
        while self.days.len() > DAYS {
            self.days.pop_first();
        }
    }

    /// Forgets days before `day`.
    pub fn forget_before(&mut self, day: u32) {
        self.days = self.days.split_off(&day);
    }

    /// Values kept.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.merged().values().sum()
    }

    /// The value below which the share `q` lies. `None` if there is none.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        quantile(&self.merged(), q).map(middle)
    }

    #[must_use]
    pub fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    /// Median absolute deviation of the logarithms from that of the median, as a standard
    /// deviation; never less than one bucket, since nothing finer is known.
    #[must_use]
    pub fn spread(&self) -> Option<f64> {
        let merged = self.merged();
        let median = quantile(&merged, 0.5)?;
        let mut deviations: BTreeMap<i16, u64> = BTreeMap::new();
        for (bucket, count) in &merged {
            *deviations.entry(bucket.saturating_sub(median).saturating_abs()).or_default() += count;
        }
        let mad = f64::from(quantile(&deviations, 0.5)?.max(1)) * GROWTH.ln();
        Some(1.4826 * mad)
    }

    fn merged(&self) -> BTreeMap<i16, u64> {
        let mut merged = BTreeMap::new();
        for (bucket, count) in self.days.values().flat_map(|day| &day.counts) {
            *merged.entry(*bucket).or_default() += u64::from(*count);
        }
        merged
    }
}

fn quantile(counts: &BTreeMap<i16, u64>, q: f64) -> Option<i16> {
    let all: u64 = counts.values().sum();
    let rank = q * all as f64;
    let mut below = 0_u64;
    counts.iter().find_map(|(bucket, count)| {
        below += count;
        (below as f64 >= rank && below > 0).then_some(*bucket)
    })
}

/// The lowest bucket: 0 and below.
const LOWEST: i16 = i16::MIN / 2;

#[expect(clippy::cast_possible_truncation, reason = "clamped")]
fn bucket(value: f64) -> i16 {
    if value <= 0.0 || value.is_nan() {
        return LOWEST;
    }
    (value.ln() / GROWTH.ln()).round().clamp(-1000.0, 1000.0) as i16
}

fn middle(bucket: i16) -> f64 {
    if bucket == LOWEST { 0.0 } else { GROWTH.powi(i32::from(bucket)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_spread() {
        let mut sketch = QuantileSketch::default();
        assert_eq!((sketch.median(), sketch.spread()), (None, None));
        for n in 0..101 {
            sketch.add(1, 4.0 + f64::from(n % 5) * 0.5);
        }
        let (median, spread) = (sketch.median().unwrap(), sketch.spread().unwrap());
        assert!((4.9..5.1).contains(&median), "{median}");
        assert!((0.12..0.2).contains(&spread), "{spread}");
        let mut same = QuantileSketch::default();
        (0..100).for_each(|_| same.add(1, 0.0));
        assert_eq!((same.median(), same.count()), (Some(0.0), 100));
        assert!(same.spread().unwrap() > 0.0);
    }

    #[test]
    fn old_days_go_and_memory_is_bounded() {
        let mut sketch = QuantileSketch::default();
        for n in 0..100_000_u32 {
            sketch.add(n / 1000, f64::from(n) * 1.1 + 0.001);
        }
        assert!(sketch.days.len() <= DAYS);
        assert!(sketch.days.values().all(|day| day.counts.len() <= BUCKETS));
        sketch.forget_before(99);
        assert_eq!(sketch.days.len(), 1);
        let text = serde_json::to_string(&sketch).unwrap();
        assert_eq!(serde_json::from_str::<QuantileSketch>(&text).unwrap(), sketch);
    }
}
