//! Files that do not answer, and what is left alone for it. Pure: time is an argument.

use std::collections::HashMap;

use capture::units::Ns;

/// Device and inode, as the kernel calls them.
type File = ((u32, u32), u64);

/// How long a file is left alone that did not answer.
const LEFT_ALONE_NS: u64 = 60_000_000_000;

/// Threads that wait for files of one device at once before its other files are left alone, too: a
/// file that is slow is one, a server that is dead is every file that it has.
const OF_ONE_DEVICE: usize = 3;

/// Files left alone that are remembered; each was waited for.
const MAX_FILES: usize = 4096;

/// What does not answer.
#[derive(Debug, Default)]
pub(super) struct HungFiles {
    /// Files that threads wait for still.
    waited_for: Vec<File>,
    /// Files that did not answer, until when they are left alone.
    files: HashMap<File, Ns>,
}

impl HungFiles {
    /// Is this file to be left alone?
    pub(super) fn hangs(&self, file: Option<File>, now: Ns) -> bool {
        let Some(file) = file else { return false };
        let of_its_device = self.waited_for.iter().filter(|waited| waited.0 == file.0).count();
        of_its_device >= OF_ONE_DEVICE || self.files.get(&file).is_some_and(|until| *until > now)
    }

    /// A thread waits for this file and is given up.
    pub(super) fn begins(&mut self, file: File, now: Ns) {
        self.files.retain(|_, until| *until > now);
        if self.files.len() < MAX_FILES {
            self.files.insert(file, Ns(now.0 + LEFT_ALONE_NS));
        }
        self.waited_for.push(file);
    }

    /// A thread that waited for this file does so no more.
    pub(super) fn ends(&mut self, file: File) {
        if let Some(at) = self.waited_for.iter().position(|waited| *waited == file) {
            self.waited_for.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: (u32, u32) = (0, 44);
    const MINUTE: u64 = 60_000_000_000;

    #[test]
    fn a_slow_file_is_left_alone_and_its_device_is_not() {
        let mut hung = HungFiles::default();
        hung.begins((DEVICE, 5), Ns(1));
        assert!(hung.hangs(Some((DEVICE, 5)), Ns(2)));
        assert!(!hung.hangs(Some((DEVICE, 6)), Ns(2)) && !hung.hangs(None, Ns(2)));
        hung.ends((DEVICE, 5));
        assert!(!hung.hangs(Some((DEVICE, 5)), Ns(MINUTE + 2)));
    }

    #[test]
    fn a_dead_server_is_left_alone_for_as_long_as_threads_wait_for_it() {
        let mut hung = HungFiles::default();
        (0..OF_ONE_DEVICE as u64).for_each(|inode| hung.begins((DEVICE, inode), Ns(1)));
        assert!(hung.hangs(Some((DEVICE, 99)), Ns(100 * MINUTE)), "they wait still");
        assert!(!hung.hangs(Some(((8, 1), 99)), Ns(2)), "another device");
        hung.ends((DEVICE, 1));
        assert!(!hung.hangs(Some((DEVICE, 99)), Ns(100 * MINUTE)));
        (0..100_000).for_each(|inode| hung.begins((DEVICE, inode), Ns(1)));
        assert!(hung.files.len() <= MAX_FILES);
    }
}
