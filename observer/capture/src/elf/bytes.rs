//! What an image is read from: a descriptor, or bytes in memory.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;

/// Bytes that can be read at any place. They may change, shrink and grow from one read to the next.
pub trait RandomAccess: std::fmt::Debug + Send + Sync {
    /// Reads some bytes from `offset`, as pread(2) does; 0: there are none.
    ///
    /// # Errors
    /// Those of the system.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The open file, if it is one.
    fn descriptor(&self) -> Option<RawFd> {
        None
    }
}

impl RandomAccess for File {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, into, offset)
    }

    fn descriptor(&self) -> Option<RawFd> {
        Some(self.as_raw_fd())
    }
}

impl RandomAccess for Vec<u8> {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(copy(self, into, offset))
    }
}

impl RandomAccess for &[u8] {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(copy(self, into, offset))
    }
}

fn copy(bytes: &[u8], into: &mut [u8], offset: u64) -> usize {
    let there = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
    let len = there.len().min(into.len());
    if let (Some(to), Some(from)) = (into.get_mut(..len), there.get(..len)) {
        to.copy_from_slice(from);
    }
    len
}

/// Reads until `into` is full or the file ends; returns how much was there.
///
/// # Errors
/// Those of the system; `Interrupted` only if it goes on.
pub(super) fn fill(bytes: &dyn RandomAccess, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let (mut done, mut interrupted) = (0, 0);
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        // Beyond what a file can hold is beyond its end: pread(2) would call it an invalid argument.
        let Some(at) = offset.checked_add(done as u64).filter(|at| i64::try_from(*at).is_ok()) else { break };
        match bytes.read_at(rest, at) {
            Ok(0) => break,
            Ok(len) => done += len.min(rest.len()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted && interrupted < INTERRUPTIONS => interrupted += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Interruptions borne by one read: the daemon's workers get no signals, and a file system that
/// always says so must not hold one.
const INTERRUPTIONS: usize = 16;
