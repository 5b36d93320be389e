//! `doctor`: can this host be observed, what is lost, how to fix it.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Format, Socket, edge, output};
use crate::coverage::{Check, Severity};
use crate::export::inspect::Question;
use crate::export::inspect::client::{ClientError, ask};
use crate::export::inspect::table::{Cell, Column, Table, Tint};
use crate::export::inspect::view::{Probe, Process};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    socket: Socket,
}

/// A check as JSON.
#[derive(Debug, Serialize)]
struct View<'a> {
    name: &'a str,
    status: &'static str,
    found: &'a str,
    lost: &'a str,
    fix: &'a str,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut checks = edge::preflight();
    checks.extend(daemon(&args.socket));
    output::print(&match args.output {
        Format::Json => json(&checks)?,
        Format::Table => table(&checks),
    })?;
    let worst = checks.iter().map(|check| check.severity).max().unwrap_or(Severity::Ok);
    Ok(ExitCode::from(match worst {
        Severity::Ok => 0,
        Severity::Degraded => 1,
        Severity::Fatal => 2,
    }))
}

/// What a running daemon sees and does not see. No daemon is no fault of the host.
fn daemon(socket: &Socket) -> Vec<Check> {
    let answers =
        rows::<Process>(socket, &Question::Processes).and_then(|p| Ok((p, rows::<Probe>(socket, &Question::Probes)?)));
    match answers {
        Ok((processes, probes)) => vec![coverage(&processes), probed(&probes)],
        Err(ClientError::NoDaemon(_)) => {
            vec![ok("daemon", "not running; start it with `llm-observer run`".into())]
        }
        Err(error) => vec![Check {
            name: "daemon",
            severity: Severity::Degraded,
            found: error.to_string(),
            lost: "what the running daemon sees is unknown".into(),
            fix: "run doctor as root, with the daemon's --inspect.socket".into(),
        }],
    }
}

fn coverage(processes: &[Process]) -> Check {
    // Who never spoke TLS to the outside has nothing to hide.
    let blind: Vec<&Process> =
        processes.iter().filter(|p| p.visibility != "plaintext" && p.hellos != Some(0)).collect();
    let found = format!(
        "{} of {} processes that use TLS are seen in plaintext",
        processes.len() - blind.len(),
        processes.len()
    );
    let Some(first) = blind.first() else { return ok("coverage", found) };
    Check {
        name: "coverage",
        severity: Severity::Degraded,
        found,
        lost: format!("streams of {} processes, such as {} ({}, {})", blind.len(), first.pid, first.comm, first.reason),
        fix: "see `llm-observer inspect processes`: the reason column says why".into(),
    }
}

fn probed(probes: &[Probe]) -> Check {
    let broken: Vec<&Probe> = probes.iter().filter(|probe| probe.state == "broken").collect();
    let found = format!("{} probes, {} broken", probes.len(), broken.len());
    let Some(first) = broken.first() else { return ok("probes", found) };
    Check {
        name: "probes",
        severity: Severity::Degraded,
        found,
        lost: format!("{} on {}: {}", first.probe, first.target, first.reason),
        fix: "see `llm-observer inspect probes`; restart the daemon if the file was replaced".into(),
    }
}

fn ok(name: &'static str, found: String) -> Check {
    Check { name, severity: Severity::Ok, found, lost: String::new(), fix: String::new() }
}

fn rows<T: serde::de::DeserializeOwned>(socket: &Socket, question: &Question) -> Result<Vec<T>, ClientError> {
    let mut rows = Vec::new();
    ask(&socket.path, question, &mut |row: &RawValue| {
        let row = serde_json::from_str(row.get());
        rows.push(row.map_err(|source| ClientError::Strange { path: socket.path.clone(), source })?);
        Ok(())
    })?;
    Ok(rows)
}

fn json(checks: &[Check]) -> anyhow::Result<String> {
    let views: Vec<View> = checks
        .iter()
        .map(|c| View { name: c.name, status: status(c.severity), found: &c.found, lost: &c.lost, fix: &c.fix })
        .collect();
    Ok(format!("{}\n", serde_json::to_string_pretty(&views)?))
}

/// One line a check; what is lost and how to fix it stand below, indented.
fn table(checks: &[Check]) -> String {
    let head = |head| Column { head, right: false, least: None, usual: 0 };
    let mut table = Table::new(vec![head("CHECK"), head("STATUS"), head("FOUND")], output::style());
    let rows: Vec<Vec<Cell>> =
        checks.iter().map(|c| vec![c.name.into(), tinted(c.severity), c.found.as_str().into()]).collect();
    let mut text = table.render(&rows);
    for check in checks.iter().filter(|check| check.severity != Severity::Ok) {
        text.push_str(&format!(
            "\n{}: lost: {}\n{:width$}  fix: {}\n",
            check.name,
            check.lost,
            "",
            check.fix,
            width = check.name.len()
        ));
    }
    text
}

fn tinted(severity: Severity) -> Cell {
    let tint = if severity == Severity::Ok { Tint::Good } else { Tint::Bad };
    Cell { text: status(severity).into(), tint }
}

fn status(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "ok",
        Severity::Degraded => "degraded",
        Severity::Fatal => "fatal",
    }
}
