//! `version`.

use std::process::ExitCode;

use serde_json::json;

use super::{Format, output};
use crate::export::own::{REVISION, RUSTC};

#[derive(Debug, clap::Args)]
pub(super) struct VersionArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn run(args: &VersionArgs) -> anyhow::Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    output::print(&match args.output {
        Format::Json => format!(
            "{}\n",
            json!({"version": version, "revision": REVISION, "rustc": RUSTC, "arch": std::env::consts::ARCH, "kernel_part": true})
        ),
        Format::Table => format!("llm-observer {version} (revision {REVISION}, rustc {RUSTC})\n"),
    })?;
    Ok(ExitCode::SUCCESS)
}
