use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::super::grammar::ContainerRuntime;
use super::*;

#[test]
fn this_process_is_found() {
    let (start, identity) = IdentityReader::default().read(std::process::id()).unwrap();
    let now = crate::clock::now().0;
    assert!(start <= now && start > now.saturating_sub(3600 * 1_000_000_000), "{start} {now}");
    assert_eq!(identity.pid, std::process::id());
    assert_eq!(identity.uid, Some(fs::metadata("/proc/self").unwrap().uid()));
    assert!(identity.exe.unwrap().contains("edge-"));
    assert!(!identity.service.is_empty() && !identity.comm.is_empty());
}

#[test]
fn a_process_that_is_gone_is_none() {
    assert_eq!(IdentityReader::default().read(u32::MAX), None);
}

/// A host in a folder: /proc, cgroup trees and runtimes' files.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Host {
        let host = Host { dir: tempfile::tempdir().unwrap() };
        host.write("proc/self/mounts", &format!("none {} cgroup2 rw 0 0\n", host.path("cgroup").display()));
        host.write("proc/self/cgroup", "0::/\n");
        host.write("proc/1/cgroup", "0::/init.scope\n");
        host.write("proc/1/status", "CapBnd:\t00000000000000ff\n");
        host.write("cgroup/cgroup.procs", "");
        host
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn process(&self, pid: u32, uid: u32, cgroup: &str) {
        self.write(&format!("proc/{pid}/stat"), &format!("{pid} (a) b) S {}100 0", "0 ".repeat(18)));
        self.write(&format!("proc/{pid}/comm"), "agent\n");
        self.write(&format!("proc/{pid}/status"), &format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapBnd:\t0f\n"));
        self.write(&format!("proc/{pid}/cgroup"), &format!("0::{cgroup}\n"));
        fs::create_dir_all(self.path(&format!("cgroup{cgroup}"))).unwrap();
    }

    fn program(&self, pid: u32, path: &str) {
        self.write(path.trim_start_matches('/'), "program");
        let link = self.path(&format!("proc/{pid}/exe"));
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(self.path(path.trim_start_matches('/')), link).unwrap();
    }

    fn reader(&self) -> IdentityReader {
        IdentityReader::new(self.path("proc"), vec![self.dir.path().into()])
    }
}

fn as_root() -> bool {
    // Only root's folders are root's.
    fs::metadata("/proc/self").unwrap().uid() == 0
}

