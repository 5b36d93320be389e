//! The benchmarks proper (`cargo xtask bench` sets up, builds and starts them). Every figure is a comparison within one
//! run on one machine, because two shared cores make absolute times noisy. Arguments choose some of the parts:
//! `llmo-bench [accuracy] [cost] [segments] [stamps] [held] [complete] [load] [blame] [others] [first] [starts]`,
//! and `soak`, which runs only when it is named.

mod accuracy;
mod blame;
mod complete;
mod cost;
mod first;
mod held;
mod load;
mod pairs;
mod soak;
mod stamps;
mod starts;
mod table;

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;
use table::Table;

type Part = (&'static str, fn(&mut Table) -> Result<()>);

const PARTS: [Part; 12] = [
    ("accuracy", accuracy::run),
    ("cost", cost::tls),
    ("segments", cost::segments),
    ("stamps", stamps::run),
    ("held", held::run),
    ("complete", complete::run),
    ("load", load::run),
    ("blame", blame::run),
    ("others", cost::others),
    ("first", first::run),
    ("starts", starts::run),
    ("soak", soak::run),
];

/// It takes half an hour.
const ON_REQUEST: &str = "soak";

fn main() -> Result<()> {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let mut table = Table::default();
    for (name, run) in PARTS {
        if chosen.is_empty() && name != ON_REQUEST || chosen.iter().any(|wanted| wanted == name) {
            eprintln!("== {name}");
            // One part that cannot run does not take the others' figures away.
            if let Err(error) = run(&mut table) {
                table.failed(name, &error);
            }
        }
    }
    println!("\n{table}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench.json");
    let report = json!({"host": host(), "rows": table.json()});
    std::fs::create_dir_all(file.parent().context("no parent")?)?;
    std::fs::write(&file, serde_json::to_string_pretty(&report)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!("written to target/bench.json");
    table.verdict()
}

/// What the figures were taken on.
fn host() -> serde_json::Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    json!({
        "kernel": read("/proc/sys/kernel/osrelease"),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "cpu": model.trim_start_matches(['\t', ' ', ':']),
        "load_at_end": read("/proc/loadavg"),
    })
}
