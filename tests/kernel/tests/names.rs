//! Names that cannot be forged: what a user, a container or a late runtime can make the daemon call a process.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kernel_tests::daemon::Daemon;
use kernel_tests::rig::Rig;
use kernel_tests::{clients::Clients, places, skipped, wait_for};
use provider::{Options, Provider};
use serde_json::Value;

const NOBODY: u32 = 65534;
const UID: &str = "0b1cd5a5-2a3b-4c5d-8e9f-001122334455";

/// Calls the models that are named on its input, one a line, and says so when it is done.
const CLIENT: &str = r#"
import http.client, json, os, sys
host, port = os.environ["PROVIDER"].split(":")
for model in sys.stdin:
    connection = http.client.HTTPConnection(host, int(port))
    body = {"model": model.strip(), "stream": True, "messages": []}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    connection.getresponse().read()
    connection.close()
    print("done", flush=True)
"#;

const PYTHON: &str = "/usr/bin/python3";

fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// Groups of the test's own, in the unified tree.
struct Groups(PathBuf);

impl Groups {
    /// A top group, which is removed with all that is in it.
    fn new(name: &str) -> Groups {
        let path = places::root_cgroup().unwrap().join(name);
        fs::create_dir_all(&path).unwrap();
        Groups(path)
    }

