//! A file that is nobody else's: made anew under a name that cannot be there, then put in place of the one asked for.
//!
//! Who opened an older file of that name holds the older file; who put a link there has it replaced
//! or is refused; what is written is readable by its owner alone from its first byte. The folder is
//! opened once, and everything goes by that.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};

/// Why there is no such file, and whose fault that is.
#[derive(Debug, thiserror::Error)]
pub(super) enum FreshError {
    #[error("{0} names no file: give the name of one")]
    NoName(PathBuf),
    #[error("cannot open the folder {0}: {1}")]
    Folder(PathBuf, io::Error),
    #[error("{0} is {1}, and only a file is replaced: remove it, or give another name")]
    NotAFile(PathBuf, &'static str),
    #[error("{0} belongs to another user (uid {1}), who may not want it replaced: remove it, or give another name")]
    Foreign(PathBuf, u32),
    #[error("somebody put another file in place of {0}: what is there now was not written by this process")]
    Swapped(PathBuf),
    #[error("cannot write {0}: {1}")]
    Io(PathBuf, io::Error),
}

/// Such a file, or its place; what was not put in place is removed when this is dropped.
#[derive(Debug)]
pub(super) struct FreshFile {
    folder: OwnedFd,
    path: PathBuf,
    name: OsString,
    /// Its name until it is in place.
    temporary: Option<OsString>,
    /// Device and inode.
    identity: (u64, u64),
}

impl FreshFile {
    /// Makes an empty file of mode 0600 beside `path`.
    ///
    /// # Errors
    /// `path` cannot be a file's, or what is there is not ours to replace.
    pub(super) fn create(path: &Path) -> Result<(FreshFile, File), FreshError> {
        let name = path.file_name().ok_or_else(|| FreshError::NoName(path.into()))?.to_owned();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, parent, flags, Mode::empty())
            .map_err(|error| FreshError::Folder(parent.into(), error.into()))?;
        replaceable(&folder, &name, path)?;
        let io = |error: rustix::io::Errno| FreshError::Io(path.into(), error.into());
        let (temporary, file) = make(&folder).map_err(io)?;
        let stat = rustix::fs::fstat(&file).map_err(io)?;
        let fresh = FreshFile {
            folder,
            path: path.into(),
            name,
            temporary: Some(temporary),
            identity: (stat.st_dev, stat.st_ino),
        };
        Ok((fresh, File::from(file)))
    }

    /// Gives it the name that was asked for.
    ///
    /// # Errors
    /// That name has been taken by something else meanwhile, or the folder refuses.
    pub(super) fn put_in_place(&mut self) -> Result<(), FreshError> {
        let Some(temporary) = self.temporary.clone() else { return Ok(()) };
        replaceable(&self.folder, &self.name, &self.path)?;
        rustix::fs::renameat(&self.folder, &temporary, &self.folder, &self.name)
            .map_err(|error| FreshError::Io(self.path.clone(), error.into()))?;
        self.temporary = None;
        self.check()
    }

    /// Whether the name is still that of this file: in a folder that others may write to it need not be.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn check(&self) -> Result<(), FreshError> {
        let there = rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        let same = there.is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.identity);
        if same { Ok(()) } else { Err(FreshError::Swapped(self.path.clone())) }
    }

    /// Whether anybody may remove or replace files in the folder.
    #[must_use]
    pub(super) fn is_exposed(&self) -> bool {
        let sticky_or_closed = |stat: Stat| {
            let mode = Mode::from_raw_mode(stat.st_mode);
            !mode.contains(Mode::WOTH) || mode.contains(Mode::SVTX)
        };
        !rustix::fs::fstat(&self.folder).is_ok_and(sticky_or_closed)
    }
}

impl Drop for FreshFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Left behind where the folder refuses that, too.
            let _ = rustix::fs::unlinkat(&self.folder, temporary, AtFlags::empty());
        }
    }
}

/// A new file under a name that nobody could foresee; `EXCL` follows no link and opens nothing that is there.
fn make(folder: &OwnedFd) -> Result<(OsString, OwnedFd), rustix::io::Errno> {
    let name = format!(".llm-observer-{:016x}.part", RandomState::new().hash_one(std::process::id()));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, &name, flags, Mode::RUSR | Mode::WUSR)?;
    Ok((name.into(), file))
}

/// Nothing, or a file of root's or our own.
fn replaceable(folder: &OwnedFd, name: &OsStr, path: &Path) -> Result<(), FreshError> {
    let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(FreshError::Io(path.into(), error.into())),
    };
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let own = stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw();
            return if own { Ok(()) } else { Err(FreshError::Foreign(path.into(), stat.st_uid)) };
        }
        FileType::Symlink => "a symbolic link",
        FileType::Directory => "a folder",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    };
    Err(FreshError::NotAFile(path.into(), what))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Write};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn who_holds_the_old_file_gets_nothing_of_the_new() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let mut held = File::options().read(true).write(true).open(&path).unwrap();
        let (mut fresh, mut file) = FreshFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old", "until it is in place");
        fresh.put_in_place().unwrap();
        file.write_all(b"secret").unwrap();
        fresh.check().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "secret");
        let mut text = String::new();
        held.read_to_string(&mut text).unwrap();
        assert_eq!(text, "old");
        drop(fresh);
        assert_eq!(names(dir.path()), ["r"]);
    }

    #[test]
    fn what_was_not_put_in_place_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (fresh, _file) = FreshFile::create(&dir.path().join("r")).unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        drop(fresh);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn only_a_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("target"), "precious").unwrap();
        symlink(at("target"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let before = names(dir.path());
        for (name, what) in
            [("link", "symbolic link"), ("dangling", "symbolic link"), ("folder", "folder"), ("socket", "socket")]
        {
            let error = FreshFile::create(&at(name)).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains(name), "{error}");
        }
        for path in ["/dev/null", "/dev/stdout"] {
            assert!(FreshFile::create(Path::new(path)).is_err(), "{path}");
        }
        assert!(FreshFile::create(&at("no/such/folder/r")).unwrap_err().to_string().contains("folder"));
        assert!(matches!(FreshFile::create(Path::new("/")), Err(FreshError::NoName(_))));
        assert_eq!(names(dir.path()), before);
        assert_eq!(fs::read_to_string(at("target")).unwrap(), "precious");
    }

    #[test]
    fn what_comes_between_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r");
        let (mut fresh, _file) = FreshFile::create(&path).unwrap();
        symlink("/etc/passwd", &path).unwrap();
        assert!(fresh.put_in_place().unwrap_err().to_string().contains("symbolic link"));
        fs::remove_file(&path).unwrap();
        fresh.put_in_place().unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another").unwrap();
        assert!(matches!(fresh.check(), Err(FreshError::Swapped(_))));
    }

    #[test]
    fn a_folder_for_all_without_sticky_bit_is_exposed() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, exposed) in [(0o700, false), (0o755, false), (0o1777, false), (0o777, true)] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            let (fresh, _file) = FreshFile::create(&dir.path().join("r")).unwrap();
            assert_eq!(fresh.is_exposed(), exposed, "{mode:o}");
        }
    }
}
