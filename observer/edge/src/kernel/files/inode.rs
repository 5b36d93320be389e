//! When two files are one: what is known of each is compared, the surest first. Pure.

use super::handle::InodeHandle;
use super::open::{FileVersion, SeenAs};

/// What is known of the inode behind a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InodeFacts {
    /// Device and number of the real inode; `None` behind an overlay whose layers cannot be reached.
    pub(super) own: Option<SeenAs>,
    /// What its file system calls it.
    pub(super) handle: Option<InodeHandle>,
    /// Its number, which overlays over one file system pass on.
    pub(super) number: u64,
    pub(super) version: FileVersion,
    /// Hex, of files that have one.
    pub(super) build_id: Option<String>,
}

impl InodeFacts {
    /// Are these one inode? By device and number where both are known. Else by the handle, else by
    /// number and build id, both times with size and times: a file that was copied up within an
    /// overlay keeps the handle and the number of the one it was copied from, but the kernel gave
    /// it another time of change. In doubt no: then the file is probed twice, and the kernel side
    /// lets each call pass once.
    pub(super) fn is(&self, other: &InodeFacts) -> bool {
        if let (Some(own), Some(others)) = (self.own, other.own) {
            return own == others;
        }
        if self.version != other.version {
            return false;
        }
        match (&self.handle, &other.handle) {
            (Some(handle), Some(others)) => handle == others,
            _ => self.number == other.number && self.build_id == other.build_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(changed_ns: i128) -> FileVersion {
        FileVersion { size: 7, modified_ns: 1, changed_ns }
    }

    fn inode(own: Option<u64>) -> InodeFacts {
        let own = own.map(|inode| SeenAs { device: (8, 1), inode });
        InodeFacts { own, handle: None, number: 5, version: version(2), build_id: Some("ab".into()) }
    }

    #[test]
    fn device_and_number_decide_where_they_are_known() {
        assert!(inode(Some(5)).is(&inode(Some(5))));
        assert!(!inode(Some(5)).is(&inode(Some(6))), "though all else is the same: a snapshot's copy");
        let touched = InodeFacts { version: version(3), ..inode(Some(5)) };
        assert!(inode(Some(5)).is(&touched), "a touched file is the same inode");
    }

    #[test]
    fn without_them_number_times_and_build_id_decide() {
        assert!(inode(None).is(&inode(Some(5))));
        assert!(inode(None).is(&inode(None)));
        assert!(!inode(None).is(&InodeFacts { number: 6, ..inode(None) }));
        assert!(!inode(None).is(&InodeFacts { build_id: None, ..inode(None) }));
        assert!(
            !inode(None).is(&InodeFacts { version: version(3), ..inode(None) }),
            "copied up: another time of change"
        );
    }
}
