//! `record FILE`: what the kernel side hands up, into a file that `replay` reads.

use std::fs::{File, OpenOptions, Permissions};
use std::io::BufWriter;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use tokio::runtime::Builder;

use super::run::pipeline_settings;
use super::wake::{Signals, Sources, Wake};
use crate::clock::{self, Wall};
use crate::config::{Flags, Settings};
use crate::coverage::Edge;
use crate::export::ask;
use crate::recording::{self, Recorder};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// File to write, mode 0600; an existing one is replaced
    file: PathBuf,
    /// What to keep of the plaintext
    #[arg(long, value_enum, default_value_t)]
    payload: Payload,
    /// Stop after this long [default: at SIGINT or SIGTERM]
    #[arg(long, value_name = "DUR", value_parser = super::duration)]
    duration: Option<Duration>,
    /// Configuration file (YAML), for its match and kernel sections
    #[arg(long, env = "LLM_OBSERVER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Payload {
    /// Stamps and sizes only
    #[default]
    None,
    /// Streams as events with every text masked; no prompt, answer or key
    Sse,
    /// Every byte: keys, prompts and answers
    Full,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    super::log();
    let settings = Settings::new(Flags { config: args.config.clone(), ..Default::default() })?;
    super::edge::may_observe("record")?;
    let name = args.file.display();
    let file = create(&args.file).with_context(|| format!("cannot write {name}"))?;
    warn(args);
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot start the loop")?;
    // From now on a signal ends the recording in order, also while probes are still being attached.
    let signals = runtime.block_on(async { Signals::new() })?;
    let edge = super::edge::start(&settings)?;
    let wall = i64::try_from(Wall::read().offset()).unwrap_or_default();
    let recorder = Recorder::new(BufWriter::new(file), args.payload.meant(), wall, pipeline_settings(settings))?;
    let recorded = runtime
        .block_on(record(edge, recorder, signals, args.duration))
        .with_context(|| format!("cannot record to {name}"))?;
    eprintln!("{recorded} records in {name}; see them with `llm-observer replay {name}`");
    Ok(ExitCode::SUCCESS)
}

/// Until a signal or the end of `duration`; the number of records.
async fn record(
    mut edge: Box<dyn Edge>,
    mut recorder: Recorder<BufWriter<File>>,
    signals: Signals,
    duration: Option<Duration>,
) -> std::io::Result<u64> {
    // Nobody asks a recording, but somebody could.
    let (_asker, asks) = ask::channel();
    let mut sources = Sources::new(&edge.fds(), signals, asks)?;
    let (mut more, mut count) = (false, 0);
    let begun = clock::now();
    let over = |now: crate::units::Ns| duration.is_some_and(|most| u128::from(now - begun) >= most.as_nanos());
    loop {
        let wake = sources.next(more).await;
        let now = clock::now();
        more = drain(edge.as_mut(), &mut recorder, &mut count)?;
        match wake {
            Wake::Signal => break,
            Wake::Tick => {
                edge.tick(now);
                recorder.tick(now)?;
            }
            Wake::Ring | Wake::Request(_) => {}
        }
        for (conn, verdict) in recorder.verdicts() {
            edge.decide(conn, verdict);
        }
        if over(now) {
            break;
        }
    }
    recorder.finish()?;
    Ok(count)
}

fn drain(edge: &mut dyn Edge, recorder: &mut Recorder<BufWriter<File>>, count: &mut u64) -> std::io::Result<bool> {
    let mut failed = Ok(());
    let more = edge.drain(&mut |record| {
        if failed.is_ok() {
            failed = recorder.record(record);
            *count += 1;
        }
    });
    failed.map(|()| more)
}

/// Nobody but the owner may read it, whatever file was there before.
fn create(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn warn(args: &Args) {
    let holds = match args.payload {
        Payload::None => return,
        Payload::Sse => "model names and the shape of every answer (its text masked letter by letter)",
        Payload::Full => "everything in clear: API keys, prompts and answers of every program on this host",
    };
    eprintln!(
        "warning: {} will hold {holds}; it is readable by its owner only, so keep it that way",
        args.file.display()
    );
}

impl Payload {
    fn meant(self) -> recording::Payload {
        match self {
            Payload::None => recording::Payload::None,
            Payload::Sse => recording::Payload::Sse,
            Payload::Full => recording::Payload::Full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_its_owners_even_if_it_was_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        create(&path).unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!((meta.permissions().mode() & 0o777, meta.len()), (0o600, 0));
    }
}
