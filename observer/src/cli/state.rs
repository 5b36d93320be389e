//! What detectors have learned, in a file: small, replaced whole, and never a reason not to start.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::detect::Saved;
use crate::units::Ns;

/// How often it is written: what is lost with a crash is learned again in as long.
const EVERY_NS: u64 = 300_000_000_000;

/// Largest file read: 256 baselines of a hundred buckets a day are 10 MB at the very most.
const BYTES: u64 = 64 * 1024 * 1024;

/// The file.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    written: Ns,
    /// It could not be written; said once.
    failed: bool,
}

impl State {
    /// Nothing is read or written yet.
    #[must_use]
    pub fn new(path: PathBuf, now: Ns) -> State {
        State { path, written: now, failed: false }
    }

    /// What is there. A file that cannot be understood is as none, and is said to be.
    #[must_use]
    pub fn read(&self) -> Option<Saved> {
        let text = match bounded(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot read what detectors had learned: they begin anew");
                return None;
            }
        };
        match serde_json::from_slice(&text) {
            Ok(saved) => Some(saved),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "what detectors had learned is damaged: they begin anew");
                None
            }
        }
    }

    /// It is time to write.
    #[must_use]
    pub fn due(&self, now: Ns) -> bool {
        now - self.written >= EVERY_NS
    }

    /// Replaces the file. A failure is logged once and tried again next time.
    pub fn write(&mut self, saved: &Saved) {
        self.written = crate::clock::now();
        match replace(&self.path, saved) {
            Ok(()) => self.failed = false,
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(path = %self.path.display(), %error, "cannot keep what detectors have learned: it will not outlive this process");
                }
            }
        }
    }
}

fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > BYTES {
        return Err(io::Error::other("it is larger than any we write"));
    }
    fs::read(path)
}

fn replace(path: &Path, saved: &Saved) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(saved)?)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/state.json");
        let mut state = State::new(path.clone(), Ns(0));
        assert_eq!(state.read(), None);
        let saved = Saved { version: 1, detectors: [("d".to_owned(), serde_json::json!([1]))].into() };
        state.write(&saved);
        assert_eq!(state.read(), Some(saved));
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777, 0o600);
        fs::write(&path, b"{\"version\": 1, \"detec").unwrap();
        assert_eq!(state.read(), None, "damaged is as none");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_no_failure() {
        let mut state = State::new("/proc/no/such/place.json".into(), Ns(0));
        state.write(&Saved::default());
        assert!(state.failed && state.read().is_none());
    }
}
