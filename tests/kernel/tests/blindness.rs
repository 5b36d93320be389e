//! A daemon that lacks something says so wherever one looks: `doctor` with the loss, the fix and
//! the exit code, `/readyz`, the metric. Each lack is made for real (a namespace, a mount, a limit,
//! capabilities taken away), and has a neighbour that is none.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use kernel_tests::clients::Clients;
use kernel_tests::daemon::Daemon;
use kernel_tests::kinds::Kind;
use kernel_tests::{places, skipped, wait_for};
use provider::{Options, Provider};

/// All that is needed to see everything, but for entering network namespaces.
const ENOUGH: &str = "+bpf,+perfmon,+net_admin,+sys_ptrace,+dac_read_search,+checkpoint_restore";

/// Root that may `caps` and nothing else.
fn only(caps: &str) -> Vec<String> {
    ["setpriv", "--inh-caps", "-all", "--bounding-set", &format!("-all,{caps}")].map(str::to_owned).into()
}

/// In a mount namespace that `prepare` (shell) has changed.
fn mounted(prepare: &str) -> Vec<String> {
    let script = format!("{prepare}\nexec \"$@\"");
    ["unshare", "--mount", "--propagation", "private", "sh", "-ec", &script, "sh"].map(str::to_owned).into()
}

/// Another user who may `caps`.
fn user(caps: &str) -> Vec<String> {
    let caps = format!("-all,{caps}");
    let who = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", &caps];
    who.iter().chain(&["--ambient-caps", caps.as_str()]).map(|word| (*word).to_owned()).collect()
}

