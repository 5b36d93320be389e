//! `cargo xtask demo`.

use anyhow::{Result, bail};

use crate::setup::{self, Scope};

pub fn run() -> Result<()> {
    setup::run(Scope::Programs)?;
    bail!("`demo` is not written yet")
}
