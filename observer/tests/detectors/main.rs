//! Detectors against traffic: bytes as clients and providers write them, through the whole pipeline, in virtual time. Every
//! case asserts the exact verdicts; the table in `docs/detectors/README.md` is written from this run.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, its helpers too"
)]

mod chunk_regression;
mod claims;
mod clock_spans;
mod clocks;
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
mod voice;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use traffic::{Delay, Host, Ran};

/// One scenario of one detector.
pub struct Case {
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
pub enum Expected {
    /// Findings of these kinds and no others, of any detector.
    Findings(&'static [&'static str]),
    /// Judged, and nothing found.
    Quiet,
    /// Nothing found and nothing judged, for this reason.
    Withheld(&'static str),
}

fn cases() -> Vec<&'static Case> {
    [
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
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_case_gets_its_verdict() {
    let only = std::env::var("CASE").unwrap_or_default();
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    let mut unfed: BTreeSet<&str> = observer::detect::DETECTORS.iter().flat_map(|row| row.metrics).copied().collect();
    for case in cases().into_iter().filter(|case| case.name.contains(&only)) {
        let mut host = Host::new();
        (case.traffic)(&mut host);
        let ran = host.run();
        let got = got(case, &ran);
        unfed.retain(|metric| !ran.fed(metric));
        if got == said(case.expected) {
            (case.check)(&ran);
        } else {
            eprintln!("{}: {}: {got}, expected {}\n{}", case.detector, case.name, said(case.expected), ran.explain());
            wrong.push(case.name);
        }
        rows.push((case, got, ran.delay));
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    if only.is_empty() {
        assert!(unfed.is_empty(), "no case feeds {unfed:?}");
        docs(&rows);
    }
}

fn said(expected: Expected) -> String {
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

/// `3 streams, 20 s`.
fn spelled(Delay { streams, seconds }: Delay) -> String {
    let streams = format!("{streams} stream{}", if streams == 1 { "" } else { "s" });
    match seconds {
        s if s < 0.95 => format!("{streams}, {s:.1} s"),
        s if s < 120.0 => format!("{streams}, {s:.0} s"),
        s if s < 7200.0 => format!("{streams}, {:.0} min", s / 60.0),
        s => format!("{streams}, {:.0} h", s / 3600.0),
    }
}

/// The table of the docs.
fn docs(rows: &[(&Case, String, Option<Delay>)]) {
    let mut table = String::from("| detector | scenario | expected | got | told after |\n|---|---|---|---|---|\n");
    for (case, got, delay) in rows {
        let delay = delay.map(spelled).unwrap_or_default();
        let _ = writeln!(table, "| {} | {} | {} | {got} | {delay} |", case.detector, case.name, said(case.expected));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/detectors/README.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once("<!-- cases -->\n").expect("the page has a place for the table");
    let (_, tail) = rest.split_once("<!-- /cases -->").expect("and its end");
    let new = format!("{head}<!-- cases -->\n{table}<!-- /cases -->{tail}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &new).unwrap();
    }
    assert!(new == std::fs::read_to_string(&path).unwrap(), "docs/detectors/README.md is stale: UPDATE_DOCS=1");
}
