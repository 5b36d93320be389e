//! One daemon a host: two would double every probe's cost and count everything twice.
//!
//! A host is what shares this file: a daemon in a container with a `/run` of its own is not seen (SECURITY.md).

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Only root can make files here, and only root can open this one: whoever could open it, to read
/// too, could lock it and so keep the daemon from starting. The kernel drops the lock with the
/// process, however it ends.
pub(super) const PATH: &str = "/run/llm-observer/lock";

/// How long the one before may take to be gone: after a kill -9 the kernel first takes its probes away.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is tried meanwhile.
const AGAIN: Duration = Duration::from_millis(50);

/// Why the lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    #[error("another llm-observer already observes this host (it holds {0}): stop it first")]
    Held(PathBuf),
    #[error("cannot make {0}: the daemon must be able to write there (LLM_OBSERVER_LOCK_FILE names another place)")]
    Io(PathBuf, #[source] io::Error),
}

/// The lock; released when dropped.
#[derive(Debug)]
pub(super) struct InstanceLock(#[expect(dead_code, reason = "held, not read")] File);

impl InstanceLock {
    /// Takes the lock of this host; waits a few seconds for one who is about to be gone.
    pub(super) fn take(path: &Path) -> Result<InstanceLock, LockError> {
        InstanceLock::take_within(path, PATIENCE)
    }

    fn take_within(path: &Path, patience: Duration) -> Result<InstanceLock, LockError> {
        let io = |error| LockError::Io(path.into(), error);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io)?;
        }
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let mut options = OpenOptions::new();
        let file =
            options.create(true).truncate(false).write(true).mode(0o600).custom_flags(flags).open(path).map_err(io)?;
        // Earlier versions left one that all may open.
        file.set_permissions(Permissions::from_mode(0o600)).map_err(io)?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(InstanceLock(file)),
                Err(TryLockError::WouldBlock) if begun.elapsed() < patience => std::thread::sleep(AGAIN),
                Err(TryLockError::WouldBlock) => return Err(LockError::Held(path.into())),
                Err(TryLockError::Error(error)) => return Err(io(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_for_one_that_is_about_to_go_and_not_for_one_that_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/lock");
        let first = InstanceLock::take(&path).unwrap();
        let refused = InstanceLock::take_within(&path, Duration::from_millis(100)).unwrap_err();
        assert!(matches!(refused, LockError::Held(_)), "{refused}");
        let leaving = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(first);
        });
        InstanceLock::take(&path).unwrap();
        leaving.join().unwrap();
    }

    #[test]
    fn nobody_else_can_open_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let _lock = InstanceLock::take(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(InstanceLock::take(&link), Err(LockError::Io(..))), "no link is followed");
    }
}
