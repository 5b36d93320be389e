//! Tells the program which compiler built it.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LLM_OBSERVER_REVISION");
    stamp();
}

/// The compiler's name, for `version` and `llm_observer_build_info`. The revision comes from
/// whoever packages the program (`LLM_OBSERVER_REVISION`): asking git here would rebuild everything
/// at each commit, or lie.
fn stamp() {
    let version = env::var_os("RUSTC").and_then(|rustc| Command::new(rustc).arg("--version").output().ok());
    let text = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    if let Some(number) = text.split(' ').nth(1) {
        println!("cargo::rustc-env=LLM_OBSERVER_RUSTC={number}");
    }
}
