//! `cargo xtask bench`.

use anyhow::{Result, bail};

use crate::setup::{self, Scope};

pub fn run() -> Result<()> {
    setup::run(Scope::Programs)?;
    bail!("`bench` is not written yet")
}
