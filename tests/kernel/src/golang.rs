//! The Go client, built by this machine's Go in every way in which Go programs come. Nothing is
//! downloaded: it uses the standard library alone.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context, Result, bail};

use crate::places;

/// A way to build: its name, whether C is linked in, and the arguments.
type Way = (&'static str, bool, &'static [&'static str]);

/// With its symbols, without, loaded anywhere and without, and by the C linker.
const WAYS: [Way; 4] = [
    ("plain", false, &[]),
    ("stripped", false, &["-ldflags=-s -w"]),
    ("pie", false, &["-buildmode=pie", "-ldflags=-s -w"]),
    ("cgo", true, &["-ldflags=-s -w -linkmode=external"]),
];

/// Which Go there is: the variable `LLMO_GO`, one on PATH, or that which set-up unpacked.
#[must_use]
pub fn compiler() -> Option<PathBuf> {
    let named = std::env::var_os("LLMO_GO").map(PathBuf::from);
    let unpacked = || places::cache().join("go/bin/go");
    named.or_else(|| places::tool("go")).or_else(|| Some(unpacked())).filter(|path| path.is_file())
}

/// What a built client depends on: its source, and the compiler.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    for name in ["main.go", "crowd.go", "go.mod"] {
        std::fs::read(source().join(name)).unwrap_or_default().hash(&mut hasher);
    }
    let version = compiler().and_then(|go| command(go).arg("version").output().ok());
    version.map(|output| output.stdout).unwrap_or_default().hash(&mut hasher);
    places::cache().join(format!("go-client-{:016x}", hasher.finish()))
});

fn source() -> PathBuf {
    places::programs().join("go")
}

/// Where the client lies that is built in this way.
#[must_use]
pub fn place(way: &str) -> PathBuf {
    FOLDER.join(way)
}

/// The compiler at work: the one that is there, as it is.
fn command(go: PathBuf) -> Command {
    let mut command = Command::new(go);
    command.env("GOTOOLCHAIN", "local").env("GOFLAGS", "-buildvcs=false").env("GOPROXY", "off").current_dir(source());
    command
}

/// Builds what is not built yet, and returns the ways in which it could be.
///
/// # Errors
/// There is no Go; it does not build.
pub fn build() -> Result<Vec<&'static str>> {
    let go = compiler().context("no Go (`cargo xtask setup` installs it)")?;
    std::fs::create_dir_all(&*FOLDER).with_context(|| format!("cannot create {}", FOLDER.display()))?;
    let mut built = Vec::new();
    for (way, linked_by_c, arguments) in WAYS {
        if linked_by_c && places::tool("gcc").is_none() {
            println!("not run here: {way}: no gcc");
            continue;
        }
        built.push(way);
        if place(way).is_file() {
            continue;
        }
        // Under another name until it is whole: tests may start at once.
        let part = place(&format!("{way}.{}", std::process::id()));
        let mut build = command(go.clone());
        build.env("CGO_ENABLED", if linked_by_c { "1" } else { "0" }).arg("build").args(arguments);
        let output = build.arg("-o").arg(&part).arg(".").output().context("cannot start Go")?;
        if !output.status.success() {
            bail!("go build {arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::fs::rename(&part, place(way)).with_context(|| format!("cannot rename {}", part.display()))?;
    }
    Ok(built)
}

/// Whether the Go client can be run here; prints why not, in the form that counts as skipped.
#[must_use]
pub fn absent() -> bool {
    let built = build();
    if let Err(reason) = &built {
        println!("SKIPPED: {reason:#}");
    }
    built.is_err()
}
