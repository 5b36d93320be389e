//! Playing a case, at most once a run of the tests, and judging what came of it.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use detectors::DETECTORS;
use ledger::metric::MetricId;
use libtest_mimic::Failed;
use observer::export::catalogue;

use super::traffic::{Delay, Host, Ran};
use super::{Case, Expected};
use testkit::named::panic_message;

/// A case, and what came of it once it has been played.
pub(super) struct Played {
    pub case: &'static Case,
    outcome: OnceLock<Outcome>,
}

/// What came of a case.
pub(super) struct Outcome {
    /// In the words of [`said`].
    pub got: String,
    pub delay: Option<Delay>,
    /// Detectors' metrics that have a series.
    pub fed: BTreeSet<&'static str>,
    /// Why the case fails.
    pub failure: Option<String>,
}

impl Played {
    pub(super) fn new(case: &'static Case) -> Played {
        Played { case, outcome: OnceLock::new() }
    }

    /// Plays the case if nobody has; who comes while somebody does waits for the end.
    pub(super) fn outcome(&self) -> &Outcome {
        self.outcome.get_or_init(|| play(self.case))
    }

    pub(super) fn judge(&self) -> Result<(), Failed> {
        self.outcome().failure.as_ref().map_or(Ok(()), |failure| Err(failure.into()))
    }
}

/// The names of all that detectors measure.
pub(super) fn metrics() -> impl Iterator<Item = &'static str> {
    let row =
        |id: &MetricId| catalogue::rows().nth(catalogue::place(*id)).expect("every metric of a detector has a row");
    DETECTORS.iter().flat_map(|row| row.metrics).map(move |id| row(id).name)
}

fn play(case: &Case) -> Outcome {
    let mut host = Host::new();
    (case.traffic)(&mut host);
    let ran = host.run();
    let got = got(case, &ran);
    let fed = metrics().filter(|metric| ran.fed(metric)).collect();
    let failure = if got == said(case.expected) {
        catch_unwind(AssertUnwindSafe(|| (case.check)(&ran))).err().map(|panic| panic_message(panic.as_ref()))
    } else {
        Some(format!("{:?}: {got}, expected {}\n{}", case.name, said(case.expected), ran.explain()))
    };
    Outcome { got, delay: ran.delay, fed, failure }
}

/// What is expected, in words.
pub(super) fn said(expected: Expected) -> String {
    match expected {
        Expected::Findings(kinds) => kinds.join(", "),
        Expected::Quiet => "quiet".into(),
        Expected::Withheld("nothing") => "nothing to judge".into(),
        Expected::Withheld(reason) => format!("withheld: {reason}"),
    }
}

/// What came of it, in the same words.
fn got(case: &Case, ran: &Ran) -> String {
    let mut kinds: Vec<String> = ran
        .findings()
        .iter()
        .map(|f| if f.detector == case.detector { f.kind.to_owned() } else { format!("{}/{}", f.detector, f.kind) })
        .collect();
    kinds.sort();
    if !kinds.is_empty() {
        return kinds.join(", ");
    }
    let of = |metric, labels: &[(&str, &str)]| ran.number(metric, labels);
    let withheld = |reason| of("llm_detector_withheld_total", &[("detector", case.detector), ("reason", reason)]);
    match case.expected {
        Expected::Withheld(reason) if withheld(reason) > 0.0 => format!("withheld: {reason}"),
        _ if of("llm_detector_evaluated_total", &[("detector", case.detector)]) > 0.0 => "quiet".into(),
        _ => "nothing to judge".into(),
    }
}
