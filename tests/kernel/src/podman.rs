//! A real container engine, with all of its state in a folder of its own.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::places;

/// An engine with one image: a suite's curl and what it needs.
pub struct Podman {
    state: TempDir,
    program: PathBuf,
    /// Where its libraries are, if it was unpacked and not installed.
    unpacked: Option<PathBuf>,
    /// Whose it is: root's, or a user's own.
    user: u32,
}

/// What an unpacked engine takes for its monitor, in its folder.
const MONITOR: &str = "conmon";

/// Where a user finds an unpacked engine, in his folder.
const ENGINE: &str = "engine";

/// Who has no rights at all: `nobody`.
const NOBODY: u32 = 65534;

/// Its image.
pub const IMAGE: &str = "localhost/llmo/curl";

impl Podman {
    /// Sets one up for root, with the image made of the root of a suite.
    ///
    /// # Errors
    /// Why it cannot be used on this machine.
    pub fn set_up() -> Result<Self> {
        Self::set_up_for(0)
    }

    /// The same for a user without rights, whose containers run in a user namespace of his own.
    ///
    /// # Errors
    /// Why it cannot be used on this machine.
    pub fn rootless() -> Result<Self> {
        Self::set_up_for(NOBODY)
    }

    fn set_up_for(user: u32) -> Result<Self> {
        let own = places::cache().join("roots/engine");
        let installed = places::tool("podman").zip(places::tool("runc").or_else(|| sbin("runc")));
        let (program, unpacked) = match installed {
            Some((podman, _)) => (podman, None),
            None if own.join("usr/bin/podman").is_file() => (own.join("usr/bin/podman"), Some(own)),
            None => bail!("no podman with runc: `cargo xtask setup` unpacks them"),
        };
        let root = places::roots().into_iter().next().context("no root of a suite to make an image of")?;
        let state = tempfile::Builder::new().prefix("llmo-podman-").tempdir()?;
        let mut podman = Self { state, program, unpacked, user };
        podman.make_reachable()?;
        podman.write_monitor()?;
        let policy = podman.state.path().join(".config/containers");
        fs::create_dir_all(&policy)?;
        fs::create_dir(podman.state.path().join("xdg"))?;
        fs::write(policy.join("policy.json"), r#"{"default": [{"type": "insecureAcceptAnything"}]}"#)?;
        let image = podman.state.path().join("image.tar");
        let tar = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&image).arg(".").status();
        ensure!(tar.context("cannot start tar")?.success(), "{} cannot be packed", root.display());
        podman.give_away()?;
        podman.run(&["import", "-q", &image.to_string_lossy(), IMAGE])?;
        Ok(podman)
    }

    /// An unpacked engine lies where its user may not look; he finds it in his folder.
    fn make_reachable(&mut self) -> Result<()> {
        if self.user == 0 {
            return Ok(());
        }
        let Some(root) = &self.unpacked else { return Ok(()) };
        let at = self.state.path().join(ENGINE);
        fs::create_dir(&at)?;
        rustix::mount::mount_bind(root, &at).with_context(|| format!("cannot bind {}", root.display()))?;
        self.program = at.join("usr/bin/podman");
        self.unpacked = Some(at);
        Ok(())
    }

    /// What is in the folder by now is the user's, but for the engine.
    fn give_away(&self) -> Result<()> {
        if self.user == 0 {
            return Ok(());
        }
        let script =
            r#"chown "$1:$1" "$0" && find "$0" -mindepth 1 -path "$0/engine" -prune -o -exec chown "$1:$1" {} +"#;
        let status =
            Command::new("sh").args(["-ec", script]).arg(self.state.path()).arg(self.user.to_string()).status()?;
        ensure!(status.success(), "{} cannot be given away", self.state.path().display());
        Ok(())
    }

