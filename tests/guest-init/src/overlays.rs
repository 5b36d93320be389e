//! Containers of one image on this kernel: overlay mounts over one lower folder, with the suite's curl in each.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use provider::Provider;

use crate::daemon::Daemon;
use crate::{PATIENCE, called, compare, curl};

/// A tmpfs: the initial file system takes no upper layers.
const DISK: &str = "/disk";
const IMAGE: &str = "/disk/image";

/// Two containers, a stream that runs while the second starts, a touched library, and both started again.
pub(crate) fn check(daemon: &Daemon, provider: &Provider) -> Result<()> {
    image()?;
    // Indexed, a layer can be used by one mount at a time: the kernel refuses the second start of who is still held.
    for options in ["index=off", "index=on"] {
        containers(daemon, provider, options).with_context(|| format!("with {options}"))?;
    }
    let said = String::from_utf8_lossy(&Command::new("/bin/busybox").arg("dmesg").output()?.stdout).into_owned();
    let complaint = said.lines().find(|line| line.contains("in-use") || line.contains("Busy inodes"));
    ensure!(complaint.is_none(), "the kernel said {complaint:?}");
    Ok(())
}

fn containers(daemon: &Daemon, provider: &Provider, options: &str) -> Result<()> {
    let model = |name: &str| format!("scenario:text#{options}-{name}");
    let exact = |name: &str, root: &str| -> Result<()> {
        called(chroot(root, provider, &model(name)).output())?;
        compare(daemon, provider, &model(name)).map(drop).with_context(|| name.to_owned())
    };
    let one = mount("one", options)?;
    // A library that nobody used before: its first call may come before its probes.
    called(chroot(&one, provider, &model("warm")).output())?;
    daemon.wait_for_probe("libssl", PATIENCE)?;
    exact("first", &one)?;
    let slow = format!("scenario:slow#{options}");
    let running = chroot(&one, provider, &slow).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    thread::sleep(Duration::from_secs(1));
    let two = mount("two", options)?;
    exact("second", &two)?;
    called(running.wait_with_output())?;
    compare(daemon, provider, &slow).map(drop).context("a stream while the second started")?;
    exact("first-again", &one)?;
    touch(&libssl(IMAGE)?)?;
    exact("touched", &one)?;
    exact("touched-too", &two)?;
    touch(&libssl("")?)?;
    let own = model("own");
    crate::call(provider, &own)?;
    compare(daemon, provider, &own).map(drop).context("the touched library outside")?;
    for root in [&one, &two] {
        umount(root)?;
    }
    let one = mount("one", options).context("started again")?;
    exact("restarted", &one)?;
    umount(&one)
}

/// What the containers have in common: this system's own files.
fn image() -> Result<()> {
    let script = "set -e; mkdir -p $0; mount -t tmpfs tmpfs $0; mkdir -p $1/tmp $1/dev $1/proc; \
                  cp -a /bin /usr /lib /lib64 /etc $1/; cp -a /tmp/*.pem $1/tmp/ 2>/dev/null || true";
    busybox(&["sh", "-c", script, DISK, IMAGE])
}

/// Mounts (again) the container of a name; its root.
fn mount(name: &str, options: &str) -> Result<String> {
    let [root, upper, work] = ["root", "upper", "work"].map(|part| format!("{DISK}/{name}/{options}/{part}"));
    for folder in [&root, &upper, &work] {
        fs::create_dir_all(folder)?;
    }
    let data = format!("lowerdir={IMAGE},upperdir={upper},workdir={work},{options}");
    busybox(&["mount", "-t", "overlay", "overlay", "-o", &data, &root]).context("cannot mount it")?;
    Ok(root)
}

/// As an engine does it: at once, neither lazily nor by force.
fn umount(root: &str) -> Result<()> {
    busybox(&["umount", root]).context("cannot unmount it")
}

fn chroot(root: &str, provider: &Provider, model: &str) -> Command {
    let mut command = Command::new("/bin/busybox");
    command.args(["chroot", root, "/usr/bin/curl"]);
    curl(command, provider, model)
}

fn libssl(root: &str) -> Result<String> {
    let folder = format!("{root}/usr/lib/x86_64-linux-gnu");
    let names = fs::read_dir(Path::new(&folder))?.flatten().map(|entry| entry.path().display().to_string());
    names.into_iter().find(|name| name.contains("libssl")).with_context(|| format!("no libssl in {folder}"))
}

fn touch(file: &str) -> Result<()> {
    busybox(&["touch", file])
}

fn busybox(words: &[&str]) -> Result<()> {
    let out = Command::new("/bin/busybox").args(words).output()?;
    if !out.status.success() {
        bail!("{words:?}: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}
