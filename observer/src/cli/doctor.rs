//! `doctor`: can this host be observed, what is lost, how to fix it.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use super::{Format, Socket, output};
use crate::export::inspect::InspectQuestion;
use crate::export::inspect::client::{ClientError, all};
use crate::export::inspect::sight::CheckView;
use crate::export::inspect::table::{CellColour, TableCell, TableColumn, TextTable};
use crate::export::inspect::view::{ProbeView, ProcessView};
use edge::coverage::{CheckSeverity, HealthCheck};
use edge::identity;
use edge::kernel;

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    socket: Socket,
    /// Where the host's root is mounted, as `run` is told [default: found by itself]
    #[arg(long = "host.root", env = "LLM_OBSERVER_HOST_ROOT", value_name = "PATH")]
    host_root: Option<OsString>,
}

pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    identity::host::set_root(args.host_root.as_deref().filter(|path| !path.is_empty()).map(Path::new));
    let mut checks = checks(&args.socket);
    checks.push(CheckView::new(&identity::host::check()));
    output::print(&match args.output {
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&checks)?),
        Format::Table => table(&checks),
    })?;
    let worst = checks.iter().map(CheckView::severity).max().unwrap_or(CheckSeverity::Ok);
    Ok(ExitCode::from(match worst {
        CheckSeverity::Ok => 0,
        CheckSeverity::Degraded => 1,
        CheckSeverity::Blind | CheckSeverity::Fatal => 2,
    }))
}

/// A running daemon is asked: it knows what it could do, and its maps need not be made a second
/// time. Where there is none, or none that answers, everything is tried. No daemon is no fault of
/// the host.
fn checks(socket: &Socket) -> Vec<CheckView> {
    let views = |checks: Vec<HealthCheck>| checks.iter().map(CheckView::new).collect::<Vec<_>>();
    let mut all = views(kernel::kernel());
    match daemon(socket) {
        Ok(told) => all.extend(told),
        Err(ClientError::NoDaemon(_)) => {
            all.extend(views(kernel::preflight()));
            all.extend(views(vec![HealthCheck::ok("daemon", "not running; start it with `llm-observer run`")]));
        }
        Err(error) => {
            let (lost, fix) =
                ("what the running daemon sees is unknown", "run doctor as root, with the daemon's --inspect.socket");
            all.extend(views(kernel::preflight()));
            all.extend(views(vec![HealthCheck::bad("daemon", CheckSeverity::Degraded, error.to_string(), lost, fix)]));
        }
    }
    all
}

/// What a running daemon sees and does not see, told by itself.
fn daemon(socket: &Socket) -> Result<Vec<CheckView>, ClientError> {
    let mut told = vec![CheckView::new(&HealthCheck::ok("daemon", "running: what follows is its own account"))];
    told.extend(all::<CheckView>(&socket.path, &InspectQuestion::Sights)?);
    told.push(CheckView::new(&coverage(&all::<ProcessView>(&socket.path, &InspectQuestion::Processes)?)));
    told.push(CheckView::new(&probed(&all::<ProbeView>(&socket.path, &InspectQuestion::Probes)?)));
    Ok(told)
}

fn coverage(processes: &[ProcessView]) -> HealthCheck {
    // Who never spoke TLS to the outside has nothing to hide.
    let blind: Vec<&ProcessView> =
        processes.iter().filter(|p| p.visibility != "plaintext" && p.hellos != Some(0)).collect();
    let found = format!(
        "{} of {} processes that use TLS are seen in plaintext",
        processes.len() - blind.len(),
        processes.len()
    );
    let Some(first) = blind.first() else { return HealthCheck::ok("coverage", found) };
    HealthCheck {
        name: "coverage",
        severity: CheckSeverity::Degraded,
        found,
        lost: format!("streams of {} processes, such as {} ({}, {})", blind.len(), first.pid, first.comm, first.reason),
        fix: "see `llm-observer inspect processes`: the reason column says why".into(),
    }
}

fn probed(probes: &[ProbeView]) -> HealthCheck {
    let broken: Vec<&ProbeView> = probes.iter().filter(|probe| probe.state == "broken").collect();
    let found = format!("{} probes, {} broken", probes.len(), broken.len());
    let Some(first) = broken.first() else { return HealthCheck::ok("probes", found) };
    HealthCheck {
        name: "probes",
        severity: CheckSeverity::Degraded,
        found,
        lost: format!("{} on {}: {}", first.probe, first.target, first.reason),
        fix: "see `llm-observer inspect probes`; restart the daemon if the file was replaced".into(),
    }
}

/// One line a check; what is lost and how to fix it stand below, indented.
fn table(checks: &[CheckView]) -> String {
    let head = |head| TableColumn { head, right: false, least: None, usual: 0 };
    let mut table = TextTable::new(vec![head("CHECK"), head("STATUS"), head("FOUND")], output::style());
    let rows: Vec<Vec<TableCell>> =
        checks.iter().map(|c| vec![c.name.as_str().into(), tinted(c), c.found.as_str().into()]).collect();
    let mut text = table.render(&rows);
    for check in checks.iter().filter(|check| check.severity() != CheckSeverity::Ok) {
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

fn tinted(check: &CheckView) -> TableCell {
    let tint = if check.severity() == CheckSeverity::Ok { CellColour::Good } else { CellColour::Bad };
    TableCell { text: check.status.clone(), tint }
}
