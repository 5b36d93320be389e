//! One daemon a host: two would double every probe's cost and count everything twice.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Only root can make files here, so nobody else can keep the daemon from starting. The kernel drops the lock with the
/// process, however it ends.
pub const PATH: &str = "/run/llm-observer/lock";

/// Why the lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("another llm-observer already observes this host (it holds {0}): stop it first")]
    Held(PathBuf),
    #[error("cannot make {0}: /run must be writable for the daemon")]
    Io(PathBuf, #[source] io::Error),
}

/// The lock; released when dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, not read")] File);

impl Lock {
    /// Takes the lock of this host.
    pub fn take(path: &Path) -> Result<Lock, LockError> {
        let io = |error| LockError::Io(path.into(), error);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io)?;
        }
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => Err(LockError::Held(path.into())),
            Err(TryLockError::Error(error)) => Err(io(error)),
        }
    }
}
