//! Whether every stream is exactly what the provider wrote: for tests of discovery, whose failures
//! lose or double calls.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

use crate::compare::Report;
use crate::rig::Rig;

/// What is wrong with the streams of these models, each of which was asked for as often as it is
/// named; empty if all are exact.
///
/// # Errors
/// If `inspect` fails.
pub fn wrong(rig: &Rig, models: &[String]) -> Result<Vec<String>> {
    wrong_at(rig, models, None)
}

/// The same of streams to one port alone: see `Rig::ended_at`.
///
/// # Errors
/// If `inspect` fails.
pub fn wrong_at(rig: &Rig, models: &[String], port: Option<u16>) -> Result<Vec<String>> {
    let mut asked: BTreeMap<&String, usize> = BTreeMap::new();
    for model in models {
        *asked.entry(model).or_default() += 1;
    }
    let ledgers = rig.ended_at(&asked.keys().copied().cloned().collect::<Vec<_>>(), port)?;
    let mut report = Report::default();
    for (model, times) in asked {
        let truths = rig.truth(model);
        if truths.len() != times {
            report.mismatches.push(format!("{model}: reached the provider {} times, not {times}", truths.len()));
        }
        report.add(model, &ledgers, &truths);
    }
    let port = rig.provider.address().port();
    // A call that nobody can name: no model of ours, but our provider's.
    for stray in rig.daemon.streams()? {
        let ours = stray.remote.as_ref().is_some_and(|remote| remote.port == Some(port));
        // The first call through a library may have been joined late, which it then says.
        let late =
            stray.lost.cause.as_deref() == Some("late_attach") || stray.notes.iter().any(|note| note.contains("late"));
        let nameless = stray.request_model.is_none() && !late;
        if ours && (stray.outcome.as_deref() == Some("lost") || nameless) {
            report.mismatches.push(format!(
                "a stream of {} ({}) is {:?}, {:?} lost, notes {:?}",
                stray.comm, stray.pid, stray.outcome, stray.lost, stray.notes
            ));
        }
    }
    Ok(report.mismatches)
}

/// Fails the test if a stream is not exact.
///
/// # Panics
/// That is how a test fails.
pub fn assert_exact(rig: &Rig, models: &[String]) {
    let wrong = wrong(rig, models).unwrap_or_else(|error| vec![format!("{error:#}")]);
    let bad = models.iter().filter(|model| wrong.iter().any(|line| line.starts_with(&format!("{model}:")))).count();
    let right = models.len() - bad;
    println!("{right} of {} streams right", models.len());
    assert!(wrong.is_empty(), "{right} of {} streams right:\n{}\n{}", models.len(), wrong.join("\n"), rig.daemon.log());
}

/// Rows of `inspect probes` for one probe that are attached and name `part` somewhere: in a path, a place or a reason.
///
/// # Errors
/// If `inspect` fails.
pub fn rows(rig: &Rig, probe: &str, part: &str) -> Result<Vec<Value>> {
    let rows: Vec<Value> = rig.daemon.inspect_json(&["probes"])?;
    let fits = |row: &Value| row["probe"] == probe && row["state"] == "ok" && row.to_string().contains(part);
    Ok(rows.into_iter().filter(fits).collect())
}
