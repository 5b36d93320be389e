//! `replay FILE...`: the same pipeline on recorded records, in virtual time.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;

use super::{output, run::pipeline_settings};
use crate::config::{CommandFlags, DaemonSettings};
use crate::export::inspect::table::TextTable;
use crate::export::inspect::{AnswerRow, columns, queries};
use crate::export::{hidden, own, text};
use crate::recording::{RecordingReader, replay};
use crate::sinks::DaemonSinks;
use edge::clock::WallClock;
use ledger::pipeline::Pipeline;

#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// Recordings, each of one host and run; they are replayed one after the other
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What to print
    #[arg(short, long, value_enum, default_value_t)]
    output: View,
    /// Configuration file (YAML), for its match, limits and qoe sections
    #[arg(long, env = "LLM_OBSERVER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum View {
    /// The table of `inspect streams`
    #[default]
    Streams,
    /// What `/metrics` would say at the end
    Metrics,
    /// What detectors found, as JSON, one array
    Findings,
    /// Streams as JSON, one array
    Json,
}

pub(super) fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let settings = DaemonSettings::new(CommandFlags { config: args.config.clone(), ..Default::default() })?;
    let sinks = DaemonSinks::new(&settings.sinks);
    let mut pipeline_settings = pipeline_settings(settings);
    // Every call of a recording is wanted, not the latest of a daemon's long life.
    pipeline_settings.ledger.ended = pipeline_settings.ledger.ended.max(1_000_000);
    let mut pipeline = Pipeline::new(pipeline_settings.clone(), sinks);
    let (mut rows, mut found) = (Vec::new(), Vec::new());
    for (index, file) in args.files.iter().enumerate() {
        if index > 0 {
            // Another recording is another time: connections and open streams of the last one end
            // with it, its sums stay.
            let (mut sinks, ()) = pipeline.into_parts();
            sinks.detectors.begin_anew();
            pipeline = Pipeline::new(pipeline_settings.clone(), sinks);
        }
        let wall = feed(file, &mut pipeline)?;
        let (call_table, detectors, now) = (pipeline.call_table(), &pipeline.sink().detectors, pipeline.now());
        rows.extend(
            queries::StreamsSnapshot::new(call_table, detectors.findings(), f64::INFINITY, &[], now, &wall).rows(),
        );
        let findings = queries::findings(detectors, f64::INFINITY, None, now, &wall);
        found.extend(findings.map_err(anyhow::Error::msg)?);
    }
    output::print(&match args.output {
        View::Metrics => metrics(&mut pipeline),
        View::Json => json(&rows)?,
        View::Streams => table(&rows),
        View::Findings => json(&found)?,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Replays one file. A damaged end is reported, what came before it counts.
fn feed(path: &Path, pipeline: &mut Pipeline<DaemonSinks>) -> anyhow::Result<WallClock> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    let mut reader = RecordingReader::new(BufReader::new(file)).with_context(|| format!("cannot replay {name}"))?;
    let wall = WallClock::fixed(i128::from(reader.wall()));
    pipeline.sink_mut().detectors.set_wall(wall.offset());
    match replay(&mut reader, pipeline) {
        Ok(done) if done.cut => {
            eprintln!("llm-observer: {name} ends in the middle of a record; all before it was replayed");
        }
        Ok(_) => {}
        Err(error) => eprintln!("llm-observer: {name}: {}", super::chain(&error)),
    }
    Ok(wall)
}

fn metrics(pipeline: &mut Pipeline<DaemonSinks>) -> String {
    let now = pipeline.now();
    let (counters, overflow) = (pipeline.counters(), pipeline.call_table().overflow());
    pipeline.show(|call_table, connections, sockets, sinks| sinks.publish(call_table, connections, sockets, now));
    let store = &mut pipeline.sink_mut().metrics.store;
    own::pipeline(store, &counters, overflow);
    text::encode(&store.snapshot())
}

fn json(rows: &[AnswerRow]) -> anyhow::Result<String> {
    let text = |row| serde_json::to_string(row).map(hidden::json);
    let lines = rows.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    Ok(if lines.is_empty() { "[]\n".into() } else { format!("[\n{}\n]\n", lines.join(",\n")) })
}

fn table(rows: &[AnswerRow]) -> String {
    let chosen: Vec<_> = columns::STREAMS.iter().filter(|column| !column.wide).collect();
    let cells: Vec<_> = rows
        .iter()
        .filter_map(|row| if let AnswerRow::Stream(stream) = row { Some(stream) } else { None })
        .map(|stream| chosen.iter().map(|column| (column.show)(stream)).collect())
        .collect();
    TextTable::new(chosen.iter().map(|column| column.column).collect(), output::style()).render(&cells)
}