    fn below(&self, path: &str) -> PathBuf {
        let path = self.0.join(path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Gives a group away, as systemd does with `Delegate=`.
    fn delegate(&self, to: u32) {
        for file in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
            chown(self.0.join(file), Some(to), Some(to)).unwrap();
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let _ = wait_for("empty groups", Duration::from_secs(5), || remove(&self.0).ok());
    }
}

fn remove(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// A client, ended with the test.
struct Caller {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Caller {
    /// `wrap` is a shell's command that ends in `"$@"`, which is the client.
    fn start(rig: &Rig, wrap: &str, program: &str) -> Caller {
        let mut command = Command::new("sh");
        command.args(["-ec", wrap, "sh", program, "-c", CLIENT]);
        command.env("PROVIDER", rig.provider.plain_address().to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Caller { child, said }
    }

    /// One call, and what `inspect` says of it.
    fn call(&mut self, rig: &Rig, tag: &str) -> Value {
        let model = format!("scenario:text#{tag}");
        writeln!(self.child.stdin.as_mut().unwrap(), "{model}").unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n", "{tag}");
        let seen = wait_for("the call", Duration::from_secs(20), || {
            let rows: Vec<Value> = rig.daemon.inspect_json(&["streams"]).ok()?;
            rows.into_iter().find(|row| row["request_model"] == model.as_str() && !row["outcome"].is_null())
        });
        seen.unwrap()
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rig(host_root: Option<&Path>) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let provider = Provider::start(&Options { plain: true, ..Options::in_memory(dir.path().to_owned()) }).unwrap();
    let root = host_root.map(|path| path.to_string_lossy().into_owned());
    let args: Vec<&str> = root.iter().flat_map(|root| ["--host.root", root.as_str()]).collect();
    let daemon = Daemon::start_with(&args, &[]).unwrap();
    Rig::of(provider, Clients::set_up().unwrap(), daemon, dir)
}

fn as_nobody(command: &str) -> String {
    format!("exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {command}")
}

/// Where nobody can keep files, and the host's root cannot be written to.
fn folder_of_nobody() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    dir
}

fn copy(program: &str, to: &Path) {
    // By a process of its own: a descriptor that another test's child has inherited would keep the copy from being run.
    assert!(Command::new("cp").arg(fs::canonicalize(program).unwrap()).arg(to).status().unwrap().success());
    chown(to, Some(NOBODY), Some(NOBODY)).unwrap();
}

#[test]
fn a_users_program_is_called_by_its_user() {
    if skipped() {
        return;
    }
    let rig = rig(None);
    let dir = folder_of_nobody();
    let renamed = dir.path().join("payments-api");
    copy(PYTHON, &renamed);
    let row = Caller::start(&rig, &as_nobody(r#""$@""#), renamed.to_str().unwrap()).call(&rig, "renamed");
    assert_eq!(row["service"], format!("payments-api (uid {NOBODY})"), "{row}");
    assert_eq!((&row["uid"], &row["container_id"]), (&NOBODY.into(), &Value::Null));
    // The host's own programs are called as before, whoever runs them; and root's are root's.
    let own = fs::canonicalize(PYTHON).unwrap();
    let name = own.file_name().unwrap().to_str().unwrap();
    let row = Caller::start(&rig, &as_nobody(r#""$@""#), PYTHON).call(&rig, "own");
    assert_eq!((row["service"].as_str(), &row["uid"]), (Some(name), &NOBODY.into()), "{row}");
    let row = Caller::start(&rig, r#"exec "$@""#, renamed.to_str().unwrap()).call(&rig, "roots");
    assert_eq!((row["service"].as_str(), &row["uid"]), (Some("payments-api"), &0.into()), "{row}");
    // In a mount namespace of his own a user lays what he likes over /usr/bin, and is no root outside.
    let over = format!("mount --bind {} {}; exec \"$0\" \"$@\"", dir.path().display(), "/usr/local/bin");
    let inside = format!("unshare -Urm sh -ec '{over}' /usr/local/bin/payments-api -c \"$3\"");
    if Command::new("sh").args(["-c", &as_nobody("unshare -Urm true")]).status().unwrap().success() {
        let row = Caller::start(&rig, &as_nobody(&inside), PYTHON).call(&rig, "namespace");
        assert_eq!(row["service"], format!("payments-api (uid {NOBODY})"), "{row}");
    } else {
        println!("SKIPPED: users may not make namespaces here");
    }
}

/// A user with a group of his own makes it look like a pod's, a container's, a service's.
#[test]
fn a_users_group_is_no_pod_container_or_service() {
    if skipped() {
        return;
    }
    let rig = rig(None);
    let top = format!("llmo-deleg-{}", std::process::id());
    let groups = Groups::new(&top);
    groups.delegate(NOBODY);
    let under = UID.replace('-', "_");
    let name = fs::canonicalize(PYTHON).unwrap().file_name().unwrap().to_string_lossy().into_owned();
    for (tag, path) in [
        ("cgroupfs", format!("kubepods/burstable/pod{UID}/{}", id('a'))),
        (
            "systemd",
            format!(
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{under}.slice/cri-containerd-{}.scope",
                id('b')
            ),
        ),
        ("docker", format!("docker/{}", id('c'))),
        ("podman", format!("machine.slice/libpod-{}.scope/container", id('d'))),
        ("unit", "system.slice/payments-api.service".to_owned()),
    ] {
        let group = groups.0.join(&path);
        // Root moves a shell into the group that is his; he does the rest.
        let forge = format!("mkdir -p {0}; echo $$ > {0}/cgroup.procs; exec \"$0\" \"$@\"", group.display());
        let wrap = format!(
            "echo $$ > {}/cgroup.procs; {}",
            groups.0.display(),
            as_nobody(&format!("sh -ec '{forge}' \"$@\""))
        );
        let mut caller = Caller::start(&rig, &wrap, PYTHON);
        let row = caller.call(&rig, tag);
        let within = fs::read_to_string(format!("/proc/{}/cgroup", caller.child.id())).unwrap();
        assert!(within.contains(&format!("0::/{top}/{path}")), "the forgery did not come about: {within}");
        for field in ["namespace", "workload", "pod", "pod_uid", "container"] {
            assert_eq!(row["k8s"][field], Value::Null, "{tag}: {row}");
        }
        assert_eq!(row["container_id"], Value::Null, "{tag}: {row}");
        let service = row["service"].as_str().unwrap();
        assert!(service == name || service == format!("{name} (uid {NOBODY})"), "{tag}: {row}");
    }
}

/// A pod as containerd keeps it, in a host's root of the test's own.
fn task(host: &Path, id: &str, pod: &str) {
    let folder = host.join("run/containerd/io.containerd.runtime.v2.task/k8s.io").join(id);
    fs::create_dir_all(&folder).unwrap();
    let note = |key: &str, value: &str| format!(r#""io.kubernetes.cri.{key}":"{value}""#);
    let notes = [note("container-name", "web"), note("sandbox-name", pod), note("sandbox-namespace", "prod")].join(",");
    fs::write(folder.join("config.json"), format!(r#"{{"annotations":{{{notes}}}}}"#)).unwrap();
}

/// What a container makes of its own groups and files names nobody but itself; and what its runtime
/// writes late is believed then.
#[test]
fn a_container_is_itself_whatever_it_makes_of_its_groups_and_files() {
    if skipped() {
        return;
    }
    let host = tempfile::tempdir().unwrap();
    let (real, other) = (id('1'), id('2'));
    let rig = rig(Some(host.path()));
    task(host.path(), &other, "payments-0");
    let groups = Groups::new("kubepods");
    let own = groups.below(&format!("burstable/pod{UID}/{real}"));
    // Below it, a group like that of another pod's container.
    let forged = own.join(format!("kubepods/burstable/pod1b1cd5a5-2a3b-4c5d-8e9f-001122334455/{other}"));
    fs::create_dir_all(&forged).unwrap();
    // In its root, a runtime's state that calls it another pod.
    let root = tempfile::tempdir().unwrap();
    task(root.path(), &real, "payments-0");
    let binds = "for at in /bin /lib /lib64 /usr /proc /dev; do [ -e $at ] || continue; mkdir -p ROOT$at; mount --rbind $at ROOT$at; done";
    let inside = format!("{}; exec chroot ROOT \"$0\" \"$@\"", binds).replace("ROOT", &root.path().to_string_lossy());
    let wrap = format!(
        "echo $$ > {}/cgroup.procs; exec unshare --mount --propagation private sh -ec '{inside}' \"$@\"",
        forged.display()
    );
    let mut caller = Caller::start(&rig, &wrap, PYTHON);
    let row = caller.call(&rig, "forged");
    let k8s = &row["k8s"];
    assert_eq!(
        (&k8s["pod"], &k8s["namespace"], &k8s["container"]),
        (&Value::Null, &Value::Null, &Value::Null),
        "{row}"
    );
    assert_eq!((&k8s["pod_uid"], &row["container_id"]), (&UID.into(), &real.as_str().into()), "{row}");
    assert!(row["service"].as_str().unwrap().ends_with(" (container)"), "{row}");
    // The runtime comes to write its state: the same process is named from its next call on.
    task(host.path(), &real, "shop-7d9f8c6b5d-x2x4z");
    let mut turn = 0;
    let named = wait_for("the container's name", Duration::from_secs(20), || {
        turn += 1;
        let row = caller.call(&rig, &format!("named-{turn}"));
        (row["service"] == "web").then_some(row)
    });
    let row = named.unwrap();
    let k8s = &row["k8s"];
    assert_eq!((row["service"].as_str(), k8s["pod"].as_str()), (Some("web"), Some("shop-7d9f8c6b5d-x2x4z")), "{row}");
    assert_eq!((k8s["namespace"].as_str(), k8s["workload"].as_str()), (Some("prod"), Some("shop")), "{row}");
    assert_eq!((k8s["pod_uid"].as_str(), &k8s["node"]), (Some(UID), &Value::Null), "{row}");
}

#[test]
fn doctor_says_where_names_come_from() {
    if skipped() {
        return;
    }
    let host = tempfile::tempdir().unwrap();
    let doctor = |root: &str| {
        let socket = host.path().join("none.sock");
        let mut command = Command::new(places::daemon().unwrap());
        command.args(["doctor", "-o", "json", "--host.root", root, "--inspect.socket"]).arg(socket);
        let checks: Vec<Value> = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        checks.into_iter().find(|check| check["name"] == "names").unwrap()
    };
    let none = doctor("/nowhere");
    assert_eq!(none["status"], "degraded", "{none}");
    assert!(none["fix"].as_str().unwrap().contains("LLM_OBSERVER_HOST_ROOT"), "{none}");
    task(host.path(), &id('1'), "shop-0");
    let some = doctor(host.path().to_str().unwrap());
    assert_eq!(some["status"], "ok", "{some}");
    assert!(some["found"].as_str().unwrap().contains("containerd"), "{some}");
}

/// The mark of a container lies on a host whose disk was made of an image; a container that sees
/// neither the host's processes nor its root has lost the names, whatever its own process 1 shows.
#[test]
fn a_mark_makes_no_container_and_ones_own_first_process_no_host() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    let hidden = "mount -t tmpfs none /var/lib; mount -t tmpfs none /run; exec \"$@\"";
    let mounts = ["unshare", "--mount", "sh", "-ec", hidden, "sh"];
    let alone = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-ec", hidden, "sh"];
    for (before, status) in [(&[][..], "ok"), (&mounts[..], "ok"), (&alone[..], "degraded")] {
        let daemon = places::daemon().unwrap();
        let words = before.iter().copied().chain(daemon.to_str());
        let mut command = Command::new("env");
        command.arg("container=oci").args(words).args(["doctor", "-o", "json", "--inspect.socket"]).arg(&socket);
        let checks: Vec<Value> = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let names = checks.into_iter().find(|check| check["name"] == "names").unwrap();
        assert_eq!(names["status"], status, "{before:?}: {names}");
    }
}
