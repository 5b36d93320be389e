//! Detectors against traffic: bytes as clients and providers write them, through the whole
//! pipeline, in virtual time. Every case asserts its exact verdict and is a test of its own; the
//! table in `docs/detectors/README.md` is written from them all.

mod chunk_regression;
mod claims;
mod clock_spans;
mod clocks;
mod docs;
mod failover;
mod false_alarms;
mod first_token;
mod hostile;
mod pressure;
mod quota;
mod reasoning;
mod retry;
mod stale_results;
mod tool_rot;
mod traffic;
mod verdict;
mod voice;

use std::collections::BTreeSet;
use std::sync::Arc;

use libtest_mimic::Trial;

use testkit::named::{identifier, trial, trial_of};
use traffic::{Host, Ran};
use verdict::Played;

/// One scenario of one detector.
pub(crate) struct Case {
    pub detector: &'static str,
    pub name: &'static str,
    pub expected: Expected,
    /// The traffic.
    pub traffic: fn(&mut Host),
    /// Further exact numbers.
    pub check: fn(&Ran),
}

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Findings of these kinds and no others, of any detector.
    Findings(&'static [&'static str]),
    /// Judged, and nothing found.
    Quiet,
    /// Nothing found and nothing judged, for this reason.
    Withheld(&'static str),
}

/// The cases, a file each detector; in this order they stand in the docs.
const CASES: &[&[Case]] = &[
    failover::CASES,
    quota::CASES,
    retry::CASES,
    pressure::CASES,
    chunk_regression::CASES,
    first_token::CASES,
    reasoning::CASES,
    clocks::CASES,
    clock_spans::CASES,
    tool_rot::CASES,
    stale_results::CASES,
    claims::CASES,
    voice::CASES,
];

/// A test for each case, `detectors::DETECTOR::NAME`, and those that look at all of them.
pub(crate) fn trials() -> Vec<Trial> {
    let all: Arc<[Played]> = CASES.iter().copied().flatten().map(Played::new).collect();
    let one = |index: usize| {
        let (case, all) = (all[index].case, Arc::clone(&all));
        trial_of(format!("detectors::{}::{}", case.detector, identifier(case.name)), move || all[index].judge())
    };
    let mut trials = vec![
        trial(hostile::NAME, hostile::strangers_names_grow_neither_memory_nor_series),
        trial("detectors::false_alarms::a_day_of_ordinary_traffic_raises_no_finding", || {
            false_alarms::a_day_of_ordinary_traffic_raises_no_finding();
        }),
    ];
    trials.extend((0..all.len()).map(one));
    // These two want every case. They come last, when most of them have been played.
    let (fed, page) = (Arc::clone(&all), all);
    trials.push(trial("detectors::every_metric_of_a_detector_is_fed_by_a_case", move || every_metric_is_fed(&fed)));
    trials.push(trial("detectors::docs", move || docs::are_current(&page)));
    trials
}

fn every_metric_is_fed(all: &[Played]) {
    let mut unfed: BTreeSet<&str> = verdict::metrics().collect();
    for played in all {
        let fed = &played.outcome().fed;
        unfed.retain(|metric| !fed.contains(metric));
    }
    assert!(unfed.is_empty(), "no case feeds {unfed:?}");
}
