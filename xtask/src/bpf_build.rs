//! Finds a compiler that can build for `bpfel-unknown-none`, and builds `observer-ebpf` with it.
//!
//! Standard library only: the edge's build script includes this file through `#[path]`, so that `cargo build` and
//! `cargo xtask` can never disagree about the compiler.
//!
//! BPF has no pre-built `core`, so what is needed is a `rustc` with the sources of its own `core` next to it, and a
//! bpf-linker that speaks the same LLVM. Nightly rustup toolchains with `rust-src` and Debian's `rustc-web` with
//! `rust-web-src` both qualify; `RUSTC_BOOTSTRAP` opens `-Z build-std` on the latter.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target triple of the kernel side.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// What every failure to find the compiler tells the user to do.
const FIX: &str = "run `cargo xtask setup`";

/// A compiler and a linker that fit each other.
pub(crate) struct Toolchain {
    pub rustc: PathBuf,
    pub linker: PathBuf,
    /// First line of `rustc --version`.
    pub version: String,
    /// Major version of the compiler's LLVM.
    pub llvm: u32,
}

impl Toolchain {
    /// One line for people: which compiler was taken, from where.
    pub(crate) fn describe(&self) -> String {
        format!("{} (LLVM {}) at {}, {}", self.version, self.llvm, self.rustc.display(), self.linker.display())
    }

    /// `cargo build` for the BPF target.
    fn build(&self, crate_dir: &Path, target_dir: &Path) -> Command {
        let mut cargo = self.command(&cargo_program(), "build", crate_dir, target_dir);
        cargo.arg("-Zbuild-std=core");
        cargo
    }

    /// The clippy that belongs to this very compiler (another's cannot read its `core`); `None` when not installed.
    pub(crate) fn clippy(&self, crate_dir: &Path, target_dir: &Path) -> Option<Command> {
        let program = self.rustc.with_file_name("cargo-clippy");
        program.is_file().then(|| {
            let mut clippy = self.command(program.as_os_str(), "clippy", crate_dir, target_dir);
            clippy.arg("-Zbuild-std=core");
            clippy
        })
    }

    /// A cargo command for the BPF target. The environment of an enclosing cargo is dropped: its wrappers
    /// (clippy-driver), flags and target directory belong to the host build.
    fn command(&self, program: &OsStr, verb: &str, crate_dir: &Path, target_dir: &Path) -> Command {
        let mut cargo = Command::new(program);
        for (name, _) in env::vars_os() {
            if belongs_to_outer_cargo(&name) {
                cargo.env_remove(name);
            }
        }
        cargo.current_dir(crate_dir).arg(verb).args(["--release", "--locked", "--target", TARGET]);
        cargo.arg("--target-dir").arg(target_dir);
        cargo.env("RUSTC", &self.rustc).env("RUSTC_BOOTSTRAP", "1");
        cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker);
        cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Cdebuginfo=2\x1f-Clink-arg=--btf");
        cargo
    }
}

fn belongs_to_outer_cargo(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let kept = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTRIES_", "CARGO_SOURCE_", "CARGO_BUILD_JOBS"];
    let cargo_own = name.starts_with("CARGO") && !kept.iter().any(|prefix| name.starts_with(prefix));
    cargo_own || name.starts_with("RUSTC") || name.starts_with("RUSTDOC") || name == "RUSTFLAGS" || name == "TARGET"
}

/// Where everything lives that is costly to make and belongs to no checkout: `$LLM_OBSERVER_CACHE`, or
/// `~/.cache/llm-observer`.
pub(crate) fn cache_root() -> Result<PathBuf, String> {
    if let Some(root) = env::var_os("LLM_OBSERVER_CACHE").filter(|root| !root.is_empty()) {
        return Ok(root.into());
    }
    let home = env::var_os("HOME").filter(|home| !home.is_empty());
    home.map(|home| Path::new(&home).join(".cache/llm-observer"))
        .ok_or_else(|| "neither LLM_OBSERVER_CACHE nor HOME is set: set one, builds are cached there".to_owned())
}

