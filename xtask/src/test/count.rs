//! What `cargo test` printed, as numbers, and why what failed did.

use std::fmt;
use std::ops::Add;

/// Lines of a failed test's panic that are shown again below all results: its message, and whatever it compares.
const SHOWN_LINES: usize = 12;
/// Of such a line, which may be a whole answer.
const SHOWN_CHARS: usize = 600;

/// Tests by result, why the skipped ones were, and why the failed ones did.
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
    /// For each failed test its name and the message of its panic.
    pub failures: Vec<String>,
    place: OutputPlace,
}

/// Where in libtest's output a line stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum OutputPlace {
    #[default]
    Elsewhere,
    /// Below `failures:`, where each failed test's output follows its name.
    Failures,
    /// In such an output, so many lines behind the place of its panic.
    Panic(usize),
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
        self.read_failure(line);
    }

    /// Whoever reads the end of a long log must find what failed there.
    fn read_failure(&mut self, line: &str) {
        let named = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"));
        self.place = match self.place {
            _ if line == "failures:" => OutputPlace::Failures,
            _ if line == "successes:" || line.starts_with("test result: ") => OutputPlace::Elsewhere,
            OutputPlace::Elsewhere => OutputPlace::Elsewhere,
            OutputPlace::Failures | OutputPlace::Panic(_) if named.is_some() => {
                self.failures.push(named.unwrap_or_default().to_owned());
                OutputPlace::Failures
            }
            OutputPlace::Failures if line.contains("panicked at ") => self.show(line, 0),
            OutputPlace::Panic(_) if line.to_ascii_lowercase().starts_with("stack backtrace") => OutputPlace::Failures,
            OutputPlace::Panic(lines) if lines < SHOWN_LINES => self.show(line, lines + 1),
            OutputPlace::Failures | OutputPlace::Panic(_) => OutputPlace::Failures,
        };
    }

    fn show(&mut self, line: &str, lines: usize) -> OutputPlace {
        if let Some(failure) = self.failures.last_mut() {
            let shown: String = line.chars().take(SHOWN_CHARS).collect();
            failure.push_str("\n    ");
            failure.push_str(shown.trim_end());
        }
        OutputPlace::Panic(lines)
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
        self.failures.extend(other.failures);
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
    fn why_a_test_failed_is_kept() {
        let counted = count(&[
            "test a ... FAILED",
            "successes:",
            "---- b stdout ----",
            "thread 'c' panicked at src/lib.rs:1:1:",
            "failures:",
            "",
            "---- a stdout ----",
            "so far so good",
            "thread 'a' (7) panicked at src/lib.rs:3:5:",
            "assertion `left == right` failed",
            "  left: 1",
            "stack backtrace:",
            "   0: rust_begin_unwind",
            "failures:",
            "    a",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored;",
        ]);
        let why =
            "a\n    thread 'a' (7) panicked at src/lib.rs:3:5:\n    assertion `left == right` failed\n      left: 1";
        assert_eq!(counted.failures, [why]);
    }

    #[test]
    fn a_test_that_skips_itself_did_not_pass() {
        let counted = count(&["SKIPPED: no promtool", "SKIPPED: no promtool", "test result: ok. 3 passed; 0 failed;"]);
        assert_eq!(counted.to_string(), "1 passed, 0 failed, 2 skipped");
        assert_eq!(counted.reasons, ["no promtool"]);
    }
}
