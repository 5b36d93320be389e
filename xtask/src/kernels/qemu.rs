//! The unpacked QEMU, started by its own loader with its own libraries, modules and firmware.

use std::path::Path;
use std::process::Command;

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
/// Where Debian's QEMU looks for firmware; `share/qemu` links into the other two by absolute paths.
const FIRMWARE: [&str; 3] = ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"];
/// Libraries of QEMU's that lie below `LIBRARIES`.
const NESTED: [&str; 2] = ["", "pulseaudio"];

/// QEMU without devices and display, which boots a kernel in software; it is ended after `limit` seconds.
pub(super) fn command(root: &Path, limit: &str) -> Command {
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "TERM", "timeout", "--kill-after", "5", limit]);
    let paths: Vec<_> = NESTED.map(|folder| root.join(LIBRARIES).join(folder).display().to_string()).into();
    qemu.arg(root.join(LOADER)).arg("--library-path").arg(paths.join(":"));
    qemu.arg(root.join("usr/bin/qemu-system-x86_64"));
    qemu.env("QEMU_MODULE_DIR", root.join(LIBRARIES).join("qemu"));
    for folder in FIRMWARE {
        qemu.arg("-L").arg(root.join(folder));
    }
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024", "-nodefaults"]);
    qemu.args(["-no-user-config", "-display", "none", "-no-reboot"]);
    qemu.args(["-append", "console=ttyS0 quiet loglevel=4 panic=-1 rdinit=/init"]);
    qemu
}
