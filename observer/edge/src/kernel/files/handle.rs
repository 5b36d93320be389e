//! A file's handle: what the file system itself calls an inode. An overlay's handle holds the one of the layer's file.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// What a file system calls one of its inodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct InodeHandle {
    /// Form of the bytes, as the file system that made them counts.
    kind: u8,
    bytes: Vec<u8>,
}

/// `struct file_handle` with room for the most that the kernel gives (`MAX_HANDLE_SZ`).
#[repr(C)]
struct Raw {
    len: u32,
    kind: i32,
    bytes: [u8; ROOM],
}

const ROOM: usize = 128;

/// The handle is to name the file, not to open it: what lets overlays answer at all (Linux 6.5).
const AT_HANDLE_FID: libc::c_int = 0x200;

/// fs/overlayfs/overlayfs.h: `struct ovl_fh` is three bytes of padding, then version, magic,
/// length, flags, type of the real handle, and the UUID of its file system.
const OVERLAY_KIND: i32 = 0xf8;
const OVERLAY_MAGIC: u8 = 0xfb;
const OVERLAY_HEAD: usize = 24;

impl InodeHandle {
    /// The handle of a file; through an overlay, that of the layer's file. `None`: this kernel or
    /// file system gives none.
    pub(super) fn of(file: impl AsFd) -> Option<InodeHandle> {
        let mut raw = Raw { len: u32::try_from(ROOM).ok()?, kind: 0, bytes: [0; ROOM] };
        let mut mount: libc::c_int = 0;
        // SAFETY: the path is empty, so that the descriptor alone counts; `raw` has the room that it states.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                file.as_fd().as_raw_fd(),
                c"".as_ptr(),
                &raw mut raw,
                &raw mut mount,
                AT_HANDLE_FID | libc::AT_EMPTY_PATH,
            )
        };
        let bytes = raw.bytes.get(..usize::try_from(raw.len).ok()?)?;
        if answer == 0 { InodeHandle::read(raw.kind, bytes) } else { None }
    }

    /// The file of this handle on the file system that `folder` lies on, as a place. `None`: there
    /// is none, or we may not (CAP_DAC_READ_SEARCH).
    pub(super) fn open_on(&self, folder: impl AsFd) -> Option<OwnedFd> {
        let mut raw = Raw { len: u32::try_from(self.bytes.len()).ok()?, kind: self.kind.into(), bytes: [0; ROOM] };
        raw.bytes.get_mut(..self.bytes.len())?.copy_from_slice(&self.bytes);
        let flags = libc::O_PATH | libc::O_CLOEXEC;
        // SAFETY: `raw` has the bytes that it states.
        let answer =
            unsafe { libc::syscall(libc::SYS_open_by_handle_at, folder.as_fd().as_raw_fd(), &raw mut raw, flags) };
        let fd = RawFd::try_from(answer).ok().filter(|fd| *fd >= 0)?;
        // SAFETY: the kernel just gave us this descriptor.
        Some(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn read(kind: i32, bytes: &[u8]) -> Option<InodeHandle> {
        if kind != OVERLAY_KIND {
            return Some(InodeHandle { kind: u8::try_from(kind).ok()?, bytes: bytes.to_vec() });
        }
        let [_, _, _, _, OVERLAY_MAGIC, len, _, real, ..] = bytes else { return None };
        // The length counts from the version on.
        let end = 3 + usize::from(*len);
        Some(InodeHandle { kind: *real, bytes: bytes.get(OVERLAY_HEAD..end)?.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of libssl on ext4, read on Linux 6.18 by itself and through an overlay over `/`.
    const OWN: [u8; 8] = [0x82, 0xfc, 4, 0, 0, 0, 0, 0];

    fn through_an_overlay() -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 0, 0xfb, 0x1d, 0, 1];
        bytes.extend([0; 16]);
        bytes.extend(OWN);
        bytes
    }

    #[test]
    fn an_overlay_tells_the_handle_of_the_layers_file() {
        assert_eq!(InodeHandle::read(OVERLAY_KIND, &through_an_overlay()), InodeHandle::read(1, &OWN));
        assert_ne!(InodeHandle::read(OVERLAY_KIND, &through_an_overlay()), InodeHandle::read(2, &OWN));
    }

    #[test]
    fn a_cut_or_lying_overlay_handle_is_none() {
        let whole = through_an_overlay();
        for len in 0..OVERLAY_HEAD {
            assert_eq!(InodeHandle::read(OVERLAY_KIND, whole.get(..len).unwrap_or_default()), None, "{len}");
        }
        let mut longer = whole.clone();
        longer[5] = 0xff;
        assert_eq!(InodeHandle::read(OVERLAY_KIND, &longer), None);
        let mut shorter = whole;
        shorter[5] = 1;
        assert_eq!(InodeHandle::read(OVERLAY_KIND, &shorter), None);
    }
}
