//! Hosts that lack something: one clear sentence, the right exit code, nothing left attached. The
//! lack is made with a mount namespace or another user; the kernel and the daemon are real.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kernel_tests::{places, skipped};

/// Runs `llm-observer ARGS` in a mount namespace that `prepare` (shell) has changed.
fn run_where(prepare: &str, args: &str) -> Output {
    let binary = places::daemon().unwrap();
    let script = format!("{prepare}\nexec timeout -s TERM 20 {} {args}", binary.display());
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", &script]);
    command.stdin(Stdio::null()).output().unwrap()
}

fn daemon_args(dir: &tempfile::TempDir) -> String {
    let at = |name: &str| dir.path().join(name).display().to_string();
    format!("run --lock.file {} --inspect.socket {} --web.listen-address 127.0.0.1:0", at("lock"), at("socket"))
}

/// One sentence, and it says all of `words`.
fn assert_refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let errors: Vec<_> = said.lines().filter(|line| line.contains("llm-observer: ")).collect();
    assert_eq!(errors.len(), 1, "not one sentence: {said}");
    for word in words {
        assert!(errors.concat().contains(word), "{word} is not in: {said}");
    }
}

#[test]
fn without_btf_it_refuses_and_doctor_says_why() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let hide = "mount -t tmpfs none /sys/kernel/btf";
    assert_refused(&run_where(hide, &daemon_args(&dir)), &["BTF", "CONFIG_DEBUG_INFO_BTF"]);
    assert!(!dir.path().join("socket").exists(), "the socket stayed behind");
    let doctor = run_where(hide, "doctor");
    let table = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(doctor.status.code(), Some(2), "{table}");
    assert!(table.contains("BTF"), "{table}");
}

#[test]
fn under_lockdown_it_refuses() {
    if skipped() {
        return;
    }
    // The kernel's own file, as a locked-down kernel shows it.
    let dir = tempfile::tempdir().unwrap();
    let fake = "mount -t tmpfs none /sys/kernel/security && echo 'none integrity [confidentiality]' > /sys/kernel/security/lockdown";
    assert_refused(&run_where(fake, &daemon_args(&dir)), &["locked down", "lockdown=confidentiality"]);
}

#[test]
fn without_root_it_refuses() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let binary = places::daemon().unwrap();
    // A copy that another user may read, wherever the build lies.
    let copy = dir.path().join("llm-observer");
    // Not by this process: what another test starts meanwhile would hold the copy open for writing,
    // and it could not be run.
    assert!(Command::new("cp").arg(binary).arg(&copy).status().unwrap().success());
    Command::new("chmod").args(["-R", "a+rx"]).arg(dir.path()).status().unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&copy)
        .args(daemon_args(&dir).split(' '))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_refused(&output, &["root", "sudo"]);
}

#[test]
fn without_tracefs_nothing_is_missing() {
    if skipped() {
        return;
    }
    let hide = "mount -t tmpfs none /sys/kernel/debug; mount -t tmpfs none /sys/kernel/tracing";
    let doctor = run_where(hide, "doctor");
    assert_eq!(doctor.status.code(), Some(0), "{}", String::from_utf8_lossy(&doctor.stdout));
}

#[test]
fn without_cgroup_v2_it_runs_and_doctor_says_what_is_lost() {
    if skipped() {
        return;
    }
    // The host's first processes would show the tree, too.
    let hide = "for at in $(awk '$3 == \"cgroup2\" {print $2}' /proc/self/mounts); do umount -l $at; done
        for first in 1 2; do mount -t tmpfs none /proc/$first; done";
    let doctor = run_where(hide, "doctor");
    let table = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(doctor.status.code(), Some(1), "{table}");
    assert!(table.contains("cgroup") && table.contains("mount -t cgroup2"), "{table}");
}

/// A part of the cgroup tree, as a cgroup namespace shows it: the whole is found through the host's
/// first process, and where that cannot be seen either, `doctor` says what is lost and how to get
/// it back.
#[test]
fn in_a_cgroup_namespace_it_looks_for_the_whole_tree_and_says_when_it_is_not_there() {
    if skipped() {
        return;
    }
    let tree = cgroup2_mount();
    let part = Part::new(&tree);
    let inside = format!("umount -l {0}; mount -t cgroup2 none {0}", tree.display());
    let seen = ["/proc/1/root/sys/fs", "/proc/2/root/sys/fs"].iter().any(|root| fs::read_dir(root).is_ok());
    if !seen {
        println!("the first processes keep their root to themselves here: the whole tree cannot be found through them");
    }
    // Without the host's processes everything is lost, not this alone.
    for (pids, code) in [("", i32::from(!seen)), ("--pid --fork --mount-proc", 2)] {
        let doctor =
            part.run_inside(&format!("unshare --cgroup --mount --propagation private {pids}"), &inside, "doctor");
        let table = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert_eq!(doctor.status.code(), Some(code), "{pids}: {table}{}", String::from_utf8_lossy(&doctor.stderr));
        let told = table.contains("is a part of the host's cgroup tree") && table.contains("--cgroupns=host");
        assert_eq!(told, code != 0, "{pids}: {table}");
    }
}

fn cgroup2_mount() -> PathBuf {
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = table.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    line.and_then(|line| line.split(' ').nth(1)).unwrap().into()
}

/// A cgroup of the test's own, removed with it.
struct Part(PathBuf);

impl Part {
    fn new(tree: &Path) -> Self {
        let path = tree.join(format!("llmo-part-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Part(path)
    }

    /// Runs `llm-observer ARGS` in this cgroup and in namespaces of its own, after `prepare`.
    fn run_inside(&self, unshare: &str, prepare: &str, args: &str) -> Output {
        let binary = places::daemon().unwrap();
        let script = format!(
            "echo $$ > {}/cgroup.procs; exec {unshare} sh -ec '{prepare}; exec timeout -s TERM 20 {} {args}'",
            self.0.display(),
            binary.display()
        );
        Command::new("sh").args(["-ec", &script]).stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
