//! Where TLS stacks were found in large files, beside the state file: what was looked through once need not be again
//! after a restart. Losing it costs that and no more, so nothing of it is kept aside.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use capture::units::Ns;

use super::fresh::FreshFile;

/// Its name, in the folder of the state file.
const NAME: &str = "layouts.json";

/// Largest file read: 2,048 files of a few functions each, with 32 bytes of code as numbers, are 2 MB.
const BYTES: u64 = 16 * 1024 * 1024;

/// Between two writes: a node that starts finds hundreds of files in its first seconds.
const EVERY_NS: u64 = 10_000_000_000;

/// The bits of a mode by which others than the owner may write.
const OTHERS_WRITE: u32 = 0o022;

/// The file.
#[derive(Debug)]
pub struct LayoutsFile {
    path: PathBuf,
    written: Ns,
    /// It could not be written; said once.
    failed: bool,
}

impl LayoutsFile {
    /// Beside the state file.
    #[must_use]
    pub fn beside(state: &Path) -> LayoutsFile {
        LayoutsFile { path: state.with_file_name(NAME), written: Ns(0), failed: false }
    }

    /// What an earlier process wrote; `None`: nothing, or nothing that can be believed. It says where
    /// root's programs are probed, so nobody else may have written it.
    #[must_use]
    pub fn read(&self) -> Option<Vec<u8>> {
        match believed(&self.path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "what was found in files before is not used: they are looked through again");
                None
            }
        }
    }

    /// It is time to write.
    #[must_use]
    pub fn due(&self, now: Ns) -> bool {
        now - self.written >= EVERY_NS
    }

    /// Replaces the file. A failure is logged once and tried again with the next news.
    pub fn write(&mut self, text: &str, now: Ns) {
        self.written = now;
        match replace(&self.path, text) {
            Ok(()) => self.failed = false,
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(path = %self.path.display(), %error, "cannot keep what was found in files: after a restart they are looked through again");
                }
            }
        }
    }
}

fn believed(path: &Path) -> io::Result<Vec<u8>> {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    let ours = rustix::process::geteuid().as_raw();
    if !meta.is_file() || meta.len() > BYTES {
        return Err(io::Error::other("it is no file that we write"));
    }
    if meta.uid() != ours || meta.mode() & OTHERS_WRITE != 0 {
        return Err(io::Error::other("another user owns it or may write to it"));
    }
    let mut text = Vec::new();
    file.take(BYTES).read_to_end(&mut text)?;
    Ok(text)
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    let (mut fresh, mut file) = FreshFile::create(path).map_err(io::Error::other)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fresh.put_in_place().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_lies_beside_the_state_is_the_owners_alone_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = LayoutsFile::beside(&dir.path().join("below/baselines.json"));
        assert_eq!(file.read(), None);
        assert!(file.due(Ns(EVERY_NS)) && !file.due(Ns(1)));
        file.write("{}", Ns(EVERY_NS));
        assert!(!file.due(Ns(EVERY_NS + 1)));
        let path = dir.path().join("below").join(NAME);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(file.read().as_deref(), Some(b"{}".as_slice()));
    }

    #[test]
    fn what_others_may_write_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = LayoutsFile::beside(&dir.path().join("baselines.json"));
        file.write("{}", Ns(1));
        let path = dir.path().join(NAME);
        fs::set_permissions(&path, Permissions::from_mode(0o620)).unwrap();
        assert_eq!(file.read(), None);
        fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert_eq!(file.read(), None, "a link");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(file.read(), None, "a folder");
        file.write("{}", Ns(2));
        assert!(file.failed);
    }
}
