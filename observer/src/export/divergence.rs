//! Load that CPU does not show: calls in flight against the CPU time of the service that holds them.
//!
//! Waiting for a model costs no CPU, so an autoscaler that looks at CPU leaves a service alone that drowns in open streams.

use std::collections::{HashMap, VecDeque};

use crate::units::Ns;

/// How often a sample is taken.
pub const EVERY_NS: u64 = 15_000_000_000;
/// Samples of "now": five minutes.
const RECENT: usize = 20;
/// Samples before it that it is compared with: ten minutes.
const BEFORE: usize = 40;
/// Concurrency has risen by this factor, and by this many calls at least …
const RISE: f64 = 1.3;
const LEAST: f64 = 2.0;
/// … and CPU time by less than this one.
const CPU_RISE: f64 = 1.1;
/// Services watched at once: a host runs tens.
const SERVICES: usize = 512;

/// Service, namespace, workload.
pub type Service = [Box<str>; 3];

/// One moment of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Calls open now.
    pub open: u64,
    /// CPU seconds used so far by its processes' control groups; `None` where they cannot be read.
    pub cpu: Option<f64>,
}

/// The last quarter of an hour of each service.
#[derive(Debug, Default)]
pub struct Divergence {
    services: HashMap<Service, VecDeque<Sample>>,
    last: Option<Ns>,
}

impl Divergence {
    /// It is time for the next sample.
    #[must_use]
    pub fn due(&self, now: Ns) -> bool {
        self.last.is_none_or(|last| now - last >= EVERY_NS)
    }

    /// Takes a sample of every service. One that is not named any more has no call open.
    pub fn sample(&mut self, now: Ns, mut samples: HashMap<Service, Sample>) {
        self.last = Some(now);
        for (service, kept) in &mut self.services {
            push(kept, samples.remove(service).unwrap_or_default());
        }
        for (service, sample) in samples {
            if self.services.len() < SERVICES {
                push(self.services.entry(service).or_default(), sample);
            }
        }
        self.services.retain(|_, kept| kept.iter().any(|sample| sample.open > 0));
    }

    /// Every service with enough history to judge, and whether it diverges.
    pub fn verdicts(&self) -> impl Iterator<Item = (&Service, bool)> {
        self.services.iter().filter_map(|(service, kept)| Some((service, diverges(kept)?)))
    }
}

fn push(kept: &mut VecDeque<Sample>, sample: Sample) {
    if kept.len() == BEFORE + RECENT {
        kept.pop_front();
    }
    kept.push_back(sample);
}

/// `None`: too little is known.
fn diverges(kept: &VecDeque<Sample>) -> Option<bool> {
    let begin = kept.len().checked_sub(RECENT + BEFORE)?;
    let (before, recent) = (begin..begin + BEFORE, begin + BEFORE..kept.len());
    let open = |range: std::ops::Range<usize>| {
        let sum: u64 = kept.range(range.clone()).map(|sample| sample.open).sum();
        sum as f64 / range.len() as f64
    };
    // CPU seconds a sample, between the two ends of each stretch.
    let cpu = |range: &std::ops::Range<usize>| {
        let used = kept.get(range.end - 1)?.cpu? - kept.get(range.start)?.cpu?;
        (used >= 0.0).then_some(used / (range.len() - 1) as f64)
    };
    let (cpu_before, cpu_now) = (cpu(&before)?, cpu(&recent)?);
    let (open_before, open_now) = (open(before), open(recent));
    let risen = open_now >= open_before * RISE && open_now - open_before >= LEAST;
    Some(risen && cpu_now < cpu_before * CPU_RISE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Service {
        ["s".into(), "".into(), "".into()]
    }

    /// `minutes` of samples, with so many calls open and so many CPU seconds a second.
    fn run(divergence: &mut Divergence, from: &mut (u64, f64), minutes: u64, open: u64, cpu: f64) {
        for _ in 0..minutes * 4 {
            from.0 += EVERY_NS;
            from.1 += cpu * 15.0;
            divergence.sample(Ns(from.0), HashMap::from([(service(), Sample { open, cpu: Some(from.1) })]));
        }
    }

    fn verdict(divergence: &Divergence) -> Option<bool> {
        divergence.verdicts().next().map(|(_, diverges)| diverges)
    }

    #[test]
    fn load_that_cpu_does_not_show_is_found_and_load_that_it_shows_is_not() {
        for (cpu, diverges) in [(0.105, true), (0.2, false)] {
            let (mut divergence, mut at) = (Divergence::default(), (0, 0.0));
            run(&mut divergence, &mut at, 9, 10, 0.1);
            assert_eq!(verdict(&divergence), None, "too early");
            run(&mut divergence, &mut at, 6, 10, 0.1);
            assert_eq!(verdict(&divergence), Some(false));
            run(&mut divergence, &mut at, 5, 20, cpu);
            assert_eq!(verdict(&divergence), Some(diverges), "{cpu}");
        }
    }

    #[test]
    fn one_call_more_is_no_load() {
        let (mut divergence, mut at) = (Divergence::default(), (0, 0.0));
        run(&mut divergence, &mut at, 10, 1, 0.1);
        run(&mut divergence, &mut at, 5, 2, 0.1);
        assert_eq!(verdict(&divergence), Some(false));
    }

    #[test]
    fn without_cpu_nothing_is_said_and_idle_services_are_forgotten() {
        let mut divergence = Divergence::default();
        for n in 0..200u64 {
            let open = if n < 100 { n } else { 0 };
            divergence.sample(Ns(n * EVERY_NS), HashMap::from([(service(), Sample { open, cpu: None })]));
            assert_eq!(verdict(&divergence), None);
        }
        assert!(divergence.services.is_empty());
        assert!(divergence.due(Ns(200 * EVERY_NS)) && !divergence.due(Ns(199 * EVERY_NS + 1)));
    }
}