/// The first process of a pid namespace; `more`: what else unshare is told. It heeds no signal
/// itself while that process runs, which is told to stop when unshare is gone.
fn first_of(more: &str) -> Vec<String> {
    let script = format!(
        "unshare --pid --fork --kill-child=TERM {more} \"$@\" & own=$!; trap 'kill -KILL $own; exit' TERM; wait $own"
    );
    ["sh", "-c", &script, "sh"].map(str::to_owned).into()
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn start(wrapper: &[String]) -> Daemon {
    Daemon::start_under(&wrapper.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
}

fn doctor(daemon: &Daemon) -> (Option<i32>, serde_json::Value) {
    let mut command = Command::new(daemon.binary());
    let output = command.args(["doctor", "-o", "json", "--inspect.socket"]).arg(daemon.socket()).output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

/// Some program of this machine may not be seen into; that is another matter.
const OTHERS: [&str; 2] = ["coverage", "probes"];

/// The checks that are not well, by name and status; each says what is lost and what to do.
fn bad(checks: &serde_json::Value) -> Vec<(&str, &str)> {
    let bad = checks.as_array().unwrap().iter().filter(|check| check["status"] != "ok");
    let told = |check: &&serde_json::Value| {
        assert!(check["lost"] != "" && check["fix"] != "", "{check}");
    };
    let pairs = bad.inspect(told).map(|check| (check["name"].as_str().unwrap(), check["status"].as_str().unwrap()));
    pairs.filter(|(name, _)| !OTHERS.contains(name)).collect()
}

/// Network namespaces of this machine, by those of its processes.
fn networks() -> usize {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let names: BTreeSet<PathBuf> = all.filter_map(|entry| fs::read_link(entry.path().join("ns/net")).ok()).collect();
    names.len()
}

/// All places tell exactly these lacks; the text of `/readyz`.
fn assert_told(daemon: &Daemon, lacks: &[(&str, &str)]) -> String {
    let (code, checks) = doctor(daemon);
    // Containers of this machine's own.
    let networked = ("sock_diag", "degraded");
    let (told, mut lacks): (BTreeSet<_>, BTreeSet<_>) =
        (bad(&checks).into_iter().collect(), lacks.iter().copied().collect());
    if networks() > 1 && told.contains(&networked) {
        lacks.insert(networked);
    }
    assert_eq!(told, lacks, "{checks:#}");
    let blind = lacks.iter().any(|(_, status)| *status == "blind");
    let about_us = checks
        .as_array()
        .unwrap()
        .iter()
        .all(|check| check["status"] == "ok" || lacks.iter().any(|(name, _)| check["name"] == *name));
    if blind || about_us {
        let expected = if blind { 2 } else { i32::from(!lacks.is_empty()) };
        assert_eq!(code, Some(expected), "{checks:#}");
    }
    let (status, page) = daemon.get("/readyz").unwrap();
    assert_eq!(status, if blind { 503 } else { 200 }, "{page}");
    let metrics = daemon.metrics().unwrap();
    for (name, state) in &lacks {
        assert!(page.contains(&format!("{state}: {name}: ")), "{page}");
        let line = format!("llm_observer_sight_state{{sight=\"{name}\",state=\"{state}\"}} 1");
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
    let told = metrics.lines().filter(|line| line.starts_with("llm_observer_sight_state{") && !line.contains("\"ok\""));
    assert_eq!(told.count(), lacks.len(), "{metrics}");
    assert_eq!(page == "OK\n", lacks.is_empty(), "{page}");
    page
}

#[test]
fn without_the_hosts_pid_namespace_it_is_blind() {
    if skipped() {
        return;
    }
    let page = assert_told(&start(&first_of("--mount-proc")), &[("pid_namespace", "blind")]);
    assert!(page.starts_with("blind: ") && page.contains("hostPID: true") && page.contains("--pid=host"), "{page}");
    let lost = assert_told(
        &start(&first_of("--mount")),
        &[("pid_namespace", "blind"), ("proc", "blind"), ("map_files", "degraded")],
    );
    assert!(lost.contains("of another pid namespace"), "{lost}");
    // Namespaces of its own that cost nothing.
    assert_told(&start(&words("unshare --mount --uts --ipc --propagation private")), &[]);
}

#[test]
fn what_may_not_look_into_programs_is_blind() {
    if skipped() {
        return;
    }
    let page = assert_told(&start(&only("+sys_admin")), &[("processes", "blind"), ("owned_files", "degraded")]);
    assert!(page.contains("CAP_SYS_PTRACE") && page.contains("CAP_DAC_READ_SEARCH"), "{page}");
    assert_told(&start(&only("+sys_admin,+sys_ptrace")), &[("owned_files", "degraded")]);
    assert_told(&start(&only("+sys_admin,+sys_ptrace,+dac_read_search")), &[]);
}

#[test]
fn without_cap_sys_admin_it_sees_everything_that_is_in_its_own_network() {
    if skipped() {
        return;
    }
    assert_told(
        &start(&only("+bpf,+perfmon,+net_admin,+sys_ptrace")),
        &[("map_files", "degraded"), ("owned_files", "degraded")],
    );
    assert_told(&start(&only(ENOUGH)), &[]);
    assert_told(&start(&user(ENOUGH)), &[]);
    // Connections of another network that were open before: to enter it takes CAP_SYS_ADMIN.
    let mut other = Command::new("unshare").args(["--net", "sleep", "60"]).stdin(Stdio::null()).spawn().unwrap();
    let page = assert_told(&start(&only(ENOUGH)), &[("sock_diag", "degraded")]);
    assert!(page.contains("network namespaces cannot be entered") && page.contains("CAP_SYS_ADMIN"), "{page}");
    assert_told(&start(&only(&format!("{ENOUGH},+sys_admin"))), &[]);
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn what_the_kernel_refuses_names_the_capability() {
    if skipped() {
        return;
    }
    let daemon = start(&only("+bpf,+perfmon,+sys_ptrace,+dac_read_search,+checkpoint_restore"));
    let page = assert_told(&daemon, &[("sockets", "degraded")]);
    assert!(page.contains("CAP_NET_ADMIN is missing"), "{page}");
    let rows = daemon.probes().unwrap();
    let refused: Vec<_> = rows.iter().filter(|row| row.state == "unsupported" && row.probe != "file").collect();
    assert!(refused.len() == 5 && refused.iter().all(|row| row.reason.contains("CAP_NET_ADMIN")), "{refused:?}");
}

#[test]
fn processes_that_proc_hides_are_missed() {
    if skipped() {
        return;
    }
    let hidden = mounted("mount -t proc -o hidepid=2,gid=4 proc /proc");
    let blind = [hidden.clone(), user("+bpf,+perfmon,+net_admin,+dac_read_search,+checkpoint_restore")].concat();
    let page = assert_told(&start(&blind), &[("proc", "blind")]);
    assert!(page.contains("hidepid=invisible") || page.contains("hidepid=2"), "{page}");
    assert_told(&start(&hidden), &[]);
    assert_told(&start(&mounted("mount -t proc -o subset=pid proc /proc")), &[]);
}

#[test]
fn descriptors_that_run_short_are_told_also_later() {
    if skipped() {
        return;
    }
    let daemon = start(&words("prlimit --nofile=64:4000")); // the soft limit is raised to the hard one
    assert_told(&daemon, &[]);
    assert!(daemon.metrics().unwrap().lines().any(|line| line == "process_max_fds 4000"));
    let held = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count() * 17 / 16;
    let few = format!("--nofile={0}:{0}", held + 8); // some for those that ask it
    Command::new("prlimit").args([&few, "--pid", &daemon.pid().to_string()]).status().unwrap();
    wait_for("the limit to be noticed, within half a minute", Duration::from_secs(45), || {
        daemon.get("/readyz").is_ok_and(|(_, page)| page.contains("descriptors")).then_some(())
    })
    .unwrap();
    assert_told(&daemon, &[("descriptors", "degraded")]);
    assert!(daemon.log().contains("degraded sight=\"descriptors\""), "{}", daemon.log());
}

#[test]
fn without_cgroup_v2_the_daemon_says_what_is_lost() {
    if skipped() {
        return;
    }
    let hide = "for at in $(awk '$3 == \"cgroup2\" {print $2}' /proc/self/mounts); do umount -l $at; done";
    // The host's first processes show the tree, too.
    if ["1", "2"].iter().any(|first| Path::new(&format!("/proc/{first}/root/sys/fs")).is_dir()) {
        assert_told(&start(&mounted(hide)), &[]);
    }
    let hide = format!("{hide}; for first in 1 2; do mount -t tmpfs none /proc/$first; done");
    let page = assert_told(&start(&mounted(&hide)), &[("sockets", "degraded")]);
    assert!(page.contains("plain HTTP") && page.contains("mount -t cgroup2"), "{page}");
}

/// Runs `llm-observer ARGS` under `wrapper`, for as long as it takes to fail.
fn refused(wrapper: &[String], verb: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let (program, before) = wrapper.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(before).args(["timeout", "-s", "TERM", "20"]).arg(places::daemon().unwrap()).arg(verb);
    command.arg("--inspect.socket").arg(dir.path().join("socket"));
    if verb == "run" {
        command.arg("--lock.file").arg(dir.path().join("lock")).arg("--web.listen-address=127.0.0.1:0");
    }
    command.stdin(Stdio::null()).output().unwrap()
}

/// `run` ends with 2 and one sentence that says all of `words`, and so does `doctor`; neither gives
/// advice that does not help.
fn assert_refused(wrapper: &[String], words: &[&str], not: &[&str]) {
    let run = refused(wrapper, "run");
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    let errors: Vec<_> = said.lines().filter(|line| line.contains("llm-observer: ")).collect();
    assert_eq!((run.status.code(), errors.len()), (Some(2), 1), "{wrapper:?}: {said}");
    let doctor = refused(wrapper, "doctor");
    let table = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(doctor.status.code(), Some(2), "{wrapper:?}: {table}");
    for word in words {
        assert!(errors.concat().contains(word), "{word} is not in: {said}");
        assert!(table.contains(word), "{word} is not in: {table}");
    }
    for word in not {
        assert!(!errors.concat().contains(word) && !table.contains(word), "{word} is in: {said}{table}");
    }
}

#[test]
fn without_capabilities_it_says_which_are_missing() {
    if skipped() {
        return;
    }
    let everywhere = ["sudo", "securityContext", "DAC_READ_SEARCH"];
    for (caps, missing) in [
        ("-bpf", "CAP_BPF and CAP_PERFMON are missing"),
        ("+sys_ptrace,+net_admin", "CAP_BPF and CAP_PERFMON are missing"),
        ("+bpf", "CAP_PERFMON is missing"),
        ("+perfmon", "CAP_BPF is missing"),
    ] {
        assert_refused(&only(caps), &[&[missing], &everywhere[..]].concat(), &["Linux 5.8"]);
    }
    let rootless = words("unshare --user --map-root-user");
    assert_refused(&rootless, &["user namespace", "hostUsers: true"], &["sudo", "CAP_BPF"]);
}

#[test]
fn what_seccomp_refuses_is_not_blamed_on_capabilities() {
    if skipped() {
        return;
    }
    /// System calls of x86-64.
    const BPF: &str = "321";
    const PERF_EVENT_OPEN: &str = "298";
    let script = places::programs().join("refuse.py").display().to_string();
    let filter = |number: &str, error: &str| words(&format!("/usr/bin/python3 {script} {number} {error}"));
    for (number, error, word) in [(BPF, "1", "bpf()"), (BPF, "38", "hides"), (PERF_EVENT_OPEN, "1", "perf_event_open")]
    {
        assert_refused(&filter(number, error), &["seccomp", word], &["missing", "sudo", "Linux 5.8"]);
    }
    // A filter that lets both pass is in nobody's way.
    assert_told(&start(&filter("400", "1")), &[]);
}

#[test]
fn btf_that_something_lies_over_is_told() {
    if skipped() {
        return;
    }
    for (over, word) in [("/dev/null", "is empty"), ("/dev/zero", "is no BTF"), ("/etc/passwd", "is no BTF")] {
        let hide = mounted(&format!("mount --bind {over} /sys/kernel/btf/vmlinux"));
        assert_refused(&hide, &["/sys/kernel/btf/vmlinux", word, "mounted over it"], &["report", "CONFIG_"]);
    }
}

#[test]
fn a_limit_of_addresses_that_is_too_low_is_told() {
    if skipped() {
        return;
    }
    for bytes in [80_000_000, 200_000_000] {
        let limit = words(&format!("prlimit --as={bytes}"));
        assert_refused(&limit, &["RLIMIT_AS (ulimit -v)", "at least 320 MiB are needed"], &["Linux 5.8", "sudo"]);
    }
    assert_told(&start(&words("prlimit --as=4000000000")), &[]);
}

/// A memory cgroup of the test's own, in whichever tree this host has it.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Option<Self> {
        let name = format!("llmo-{name}-{}", std::process::id());
        let places = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(Path::new);
        let limit =
            |path: &Path| ["memory.limit_in_bytes", "memory.max"].into_iter().find(|file| path.join(file).exists());
        for place in places {
            let path = place.join(&name);
            if fs::create_dir(&path).is_ok() && limit(&path).is_some() {
                return Some(Group(path));
            }
            let _ = fs::remove_dir(&path);
        }
        println!("SKIPPED: this host gives out no memory cgroups");
        None
    }

    fn limit(&self, mib: u64) -> Vec<String> {
        let file = ["memory.limit_in_bytes", "memory.max"].map(|file| self.0.join(file));
        let file = file.iter().find(|file| file.exists()).unwrap();
        fs::write(file, (mib << 20).to_string()).unwrap();
        let script = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", self.0.display());
        ["sh", "-ec", &script, "sh"].map(str::to_owned).into()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What ran in it may take a moment to be gone.
        let _ = wait_for("an empty cgroup", Duration::from_secs(10), || fs::remove_dir(&self.0).ok());
    }
}

#[test]
fn a_memory_limit_that_is_too_low_is_told_with_what_is_needed() {
    if skipped() {
        return;
    }
    let Some(group) = Group::new("memory") else { return };
    // The lowest would be killed on the way; the next ones would get everything but the ring, or
    // start and be killed then.
    for mib in [30, 64, 80] {
        let allows = format!("allows {mib} MiB, at least 91 MiB are needed");
        assert_refused(
            &group.limit(mib),
            &[&allows, "resources.limits.memory", "kernel.ring_bytes"],
            &["Linux 5.8", "sudo"],
        );
    }
}

/// In a pod of 128 MiB, where the daemon is well: a `doctor` that made the maps once more would not find room for them.
#[test]
fn doctor_beside_a_daemon_asks_it_and_makes_no_maps_of_its_own() {
    if skipped() {
        return;
    }
    let Some(group) = Group::new("beside") else { return };
    let wrapper = group.limit(128);
    let daemon = start(&wrapper);
    let (program, before) = wrapper.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(before).arg(daemon.binary()).args(["doctor", "-o", "json", "--inspect.socket"]).arg(daemon.socket());
    let output = command.output().unwrap();
    let checks: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(bad(&checks), [], "{checks:#}");
    assert_ne!(output.status.code(), Some(2), "{checks:#}");
    let found = |name: &str| {
        let check = checks.as_array().unwrap().iter().find(|check| check["name"] == name);
        check.and_then(|check| check["found"].as_str()).unwrap_or_default().to_owned()
    };
    assert!(found("daemon").contains("its own account") && found("programs").starts_with("loaded"), "{checks:#}");
    // Without a daemon it tries, over small maps: so it needs far less than the daemon does.
    let alone = Command::new(program)
        .args(before)
        .arg(daemon.binary())
        .args(["doctor", "--inspect.socket", "/nowhere"])
        .output();
    let alone = alone.unwrap();
    assert_eq!(alone.status.code(), Some(0), "{}", String::from_utf8_lossy(&alone.stdout));
}

/// A copy of the host's OpenSSL that user 1000 alone may reach, or anybody.
fn library(folder: &Path, mode: u32) {
    fs::create_dir(folder).unwrap();
    let list = Command::new("ldd").arg("/usr/bin/curl").output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let paths = list.lines().filter_map(|line| line.split(' ').find(|word| word.starts_with('/')));
    for path in paths.filter(|path| path.contains("/libssl.") || path.contains("/libcrypto.")) {
        let copy = folder.join(Path::new(path).file_name().unwrap());
        fs::copy(path, &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).unwrap();
        chown(&copy, Some(1000), Some(1000)).unwrap();
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    chown(folder, Some(1000), Some(1000)).unwrap();
}

/// Calls of user 1000 with a library in such a folder, of which the daemon shows the last as it was.
fn is_seen(wrapper: &[String], mode: u32) -> bool {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let folder = dir.path().join("own");
    library(&folder, mode);
    let provider = Provider::start(&Options::in_memory(dir.path().to_owned())).unwrap();
    let ca = provider.ca().unwrap();
    fs::set_permissions(ca, fs::Permissions::from_mode(0o644)).unwrap();
    let daemon = start(wrapper);
    let who = "setpriv --reuid 1000 --regid 1000 --clear-groups";
    let curl = format!("{who} env LD_LIBRARY_PATH={} curl --cacert {}", folder.display(), ca.display());
    let run = Clients::set_up().unwrap().run(Kind::named("curl-chat").unwrap(), &provider).env("CLIENT_CURL", &curl);
    // The first makes the library known.
    let models = ["warm", "counts"].map(|tag| format!("scenario:text#{tag}"));
    let (said, _) = run.start(&models).unwrap().finish().unwrap();
    assert!(said.iter().all(|line| line.error.is_none()), "{said:?}");
    let complete = wait_for("the call", Duration::from_secs(5), || {
        let streams = daemon.streams().ok()?;
        let ours = streams.into_iter().find(|ledger| ledger.request_model.as_deref() == Some(models[1].as_str()))?;
        (ours.outcome.as_deref() == Some("complete")).then_some(ours.chunks)
    });
    complete.is_ok_and(|chunks| chunks > 0)
}

#[test]
fn a_library_that_only_its_owner_may_reach_takes_cap_dac_read_search() {
    if skipped() {
        return;
    }
    let (with, without) = (only(ENOUGH), only(&ENOUGH.replace(",+dac_read_search", "")));
    assert!(is_seen(&with, 0o700), "with it");
    assert!(!is_seen(&without, 0o700), "without it, and `doctor` says so");
    assert!(is_seen(&without, 0o755), "of another user, but open to all");
    assert_told(&start(&without), &[("owned_files", "degraded")]);
}
