//! What detectors have learned, in a file: small, replaced whole, and never a reason not to start.
//!
//! Days of learning are in it. What this version cannot take up (a later version's, after a
//! downgrade; another shape) is kept under another name, never overwritten; where that is not
//! possible, nothing is written.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use super::fresh::FreshFile;
use capture::units::Ns;
use detectors::SavedBaselines;

/// How often it is written: what is lost with a crash is learned again in as long.
const EVERY_NS: u64 = 300_000_000_000;

/// Largest file read: 256 baselines of a hundred buckets a day are 10 MB at the very most.
const BYTES: u64 = 64 * 1024 * 1024;

/// Files kept of one kind; who has more never looked.
const KEPT: usize = 9;

/// The file.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    written: Ns,
    /// It could not be written; said once.
    failed: bool,
    /// What is there is somebody's, could not be taken up and could not be put aside.
    closed: bool,
    unread: Option<StateUnreadable>,
}

/// Why a file could not be taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StateUnreadable {
    /// It was written by a later version of this program.
    Later(u64),
    /// It is no JSON.
    Damaged,
    /// It is JSON of another shape, in whole or in part.
    Strange,
    /// The host does not let us read it, or it is no file.
    Unreadable,
}

impl StateFile {
    /// Nothing is read or written yet.
    #[must_use]
    pub fn new(path: PathBuf, now: Ns) -> StateFile {
        StateFile { path, written: now, failed: false, closed: false, unread: None }
    }

    /// What is there. A file that cannot be taken up is as none; it is kept, and the log says where.
    #[must_use]
    pub fn read(&mut self) -> Option<SavedBaselines> {
        let text = match bounded(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.unread = Some(StateUnreadable::Unreadable);
                self.closed = true;
                tracing::warn!(
                    path = %self.path.display(),
                    %error,
                    "cannot read what detectors had learned: they begin anew, and nothing will be saved, so that it is not \
                     overwritten; move it away or give another --state.file, then restart"
                );
                return None;
            }
        };
        match understood(&text) {
            Ok(saved) => Some(saved),
            Err(unread) => {
                self.put_aside(unread, "all of it");
                None
            }
        }
    }

    /// Parts of it that no detector took.
    pub fn not_understood(&mut self, parts: &[String]) {
        if !parts.is_empty() {
            self.put_aside(StateUnreadable::Strange, &parts.join(", "));
        }
    }

    /// The reasons why a file is not taken up, and whether each is so of this one.
    pub fn unread(&self) -> [(&'static str, bool); 4] {
        [StateUnreadable::Later(0), StateUnreadable::Damaged, StateUnreadable::Strange, StateUnreadable::Unreadable]
            .map(|reason| (reason.name(), self.unread.is_some_and(|unread| unread.name() == reason.name())))
    }

    /// It is time to write.
    #[must_use]
    pub fn due(&self, now: Ns) -> bool {
        now - self.written >= EVERY_NS
    }

    /// Replaces the file. A failure is logged once and tried again next time.
    pub fn write(&mut self, saved: &SavedBaselines) {
        self.written = edge::clock::now();
        if self.closed {
            return;
        }
        match replace(&self.path, saved) {
            Ok(()) => self.failed = false,
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(path = %self.path.display(), %error, "cannot keep what detectors have learned: it will not outlive this process");
                }
            }
        }
    }

    fn put_aside(&mut self, unread: StateUnreadable, parts: &str) {
        self.unread = Some(unread);
        let (path, why) = (self.path.display(), unread.sentence());
        match kept_names(&self.path, &unread.tag()).find_map(|name| moved(&self.path, name).transpose()) {
            Some(Ok(kept)) => tracing::warn!(
                path = %path,
                kept = %kept.display(),
                parts,
                "{why}: what could not be taken up is learned anew, and the file is kept under another name; move it back \
                 before you start the version that wrote it, or remove it"
            ),
            other => {
                self.closed = true;
                let error = other.and_then(Result::err).map_or("too many are kept already".into(), |e| e.to_string());
                tracing::warn!(
                    path = %path,
                    error,
                    parts,
                    "{why}, and it cannot be put aside: nothing will be saved, so that it is not overwritten; move it away or \
                     give another --state.file, then restart"
                );
            }
        }
    }
}

impl StateUnreadable {
    /// Its label in the metrics.
    fn name(self) -> &'static str {
        match self {
            StateUnreadable::Later(_) => "later_version",
            StateUnreadable::Damaged => "damaged",
            StateUnreadable::Strange => "unknown_shape",
            StateUnreadable::Unreadable => "unreadable",
        }
    }

    /// Its part of a kept file's name.
    fn tag(self) -> String {
        match self {
            StateUnreadable::Later(version) => format!("v{version}"),
            other => other.name().to_owned(),
        }
    }

    fn sentence(self) -> String {
        match self {
            StateUnreadable::Later(version) => format!(
                "a later version of llm-observer wrote what detectors had learned (its version is {version}, this one reads {})",
                SavedBaselines::VERSION
            ),
            StateUnreadable::Damaged => "what detectors had learned is damaged".to_owned(),
            StateUnreadable::Strange => {
                "what detectors had learned is in a shape that this version does not know".to_owned()
            }
            StateUnreadable::Unreadable => "what detectors had learned cannot be read".to_owned(),
        }
    }
}

