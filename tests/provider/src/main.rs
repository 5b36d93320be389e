//! The provider as a program.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use provider::script::Scenario;
use provider::{Options, Provider, catalogue};

/// A scriptable LLM provider for tests; every write is logged with its time.
#[derive(Parser)]
struct Args {
    /// Where to listen; port 0: any free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Plain HTTP instead of TLS
    #[arg(long)]
    plain: bool,
    /// Directory for ca.pem
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Further names for the certificate
    #[arg(long)]
    name: Vec<String>,
    /// NDJSON write log
    #[arg(long)]
    log: Option<PathBuf>,
    /// JSON file of further scenarios: an object of name and scenario
    #[arg(long)]
    scenarios: Option<PathBuf>,
    /// Print the known scenarios as JSON and exit
    #[arg(long)]
    list: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.list {
        let all: std::collections::BTreeMap<_, _> = catalogue::all().into_iter().collect();
        return Ok(serde_json::to_writer_pretty(std::io::stdout(), &all)?);
    }
    let options =
        Options { listen: args.listen, plain: args.plain, dir: args.dir, names: args.name, log: args.log, keep: false };
    let provider = Provider::start(&options)?;
    for (name, scenario) in more_scenarios(args.scenarios.as_ref())? {
        provider.register(&name, scenario);
    }
    announce(&provider)?;
    // It serves until standard input ends: whoever started it holds the other side, so it cannot outlive them.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    provider.flush();
    Ok(())
}

fn more_scenarios(file: Option<&PathBuf>) -> Result<std::collections::BTreeMap<String, Scenario>> {
    let Some(file) = file else { return Ok(std::collections::BTreeMap::new()) };
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not an object of scenarios", file.display()))
}

/// One line of JSON: where it listens and whom to trust.
fn announce(provider: &Provider) -> Result<()> {
    let line = serde_json::json!({"url": provider.url(), "plain_url": provider.plain_url(), "address": provider.address(), "ca": provider.ca()});
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush().context("cannot tell where it listens")
}
