//! Comes with the recording format.

use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("recordings are not in this build yet")
}
