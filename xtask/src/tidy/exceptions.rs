//! Who may still break a rule, how often, and why.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};

use super::{Fault, Faults, Rule};

/// The rows of `exceptions.txt`: `rule subject count reason`, and lines that begin with `#`.
pub(super) struct Exceptions {
    lines: Vec<Line>,
}

enum Line {
    Comment(String),
    Row(Row),
}

#[derive(PartialEq, Eq)]
struct Row {
    rule: String,
    /// A name, or the end of a path with a folder in it: a file that moves with its folder keeps its row.
    subject: String,
    count: usize,
    reason: String,
}

impl Row {
    fn is_of(&self, rule: &Rule, subject: &str) -> bool {
        let front = subject.strip_suffix(self.subject.as_str());
        let is_end = |front: &str| self.subject.contains('/') && front.ends_with('/');
        self.rule == rule.name && front.is_some_and(|front| front.is_empty() || is_end(front))
    }
}

impl Exceptions {
    /// Reads the list.
    ///
    /// # Errors
    /// A row without a count or a reason.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().map(|line| {
            if line.is_empty() || line.starts_with('#') {
                return Ok(Line::Comment(line.to_owned()));
            }
            let mut words = line.splitn(4, ' ');
            let mut word = |what: &str| words.next().with_context(|| format!("`{line}` has no {what}"));
            let (rule, subject) = (word("rule")?.to_owned(), word("subject")?.to_owned());
            let count = word("count")?.parse().with_context(|| format!("`{line}` has no number as its count"))?;
            let reason = word("reason")?.trim().to_owned();
            ensure!(!reason.is_empty(), "`{line}` has no reason");
            Ok(Line::Row(Row { rule, subject, count, reason }))
        });
        Ok(Self { lines: lines.collect::<Result<_>>()? })
    }

    /// The list as it is written.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let _ = match line {
                Line::Comment(line) => writeln!(text, "{line}"),
                Line::Row(row) => writeln!(text, "{} {} {} {}", row.rule, row.subject, row.count, row.reason),
            };
        }
        text
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.lines.iter().filter_map(|line| match line {
            Line::Row(row) => Some(row),
            Line::Comment(_) => None,
        })
    }

    /// The row that says most exactly that it is of this subject.
    fn row_of(&self, rule: &Rule, subject: &str) -> Option<&Row> {
        self.rows().filter(|row| row.is_of(rule, subject)).max_by_key(|row| row.subject.len())
    }

    /// How often each row's rule is broken today, in the order of the rows.
    fn left(&self, found: &[(&Rule, Faults)]) -> Vec<usize> {
        let faults = || found.iter().flat_map(|(rule, faults)| faults.iter().map(move |fault| (rule, fault)));
        let of_row = |row: &Row| {
            let own = faults().filter(|(rule, (subject, _))| self.row_of(rule, subject).is_some_and(|own| own == row));
            own.map(|(_, (_, fault))| fault.count).sum()
        };
        self.rows().map(of_row).collect()
    }

    /// Lowers what is less by now, and drops what is gone; never adds or raises anything.
    pub(super) fn shrink(&mut self, found: &[(&Rule, Faults)]) {
        let mut left = self.left(found).into_iter();
        for line in &mut self.lines {
            if let Line::Row(row) = line {
                row.count = row.count.min(left.next().unwrap_or_default());
            }
        }
        self.lines.retain(|line| !matches!(line, Line::Row(row) if row.count == 0));
    }

    /// What is wrong: broken rules without an exception, and exceptions that allow more than there is.
    pub(super) fn judge(&self, found: &[(&Rule, Faults)]) -> Vec<String> {
        let broken = found.iter().flat_map(|(rule, faults)| {
            faults.iter().filter_map(move |(subject, fault)| self.problem(rule, subject, fault))
        });
        let stale = self.rows().zip(self.left(found)).filter(|(row, now)| *now < row.count).map(|(row, now)| {
            let (rule, subject, count) = (&row.rule, &row.subject, row.count);
            format!("{rule}: the exception of {subject} is {count}, and {now} are left: cargo xtask tidy --shrink")
        });
        broken.chain(stale).collect()
    }

    fn problem(&self, rule: &Rule, subject: &str, fault: &Fault) -> Option<String> {
        let allowed = self.row_of(rule, subject).map_or(0, |row| row.count);
        if fault.count <= allowed {
            return None;
        }
        let (name, asks, count) = (rule.name, rule.asks, fault.count);
        let old = if allowed > 0 { format!(", {allowed} of them old") } else { String::new() };
        let mut text = format!("{name}: {subject}: {count}{old} ({asks})");
        for detail in &fault.details {
            let _ = write!(text, "\n    {detail}");
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { name: "length", asks: "short", check: |_| Faults::new() };

    fn found(faults: &[(&str, usize)]) -> Vec<(&'static Rule, Faults)> {
        let fault = |count: &usize| Fault { count: *count, details: Vec::new() };
        vec![(&RULE, faults.iter().map(|(subject, count)| ((*subject).to_owned(), fault(count))).collect())]
    }

    #[test]
    fn a_row_allows_what_it_says_and_no_more() {
        let list = Exceptions::parse("# old\nlength ws/mod.rs 420 one table\n").unwrap();
        assert_eq!(list.judge(&found(&[("a/ws/mod.rs", 420)])), Vec::<String>::new());
        assert_eq!(list.judge(&found(&[("a/ws/mod.rs", 421)])), ["length: a/ws/mod.rs: 421, 420 of them old (short)"]);
        let other = list.judge(&found(&[("a/ws/mod.rs", 420), ("a/news/mod.rs", 401)]));
        assert_eq!(other, ["length: a/news/mod.rs: 401 (short)"]);
    }

    #[test]
    fn a_row_that_allows_too_much_fails_until_it_is_cut() {
        let mut list = Exceptions::parse("# old\nlength a.rs 420 one table\nlength b.rs 401 gone\n").unwrap();
        let found = found(&[("a.rs", 410)]);
        assert_eq!(list.judge(&found).len(), 2);
        list.shrink(&found);
        assert_eq!(list.text(), "# old\nlength a.rs 410 one table\n");
        assert_eq!(list.judge(&found), Vec::<String>::new());
    }

    #[test]
    fn the_row_that_says_most_counts_and_a_bare_name_is_of_the_root_alone() {
        let list = Exceptions::parse("length README.md 9 a\nlength t/x.rs 5 b\nlength s/t/x.rs 7 c\n").unwrap();
        assert_eq!(list.left(&found(&[("README.md", 9), ("a/s/t/x.rs", 7), ("b/t/x.rs", 5)])), [9, 5, 7]);
        assert_eq!(
            list.judge(&found(&[("README.md", 9), ("s/t/x.rs", 7), ("t/x.rs", 5), ("a/README.md", 1)])).len(),
            1
        );
    }

    #[test]
    fn rows_need_a_count_and_a_reason() {
        for row in ["length a.rs", "length a.rs x why", "length a.rs 3", "length a.rs 3 "] {
            assert!(Exceptions::parse(row).is_err(), "{row}");
        }
    }
}
