//! A memory limit around a daemon that something is done to: should it fail, it fails alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A cgroup with a limit; it goes when dropped, once its processes are gone.
pub struct Room(PathBuf);

impl Room {
    /// Puts a process into one of so many bytes.
    ///
    /// # Errors
    /// If this machine has no memory controller to use.
    pub fn around(pid: u32, bytes: u64) -> Result<Self> {
        let (folder, limit) = controller()?;
        let room = Self(folder.join(format!("llmo-test-{pid}")));
        fs::create_dir(&room.0).with_context(|| format!("cannot create {}", room.0.display()))?;
        fs::write(room.0.join(limit), bytes.to_string()).context("cannot set the limit")?;
        fs::write(room.0.join("cgroup.procs"), pid.to_string()).context("cannot move the process")?;
        Ok(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // What is still in it, if anything, is let out.
        let inside = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        let above = self.0.parent().unwrap_or(Path::new("/")).join("cgroup.procs");
        for pid in inside.lines() {
            let _ = fs::write(&above, pid);
        }
        let _ = fs::remove_dir(&self.0);
    }
}

/// Where a cgroup with a memory limit can be made, and the limit's file.
fn controller() -> Result<(PathBuf, &'static str)> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        if let [_, at, "cgroup", options, ..] = fields.as_slice()
            && options.split(',').any(|option| option == "memory")
        {
            return Ok((PathBuf::from(at), "memory.limit_in_bytes"));
        }
    }
    let root = crate::places::root_cgroup()?;
    if fs::read_to_string(root.join("cgroup.controllers")).is_ok_and(|all| all.contains("memory")) {
        fs::write(root.join("cgroup.subtree_control"), "+memory").context("cannot turn the memory controller on")?;
        return Ok((root, "memory.max"));
    }
    bail!("no cgroup of this machine has a memory controller")
}
