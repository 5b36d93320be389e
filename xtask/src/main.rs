//! `cargo xtask`: set-up, demo, tests, kernel matrix, benchmarks, new dialects. One file per verb.

mod apt;
mod bench;
#[expect(dead_code, reason = "observer's build script, which includes this file too, does the building")]
mod bpf_build;
mod debs;
mod demo;
mod dialect;
mod kernels;
mod programs;
mod progress;
mod setup;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Set-up, demo, tests, kernel matrix and benchmarks of llm-observer, new dialects"
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what the build and the tests need; does nothing when all is there
    Setup,
    /// Set up, then run every test that this machine can run
    Test,
    /// Set up, build, start everything, show live streams, clean up
    Demo,
    /// Load, attach, capture and unload on several kernels in QEMU
    Kernels {
        /// 5.10, 6.1, 6.12 or newest; all when none is named
        versions: Vec<String>,
    },
    /// Run the benchmarks; prints a table, writes JSON
    Bench,
    /// Write a new dialect from the living template: folder, vectors, fuzz target, tables
    NewDialect {
        /// Of its module: small letters, digits and `_`, as in `acme_chat`
        name: String,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Setup => setup::run(setup::Scope::Everything).map(|()| true),
        Verb::Test => test::run(),
        Verb::Demo => demo::run().map(|()| true),
        Verb::Kernels { versions } => kernels::run(&versions),
        Verb::Bench => bench::run().map(|()| true),
        Verb::NewDialect { name } => dialect::run(&name).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        // What failed has been said; the sum stays the last line.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
