//! A terminal for a program under test.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// A program on a terminal of its own. When dropped the terminal hangs up, which ends the program.
pub struct Pty {
    ours: File,
    /// Held open, so that what the program left of the terminal can be looked at.
    theirs: OwnedFd,
    child: Child,
    output: Arc<Mutex<Vec<u8>>>,
    before: LocalModes,
}

impl Pty {
    /// Starts `command` as the one who leads the terminal: keys and sizes reach it as from a user's.
    ///
    /// # Errors
    /// If there is no terminal to be had, or the program cannot be started.
    pub fn start(command: &Command, columns: u16, rows: u16) -> Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let theirs = open(ptsname(&ours, Vec::new())?, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        tcsetwinsize(&ours, winsize(columns, rows))?;
        let before = tcgetattr(&theirs)?.local_modes;
        // `setsid` gives the terminal to a new session and becomes the program: its id is the child's, as long as the
        // child leads no group of processes, which a test's does not.
        let mut leader = Command::new("setsid");
        leader.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => leader.env(name, value),
                None => leader.env_remove(name),
            };
        }
        let child = leader.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs.try_clone()?).spawn();
        let child = child.with_context(|| format!("cannot start {leader:?}"))?;
        let output = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, kept) = (File::from(ours.try_clone()?), Arc::clone(&output));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Ends when nobody holds the other side any more.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(buffer.iter().take(count));
            }
        });
        Ok(Self { ours: File::from(ours), theirs, child, output, before })
    }

    /// All that was written so far.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// The last screen that is complete: from the top left corner to the clearing of what is below.
    #[must_use]
    pub fn frame(&self) -> Option<String> {
        let output = self.output();
        let (frames, _) = output.rsplit_once("\x1b[J")?;
        frames.rsplit_once("\x1b[H").map(|(_, frame)| frame.to_owned())
    }

    /// Presses keys.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn keys(&mut self, keys: &str) -> Result<()> {
        Ok(self.ours.write_all(keys.as_bytes())?)
    }

    /// Changes the window's size.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        Ok(tcsetwinsize(&self.ours, winsize(columns, rows))?)
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) {
        // It may have ended by itself meanwhile, which is what was wanted.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// How the program ended, if it has.
    ///
    /// # Errors
    /// If it cannot be told.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Whether the terminal treats keys otherwise than at first.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn is_changed(&self) -> Result<bool> {
        Ok(tcgetattr(&self.theirs)?.local_modes != self.before)
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // Only where a test failed: it has ended otherwise. Killed, then reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const fn winsize(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
