//! The guest's file system: busybox, the static programs, and curl with the libraries of its suite at their own paths.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The guest's own programs.
const PROGRAMS: [&str; 2] = ["llm-observer", "guest-init"];
/// Loaded by name at run time in older C libraries, so not among a program's own libraries.
const LATE: [&str; 1] = ["libnss_files.so.2"];
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";

/// Writes `initramfs.cpio` into `folder`, from a suite's unpacked root, the folder of the static programs, the root of
/// the matrix's own tools, and modules of the kernel.
pub(super) fn make(folder: &Path, suite: &Path, programs: &Path, tools: &Path, modules: &[PathBuf]) -> Result<PathBuf> {
    let busybox = tools.join("usr/bin/busybox");
    let tree = folder.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    }
    for place in ["bin", "etc", "modules", "usr/bin", "usr/lib64", LIBRARIES] {
        fs::create_dir_all(tree.join(place)).with_context(|| format!("cannot create {}", tree.display()))?;
    }
    for link in ["lib", "lib64"] {
        symlink(format!("usr/{link}"), tree.join(link)).context("cannot link the library folders")?;
    }
    for program in PROGRAMS {
        copy(&programs.join(program), &tree.join("bin").join(program))?;
    }
    copy(&busybox, &tree.join("bin/busybox"))?;
    copy(&suite.join("usr/bin/curl"), &tree.join("usr/bin/curl"))?;
    copy(&suite.join(LOADER), &tree.join(LOADER))?;
    for library in libraries(suite)? {
        let name = library.file_name().unwrap_or_default();
        copy(&library, &tree.join(LIBRARIES).join(name))?;
    }
    for module in modules {
        unpacked(module, &tree.join("modules"))?;
    }
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guest-init/init.sh"), &tree.join("init"))?;
    fs::write(tree.join("etc/hosts"), "127.0.0.1 localhost\n").context("cannot write the guest's hosts file")?;
    pack(&tree, &busybox, &folder.join("initramfs.cpio"))
}

/// The libraries that the suite's curl loads, by the suite's own loader.
fn libraries(suite: &Path) -> Result<Vec<PathBuf>> {
    let folder = suite.join(LIBRARIES);
    let mut list = Command::new(suite.join(LOADER));
    let out = list.arg("--library-path").arg(&folder).arg("--list").arg(suite.join("usr/bin/curl")).output();
    let out = out.with_context(|| format!("cannot start the loader of {}", suite.display()))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if !out.status.success() || text.contains("not found") {
        bail!("the unpacked curl of {} lacks a library: {text}", suite.display());
    }
    let paths = text.lines().filter_map(|line| line.split(" => ").nth(1)?.split(" (").next());
    let late = LATE.iter().map(|name| folder.join(name)).filter(|path| path.exists());
    Ok(paths.map(PathBuf::from).filter(|path| path.starts_with(suite)).chain(late).collect())
}

/// Follows links: what the guest gets is the file. All of them may be executed: programs, libraries and the script.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = fs::copy(from, to).and_then(|_| fs::set_permissions(to, PermissionsExt::from_mode(0o755)));
    copied.with_context(|| format!("cannot copy {} into the guest", from.display()))
}

/// A module as it is loaded: newer suites compress theirs.
fn unpacked(module: &Path, to: &Path) -> Result<()> {
    let name = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let at = to.join(name.split(".ko").next().unwrap_or_default()).with_extension("ko");
    let script = r#"case "$0" in *.xz) xz -dc "$0" ;; *.zst) zstd -dcq "$0" ;; *) cat "$0" ;; esac > "$1""#;
    let out = Command::new("sh").args(["-c", script]).arg(module).arg(&at).output().context("cannot start sh")?;
    if !out.status.success() {
        bail!("{} could not be unpacked: {}", module.display(), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}

fn pack(tree: &Path, busybox: &Path, archive: &Path) -> Result<PathBuf> {
    let script = r#"cd "$0" && find . | "$1" cpio -o -H newc > "$2""#;
    let mut sh = Command::new("sh");
    let out = sh.args(["-c", script]).arg(tree).arg(busybox).arg(archive).output().context("cannot start sh")?;
    if !out.status.success() {
        bail!("the initramfs could not be packed: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(archive.to_owned())
}
