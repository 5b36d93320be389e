//! The figures, for people and as JSON.

use std::fmt::{self, Display};

use anyhow::{Result, bail};
use serde_json::{Value, json};

/// What is wished for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    None,
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Debug, Default)]
pub(crate) struct Table(Vec<(String, f64, Goal)>);

impl Goal {
    fn met(self, value: f64) -> Option<bool> {
        match self {
            Goal::None => None,
            Goal::AtLeast(goal) => Some(value >= goal),
            Goal::AtMost(goal) => Some(value <= goal),
        }
    }
}

impl Table {
    /// A figure.
    pub(crate) fn row(&mut self, what: &str, value: f64, goal: Goal) {
        eprintln!("{what} {value:.3}");
        self.0.push((what.to_owned(), value, goal));
    }

    #[must_use]
    pub(crate) fn json(&self) -> Value {
        let row = |(what, value, goal): &(String, f64, Goal)| {
            let wished = match goal {
                Goal::None => Value::Null,
                Goal::AtLeast(goal) => json!({"at_least": goal}),
                Goal::AtMost(goal) => json!({"at_most": goal}),
            };
            json!({"what": what, "value": value, "goal": wished, "met": goal.met(*value)})
        };
        self.0.iter().map(row).collect()
    }

    /// An error if a goal was missed.
    pub(crate) fn verdict(&self) -> Result<()> {
        let missed = self.0.iter().filter(|(_, value, goal)| goal.met(*value) == Some(false));
        let missed: Vec<&str> = missed.map(|(what, ..)| what.as_str()).collect();
        if !missed.is_empty() {
            bail!("goals missed: {}", missed.join("; "));
        }
        Ok(())
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {:<64} | {:>14} | {:<12} | {:<6} |", "figure, one core", "measured", "goal", "")?;
        writeln!(f, "|{}|{}:|{}|{}|", "-".repeat(66), "-".repeat(15), "-".repeat(14), "-".repeat(8))?;
        for (what, value, goal) in &self.0 {
            let wished = match goal {
                Goal::None => String::new(),
                Goal::AtLeast(goal) => format!(">= {goal}"),
                Goal::AtMost(goal) => format!("<= {goal}"),
            };
            let met = match goal.met(*value) {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            };
            let value = if *value < 100.0 { format!("{value:.3}") } else { format!("{value:.0}") };
            writeln!(f, "| {what:<64} | {value:>14} | {wished:<12} | {met:<6} |")?;
        }
        Ok(())
    }
}