/// A compiler that has its core sources.
pub(crate) struct Compiler {
    pub rustc: PathBuf,
    /// First line of `rustc --version`.
    pub version: String,
    /// Major version of its LLVM.
    pub llvm: u32,
}

/// Finds a compiler and its linker. The error is one sentence that ends in the fix.
pub(crate) fn find() -> Result<Toolchain, String> {
    let compilers = compilers();
    let Some(best) = compilers.first() else { return Err(no_compiler()) };
    let lacking = format!("no bpf-linker for LLVM {}, which {} uses, is installed: {FIX}", best.llvm, best.version);
    let fits = |compiler: Compiler| {
        let linker = find_linker(compiler.llvm)?;
        let Compiler { rustc, version, llvm } = compiler;
        Some(Toolchain { rustc, linker, version, llvm })
    };
    compilers.into_iter().find_map(fits).ok_or(lacking)
}

fn no_compiler() -> String {
    match env::var("LLM_OBSERVER_BPF_RUSTC") {
        Ok(chosen) => format!(
            "LLM_OBSERVER_BPF_RUSTC names {chosen}, which is no rustc {} or newer with its core sources: correct or \
             unset it",
            env!("CARGO_PKG_RUST_VERSION")
        ),
        Err(_) => format!("no Rust compiler with its core sources, as BPF programs need, is installed: {FIX}"),
    }
}

/// The compilers of this machine that have their core sources and are new enough, best first.
pub(crate) fn compilers() -> Vec<Compiler> {
    let usable = |rustc: PathBuf| {
        let (version, llvm, sysroot) = ask(&rustc)?;
        let new_enough = minor(&version)? >= minor(concat!("rustc ", env!("CARGO_PKG_RUST_VERSION")))?;
        (new_enough && has_core_sources(&sysroot)).then_some(Compiler { rustc, version, llvm })
    };
    candidates().into_iter().filter_map(usable).collect()
}

/// `95` of `rustc 1.95.0 (…)`.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

/// Candidates, best first: the user's choice alone where there is one; else rustup's nightlies, then the
/// distribution's compilers (Ubuntu's versioned ones last).
fn candidates() -> Vec<PathBuf> {
    if let Some(chosen) = env::var_os("LLM_OBSERVER_BPF_RUSTC") {
        return vec![chosen.into()];
    }
    let rustup = env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let rustup = rustup.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".rustup")));
    let nightlies = rustup.into_iter().flat_map(|home| named(&home.join("toolchains"), "nightly"));
    let versioned = named(Path::new("/usr/bin"), "rustc-1.");
    let nightlies = nightlies.map(|toolchain| toolchain.join("bin/rustc"));
    nightlies.chain([PathBuf::from("/usr/bin/rustc")]).chain(versioned).collect()
}

/// The entries of a folder whose name starts with `prefix`, newest-looking name first.
fn named(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let matches = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(prefix);
    let mut found: Vec<_> = entries.filter(matches).map(|entry| entry.path()).collect();
    found.sort();
    found.reverse();
    found
}