#[test]
fn names_come_from_the_hosts_files() {
    if !as_root() {
        return;
    }
    let (host, id) = (Host::new(), "c".repeat(64));
    host.process(42, 0, &format!("/system.slice/docker-{id}.scope"));
    host.write(&format!("var/lib/docker/containers/{id}/config.v2.json"), r#"{"Name":"/shop"}"#);
    let (start, identity) = host.reader().read(42).unwrap();
    assert_eq!((start, identity.service.as_str()), (1_000_000_000, "shop"));
    assert_eq!((identity.container_id.as_deref(), identity.uid), (Some(id.as_str()), Some(0)));
}

/// A delegated group is its owner's, whatever its path says.
#[test]
fn a_users_group_names_nobody() {
    if !as_root() {
        return;
    }
    let (host, id, uid) = (Host::new(), "c".repeat(64), "0b1cd5a5-2a3b-4c5d-8e9f-001122334455");
    let path = format!("/kubepods/burstable/pod{uid}/{id}");
    let task = format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}/config.json");
    host.write(&task, r#"{"annotations":{"io.kubernetes.cri.sandbox-name":"payments-0"}}"#);
    host.process(42, 65534, &path);
    assert_eq!(host.reader().read(42).unwrap().1.k8s.pod.as_deref(), Some("payments-0"), "root's own is believed");
    // The pod's own group is root's to name, and what lies in it its owner's.
    let pod = format!("cgroup/kubepods/burstable/pod{uid}");
    for (owned, known) in [("cgroup/kubepods", None), ("cgroup/kubepods/burstable", None), (&pod, Some(uid))] {
        std::os::unix::fs::chown(host.path(owned), Some(65534), None).unwrap();
        let forged = host.reader().read(42).unwrap().1;
        assert_eq!((forged.k8s.pod, forged.container_id), (None, None), "{owned}");
        assert_eq!(forged.k8s.pod_uid.as_deref(), known, "{owned}");
        std::os::unix::fs::chown(host.path(owned), Some(0), None).unwrap();
        fs::set_permissions(host.path(owned), PermissionsExt::from_mode(0o777)).unwrap();
        let shared = host.reader().read(42).unwrap().1;
        assert_eq!((shared.k8s.pod, shared.container_id), (None, None), "{owned}");
        assert_eq!(shared.k8s.pod_uid.as_deref(), known, "{owned}");
        fs::set_permissions(host.path(owned), PermissionsExt::from_mode(0o755)).unwrap();
    }
}

/// A runtime that writes its state late is asked again, with growing patience.
#[test]
fn an_empty_answer_is_asked_for_again() {
    if !as_root() {
        return;
    }
    let (host, id) = (Host::new(), "c".repeat(64));
    host.process(42, 0, &format!("/docker/{id}"));
    let mut reader = host.reader();
    assert_eq!(reader.read(42).unwrap().1.service, "agent (container)");
    assert!(reader.again().is_empty(), "not at once");
    host.write(&format!("var/lib/docker/containers/{id}/config.v2.json"), r#"{"Name":"/shop"}"#);
    assert_eq!(reader.read(42).unwrap().1.service, "agent (container)", "the answer is believed for a second");
    std::thread::sleep(AGAIN);
    assert_eq!(reader.again(), [42]);
    assert_eq!(reader.read(42).unwrap().1.service, "shop");
    std::thread::sleep(AGAIN);
    assert!(reader.again().is_empty(), "it is known");
}

/// Looking is bounded, however many containers there are that nobody knows.
#[test]
fn looks_are_counted() {
    let mut reader = IdentityReader::new("/proc".into(), Vec::new());
    let now = Instant::now();
    // A user who makes containers up takes none of root's.
    for of_user in [true, false] {
        let looks = (0..1000).filter(|_| reader.may_look(now, of_user)).count();
        assert_eq!(looks, usize::try_from(LOOKUPS).unwrap());
        assert!(!reader.may_look(now, of_user));
    }
    assert!(reader.may_look(now + Duration::from_secs(1), false));
}

/// Nor do they push root's out of what is remembered, or out of those to be asked again.
#[test]
fn containers_that_a_user_makes_up_displace_none_of_roots() {
    let mut reader = IdentityReader::new("/proc".into(), Vec::new());
    let container =
        |at: usize, user| ContainerRef { id: format!("{at:064x}"), runtime: ContainerRuntime::Podman, user };
    let asked = || ContainerAnswer { names: None, next: Instant::now(), wait: AGAIN };
    reader.containers.insert(container(0, None), asked());
    let soon = Some(Instant::now());
    for at in 0..2 * KEPT {
        reader.forget();
        reader.containers.insert(container(at, Some(1000)), asked());
        reader.keep_open(u32::try_from(at).unwrap(), soon, true);
    }
    assert!(reader.containers.contains_key(&container(0, None)) && reader.containers.len() <= REMEMBERED);
    assert_eq!(reader.open.len(), KEPT / 2);
    reader.keep_open(u32::MAX, soon, false);
    assert!(reader.open.contains_key(&u32::MAX));
}

/// Of groups that the kernel does not print, as it does not those that are nested too deep, a
/// process is not taken for the host's own.
#[test]
fn a_process_whose_groups_cannot_be_read_is_a_stranger() {
    if !as_root() {
        return;
    }
    let host = Host::new();
    host.process(42, 0, "/a");
    host.write("proc/42/status", "Uid:\t0\t0\t0\t0\nCapBnd:\tff\n");
    assert_eq!(host.reader().read(42).unwrap().1.service, "agent", "the host's root");
    fs::remove_file(host.path("proc/42/cgroup")).unwrap();
    fs::create_dir(host.path("proc/42/cgroup")).unwrap();
    assert_eq!(host.reader().read(42).unwrap().1.service, "agent (uid 0)");
}

/// The host's own program keeps its bare name until a unit or a container is called so.
#[test]
fn a_bare_name_is_given_up_when_a_container_has_it() {
    if !as_root() {
        return;
    }
    let host = Host::new();
    let id = "c".repeat(64);
    host.process(42, 65534, "/deleg");
    host.process(43, 0, &format!("/docker/{id}"));
    host.write(&format!("var/lib/docker/containers/{id}/config.v2.json"), r#"{"Name":"/app"}"#);
    // The folder's own path stands for the host's root: the link's text must lie below it.
    let mut reader = IdentityReader::new(host.path("proc"), vec!["/".into()]);
    host.program(42, "/usr/bin/app");
    let settled = |reader: &mut IdentityReader| {
        let since = Instant::now();
        loop {
            let service = reader.read(42).unwrap().1.service;
            reader.lane.late();
            if !reader.open.contains_key(&42) || since.elapsed() > Duration::from_secs(10) {
                return service;
            }
        }
    };
    let under_sticky = settled(&mut reader);
    assert_eq!(under_sticky, "app (uid 65534)", "anybody may write to /tmp");
    reader.bare.insert(42, "app".into());
    reader.roots = vec![host.dir.path().into()];
    assert_eq!(reader.read(43).unwrap().1.service, "app");
    assert_eq!(reader.again(), [42]);
}

/// A user's runtime names his containers, with his mark; it cannot claim one that root's runtime knows.
#[test]
fn a_users_runtime_names_his_own_containers_alone() {
    if !as_root() {
        return;
    }
    let (host, own, roots) = (Host::new(), "c".repeat(64), "d".repeat(64));
    let manager = "/user.slice/user-1000.slice/user@1000.service";
    host.process(42, 100_999, &format!("{manager}/user.slice/libpod-{own}.scope/container"));
    host.process(43, 1000, &format!("{manager}/user.slice/libpod-{roots}.scope"));
    std::os::unix::fs::chown(host.path(&format!("cgroup{manager}")), Some(1000), None).unwrap();
    host.write("etc/passwd", "me:x:1000:1000::/home/me:/bin/sh\n");
    let list = "home/me/.local/share/containers/storage/overlay-containers/containers.json";
    host.write(list, &format!(r#"[{{"id":"{own}","names":["web"]}},{{"id":"{roots}","names":["payments"]}}]"#));
    std::os::unix::fs::chown(host.path(list), Some(1000), None).unwrap();
    host.write(
        "var/lib/containers/storage/overlay-containers/containers.json",
        &format!(r#"[{{"id":"{roots}","names":["payments"]}}]"#),
    );
    let mut reader = host.reader();
    let since = Instant::now();
    let mut identity = reader.read(42).unwrap().1;
    while identity.container_id.is_none() && since.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(200));
        reader.lane.late();
        identity = reader.read(42).unwrap().1;
    }
    assert_eq!((identity.service.as_str(), identity.container_id.as_deref()), ("web (uid 1000)", Some(own.as_str())));
    assert_eq!(identity.uid, Some(100_999));
    let forged = reader.read(43).unwrap().1;
    assert_eq!((forged.service.as_str(), forged.container_id), ("agent (uid 1000)", None));
}
