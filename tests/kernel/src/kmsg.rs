//! What the kernel logs while a test runs.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};
use rustix::fs::{OFlags, SeekFrom, seek};

/// The log from a moment on.
pub struct Kmsg(File);

impl Kmsg {
    /// From now.
    ///
    /// # Errors
    /// If the kernel's log cannot be read.
    pub fn from_now() -> Result<Self> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits())?;
        let file = OpenOptions::new().read(true).custom_flags(flags).open("/dev/kmsg").context("/dev/kmsg")?;
        seek(&file, SeekFrom::End(0)).context("cannot go to the end of /dev/kmsg")?;
        Ok(Self(file))
    }

    /// Lines since, that speak of one of these.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn about(&mut self, words: &[&str]) -> Result<Vec<String>> {
        let (mut lines, mut record) = (Vec::new(), vec![0; 8_192]);
        loop {
            match self.0.read(&mut record) {
                // One read, one record.
                Ok(length) => {
                    let line = String::from_utf8_lossy(record.get(..length).unwrap_or_default()).into_owned();
                    if words.iter().any(|word| line.contains(word)) {
                        lines.push(line.trim().to_owned());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(lines),
                // The ring went over it.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(error) => return Err(error).context("/dev/kmsg"),
            }
        }
    }
}
