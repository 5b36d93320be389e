//! Libraries of one's own: copies, which nobody has used before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The libssl that the clients' interpreter uses.
///
/// # Errors
/// If there is no interpreter with TLS.
pub fn libssl() -> Result<PathBuf> {
    let script = "import _ssl; print(next(l.split()[-1] for l in open('/proc/self/maps') if 'libssl' in l))";
    let output = Command::new("python3").args(["-c", script]).output().context("cannot start python3")?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    ensure!(path.is_file(), "python3 says that its libssl is {}", path.display());
    // Of a merged /usr, `/lib` is a link into it: a layer must hold the file where it really is.
    fs::canonicalize(path.parent().context("no folder")?)
        .map(|folder| folder.join(path.file_name().unwrap_or_default()))
        .context("cannot tell where libssl is")
}

/// Copies it and its libcrypto into a folder, which is made.
///
/// # Errors
/// If they cannot be copied.
pub fn copy_into(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let libssl = libssl()?;
    let name = libssl.file_name().context("no name")?.to_string_lossy().into_owned();
    for name in [name.clone(), name.replace("libssl", "libcrypto")] {
        // Read and written, not cloned: another inode with extents of its own on every file system.
        let bytes = fs::read(libssl.with_file_name(&name)).with_context(|| format!("cannot read {name}"))?;
        fs::write(folder.join(&name), bytes).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(folder.join(name))
}
