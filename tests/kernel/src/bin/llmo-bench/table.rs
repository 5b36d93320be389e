//! The figures, for people and as JSON.

use std::fmt::{self, Display};

use anyhow::{Result, bail};
use serde_json::{Value, json};

/// Rows in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    /// The largest value wished for; `None`: shown only.
    goal: Option<f64>,
}

impl Table {
    /// A figure that is only shown.
    pub(crate) fn show(&mut self, what: &str, value: f64, unit: &'static str) {
        self.push(what, value, unit, None);
    }

    /// A figure that is to be at most `goal`.
    pub(crate) fn at_most(&mut self, what: &str, value: f64, unit: &'static str, goal: f64) {
        self.push(what, value, unit, Some(goal));
    }

    /// A part that could not be measured.
    pub(crate) fn failed(&mut self, part: &str, error: &anyhow::Error) {
        eprintln!("{part}: {error:#}");
        self.push(&format!("{part}: not measured ({error})"), f64::NAN, "", Some(0.0));
    }

    fn push(&mut self, what: &str, value: f64, unit: &'static str, goal: Option<f64>) {
        let row = Row { what: what.to_owned(), value, unit, goal };
        eprintln!("{row}");
        self.rows.push(row);
    }

    /// All rows.
    pub(crate) fn json(&self) -> Value {
        let row = |row: &Row| json!({"what": row.what, "value": row.value, "unit": row.unit, "goal": row.goal, "met": row.met()});
        self.rows.iter().map(row).collect()
    }

    /// An error if a goal was missed: honest figures first, the verdict after them.
    pub(crate) fn verdict(&self) -> Result<()> {
        let missed: Vec<&str> =
            self.rows.iter().filter(|row| row.met() == Some(false)).map(|r| r.what.as_str()).collect();
        if !missed.is_empty() {
            bail!("goals missed: {}", missed.join("; "));
        }
        Ok(())
    }
}

impl Row {
    fn met(&self) -> Option<bool> {
        self.goal.map(|goal| self.value <= goal)
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = format!("{:.3} {}", self.value, self.unit);
        let goal = self.goal.map_or(String::new(), |goal| format!("<= {goal} {}", self.unit));
        let met = match self.met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        write!(f, "| {:<72} | {value:>16} | {goal:<14} | {met:<6} |", self.what)
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {:<72} | {:>16} | {:<14} | {:<6} |", "figure", "measured", "goal", "")?;
        writeln!(f, "|{}|{}:|{}|{}|", "-".repeat(74), "-".repeat(17), "-".repeat(16), "-".repeat(8))?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}
