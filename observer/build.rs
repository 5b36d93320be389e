//! Builds the kernel side and hands it to the crate as the file named by `LLM_OBSERVER_BPF_OBJECT`.
//!
//! Only under the feature `bpf`: without it no BPF compiler is needed or looked for.

#[expect(dead_code, reason = "xtask uses the rest of this file")]
#[path = "../xtask/src/bpf_build.rs"]
mod bpf_build;

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LLM_OBSERVER_REVISION");
    stamp();
    if env::var_os("CARGO_FEATURE_BPF").is_none() {
        return ExitCode::SUCCESS;
    }
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            for line in reason.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The compiler's name, for `version` and `llm_observer_build_info`. The revision comes from whoever packages the program
/// (`LLM_OBSERVER_REVISION`): asking git here would rebuild everything at each commit, or lie.
fn stamp() {
    let version = env::var_os("RUSTC").and_then(|rustc| Command::new(rustc).arg("--version").output().ok());
    let text = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    if let Some(number) = text.split(' ').nth(1) {
        println!("cargo::rustc-env=LLM_OBSERVER_RUSTC={number}");
    }
}

fn build() -> Result<(), String> {
    let here = PathBuf::from(var("CARGO_MANIFEST_DIR")?);
    let root = here.parent().ok_or("observer/ has no parent folder")?;
    for input in ["observer-ebpf/src", "observer-ebpf/Cargo.toml", "observer-ebpf/Cargo.lock", "observer-common/src"] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    println!("cargo::rerun-if-changed={}", root.join("xtask/src/bpf_build.rs").display());
    for name in ["LLM_OBSERVER_BPF_RUSTC", "LLM_OBSERVER_CACHE"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let object = PathBuf::from(var("OUT_DIR")?).join("observer-ebpf.o");
    bpf_build::build(&bpf_build::find()?, &root.join("observer-ebpf"), &object)?;
    println!("cargo::rustc-env=LLM_OBSERVER_BPF_OBJECT={}", object.display());
    Ok(())
}

fn var(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("cargo set no usable {name}: {error}"))
}