/// Asks a compiler who it is: version line, LLVM major version, sysroot.
fn ask(rustc: &Path) -> Option<(String, u32, PathBuf)> {
    let run = |args: &[&str]| {
        let out = Command::new(rustc).args(args).env_remove("RUSTUP_TOOLCHAIN").output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let verbose = run(&["-vV"])?;
    let llvm = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    let major = llvm.split('.').next()?.parse().ok()?;
    let version = verbose.lines().next()?.to_owned();
    Some((version, major, PathBuf::from(run(&["--print", "sysroot"])?.trim())))
}

fn has_core_sources(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file()
}

/// The linker that set-up built for this LLVM, or one from PATH. The name in the cache says which LLVM it speaks;
/// one from PATH shows it by the LLVM library it is linked to.
fn find_linker(llvm: u32) -> Option<PathBuf> {
    let cached = cached_linker(llvm).ok().map(|root| root.join("bin/bpf-linker")).filter(|path| path.is_file());
    cached.or_else(|| linkers_on_path().into_iter().find(|path| speaks(path, llvm)))
}

/// Where set-up installs the linker for an LLVM version (a `cargo install --root`).
pub(crate) fn cached_linker(llvm: u32) -> Result<PathBuf, String> {
    Ok(cache_root()?.join(format!("bpf-linker-llvm-{llvm}")))
}

fn linkers_on_path() -> Vec<PathBuf> {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(cargo_home.map(|home| home.join("bin")));
    folders.map(|folder| folder.join("bpf-linker")).filter(|path| path.is_file()).collect()
}

/// Whether a linker speaks this LLVM: a dynamic one names the library (`libLLVM.so.22.1`, `libLLVM-22.so`), a
/// static one carries only its version string (`LLVM22.1.8`), so any other mention of LLVM excludes it.
fn speaks(linker: &Path, llvm: u32) -> bool {
    let Ok(bytes) = fs::read(linker) else { return false };
    let names = [format!("libLLVM.so.{llvm}."), format!("libLLVM-{llvm}.so"), format!("LLVM{llvm}.")];
    names.iter().any(|name| bytes.windows(name.len()).any(|window| window == name.as_bytes()))
}

/// Builds the kernel side and leaves the object at `object`. Quick when nothing changed.
///
/// The target directory is shared by every checkout (`core` and the registry crates build once a compiler), and
/// locked from build to copy, because each checkout's object lands under the same name.
pub(crate) fn build(toolchain: &Toolchain, crate_dir: &Path, object: &Path) -> Result<(), String> {
    let target_dir = target_dir(toolchain, object)?;
    let _lock = lock(&target_dir).map_err(|error| format!("cannot lock {}: {error}", target_dir.display()))?;
    if !is_owner(&target_dir, crate_dir) {
        let mut clean = toolchain.command(&cargo_program(), "clean", crate_dir, &target_dir);
        // Nothing to clean is no failure; a failure shows in the build.
        let _ = clean.args(["--package", "observer-ebpf", "--package", "observer-common"]).output();
        own(&target_dir, crate_dir).map_err(|error| format!("cannot write {}: {error}", target_dir.display()))?;
    }
    let out = toolchain.build(crate_dir, &target_dir).output();
    let out = out.map_err(|error| format!("cannot start cargo for the BPF build: {error}"))?;
    if !out.status.success() {
        let log = String::from_utf8_lossy(&out.stderr);
        return Err(format!("{log}\nthe kernel side in {} does not build (see above)", crate_dir.display()));
    }
    let built = target_dir.join(TARGET).join("release/observer-ebpf");
    fs::copy(&built, object).map(drop).map_err(|error| format!("cannot copy {}: {error}", built.display()))
}

/// The shared directory under the cache; next to the object where the cache cannot be written.
fn target_dir(toolchain: &Toolchain, object: &Path) -> Result<PathBuf, String> {
    let version: String = toolchain.version.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    let shared = cache_root().map(|root| root.join("bpf-target").join(version));
    if let Ok(shared) = shared
        && fs::create_dir_all(&shared).is_ok()
    {
        return Ok(shared);
    }
    let own = object.with_extension("target");
    fs::create_dir_all(&own).map_err(|error| format!("cannot create {}: {error}", own.display()))?;
    Ok(own)
}

/// Whether the build directory was last used by this checkout. Cargo judges by time stamps and
/// takes another checkout's build of a package for this one's: where the owner changed, our own
/// packages have to be cleaned first.
pub(crate) fn is_owner(build_dir: &Path, checkout: &Path) -> bool {
    fs::read_to_string(build_dir.join(OWNER)).is_ok_and(|owner| owner == checkout.display().to_string())
}

/// From now on this checkout's.
pub(crate) fn own(build_dir: &Path, checkout: &Path) -> io::Result<()> {
    fs::create_dir_all(build_dir)?;
    fs::write(build_dir.join(OWNER), checkout.display().to_string())
}

/// Names the checkout that a shared build directory was last used by.
const OWNER: &str = ".llm-observer.owner";

fn cargo_program() -> std::ffi::OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Held until dropped.
fn lock(folder: &Path) -> io::Result<File> {
    let file = File::create(folder.join(".llm-observer.lock"))?;
    file.lock()?;
    Ok(file)
}
