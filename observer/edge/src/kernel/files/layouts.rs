//! Where stacks are in files that were looked through: the next run of an unchanged program is probed at once.

use std::collections::HashMap;

use super::open::{FileVersion, SeenAs};
use crate::stacks::RecognisedStacks;

/// Layouts kept; beyond it all are forgotten, and found again. A host has a few dozen such files.
const MAX_LAYOUTS: usize = 1024;

/// By the real inode and its version, whose time of change the kernel alone sets: a file that only
/// looks like another one (by its content, its build id) must not say where that one is probed.
#[derive(Debug, Default)]
pub(super) struct KeptLayouts(HashMap<(SeenAs, FileVersion), RecognisedStacks>);

impl KeptLayouts {
    pub(super) fn of(&self, file: (SeenAs, FileVersion)) -> Option<RecognisedStacks> {
        self.0.get(&file).cloned()
    }

    pub(super) fn keep(&mut self, file: (SeenAs, FileVersion), layouts: RecognisedStacks) {
        if self.0.len() >= MAX_LAYOUTS {
            self.0.clear();
        }
        // Of another version nothing is asked any more.
        self.0.retain(|(seen, version), _| *seen != file.0 || *version == file.1);
        self.0.insert(file, layouts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_of_one_inode_in_one_version() {
        let seen = |inode| SeenAs { device: (8, 1), inode };
        let version = |changed_ns| FileVersion { size: 7, modified_ns: 1, changed_ns };
        let mut kept = KeptLayouts::default();
        kept.keep((seen(5), version(2)), Vec::new());
        assert!(kept.of((seen(5), version(2))).is_some());
        assert!(kept.of((seen(6), version(2))).is_none(), "a copy, whatever its content");
        assert!(kept.of((seen(5), version(3))).is_none(), "written to since");
        kept.keep((seen(5), version(3)), Vec::new());
        assert!(kept.of((seen(5), version(2))).is_none());
        (0..3000).for_each(|inode| kept.keep((seen(inode), version(2)), Vec::new()));
        assert!(kept.0.len() <= MAX_LAYOUTS);
    }
}
