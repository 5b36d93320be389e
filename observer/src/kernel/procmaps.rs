//! `/proc/PID/maps`: the executable mappings of files. The text format is documented in proc(5).

use std::fs;
use std::path::{Path, PathBuf};

use super::watch::Mapping;

/// Executable file mappings of one process; empty if it is gone.
#[must_use]
pub fn executable(pid: u32) -> Vec<Mapping> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    text.lines().filter_map(|line| parse(pid, line)).collect()
}

/// Files of this host that programs which start later will most likely take TLS from: probed before anyone calls them, so that
/// even the first call is seen. As mappings of our own process, which has the host's root.
#[must_use]
pub fn likely() -> Vec<Mapping> {
    let libraries = LIBRARY_DIRS.iter().flat_map(|dir| files_named(Path::new(dir), "libssl"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let programs = std::env::split_paths(&path).map(|dir| dir.join("node")).filter(|file| file.is_file());
    let mapping = |file: PathBuf| {
        let path = fs::canonicalize(file).ok()?.to_str()?.to_string();
        Some(Mapping { pid: std::process::id(), start: 0, end: 0, path })
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
pub fn pids() -> Vec<u32> {
    let Ok(dir) = fs::read_dir("/proc") else { return Vec::new() };
    dir.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// `7f..-7f.. r-xp 0001c000 08:01 1234   /usr/lib/libssl.so.3`
fn parse(pid: u32, line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (range, permissions) = (fields.next()?, fields.next()?);
    let path = fields.nth(3)?.trim_start();
    if !permissions.contains('x') || !path.starts_with('/') {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some(Mapping {
        pid,
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        path: path.trim_end_matches(" (deleted)").to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_mapping_is_read() {
        let line = "7f1c0001c000-7f1c00078000 r-xp 0001c000 fe:00 4242                       /usr/lib/my lib/libssl.so.3 (deleted)";
        let mapping = parse(7, line).expect("a mapping");
        assert_eq!((mapping.start, mapping.end), (0x7f1c_0001_c000, 0x7f1c_0007_8000));
        assert_eq!(mapping.path, "/usr/lib/my lib/libssl.so.3");
    }

    #[test]
    fn data_and_anonymous_mappings_are_not() {
        assert_eq!(parse(7, "7f1c0001c000-7f1c00078000 rw-p 0001c000 fe:00 4242 /usr/lib/libssl.so.3"), None);
        assert_eq!(parse(7, "7f1c0001c000-7f1c00078000 r-xp 00000000 00:00 0"), None);
        assert_eq!(parse(7, "7ffe0001c000-7ffe00078000 r-xp 00000000 00:00 0                  [vdso]"), None);
    }
}
