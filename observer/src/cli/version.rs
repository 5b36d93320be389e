//! `version`.

use std::process::ExitCode;

use serde_json::json;

use super::{Format, output};
use crate::export::own::{REVISION, RUSTC};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    let kernel = cfg!(feature = "bpf");
    output::print(&match args.output {
        Format::Json => format!(
            "{}\n",
            json!({"version": version, "revision": REVISION, "rustc": RUSTC, "arch": std::env::consts::ARCH, "kernel_part": kernel})
        ),
        Format::Table => {
            let part = if kernel { "" } else { ", without the kernel part" };
            format!("llm-observer {version} (revision {REVISION}, rustc {RUSTC}{part})\n")
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
