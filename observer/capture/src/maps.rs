//! A line of `/proc/PID/maps`, as proc(5) has it. The kernel writes the lines, but whoever owns the
//! process chose the path. Pure.

/// A mapping of a file that may be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutableMapping<'a> {
    pub start: u64,
    pub end: u64,
    /// Device (major, minor) and inode as this file system calls them; `stat` may say other ones.
    pub device: (u32, u32),
    pub inode: u64,
    /// Path as the process sees it. The kernel writes a line feed in it as `\012` and leaves all else as it is.
    pub path: &'a str,
}

/// `7f..-7f.. r-xp 0001c000 08:01 1234   /usr/lib/libssl.so.3`; `None`: not executable, not a file, or no such line.
#[must_use]
pub fn executable(line: &str) -> Option<ExecutableMapping<'_>> {
    let mut fields = line.splitn(6, ' ');
    let mut field = || fields.next();
    let (range, permissions, _offset, device, inode, path) =
        (field()?, field()?, field()?, field()?, field()?, field()?);
    let path = path.trim_start_matches(' ');
    if permissions.as_bytes().get(2) != Some(&b'x') || !path.starts_with('/') {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let (major, minor) = device.split_once(':')?;
    Some(ExecutableMapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        device: (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?),
        inode: inode.parse().ok()?,
        // Once: of a deleted file that was called `x (deleted)` the rest is the name.
        path: path.strip_suffix(" (deleted)").unwrap_or(path),
    })
}

/// For fuzzing: the whole text. Nothing panics, a path begins with `/` and holds no line feed, and
/// a line made of what was read says the same again.
pub fn fuzz(data: &[u8]) {
    for line in String::from_utf8_lossy(data).lines() {
        let Some(mapping) = executable(line) else { continue };
        let ExecutableMapping { start, end, device: (major, minor), inode, path } = mapping;
        assert!(path.starts_with('/') && !path.contains('\n'));
        let again = format!("{start:x}-{end:x} r-xp 00000000 {major:02x}:{minor:02x} {inode} {path} (deleted)");
        assert_eq!(executable(&again), Some(mapping));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_mapping_is_read() {
        let line = "7f1c0001c000-7f1c00078000 r-xp 0001c000 fe:10 4242                       /usr/lib/my lib/libssl.so.3 (deleted)";
        let read = executable(line).expect("a mapping");
        assert_eq!((read.start, read.end), (0x7f1c_0001_c000, 0x7f1c_0007_8000));
        assert_eq!((read.device, read.inode, read.path), ((0xfe, 0x10), 4242, "/usr/lib/my lib/libssl.so.3"));
    }

    #[test]
    fn data_and_what_is_no_file_are_not() {
        for line in [
            "7f1c0001c000-7f1c00078000 rw-p 0001c000 fe:00 4242 /usr/lib/libssl.so.3",
            "7f1c0001c000-7f1c00078000 r-xp 00000000 00:00 0",
            "7f1c0001c000-7f1c00078000 r-xp 00000000 00:00 0 ",
            "7ffe0001c000-7ffe00078000 r-xp 00000000 00:00 0                  [vdso]",
            "7ffe0001c000-7ffe00078000 r-xp 00000000 00:00 0                  anon_inode:[io_uring]",
        ] {
            assert_eq!(executable(line), None, "{line}");
        }
    }

    #[test]
    fn a_path_may_hold_anything_but_a_line_feed() {
        let line = |path: &str| format!("1000-2000 rwxs 00000000 00:2d 18446744073709551615    {path}");
        for path in ["/", "/ ", "/a (deleted) b", "/\u{1b}[2J", "/x 1000-2000 r-xp 0 0:0 0 /y", "/a\\012b", "/\t"] {
            assert_eq!(executable(&line(path)).map(|read| read.path), Some(path));
        }
        assert_eq!(executable(&line("/x (deleted) (deleted)")).map(|read| read.path), Some("/x (deleted)"));
    }

    #[test]
    fn our_own_are_read() {
        let text = std::fs::read_to_string("/proc/self/maps").expect("it is there");
        let program = std::env::current_exe().expect("a program");
        assert!(text.lines().filter_map(executable).any(|read| program == std::path::Path::new(read.path)));
    }
}
