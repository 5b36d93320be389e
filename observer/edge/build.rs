//! Builds the kernel side and hands it to the crate as the file named by `LLM_OBSERVER_BPF_OBJECT`.

#[expect(dead_code, reason = "xtask uses the rest of this file")]
#[path = "../../xtask/src/bpf_build.rs"]
mod bpf_build;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
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

fn build() -> Result<(), String> {
    let here = PathBuf::from(var("CARGO_MANIFEST_DIR")?);
    let root = here.ancestors().nth(2).ok_or("observer/edge/ is not two folders below the root")?;
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