    /// A copy of a file that its user may read.
    ///
    /// # Errors
    /// If it cannot be copied.
    pub fn readable(&self, file: &Path) -> Result<PathBuf> {
        let copy = self.state.path().join(file.file_name().context("no name")?);
        if !copy.exists() {
            fs::copy(file, &copy)?;
            fs::set_permissions(&copy, Permissions::from_mode(0o644))?;
        }
        Ok(copy)
    }

    /// Stands between an unpacked engine and its monitor, which starts the engine once more when a container has
    /// ended and is given little of the environment: without its libraries and its programs that engine does not
    /// start, and the first one waits 20 s for it.
    fn write_monitor(&self) -> Result<()> {
        let Some(root) = &self.unpacked else { return Ok(()) };
        let path = self.state.path().join(MONITOR);
        let monitor = root.join("usr/bin/conmon");
        let (libraries, programs) = (libraries(root), root.join("usr/bin"));
        let script = format!(
            "#!/bin/sh\nexport LD_LIBRARY_PATH='{}' PATH='{}':\"$PATH\"\nexec '{}' \"$@\"\n",
            libraries.display(),
            programs.display(),
            monitor.display()
        );
        fs::write(&path, script)?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// A command of the engine's, its arguments to follow.
    #[must_use]
    pub fn command(&self) -> Command {
        let state = |name: &str| self.state.path().join(name);
        let mut command = self.as_user();
        command.env("HOME", self.state.path());
        command.arg("--root").arg(state("root")).arg("--runroot").arg(state("run")).arg("--tmpdir").arg(state("tmp"));
        command.args(["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]);
        if self.user != 0 {
            // One id is all that he has: files of others become his.
            command.args(["--storage-opt", "overlay.ignore_chown_errors=true"]);
        }
        match &self.unpacked {
            Some(root) => {
                command.arg("--runtime").arg(root.join("usr/sbin/runc"));
                command.arg("--conmon").arg(state(MONITOR));
                command.env("LD_LIBRARY_PATH", libraries(root));
            }
            None => {
                command.args(["--runtime", "runc"]);
            }
        }
        command
    }

    /// The engine, by its user.
    fn as_user(&self) -> Command {
        if self.user == 0 {
            return Command::new(&self.program);
        }
        let mut command = Command::new("setpriv");
        let user = self.user.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]).arg(&self.program);
        command.env("XDG_RUNTIME_DIR", self.state.path().join("xdg")).current_dir("/");
        command
    }

    /// What makes a container of the image on the host's network; its name and program are to follow `--name`.
    #[must_use]
    pub fn create(&self, verb: &str, mounts: &[&Path]) -> Command {
        let mut command = self.command();
        // Limits that the engine would raise beyond what every machine allows.
        command.args([verb, "--pull=never", "--network=host", "--ulimit", "nofile=1024:1024"]);
        command.args(["--ulimit", "nproc=1000:1000"]);
        for mount in mounts {
            command.arg("-v").arg(format!("{0}:{0}:ro", mount.display()));
        }
        command
    }

    /// Runs a command to its end; what it printed.
    ///
    /// # Errors
    /// If it fails.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        done(self.command().args(arguments))
    }
}

fn libraries(root: &Path) -> PathBuf {
    root.join("usr/lib/x86_64-linux-gnu")
}

/// Runs a command to its end; what it printed.
///
/// # Errors
/// If it fails.
pub fn done(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = command.output().context("cannot start podman")?;
    ensure!(status.success(), "{command:?}: {status}: {}", String::from_utf8_lossy(&stderr).trim());
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Containers, their mounts and cgroups; the folder goes after them.
        let _ = self.run(&["rm", "--all", "--force", "--time", "0"]);
        let _ = self.run(&["rmi", "--all", "--force"]);
        if self.user != 0 {
            // The process that holds its user namespace.
            let _ = self.run(&["system", "migrate"]);
        }
        for mounted in ["root/overlay", ENGINE] {
            let _ = rustix::mount::unmount(self.state.path().join(mounted), rustix::mount::UnmountFlags::DETACH);
        }
    }
}

fn sbin(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).join(name)).into_iter().find(|path| path.is_file())
}
