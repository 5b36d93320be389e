//! `--web.config.file` as it is now: read again while serving, as Prometheus' exporters do, but not once a request.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::export::web_config::WebConfig;

/// How old what was read may be where the file itself has not changed: certificates that it names
/// may have. Each reading parses a file, certificates and a key, which strangers could ask for as
/// often as they connect.
const FRESH: Duration = Duration::from_secs(1);

/// The file and what it said.
pub(super) struct WebSettings {
    path: Option<PathBuf>,
    read: Mutex<Option<Known>>,
}

#[derive(Clone)]
struct Known {
    at: Instant,
    version: Option<Version>,
    config: Result<WebConfig, String>,
}

/// Inode, length, and seconds and nanoseconds of the last change: another file, or another content.
type Version = (u64, u64, i64, i64);

impl WebSettings {
    pub(super) fn new(path: Option<PathBuf>) -> WebSettings {
        WebSettings { path, read: Mutex::const_new(None) }
    }

    /// What the file says; all who ask at once share one reading.
    ///
    /// # Errors
    /// It cannot be read or is wrong.
    pub(super) async fn get(&self) -> Result<WebConfig, String> {
        let Some(path) = self.path.clone() else { return Ok(WebConfig::default()) };
        let mut read = self.read.lock().await;
        let known = read.clone();
        let looking = tokio::task::spawn_blocking(move || look(&path, known));
        let known = looking.await.map_err(|error| error.to_string())?;
        let config = known.config.clone();
        *read = Some(known);
        config
    }
}

fn look(path: &Path, known: Option<Known>) -> Known {
    // Before it is read: what changes meanwhile is seen the next time.
    let version = std::fs::metadata(path).ok().map(|meta| (meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()));
    match known {
        Some(known) if known.at.elapsed() < FRESH && known.version == version => known,
        _ => Known { at: Instant::now(), version, config: WebConfig::read(path).map_err(|error| error.to_string()) },
    }
}
