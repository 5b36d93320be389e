//! Containers without an engine: overlay mounts as engines make them, and programs that run in them.
//!
//! ```text
//! lower layers ─┐
//! upper, work ──┴ mount ─ merged ─┬ chroot        a root of its own, in the host's mount namespace
//!                                 └ pivot_root    namespaces of its own, as runc does it
//! ```

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

/// An overlay mount; whatever is mounted goes when it is dropped.
pub struct Overlay {
    dir: TempDir,
    options: String,
    mounted: bool,
    /// The host's folders that a program finds in it.
    binds: Vec<String>,
}

/// How a program gets into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Chroot,
    Namespaces,
}

/// What makes the new root of a program in namespaces of its own, and starts it there. The folders in `$BINDS` are the
/// host's; what is mounted in them stays out, for it may be another container.
const PIVOT: &str = r#"set -e
cd "$0"
mkdir -p proc dev
mount -t proc proc proc
mount --rbind /dev dev
for folder in $BINDS; do
  mkdir -p ".$folder"
  mount --bind "$folder" ".$folder"
done
pivot_root . .
umount -l .
cd /
exec "$@""#;

impl Overlay {
    /// Mounts an image whose one layer is the host's own root.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn of_the_host() -> Result<Self> {
        let mut overlay = Self::prepared()?;
        overlay.binds = tests_own(Some(Path::new("/")))?;
        overlay.lower("/", "")
    }

    /// Mounts these layers, the uppermost first, with further options. The host's folders are bound
    /// into it, so that the layers need to hold no more than what a test is about.
    ///
    /// # Errors
    /// If the kernel refuses them.
    pub fn over(layers: &[&Path], options: &str) -> Result<Self> {
        let overlay = Self::prepared()?;
        // Layers may not overlap, so none can be the host's root: a skeleton of it is the lowest.
        let skeleton = overlay.dir.path().join("skeleton");
        skeleton_of_the_host(&skeleton)?;
        let layers = layers.iter().copied().chain([skeleton.as_path()]);
        let lower: Vec<String> = layers.map(|layer| escaped(&layer.to_string_lossy())).collect();
        overlay.lower(&lower.join(":"), options)
    }

    fn lower(mut self, lower: &str, options: &str) -> Result<Self> {
        let [upper, work] = ["upper", "work"].map(|name| self.dir.path().join(name).display().to_string());
        let comma = if options.is_empty() { "" } else { "," };
        self.options = format!("lowerdir={lower},upperdir={upper},workdir={work}{comma}{options}");
        self.mount()?;
        Ok(self)
    }

    /// Layers as a shell in `folder` mounts them: named relative to that folder.
    ///
    /// # Errors
    /// If the kernel refuses them.
    pub fn relative(folder: &Path, layers: &[&str]) -> Result<Self> {
        let mut overlay = Self::prepared()?;
        let skeleton = overlay.dir.path().join("skeleton");
        skeleton_of_the_host(&skeleton)?;
        let lower = layers.iter().map(|layer| escaped(layer)).chain([skeleton.display().to_string()]);
        let lower = lower.collect::<Vec<_>>().join(":");
        let [upper, work] = ["upper", "work"].map(|name| overlay.dir.path().join(name).display().to_string());
        let mut command = Command::new("mount");
        command.current_dir(folder).args(["-t", "overlay", "overlay", "-o"]);
        command.arg(format!("lowerdir={lower},upperdir={upper},workdir={work}")).arg(overlay.root());
        ensure!(command.status().context("cannot start mount")?.success(), "lowerdir={lower} is refused");
        overlay.mounted = true;
        Ok(overlay)
    }

    fn prepared() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("llmo-container-").tempdir()?;
        for name in ["upper", "work", "merged"] {
            fs::create_dir(dir.path().join(name))?;
        }
        let binds = [top_folders()?, tests_own(None)?].concat();
        Ok(Self { dir, options: String::new(), mounted: false, binds })
    }

    /// Mounts it (again), with the same folders and options.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn mount(&mut self) -> Result<()> {
        let data = CString::new(self.options.clone())?;
        mount("overlay", self.root(), "overlay", MountFlags::empty(), data.as_c_str())
            .with_context(|| format!("mount -t overlay -o {}", self.options))?;
        self.mounted = true;
        Ok(())
    }

    /// Unmounts it as an engine does, neither lazily nor by force.
    ///
    /// # Errors
    /// What the kernel says: `BUSY` where something in it is still used.
    pub fn unmount(&mut self) -> Result<(), Errno> {
        unmount(self.root(), UnmountFlags::empty())?;
        self.mounted = false;
        Ok(())
    }

    /// Unmounts what is bound into it, then itself, as an engine does.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unmount_all(&mut self) -> Result<(), Errno> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let below = format!("{}/", self.root().display());
        let mut inner: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        inner.retain(|at| at.starts_with(&below));
        // The last mounted first.
        for at in inner.into_iter().rev() {
            unmount(at, UnmountFlags::empty())?;
        }
        self.unmount()
    }

    /// Where it is mounted.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("merged")
    }

    /// What starts a program in it; the program and its arguments are to follow.
    ///
    /// # Errors
    /// If a chroot cannot have `/dev`.
    pub fn command(&self, way: Way) -> Result<Command> {
        if way == Way::Namespaces {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", PIVOT]);
            command.arg(self.root()).env("BINDS", self.binds.join(" "));
            return Ok(command);
        }
        for folder in ["/dev", "/proc"].into_iter().chain(self.binds.iter().map(String::as_str)) {
            self.bind(folder)?;
        }
        let mut command = Command::new("chroot");
        command.arg(self.root());
        Ok(command)
    }

    /// Where something of the container lies in the host's tree.
    #[must_use]
    pub fn inside(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// Once: a second program in it finds it there.
    fn bind(&self, folder: &str) -> Result<()> {
        let at = self.inside(folder);
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        if mounts.lines().any(|line| line.split(' ').nth(1) == at.to_str()) {
            return Ok(());
        }
        fs::create_dir_all(&at)?;
        rustix::mount::mount_bind(folder, &at).with_context(|| format!("cannot bind {folder}"))
    }
}

