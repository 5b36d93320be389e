//! How well the text of one stream kept ahead of its reader: quality of experience. Pure arithmetic on
//! (time, characters) points.

use capture::units::Ns;

/// Points of the delivery curve kept for one stream. When it is full, every second one is dropped
/// and from then on half as many are kept: memory is constant and the error is at most the time
/// between two kept points.
const POINTS: usize = 128;

/// One stream's delivery so far.
#[derive(Clone, Debug, Default)]
pub(super) struct DeliverySplit {
    /// When the first chunk with visible text came.
    first: Option<Ns>,
    total: u64,
    chunks: u64,
    /// (nanoseconds since `first`, characters delivered by then), in order.
    curve: Vec<(u64, u64)>,
    /// Points that one kept point stands for; doubles when the curve is full.
    stride: u32,
    /// Points that the last kept point stands for so far.
    skipped: u32,
}

impl DeliverySplit {
    /// A chunk of `chars` visible characters came.
    pub(super) fn chunk(&mut self, at: Ns, chars: u32) {
        let first = *self.first.get_or_insert(at);
        // Stamps of two CPUs may differ by nanoseconds; the curve never goes back.
        let since = (at - first).max(self.curve.last().map_or(0, |last| last.0));
        self.total += u64::from(chars);
        self.chunks += 1;
        match self.curve.last_mut() {
            Some(last) if last.0 == since => last.1 = self.total,
            _ => self.push((since, self.total)),
        }
    }

    /// 1 − (area by which delivery is behind a reader) / (area the reader expects), for a reader
    /// who starts at the first chunk and takes `rate` characters a second. 1: never waited. `None`
    /// for fewer than two chunks, where it says nothing.
    #[must_use]
    pub(super) fn qoe(&self, rate: f64) -> Option<f64> {
        if self.chunks < 2 || self.total == 0 || rate <= 0.0 {
            return None;
        }
        let all = self.total as f64;
        let read = all / rate;
        let end = self.curve.last().map_or(0.0, |p| seconds(p.0)).max(read);
        let expected = all * all / (2.0 * rate) + all * (end - read);
        Some((1.0 - self.behind(rate, end) / expected).clamp(0.0, 1.0))
    }

    /// ∫ max(0, min(rate·t, total) − delivered(t)) dt over 0..end; delivered is a staircase.
    fn behind(&self, rate: f64, end: f64) -> f64 {
        let all = self.total as f64;
        let ends = self.curve.iter().skip(1).map(|p| seconds(p.0)).chain([end]);
        self.curve
            .iter()
            .zip(ends)
            .map(|((from, delivered), to)| lag(rate, all, seconds(*from), to, *delivered as f64))
            .sum()
    }

    /// Every `stride`th point stays; those between replace each other. The first, where the reader
    /// starts, always stays.
    fn push(&mut self, point: (u64, u64)) {
        self.stride = self.stride.max(1);
        if self.curve.len() == POINTS {
            self.stride *= 2;
            let mut index = 0;
            self.curve.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.skipped = 0;
        }
        match self.curve.last_mut() {
            Some(last) if self.skipped > 0 => *last = point,
            _ => self.curve.push(point),
        }
        self.skipped = if self.curve.len() == 1 { 0 } else { (self.skipped + 1) % self.stride };
    }
}

/// The reader's expectation over one step of the staircase (constant `delivered` from `a` to `b`), where it exceeds it.
fn lag(rate: f64, all: f64, a: f64, b: f64, delivered: f64) -> f64 {
    // The expectation passes `delivered` here, and is flat at `all` from `full` on.
    let start = (delivered / rate).max(a).min(b);
    let full = (all / rate).max(start).min(b);
    let ramp = rate * (full * full - start * start) / 2.0 - delivered * (full - start);
    let flat = (all - delivered) * (b - full);
    ramp + flat
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deliver(points: &[(f64, u32)]) -> DeliverySplit {
        let mut delivery = DeliverySplit::default();
        for (at, chars) in points {
            let at = std::time::Duration::from_secs_f64(1.0 + at).as_nanos();
            delivery.chunk(Ns(u64::try_from(at).unwrap()), *chars);
        }
        delivery
    }

    #[test]
    fn one_chunk_says_nothing() {
        let one = deliver(&[(0.0, 100)]);
        assert_eq!(one.qoe(20.0), None);
    }

    #[test]
    fn faster_than_the_reader_is_perfect() {
        let fast = deliver(&[(0.0, 10), (0.1, 10), (0.2, 10), (0.3, 10)]);
        assert_eq!(fast.qoe(20.0), Some(1.0));
    }

    /// 20 characters at once, then 20 more after 4 s, reader takes 10 a second. Expected area over 4 s:
    /// 40²/20 = 80 (full at t = 4). Behind from t = 2 (20 read) to 4: triangle 2 s × 20 / 2 = 20. Score 0.75.
    #[test]
    fn a_stall_costs_its_triangle() {
        let stalled = deliver(&[(0.0, 20), (4.0, 20)]);
        let score = stalled.qoe(10.0).unwrap();
        assert!((score - 0.75).abs() < 1e-9, "{score}");
    }

    /// Delivery ends after the reader would have: the flat part counts too. 10 chars at 0, 10 at 10 s, rate 10:
    /// expected = 20²/20 + 20·(10−2) = 180; behind = ramp from 1 to 2 s (5) + flat 10·8 = 85.
    #[test]
    fn late_text_counts_until_it_comes() {
        let late = deliver(&[(0.0, 10), (10.0, 10)]);
        let score = late.qoe(10.0).unwrap();
        assert!((score - (1.0 - 85.0 / 180.0)).abs() < 1e-9, "{score}");
    }

    #[test]
    fn memory_is_constant_and_the_score_stays_close() {
        let steady: Vec<_> = (0..10_000).map(|n| (f64::from(n) * 0.4, 4)).collect();
        let delivery = deliver(&steady);
        assert!(delivery.curve.len() <= POINTS);
        // Exactly half the reader's rate over the whole stream: a twentieth of error is the price of 128 points.
        let half = delivery.qoe(20.0).unwrap();
        assert!((0.6..0.72).contains(&half), "{half}");
    }

    #[test]
    fn chunks_of_one_read_are_one_point() {
        assert_eq!(deliver(&[(0.0, 1), (0.0, 1), (0.0, 1)]).curve.len(), 1);
    }
}
