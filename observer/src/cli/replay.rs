//! `replay FILE...`: the same pipeline on recorded records, in virtual time.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;

use super::daemon::{findings, hops, streams};
use super::{output, run::pipeline_settings};
use crate::clock::Wall;
use crate::config::{Flags, Settings};
use crate::export::audience::Metrics;
use crate::export::inspect::table::Table;
use crate::export::inspect::{Row, columns};
use crate::export::{own, text};
use crate::pipeline::Pipeline;
use crate::recording::{Reader, replay};

#[derive(Debug, clap::Args)]
pub struct Args {
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

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = Settings::new(Flags { config: args.config.clone(), ..Default::default() })?;
    let fresh = {
        let (caps, rate, detect) = (settings.caps, settings.reader_rate, settings.detect.clone());
        move || Metrics::new(caps, rate).with_detectors(&detect)
    };
    let mut pipeline_settings = pipeline_settings(settings);
    // Every call of a recording is wanted, not the latest of a daemon's long life.
    pipeline_settings.ledger.ended = pipeline_settings.ledger.ended.max(1_000_000);
    let mut pipeline = Pipeline::new(pipeline_settings.clone(), fresh());
    let (mut rows, mut found) = (Vec::new(), Vec::new());
    for (index, file) in args.files.iter().enumerate() {
        if index > 0 {
            // Another recording is another time: connections and open streams of the last one end with it, its sums stay.
            let mut metrics = std::mem::replace(pipeline.audience_mut(), fresh());
            metrics.detectors.begin_anew();
            pipeline = Pipeline::new(pipeline_settings.clone(), metrics);
        }
        let wall = feed(file, &mut pipeline)?;
        let from = rows.len();
        rows.extend(streams(pipeline.book(), f64::INFINITY, &[], pipeline.now(), &wall));
        let detectors = &pipeline.audience().detectors;
        hops(rows.get_mut(from..).unwrap_or_default(), pipeline.book(), detectors.findings());
        found.extend(findings(detectors, f64::INFINITY, None, pipeline.now(), &wall).map_err(anyhow::Error::msg)?);
    }
    output::print(&match args.output {
        View::Metrics => metrics(&mut pipeline)?,
        View::Json => json(&rows)?,
        View::Streams => table(&rows),
        View::Findings => json(&found)?,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Replays one file. A damaged end is reported, what came before it counts.
fn feed(path: &Path, pipeline: &mut Pipeline<Metrics>) -> anyhow::Result<Wall> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    let mut reader = Reader::new(BufReader::new(file)).with_context(|| format!("cannot replay {name}"))?;
    let wall = Wall::fixed(i128::from(reader.wall()));
    pipeline.audience_mut().detectors.set_wall(wall.offset());
    match replay(&mut reader, pipeline) {
        Ok(done) if done.cut => {
            eprintln!("llm-observer: {name} ends in the middle of a record; all before it was replayed");
        }
        Ok(_) => {}
        Err(error) => eprintln!("llm-observer: {name}: {}", super::chain(&error)),
    }
    Ok(wall)
}

fn metrics(pipeline: &mut Pipeline<Metrics>) -> anyhow::Result<String> {
    let now = pipeline.now();
    let (counters, overflow) = (pipeline.counters(), pipeline.book().overflow());
    pipeline.show(|book, links, sockets, metrics| metrics.publish(book, links, sockets, now));
    let store = &mut pipeline.audience_mut().store;
    own::pipeline(store, &counters, overflow);
    Ok(String::from_utf8(text::encode_once(store.snapshot())?)?)
}

fn json(rows: &[Row]) -> anyhow::Result<String> {
    let lines = rows.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(if lines.is_empty() { "[]\n".into() } else { format!("[\n{}\n]\n", lines.join(",\n")) })
}

fn table(rows: &[Row]) -> String {
    let chosen: Vec<_> = columns::STREAMS.iter().filter(|column| !column.wide).collect();
    let cells: Vec<_> = rows
        .iter()
        .filter_map(|row| if let Row::Stream(stream) = row { Some(stream) } else { None })
        .map(|stream| chosen.iter().map(|column| (column.show)(stream)).collect())
        .collect();
    Table::new(chosen.iter().map(|column| column.column).collect(), output::style()).render(&cells)
}