/// The folders of the host's root that programs need; `/opt` is left for layers.
fn top_folders() -> Result<Vec<String>> {
    const OWN: [&str; 7] = ["proc", "dev", "sys", "opt", "mnt", "lost+found", "old_root"];
    let folders = fs::read_dir("/")?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let names = folders.map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| !OWN.contains(&name.as_str())).map(|name| format!("/{name}")).collect())
}

/// The tests' own files (this checkout, the cache, temporary folders), where they lie on another
/// file system than what is there already: `root`, or the host's folder of the first level.
fn tests_own(root: Option<&Path>) -> Result<Vec<String>> {
    let checkout = fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))?;
    let mut apart = Vec::new();
    for folder in [checkout, crate::places::cache(), std::env::temp_dir()] {
        let top: PathBuf = folder.components().take(2).collect();
        if fs::metadata(&folder)?.dev() != fs::metadata(root.unwrap_or(&top))?.dev() {
            apart.push(folder.display().to_string());
        }
    }
    Ok(apart)
}

/// The links of the host's root (`/lib` into `/usr`, …); folders come when they are bound.
fn skeleton_of_the_host(at: &Path) -> Result<()> {
    fs::create_dir(at)?;
    for entry in fs::read_dir("/")?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink())) {
        std::os::unix::fs::symlink(fs::read_link(entry.path())?, at.join(entry.file_name()))?;
    }
    Ok(())
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // Lazily: what is bound into it goes along, whoever still uses it. The folders go with `dir`.
        if self.mounted {
            let _ = unmount(self.root(), UnmountFlags::DETACH);
        }
    }
}

/// A folder's name as one layer of `lowerdir`.
#[must_use]
pub fn escaped(path: &str) -> String {
    path.chars().flat_map(|c| matches!(c, ':' | ',' | '\\').then_some('\\').into_iter().chain([c])).collect()
}

/// A tmpfs; it goes when dropped.
pub struct Tmpfs {
    dir: TempDir,
    mounted: bool,
}

impl Tmpfs {
    /// Mounts one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn mounted() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("llmo-tmpfs-").tempdir()?;
        mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), None).context("cannot mount a tmpfs")?;
        Ok(Self { dir, mounted: true })
    }

    /// Where.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Unmounts it, neither lazily nor by force.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unmount(&mut self) -> Result<(), Errno> {
        unmount(self.path(), UnmountFlags::empty())?;
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        if self.mounted {
            let _ = unmount(self.path(), UnmountFlags::DETACH);
        }
    }
}
