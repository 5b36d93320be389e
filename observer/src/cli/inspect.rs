//! `inspect`: asks the daemon and prints its answer.

use std::process::ExitCode;

use clap::ValueEnum;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{Socket, output};
use crate::export::inspect::client::{ClientError, ask};
use crate::export::inspect::table::{TableCell, TableColumn, TextTable};
use crate::export::inspect::view::StreamDetailView;
use crate::export::inspect::{InspectQuestion, columns, finding, quota};

#[derive(Debug, clap::Args)]
pub(super) struct InspectArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Open streams, and those that ended lately
    Streams {
        /// Then every change, until interrupted
        #[arg(short, long)]
        follow: bool,
        /// How far back ended streams are shown
        #[arg(long, value_name = "DUR", default_value = "15m", value_parser = super::duration)]
        since: std::time::Duration,
        #[command(flatten)]
        common: Common,
    },
    /// One stream with its timeline
    Stream {
        /// Its id, or enough of the beginning
        id: String,
        #[command(flatten)]
        common: Common,
    },
    /// Processes that use TLS, and how far the observer sees into them
    Processes {
        #[command(flatten)]
        common: Common,
    },
    /// Probes: where, why there, and whether they work
    Probes {
        #[command(flatten)]
        common: Common,
    },
    /// Open connections that carry model calls: their use, their path, and how they are seen
    Connections {
        #[command(flatten)]
        common: Common,
    },
    /// What detectors found: verdicts with their evidence
    Findings {
        /// One of them with all of its evidence: its id, or enough of the beginning
        id: Option<String>,
        /// How far back findings are shown that are over
        #[arg(long, value_name = "DUR", default_value = "24h", value_parser = super::duration)]
        since: std::time::Duration,
        #[command(flatten)]
        common: Common,
    },
    /// Limits of providers: what is left, when it is full again, when it will be used up
    Quota {
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Output format; wide only adds columns
    #[arg(short, long, value_enum, default_value_t)]
    output: View,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum View {
    #[default]
    Table,
    Wide,
    Json,
}

pub(super) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let shown = match &args.what {
        What::Streams { follow: true, since, common } => follow(common, since.as_secs_f64()),
        What::Streams { since, common, .. } => {
            let question =
                InspectQuestion::Streams { since_seconds: since.as_secs_f64(), follow: false, also: Vec::new() };
            list(common, &question, columns::STREAMS, "no streams")
        }
        What::Stream { id, common } => stream(common, id),
        What::Processes { common } => {
            list(common, &InspectQuestion::Processes, columns::PROCESSES, "no process uses TLS")
        }
        What::Probes { common } => list(common, &InspectQuestion::Probes, columns::PROBES, "no probes"),
        What::Connections { common } => {
            list(common, &InspectQuestion::Connections, columns::CONNECTIONS, "no connection carries model calls")
        }
        What::Findings { id: None, since, common } => {
            let question = InspectQuestion::Findings { since_seconds: since.as_secs_f64(), id: None };
            list(common, &question, finding::FINDINGS, "no findings")
        }
        What::Findings { id: Some(id), since, common } => finding(common, id, since.as_secs_f64()),
        What::Quota { common } => {
            list(common, &InspectQuestion::Quota, quota::QUOTA, "no provider has told of a limit yet")
        }
    };
    match shown {
        Ok(()) | Err(ClientError::OutputClosed) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
    }
}

/// A whole answer as a table or one JSON array.
fn list<T: DeserializeOwned>(
    common: &Common,
    question: &InspectQuestion,
    set: columns::ColumnSet<T>,
    nothing: &str,
) -> Result<(), ClientError> {
    let mut rows: Vec<Box<RawValue>> = Vec::new();
    ask(&common.socket.path, question, &mut |row| {
        rows.push(row.to_owned());
        Ok(())
    })?;
    if common.output == View::Json {
        return output::print_row(&array(&rows));
    }
    if rows.is_empty() {
        eprintln!("{nothing}");
        return Ok(());
    }
    let (mut table, show) = table(common, set);
    let rows = rows.iter().map(|row| read(common, row).map(|row| show(&row))).collect::<Result<Vec<_>, _>>()?;
    output::print_row(&table.render(&rows))
}

/// Rows as they come.
fn follow(common: &Common, since_seconds: f64) -> Result<(), ClientError> {
    let (mut table, show) = table(common, columns::STREAMS);
    table.reserve();
    let mut begun = false;
    ask(&common.socket.path, &InspectQuestion::Streams { since_seconds, follow: true, also: Vec::new() }, &mut |row| {
        if common.output == View::Json {
            return output::print_row(&format!("{}\n", row.get()));
        }
        let cells = show(&read(common, row)?);
        let text = if begun { table.line(&cells) } else { table.render(&[cells]) };
        begun = true;
        output::print_row(&text)
    })
}

fn stream(common: &Common, id: &str) -> Result<(), ClientError> {
    let mut shown = Ok(());
    ask(&common.socket.path, &InspectQuestion::Stream { id: id.to_owned() }, &mut |row| {
        shown = match common.output {
            View::Json => output::print_row(&array(&[row.to_owned()])),
            _ => {
                let detail: StreamDetailView = read(common, row)?;
                output::print_row(&columns::detail(&detail, common.output == View::Wide, output::style()))
            }
        };
        Ok(())
    })?;
    shown
}

fn finding(common: &Common, id: &str, since_seconds: f64) -> Result<(), ClientError> {
    let mut shown = Ok(());
    ask(&common.socket.path, &InspectQuestion::Findings { since_seconds, id: Some(id.to_owned()) }, &mut |row| {
        shown = match common.output {
            View::Json => output::print_row(&array(&[row.to_owned()])),
            _ => output::print_row(&finding::detail(&read(common, row)?, output::style())),
        };
        Ok(())
    })?;
    shown
}

type Show<T> = Box<dyn Fn(&T) -> Vec<TableCell>>;

fn table<T: 'static>(common: &Common, set: columns::ColumnSet<T>) -> (TextTable, Show<T>) {
    let wide = common.output == View::Wide;
    let chosen: Vec<_> = set.iter().filter(|column| wide || !column.wide).collect();
    let heads: Vec<TableColumn> = chosen.iter().map(|column| column.column).collect();
    let mut style = output::style();
    if wide {
        // Asked for everything: nothing is shortened.
        style.width = None;
    }
    (TextTable::new(heads, style), Box::new(move |row| chosen.iter().map(|column| (column.show)(row)).collect()))
}

fn read<T: DeserializeOwned>(common: &Common, row: &RawValue) -> Result<T, ClientError> {
    serde_json::from_str(row.get()).map_err(|source| ClientError::Strange { path: common.socket.path.clone(), source })
}

/// One array, an element a line.
fn array(rows: &[Box<RawValue>]) -> String {
    let rows: Vec<&str> = rows.iter().map(|row| row.get()).collect();
    if rows.is_empty() { "[]\n".into() } else { format!("[\n{}\n]\n", rows.join(",\n")) }
}
