//! The table of live cases in the docs: each case of a kernel test says what it expects, and its
//! row has to stand there. `UPDATE_DOCS=1` writes the rows of the tests that run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::rig::Rig;
use crate::wait_for;

/// Between these the docs hold the table.
const BEGIN: &str = "<!-- live -->\n";
const END: &str = "<!-- /live -->";

const HEADER: &str = "| detector | scenario | expected | got |\n|---|---|---|---|\n";

/// What a case must come to, in the words of the table of the cases in virtual time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// New findings of these kinds and no others of this detector, the kinds in the order of the alphabet.
    Findings(&'static [&'static str]),
    /// Judged, and nothing found.
    Quiet,
    /// Nothing found, and not judged for this reason.
    Withheld(&'static str),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Findings(kinds) => f.write_str(&kinds.join(", ")),
            Expected::Quiet => f.write_str("quiet"),
            Expected::Withheld(reason) => write!(f, "withheld: {reason}"),
        }
    }
}

/// How far a detector was when its last case ended: what it says from then on belongs to the next one.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    findings: Vec<String>,
    evaluated: f64,
    withheld: BTreeMap<&'static str, f64>,
}

impl Rig {
    /// What this detector said since its last case is `expected`, and the docs have the row. Call
    /// it when the detector has looked at the whole case: a verdict is waited for, silence is
    /// believed.
    ///
    /// # Errors
    /// If it is not, or the row is missing.
    pub fn case(&self, detector: &str, scenario: &str, expected: Expected) -> Result<()> {
        let mut marks = self.marks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mark = marks.entry(detector.to_owned()).or_default();
        let _ = wait_for("a verdict", crate::verdicts::SETTLE, || {
            (self.got(detector, expected, mark).ok()? == expected.to_string()).then_some(())
        });
        let got = self.got(detector, expected, mark)?;
        *mark = self.mark(detector, expected, mark)?;
        ensure!(got == expected.to_string(), "{detector}: {scenario}: {got}, not {expected}");
        held_to(&format!("| {detector} | {scenario} | {expected} | {got} |\n"), &docs())
    }

    /// What came of it since the mark, in the same words.
    fn got(&self, detector: &str, expected: Expected, mark: &Mark) -> Result<String> {
        let found = self.findings(detector)?;
        let new = found.iter().filter(|finding| !mark.findings.contains(&id(finding)));
        let mut kinds: Vec<&str> = new.filter_map(|finding| finding["kind"].as_str()).collect();
        kinds.sort_unstable();
        if !kinds.is_empty() {
            return Ok(kinds.join(", "));
        }
        if let Expected::Withheld(reason) = expected
            && self.withheld(detector, reason)? > mark.withheld.get(reason).copied().unwrap_or(0.0)
        {
            return Ok(expected.to_string());
        }
        let judged = self.judged(detector)?.evaluated > mark.evaluated;
        Ok(if judged { "quiet" } else { "nothing to judge" }.to_owned())
    }

    fn mark(&self, detector: &str, expected: Expected, before: &Mark) -> Result<Mark> {
        let mut withheld = before.withheld.clone();
        if let Expected::Withheld(reason) = expected {
            withheld.insert(reason, self.withheld(detector, reason)?);
        }
        let findings = self.findings(detector)?.iter().map(id).collect();
        Ok(Mark { findings, evaluated: self.judged(detector)?.evaluated, withheld })
    }
}

fn id(finding: &Value) -> String {
    finding["id"].to_string()
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../observer/docs/detectors/README.md")
}

/// The row stands in the table; with `UPDATE_DOCS`, it does from now on.
fn held_to(row: &str, path: &Path) -> Result<()> {
    let page = std::fs::read_to_string(path)?;
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, with_row(&page, row)?)?;
    }
    ensure!(
        rows(&std::fs::read_to_string(path)?)?.contains(&row.trim_end()),
        "observer/docs/detectors/README.md lacks the row (UPDATE_DOCS=1 writes it): {row}"
    );
    Ok(())
}

fn split(page: &str) -> Result<(&str, &str, &str)> {
    let (head, rest) = page.split_once(BEGIN).context("no place for the table")?;
    let (table, tail) = rest.split_once(END).context("no end of the table")?;
    Ok((head, table, tail))
}

fn rows(page: &str) -> Result<Vec<&str>> {
    Ok(split(page)?.1.lines().skip(HEADER.lines().count()).collect())
}

/// Detector and scenario, which name a row.
fn name(row: &str) -> Vec<&str> {
    row.split(" | ").take(2).collect()
}

/// The page with this row, in its place in the alphabet.
fn with_row(page: &str, row: &str) -> Result<String> {
    let (head, _, tail) = split(page)?;
    let mut rows: Vec<&str> = rows(page)?.into_iter().filter(|one| name(one) != name(row)).collect();
    rows.push(row.trim_end());
    rows.sort_unstable();
    Ok(format!("{head}{BEGIN}{HEADER}{}\n{END}{tail}", rows.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str =
        "before\n<!-- live -->\n| detector | scenario | expected | got |\n|---|---|---|---|\n<!-- /live -->\nafter\n";

    #[test]
    fn a_row_takes_its_place_and_that_of_its_former_self() {
        let one = with_row(PAGE, "| b | x | quiet | quiet |\n").unwrap();
        let two = with_row(&one, "| a | x | quiet | quiet |\n").unwrap();
        let three = with_row(&two, "| b | x | withheld: y | withheld: y |\n").unwrap();
        assert_eq!(rows(&three).unwrap(), ["| a | x | quiet | quiet |", "| b | x | withheld: y | withheld: y |"]);
        assert!(three.starts_with("before\n") && three.ends_with("-->\nafter\n"), "{three}");
        assert!(with_row("no table", "| a | x | quiet | quiet |\n").is_err());
    }

    /// A row whose test is gone would stand for ever: every scenario is some test's.
    #[test]
    fn every_row_is_the_case_of_a_test() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let files =
            std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        let sources: String = files.collect();
        let page = std::fs::read_to_string(docs()).unwrap();
        let rows = rows(&page).unwrap();
        assert!(rows.len() > 10, "{rows:?}");
        for row in rows {
            let scenario = name(row)[1];
            assert!(sources.contains(&format!("\"{scenario}\"")), "no test has the case {scenario}");
        }
    }
}
