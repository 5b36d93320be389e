//! `cargo xtask setup`: everything the build and the tests need, on a machine that has only `cargo`.
//!
//! Each step looks first and acts only on what is missing, so a second run needs no network and takes no time.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, anyhow, bail};

use crate::bpf_build::{self, Compiler};
use crate::{apt, debs, deny, inside, programs, progress};

/// What a verb needs; each needs the kernel side's compiler and linker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The virtual machines' parts.
    Matrix,
    /// The client programs, for the demo and the benchmarks.
    Programs,
    /// The client programs and what only tests use.
    Tests,
    Everything,
}

/// The release of bpf-linker that is tried first; a newer one when that does not know the compiler's LLVM.
const BPF_LINKER: &str = "^0.13";

/// Programs that the tests start, and the package that brings each.
const TEST_TOOLS: [(&str, &str); 2] = [("openssl", "openssl"), ("curl", "curl")];

/// The compiler of the Go clients, which only tests run.
const GO: [(&str, &str); 1] = [("go", "golang-go")];

/// TLS libraries that a client of a test loads by their names for developers, which are the same in every release.
const LIBRARIES: [&str; 2] = ["libwolfssl-dev", "libmbedtls-dev"];

/// Sets up what `scope` needs, and says what it took.
pub(crate) fn run(scope: Scope) -> Result<()> {
    let toolchain = compiler()?;
    eprintln!("set-up: kernel side: {toolchain}");
    if scope != Scope::Matrix {
        tools("a test", &TEST_TOOLS)?;
        programs::install()?;
    }
    if matches!(scope, Scope::Tests | Scope::Everything) {
        tools("the Go clients of a test", &GO)?;
        libraries();
        deny::install();
        debs::prometheus()?;
        debs::libssl_builds();
        inside::install();
        debs::engine();
    }
    if matches!(scope, Scope::Matrix | Scope::Everything) {
        debs::matrix()?;
    }
    eprintln!("set-up: complete");
    Ok(())
}

/// Installs the packages of the programs that are not on PATH.
fn tools(why: &str, tools: &[(&str, &str)]) -> Result<()> {
    let missing = tools.iter().filter(|(program, _)| !apt::on_path(program));
    apt::install(why, &missing.map(|(_, package)| *package).collect::<Vec<_>>())
}

/// Installs the libraries whose clients are tested. Those tests say why they are left out where that fails.
fn libraries() {
    if let Err(reason) = apt::install("a client of a test", &LIBRARIES) {
        eprintln!("set-up: without {}: {reason:#}", LIBRARIES.join(", "));
    }
}

/// A compiler and linker for the kernel side; returns the line that names them.
fn compiler() -> Result<String> {
    let left_to_us = std::env::var_os("LLM_OBSERVER_BPF_RUSTC").is_none();
    if left_to_us && bpf_build::compilers().is_empty() {
        install_compiler()?;
    }
    if let Err(reason) = bpf_build::find() {
        let compiler = bpf_build::compilers().into_iter().next().ok_or_else(|| anyhow!(reason))?;
        install_linker(&compiler)?;
    }
    let toolchain = bpf_build::find().map_err(|reason| anyhow!("set-up did its part, yet {reason}"))?;
    install_clippy(&toolchain.rustc)?;
    Ok(toolchain.describe())
}

/// Debian's compiler where apt has a new enough one, a rustup nightly elsewhere.
fn install_compiler() -> Result<()> {
    if apt::has_apt() && apt::is_root() {
        apt::update()?;
    }
    if apt::candidate("rustc-web").is_some_and(|version| new_enough(&version)) {
        return apt::install("the kernel side", &["rustc-web", "rust-web-src"]);
    }
    if !apt::on_path("rustup") {
        let least = env!("CARGO_PKG_RUST_VERSION");
        bail!(
            "apt here has no rustc-web of {least} or newer (Debian 12 carries it in bookworm-security), and there is \
             no rustup for a nightly: add that suite to apt's sources or install rustup, then run this again"
        );
    }
    let failure = "rustup could not install a nightly with rust-src: check the network, then run this again";
    let mut rustup = Command::new("rustup");
    rustup.args(["toolchain", "install", "nightly", "--profile", "minimal", "-c", "rust-src", "-c", "clippy"]);
    progress::step("rustup: nightly with rust-src", failure, &mut rustup)
}

/// Whether a Debian version (`1.96.0+dfsg1-1`) is at least the workspace's `rust-version`.
fn new_enough(version: &str) -> bool {
    let minor = |version: &str| version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    version.starts_with("1.") && minor(version) >= minor(env!("CARGO_PKG_RUST_VERSION"))
}

/// bpf-linker, built against the very LLVM of the compiler, into the cache.
fn install_linker(compiler: &Compiler) -> Result<()> {
    let llvm = compiler.llvm;
    let prefix = format!("/usr/lib/llvm-{llvm}");
    if !Path::new(&prefix).join("bin/llvm-config").exists() {
        let (dev, polly) = (format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev"));
        if apt::candidate(&dev).is_none() && apt::has_apt() && apt::is_root() {
            apt::update()?;
        }
        if apt::candidate(&dev).is_none() {
            bail!(
                "{} needs a bpf-linker for LLVM {llvm}, and apt here has no {dev} to build it with: put a bpf-linker \
                 for LLVM {llvm} on PATH (its project publishes binaries), then run this again",
                compiler.version
            );
        }
        apt::install("bpf-linker", &[&dev, &polly])?;
    }
    apt::install("bpf-linker", &["zlib1g-dev", "libzstd-dev"])?;
    let root = bpf_build::cached_linker(llvm).map_err(anyhow::Error::msg)?;
    cargo_install_linker(llvm, &prefix, &root, Some(BPF_LINKER))
        .or_else(|_| cargo_install_linker(llvm, &prefix, &root, None))
}

fn cargo_install_linker(llvm: u32, prefix: &str, root: &Path, version: Option<&str>) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.env("LLVM_PREFIX", prefix).env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    cargo.args(["install", "bpf-linker", "--locked", "--no-default-features"]);
    cargo.arg("--features").arg(format!("llvm-{llvm}")).arg("--root").arg(root);
    if let Some(version) = version {
        cargo.arg("--version").arg(version);
    }
    let failure = format!("cargo could not install bpf-linker for LLVM {llvm}: see the compiler's or network's error");
    progress::step(&format!("cargo: bpf-linker for LLVM {llvm}"), &failure, &mut cargo)
}

/// The clippy of Debian's compiler; rustup's nightly brings its own.
fn install_clippy(rustc: &Path) -> Result<()> {
    let has_own = rustc.with_file_name("cargo-clippy").exists();
    let from_debian = fs::canonicalize(rustc).is_ok_and(|path| path.starts_with("/usr"));
    if has_own || !from_debian || apt::candidate("rust-web-clippy").is_none() {
        return Ok(());
    }
    apt::install("`cargo xtask test`'s lint of the kernel side", &["rust-web-clippy"])
}

#[cfg(test)]
mod tests {
    use super::new_enough;

    #[test]
    fn debian_versions_are_compared_by_release() {
        assert!(new_enough("1.96.0+dfsg1-1~deb12u2"));
        assert!(new_enough("1.95.0-1"));
        assert!(!new_enough("1.85.0+dfsg3-1~deb12u3"));
        assert!(!new_enough("(none)"));
    }
}