fn understood(text: &[u8]) -> Result<SavedBaselines, StateUnreadable> {
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|_| StateUnreadable::Damaged)?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version > u64::from(SavedBaselines::VERSION) => Err(StateUnreadable::Later(version)),
        Some(version) if version == u64::from(SavedBaselines::VERSION) => {
            serde_json::from_value(value).map_err(|_| StateUnreadable::Strange)
        }
        _ => Err(StateUnreadable::Strange),
    }
}

/// `baselines.json.v99.kept`, `baselines.json.v99.kept.2` …
fn kept_names(path: &Path, tag: &str) -> impl Iterator<Item = PathBuf> {
    let name = format!("{}.{tag}.kept", path.file_name().unwrap_or_default().to_string_lossy());
    let parent = path.parent().unwrap_or(Path::new("")).to_owned();
    (1..=KEPT).map(move |n| parent.join(if n == 1 { name.clone() } else { format!("{name}.{n}") }))
}

/// Renames; `None` if something has that name already.
fn moved(path: &Path, to: PathBuf) -> io::Result<Option<PathBuf>> {
    match rustix::fs::renameat_with(CWD, path, CWD, &to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Some(to)),
        Err(rustix::io::Errno::EXIST) => Ok(None),
        // Some file systems cannot; a second name cannot replace one either.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => match std::fs::hard_link(path, &to) {
            Ok(()) => std::fs::remove_file(path).map(|()| Some(to)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error),
        },
        Err(error) => Err(error.into()),
    }
}

/// Neither a pipe that nobody writes to nor a link holds us up.
fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    if meta.len() > BYTES {
        return Err(io::Error::other("it is larger than any we write"));
    }
    let mut text = Vec::new();
    file.take(BYTES).read_to_end(&mut text)?;
    Ok(text)
}

fn replace(path: &Path, saved: &SavedBaselines) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    let (mut fresh, mut file) = FreshFile::create(path).map_err(io::Error::other)?;
    file.write_all(&serde_json::to_vec(saved)?)?;
    file.sync_all()?;
    fresh.put_in_place().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn at(path: &Path) -> StateFile {
        StateFile::new(path.into(), Ns(0))
    }

    fn reason(state: &StateFile) -> Option<&'static str> {
        state.unread().into_iter().find(|(_, is_so)| *is_so).map(|(name, _)| name)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/state.json");
        let mut state = at(&path);
        assert_eq!(state.read(), None);
        let saved = SavedBaselines { version: 1, detectors: [("d".to_owned(), serde_json::json!([1]))].into() };
        state.write(&saved);
        assert_eq!(state.read(), Some(saved));
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777, 0o600);
        assert_eq!(reason(&state), None);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_cannot_be_taken_up_is_kept_and_never_over_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("baselines.json");
        let later = r#"{"version": 99, "detectors": {"d": "later"}}"#;
        for (text, reason_, kept) in [
            (later, "later_version", "baselines.json.v99.kept"),
            (later, "later_version", "baselines.json.v99.kept.2"),
            ("{\"version\": 1, \"detec", "damaged", "baselines.json.damaged.kept"),
            ("[1, 2]", "unknown_shape", "baselines.json.unknown_shape.kept"),
            (r#"{"version": "99"}"#, "unknown_shape", "baselines.json.unknown_shape.kept.2"),
            (r#"{"version": 1, "detectors": []}"#, "unknown_shape", "baselines.json.unknown_shape.kept.3"),
        ] {
            fs::write(&path, text).unwrap();
            let mut state = at(&path);
            assert_eq!((state.read(), reason(&state)), (None, Some(reason_)), "{text}");
            state.write(&SavedBaselines { version: 1, ..SavedBaselines::default() });
            assert_eq!(fs::read_to_string(dir.path().join(kept)).unwrap(), text);
            assert!(fs::read_to_string(&path).unwrap().contains("\"version\":1"), "and a new one is begun");
        }
    }

    #[test]
    fn a_part_that_nobody_took_keeps_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.json");
        fs::write(&path, r#"{"version":1,"detectors":{"of_a_later_one":[1]}}"#).unwrap();
        let mut state = at(&path);
        let saved = state.read().unwrap();
        let strange = detectors::DetectorSet::default().restore(saved);
        assert_eq!(strange, ["of_a_later_one"]);
        state.not_understood(&strange);
        assert!(dir.path().join("b.json.unknown_shape.kept").exists() && !path.exists());
        assert_eq!(reason(&state), Some("unknown_shape"));
    }

    #[test]
    fn what_cannot_be_put_aside_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.json");
        let later = r#"{"version": 2}"#;
        fs::write(&path, later).unwrap();
        kept_names(&path, "v2").for_each(|name| fs::write(name, "kept").unwrap());
        let mut state = at(&path);
        assert_eq!(state.read(), None);
        state.write(&SavedBaselines::default());
        assert_eq!(fs::read_to_string(&path).unwrap(), later);
        assert!(kept_names(&path, "v2").all(|name| fs::read_to_string(name).unwrap() == "kept"));
        // Nor a folder, and a link is not followed.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let mut state = at(&path);
        assert_eq!((state.read(), reason(&state)), (None, Some("unreadable")));
        state.write(&SavedBaselines::default());
        assert!(path.is_dir());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_no_failure() {
        let mut state = at(Path::new("/proc/no/such/place.json"));
        state.write(&SavedBaselines::default());
        assert!(state.failed && state.read().is_none());
    }
}
