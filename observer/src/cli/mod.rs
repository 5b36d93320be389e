//! The command line: one file a verb. Data goes to stdout, everything else to stderr.

mod completion;
mod cpu;
pub mod daemon;
mod doctor;
mod edge;
mod fresh;
mod inspect;
pub mod layouts;
mod lock;
mod output;
mod record;
mod replay;
mod run;
mod secrecy;
pub mod state;
mod target;
mod top;
mod version;
pub mod wake;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::SOCKET;
use capture::units::duration_seconds;
use output::OutputClosed;

/// What a host's LLM traffic really does, seen from the kernel.
#[derive(Debug, Parser)]
#[command(name = "llm-observer", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(
    after_help = "Every flag of `run` has an environment variable (see its help). LLM_OBSERVER_LOG filters the log\n\
    (error, warn, info, debug, trace), LLM_OBSERVER_LOG_FORMAT=json writes it for machines, NO_COLOR turns colours off."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Observe this host: the daemon
    Run(run::RunArgs),
    /// Ask the daemon what it sees
    Inspect(inspect::InspectArgs),
    /// Show what is going on now: full screen on a terminal (q quits), one table elsewhere
    Top(top::TopArgs),
    /// Check whether this host can be observed, what is lost and how to fix it (exit 0 all well, 1
    /// degraded, 2 cannot run)
    Doctor(doctor::DoctorArgs),
    /// Write what the kernel side reports to a file, for `replay`
    Record(record::RecordArgs),
    /// Run recordings through the same pipeline, without root and without a kernel
    Replay(replay::ReplayArgs),
    /// Print a shell's completion script
    Completion(completion::CompletionArgs),
    /// Print the version
    Version(version::VersionArgs),
}

/// Where the daemon's socket is.
#[derive(Clone, Debug, Args)]
struct Socket {
    /// The daemon's socket
    #[arg(long = "inspect.socket", env = "LLM_OBSERVER_INSPECT_SOCKET", value_name = "PATH", default_value = SOCKET)]
    path: PathBuf,
}

/// Table for people or JSON for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Table,
    Json,
}

/// Parses, runs, and says what went wrong: on one line, with every cause.
#[must_use]
pub fn main() -> ExitCode {
    match verb(Cli::parse().verb) {
        Ok(code) => code,
        // Whoever read our output has seen enough (`| head`).
        Err(error) if error.is::<OutputClosed>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("llm-observer: {}", chain(error.as_ref()));
            ExitCode::from(2)
        }
    }
}

fn verb(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Run(args) => run::run(&args),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::Top(args) => top::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Record(args) => record::run(&args),
        Verb::Replay(args) => replay::run(&args),
        Verb::Completion(args) => completion::run(&args),
        Verb::Version(args) => version::run(&args),
    }
}

/// An error and its causes, each once: some libraries repeat the cause in their own text.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

/// Log to stderr; `LLM_OBSERVER_LOG` filters (`debug`, `edge::kernel=trace`), `LLM_OBSERVER_LOG_FORMAT=json` is for
/// machines.
fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("LLM_OBSERVER_LOG").unwrap_or_else(|_| "info".into());
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).with_target(false);
    let json = std::env::var_os("LLM_OBSERVER_LOG_FORMAT").is_some_and(|format| format == "json");
    // A second subscriber cannot be: `log` is called once, by the verb.
    let _ = if json { builder.json().try_init() } else { builder.with_ansi(output::colour_on_stderr()).try_init() };
}

/// `90s`, `15m`, `2h`, `1d`, `1h30m`; a bare number is seconds.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let fault = || format!("{text:?} is no duration: write it like 90s, 15m, 2h or 1h30m");
    let bare = text.ends_with(|last: char| last.is_ascii_digit() || last == '.');
    let seconds = if bare { duration_seconds(&format!("{text}s")) } else { duration_seconds(text) };
    std::time::Duration::try_from_secs_f64(seconds.ok_or_else(fault)?).map_err(|_| fault())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("90s", 90.0),
            ("15m", 900.0),
            ("1h30m", 5400.0),
            ("2d", 172_800.0),
            ("5", 5.0),
            ("250ms", 0.25),
            ("1.5s", 1.5),
        ] {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for text in ["", "m", "5x", "-1s", "1e400s", "5é", "99999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_cause_is_said_once() {
        let io = std::io::Error::other("no room");
        let error = anyhow::Error::new(io).context("cannot write (no room)").context("cannot record");
        assert_eq!(chain(error.as_ref()), "cannot record: cannot write (no room)");
    }
}
