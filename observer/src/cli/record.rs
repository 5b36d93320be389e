//! `record FILE`: what the kernel side hands up, into a file that `replay` reads.

use std::ffi::OsString;
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use tokio::runtime::Builder;

use super::fresh::FreshFile;
use super::run::pipeline_settings;
use super::wake::{StopSignals, WakeReason, WakeSources};
use crate::config::{CommandFlags, DaemonSettings};
use crate::export::ask;
use crate::recording::{self, Recorder};
use edge::clock::{self, WallClock};
use edge::coverage::CaptureEdge;

#[derive(Debug, clap::Args)]
pub(super) struct RecordArgs {
    /// File to write, mode 0600; an existing file of yours is replaced, nothing else is. It is
    /// there from the moment at which probes are in place, so that a recording that is cut off
    /// holds what came before
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
    /// Where the host's root is mounted, for the names of containers and pods [default: found by itself]
    #[arg(long = "host.root", env = "LLM_OBSERVER_HOST_ROOT", value_name = "PATH")]
    host_root: Option<OsString>,
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

pub(super) fn run(args: &RecordArgs) -> anyhow::Result<ExitCode> {
    super::log();
    edge::kernel::heap::tune();
    let host_root = args.host_root.clone().map(PathBuf::from);
    let settings = DaemonSettings::new(CommandFlags { config: args.config.clone(), host_root, ..Default::default() })?;
    edge::identity::host::set_root(settings.host_root.as_deref());
    super::edge::may_observe("record", &settings)?;
    let name = args.file.display();
    super::secrecy::keep_to_itself();
    let (mut fresh, file) = FreshFile::create(&args.file)?;
    warn(args, fresh.is_exposed());
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot start the loop")?;
    // From now on a signal ends the recording in order, also while probes are still being attached.
    let signals = runtime.block_on(async { StopSignals::new() })?;
    let edge = super::edge::start(&settings, None)?;
    let wall = i64::try_from(WallClock::read().offset()).unwrap_or_default();
    let recorder = Recorder::new(BufWriter::new(file), args.payload.meant(), wall, pipeline_settings(settings))?;
    // Not before: where nothing can be recorded, the file that was there stays.
    fresh.put_in_place()?;
    let recorded = runtime
        .block_on(record(edge, recorder, signals, args.duration))
        .with_context(|| format!("cannot record to {name}"))?;
    fresh.check()?;
    eprintln!("{recorded} records in {name}; see them with `llm-observer replay {name}`");
    Ok(ExitCode::SUCCESS)
}

/// Until a signal or the end of `duration`; the number of records.
async fn record(
    mut edge: Box<dyn CaptureEdge>,
    mut recorder: Recorder<BufWriter<File>>,
    signals: StopSignals,
    duration: Option<Duration>,
) -> std::io::Result<u64> {
    // Nobody asks a recording, but somebody could.
    let (_asker, asks) = ask::channel();
    let mut sources = WakeSources::new(&edge.fds(), signals, asks)?;
    let (mut more, mut count) = (false, 0);
    let begun = clock::now();
    let over = |now: capture::units::Ns| duration.is_some_and(|most| u128::from(now - begun) >= most.as_nanos());
    loop {
        let wake = sources.next(more).await;
        let now = clock::now();
        more = drain(edge.as_mut(), &mut recorder, &mut count)?;
        match wake {
            // Whoever watched over it has gone: keys and prompts are not gathered for nobody.
            WakeReason::Signal | WakeReason::Hangup => break,
            WakeReason::Tick => {
                edge.tick(now);
                recorder.tick(now)?;
                recorder.flush()?;
            }
            WakeReason::Ring | WakeReason::Request(_) => {}
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

fn drain(
    edge: &mut dyn CaptureEdge,
    recorder: &mut Recorder<BufWriter<File>>,
    count: &mut u64,
) -> std::io::Result<bool> {
    let mut failed = Ok(());
    let more = edge.drain(&mut |record| {
        if failed.is_ok() {
            failed = recorder.record(record);
            *count += 1;
        }
    });
    failed.map(|()| more)
}

/// What anybody who reads the file will know.
fn warn(args: &RecordArgs, exposed: bool) {
    let file = args.file.display();
    eprintln!("warning: {file} will hold {}", args.payload.holds());
    if args.payload != Payload::None {
        eprintln!("warning: it is readable by its owner only, so keep it that way");
    }
    if exposed {
        eprintln!(
            "warning: anybody may remove or replace files in the folder of {file} (it has no sticky bit); nobody else can \
             read the recording, but see to it that what you replay is yours"
        );
    }
}

impl Payload {
    fn meant(self) -> recording::PayloadMode {
        match self {
            Payload::None => recording::PayloadMode::None,
            Payload::Sse => recording::PayloadMode::Sse,
            Payload::Full => recording::PayloadMode::Full,
        }
    }

    /// What stays in clear. Of `Sse` the truth is in `recording::redact` and `recording::mask`.
    fn holds(self) -> &'static str {
        match self {
            Payload::None => {
                "which programs (with paths, users' services, pods and containers) spoke with which addresses, when and how \
                 much; no byte of what they said"
            }
            Payload::Sse => {
                "of every model call, in clear: the program (with its path, service, pod and container), the peer's address, \
                 host, method and URL path without its query, the retry headers of SDKs, the model, status and content type; of \
                 its events the names, the values of `type`, `role`, `status`, `code`, finish reasons and the like, the names \
                 of JSON members, and every number; times and sizes. Long runs of letters and digits in paths and names are \
                 masked, shorter ones are not: a secret in a path may stay. Texts only by their shape (each letter an x, each \
                 digit a 0, spaces and punctuation as they are)"
            }
            Payload::Full => "everything in clear: API keys, prompts and answers of every program on this host",
        }
    }
}
