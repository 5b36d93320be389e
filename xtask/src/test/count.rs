//! What `cargo test` printed, as numbers.

use std::fmt;
use std::ops::Add;

/// Tests by result, and why the skipped ones were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// As libtest counts, which knows no test that skips itself: those are in here too.
    pub passed: usize,
    pub failed: usize,
    pub ignored: usize,
    /// Tests that printed `SKIPPED: reason` and returned.
    pub skipped_themselves: usize,
    /// Distinct reasons, in order of appearance.
    pub reasons: Vec<String>,
}

impl Count {
    pub(super) fn one_skipped(reason: &str) -> Self {
        Self { ignored: 1, reasons: vec![reason.to_owned()], ..Self::default() }
    }

    /// Takes one line of output into account: a `test result:` line, or a test's own `SKIPPED: reason`.
    pub(super) fn read(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.passed += number_before(result, " passed");
            self.failed += number_before(result, " failed");
            self.ignored += number_before(result, " ignored");
        } else if let Some(reason) = line.strip_prefix("SKIPPED: ") {
            self.skipped_themselves += 1;
            self.remember(reason);
        }
    }

    fn remember(&mut self, reason: &str) {
        if !self.reasons.iter().any(|had| had == reason) {
            self.reasons.push(reason.to_owned());
        }
    }
}

impl Add for Count {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        for reason in &other.reasons {
            self.remember(reason);
        }
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.skipped_themselves += other.skipped_themselves;
        self
    }
}

impl fmt::Display for Count {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.passed.saturating_sub(self.skipped_themselves);
        let skipped = self.ignored + self.skipped_themselves;
        write!(out, "{passed} passed, {} failed, {skipped} skipped", self.failed)
    }
}

/// `12` of `ok. 12 passed; 0 failed; …` for ` passed`.
fn number_before(text: &str, word: &str) -> usize {
    let before = text.split(';').find_map(|part| part.strip_suffix(word));
    before.and_then(|part| part.rsplit(' ').next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Count;

    fn count(lines: &[&str]) -> Count {
        let mut count = Count::default();
        lines.iter().for_each(|line| count.read(line));
        count
    }

    #[test]
    fn result_lines_are_summed() {
        let counted = count(&[
            "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "test a ... ok",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ]);
        assert_eq!(counted.to_string(), "13 passed, 2 failed, 3 skipped");
    }

    #[test]
    fn a_test_that_skips_itself_did_not_pass() {
        let counted = count(&["SKIPPED: no promtool", "SKIPPED: no promtool", "test result: ok. 3 passed; 0 failed;"]);
        assert_eq!(counted.to_string(), "1 passed, 0 failed, 2 skipped");
        assert_eq!(counted.reasons, ["no promtool"]);
    }
}
