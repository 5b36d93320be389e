//! Programs with an OpenSSL inside: `tests/programs/inside.c`, linked with the archives of several
//! Debian releases and stripped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::bpf_build;
use crate::debs::Suite;
use crate::progress;

/// Releases whose archives are linked, by what OpenSSL they have: 1.1.1, 3.0, 3.5.
const SUITES: [&str; 3] = ["bullseye", "bookworm", "trixie"];

/// The one whose OpenSSL goes into the addon.
const ADDON: &str = "trixie";

/// Builds what is missing. What cannot be built is said, and its tests skip.
pub(crate) fn install() {
    if let Err(reason) = build_all() {
        eprintln!("set-up: not all programs with an OpenSSL inside, so tests on them will skip: {reason:#}");
    }
}

fn build_all() -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/programs/inside.c");
    let text = fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
    let folder = bpf_build::cache_root().map_err(anyhow::Error::msg)?.join("inside");
    let complete = folder.join("complete");
    if fs::read_to_string(&complete).is_ok_and(|built| built == text) {
        return Ok(());
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for name in SUITES {
        let root = Suite::open(name)?.static_openssl(&folder.join(name))?;
        let own = |arguments: &[&str], output: &str| link(&source, Some(&root), arguments, &folder.join(output));
        own(&[], &format!("inside-{name}"))?;
        if name == ADDON {
            let addon = ["-shared", "-fPIC", "-DADDON", "-fvisibility=hidden", "-Wl,--exclude-libs,ALL"];
            own(&addon, &format!("addon-{name}.so"))?;
        }
    }
    link(&source, None, &["-DLOADER"], &folder.join("with-addon"))?;
    fs::write(&complete, text).with_context(|| format!("cannot write {}", complete.display()))
}

/// Links the program, with the OpenSSL of a root if there is one. Its other libraries are the machine's.
fn link(source: &Path, root: Option<&PathBuf>, arguments: &[&str], output: &Path) -> Result<()> {
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-s", "-Wl,--as-needed"]).args(arguments).arg(source).arg("-o").arg(output);
    if let Some(root) = root {
        let include = root.join("usr/include");
        cc.arg("-I").arg(&include).arg("-I").arg(include.join("x86_64-linux-gnu"));
        cc.arg("-L").arg(root.join("usr/lib/x86_64-linux-gnu"));
        cc.args(["-Wl,-Bstatic", "-lssl", "-lcrypto", "-Wl,-Bdynamic", "-lpthread", "-lz", "-lzstd"]);
    }
    cc.arg("-ldl");
    let name = output.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let failure = format!("{name} could not be linked: zlib1g-dev and libzstd-dev are needed");
    progress::step(&format!("cc: {name}"), &failure, &mut cc)
}
