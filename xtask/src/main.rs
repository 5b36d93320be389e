//! `cargo xtask`: set-up, demo, agents, tests, rules of the house, kernel matrix, benchmarks, new
//! dialects. One file per verb.

mod agents;
mod apt;
mod bench;
#[expect(dead_code, reason = "the edge's build script, which includes this file too, does the building")]
mod bpf_build;
mod debs;
mod demo;
mod deny;
mod dialect;
mod inside;
mod kernels;
mod programs;
mod progress;
mod setup;
mod test;
mod tidy;

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
    Test {
        /// Only these tiers, by their names in the table at the end: `cargo xtask test lints kernel`
        tiers: Vec<String>,
    },
    /// Check the rules of the house: sizes, columns, names, links
    Tidy {
        /// Write the list of exceptions anew where there are fewer by now
        #[arg(long)]
        shrink: bool,
    },
    /// Check licences, sources and advisories of the dependencies (cargo-deny)
    Deny {
        /// All of it when none is named
        part: Option<deny::Part>,
    },
    /// Set up, build, start everything, show live streams, clean up
    Demo {
        /// Then Claude Code and Codex, too (350 MB of downloads the first time)
        #[arg(long)]
        agents: bool,
    },
    /// Run real, pinned agents and clients against the test provider, and tell what was seen of each
    Agents {
        /// Only those whose names contain one of these: `cargo xtask agents claude bun`
        clients: Vec<String>,
    },
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
        Verb::Test { tiers } => test::run(&tiers),
        Verb::Tidy { shrink } => tidy::run(shrink),
        Verb::Deny { part } => deny::run(part),
        Verb::Demo { agents } => demo::run(agents),
        Verb::Agents { clients } => agents::run(&clients),
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
