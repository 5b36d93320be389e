//! `/proc/PID/maps`: the executable mappings of files. The text format is documented in proc(5).

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::watch::NewMapping;
use capture::stacks::STACKS;
use capture::units::Ns;

/// Executable file mappings of one process, as they are now; empty if it is gone.
#[must_use]
pub(super) fn executable(pid: u32, now: Ns) -> Vec<NewMapping> {
    text(pid).lines().filter_map(|line| parse(pid, line)).map(|mapping| NewMapping { at: now, ..mapping }).collect()
}

/// Device and inode of all that a process has mapped for execution, as the kernel calls them there.
pub(super) fn inodes(pid: u32) -> Vec<((u32, u32), u64)> {
    text(pid).lines().filter_map(capture::maps::executable).map(|read| (read.device, read.inode)).collect()
}

/// Has the process threads other than its first? That may have ended before them.
#[must_use]
pub(super) fn has_other_threads(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|tasks| tasks.take(2).count() > 1)
}

/// A process has 65,530 mappings unless it was allowed more; of one that has, the first are looked at.
const MAX_TEXT: u64 = 8 << 20;

/// The text, as far as it is one: names are any bytes.
fn text(pid: u32) -> String {
    let mut bytes = read(&format!("/proc/{pid}/maps"));
    if bytes.is_empty() {
        // The first thread may have ended before the others, who have the mappings.
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().take(MAX_TASKS);
        let others = tasks.map(|task| read(&task.path().join("maps").to_string_lossy()));
        bytes = others.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Threads asked for mappings, which are the same for all that live.
const MAX_TASKS: usize = 4;

fn read(path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(path) {
        // What was read before an error is right.
        let _ = file.take(MAX_TEXT).read_to_end(&mut bytes);
    }
    bytes
}

/// Files of this host that programs which start later will most likely take TLS from: probed before
/// anyone calls them, so that even the first call is seen. As mappings of our own process, which
/// has the host's root.
#[must_use]
pub(super) fn likely() -> Vec<NewMapping> {
    let likely: Vec<_> = STACKS.iter().map(|stack| stack.likely()).collect();
    let prefixes = || likely.iter().flat_map(|likely| likely.libraries);
    let named = |dir: &&str| prefixes().flat_map(|prefix| files_named(Path::new(dir), prefix)).collect::<Vec<_>>();
    let libraries = LIBRARY_DIRS.iter().flat_map(named);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<_> = std::env::split_paths(&path).collect();
    let names = likely.iter().flat_map(|likely| likely.programs);
    let programs = names.flat_map(|name| dirs.iter().map(move |dir| dir.join(name))).filter(|file| file.is_file());
    let mapping = |file: PathBuf| {
        let path = fs::canonicalize(file).ok()?.to_str()?.to_string();
        Some(NewMapping { pid: std::process::id(), path, at: crate::clock::now(), ..NewMapping::default() })
    };
    libraries.chain(programs).filter_map(mapping).collect()
}

/// Where distributions keep shared libraries of 64-bit x86.
const LIBRARY_DIRS: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/lib64",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/local/lib64",
];

fn files_named(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_name().to_string_lossy().starts_with(prefix)).map(|e| e.path()).collect()
}

/// Process ids of the host.
#[must_use]
pub(super) fn pids() -> Vec<u32> {
    let Ok(dir) = fs::read_dir("/proc") else { return Vec::new() };
    dir.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn parse(pid: u32, line: &str) -> Option<NewMapping> {
    let read = capture::maps::executable(line)?;
    Some(NewMapping {
        pid,
        start: read.start,
        end: read.end,
        path: read.path.to_owned(),
        device: Some(read.device),
        inode: Some(read.inode),
        ..NewMapping::default()
    })
}
