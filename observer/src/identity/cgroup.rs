//! What a cgroup path says of a process: its systemd unit, its container, its pod. Pure; the forms are those that
//! systemd, docker, containerd, cri-o, podman and the kubelet write with either cgroup driver.

/// The facts of `/proc/PID/cgroup`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// systemd service, without `.service`. `None` inside a container and for sessions and scopes.
    pub unit: Option<String>,
    /// Full hex id.
    pub container_id: Option<String>,
    /// Kubernetes pod UID, with dashes.
    pub pod_uid: Option<String>,
}

impl Cgroup {
    /// Reads the file's text: `hierarchy:controllers:path` lines. The unified line (`0::`) decides unless an older
    /// hierarchy knows more (hybrid hosts keep containers in the v1 tree).
    #[must_use]
    pub fn parse(text: &str) -> Cgroup {
        let mut paths: Vec<&str> = text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
        // The unified hierarchy is printed last.
        paths.reverse();
        let facts: Vec<Cgroup> = paths.into_iter().map(Cgroup::of_path).collect();
        let known = facts.iter().find(|f| f.container_id.is_some() || f.pod_uid.is_some());
        known.or_else(|| facts.iter().find(|f| f.unit.is_some())).cloned().unwrap_or_default()
    }

    /// One path. Leading `..` (a cgroup namespace other than ours) say nothing and are skipped.
    fn of_path(path: &str) -> Cgroup {
        // runc's cgroupfs driver writes `slice:cri-containerd:id` as one component.
        let parts: Vec<&str> = path.split(['/', ':']).filter(|part| !part.is_empty() && *part != "..").collect();
        let container_id = parts.iter().rev().find_map(|part| container_id(part));
        let unit = if container_id.is_some() { None } else { parts.iter().rev().find_map(|part| unit(part)) };
        Cgroup { unit, container_id, pod_uid: parts.iter().find_map(|part| pod_uid(part)) }
    }
}

/// `ID`, `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`, `libpod-ID`, `nerdctl-ID.scope`.
/// The runtimes' own monitors (`crio-conmon-ID`, `libpod-conmon-ID`) are not the container.
fn container_id(part: &str) -> Option<String> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let (prefix, id) = name.rsplit_once('-').unwrap_or(("", name));
    let is_id = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    (is_id && !prefix.ends_with("conmon")).then(|| id.to_owned())
}

/// `pod<uid>` (cgroupfs) or `kubepods[-burstable|-besteffort]-pod<uid with underscores>.slice` (systemd). Static pods
/// have a 32-digit hash for a uid.
fn pod_uid(part: &str) -> Option<String> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match name.strip_prefix("pod") {
        Some(uid) => uid,
        None => name.strip_prefix("kubepods")?.split_once("pod")?.1,
    };
    let uid = uid.replace('_', "-");
    let hex = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = uid.bytes().filter(|b| *b == b'-').count();
    (hex == 32 && (dashes == 4 || dashes == 0) && hex + dashes == uid.len()).then_some(uid)
}

/// A service's name; the per-user manager itself is none.
fn unit(part: &str) -> Option<String> {
    let name = part.strip_suffix(".service")?;
    (!name.starts_with("user@")).then(|| unescape(name))
}

/// systemd writes `-` in a name's path part as `\x2d`.
fn unescape(name: &str) -> String {
    name.replace("\\x2d", "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4e1b2c5d6a7988776655443322110fedcba98765432100123456789abcdef0";
    const UID: &str = "0b1cd5a5-2a3b-4c5d-8e9f-001122334455";

    fn parse(path: &str) -> Cgroup {
        Cgroup::parse(&format!("0::{path}\n"))
    }

    fn of_container(path: &str) {
        assert_eq!(parse(path).container_id.as_deref(), Some(ID), "{path}");
        assert_eq!(parse(path).unit, None, "{path}");
    }

    #[test]
    fn containers() {
        for form in [
            "/docker/ID",
            "/docker/ID/system.slice/nginx.service",
            "/system.slice/docker-ID.scope",
            "/system.slice/docker-ID.scope/init.scope",
            "/default/ID",
            "/system.slice/nerdctl-ID.scope",
            "/k8s.io/ID",
            "/machine.slice/libpod-ID.scope",
            "/machine.slice/libpod-ID.scope/container",
            "/libpod_parent/libpod-ID",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            "/ecs/0123456789abcdef/ID",
            "/system.slice/containerd.service/kubepods-besteffort.slice:cri-containerd:ID",
            "/../../docker-ID.scope",
            "/../cri-containerd-ID.scope",
        ] {
            of_container(&form.replace("ID", ID));
        }
    }

    #[test]
    fn pods_in_every_form() {
        let under = UID.replace('-', "_");
        for form in [
            "/kubepods/besteffort/podUID/ID",
            "/kubepods/podUID/ID",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUNDER.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-podUNDER.slice/crio-ID.scope",
            "/kubelet.slice/kubelet-kubepods.slice/kubepods-besteffort-podUNDER.slice/docker-ID.scope",
            "/system.slice/containerd.service/kubepods-burstable-podUNDER.slice:cri-containerd:ID",
            "/../../../kubepods-besteffort-podUNDER.slice/cri-containerd-ID.scope",
            "/../podUID/ID",
        ] {
            let path = form.replace("UNDER", &under).replace("UID", UID).replace("ID", ID);
            of_container(&path);
            assert_eq!(parse(&path).pod_uid.as_deref(), Some(UID), "{path}");
        }
        let static_pod = format!("/kubepods/burstable/pod{}/{ID}", "0123456789abcdef".repeat(2));
        assert_eq!(parse(&static_pod).pod_uid.as_deref(), Some("0123456789abcdef0123456789abcdef"));
    }

    #[test]
    fn monitors_are_not_containers() {
        for form in ["/machine.slice/libpod-conmon-ID.scope", "/system.slice/crio-conmon-ID.scope"] {
            assert_eq!(parse(&form.replace("ID", ID)).container_id, None);
        }
    }

    #[test]
    fn units() {
        for (path, unit) in [
            ("/system.slice/nginx.service", Some("nginx")),
            ("/system.slice/system-getty.slice/getty@tty1.service", Some("getty@tty1")),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/agent.service", Some("agent")),
            ("/user.slice/user-1000.slice/user@1000.service/init.scope", None),
            ("/user.slice/user-1000.slice/session-3.scope", None),
            ("/system.slice/my\\x2dagent.service", Some("my-agent")),
            ("/system.slice/agent.service/payload", Some("agent")),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(parse(path).unit.as_deref(), unit, "{path}");
        }
    }

    #[test]
    fn hybrid_hosts_keep_containers_in_the_old_tree() {
        let text =
            format!("12:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/system.slice/containerd.service\n");
        assert_eq!(Cgroup::parse(&text).container_id.as_deref(), Some(ID));
        assert_eq!(Cgroup::parse("4:cpu:/\n1:name=systemd:/system.slice/a.service\n0::/\n").unit.as_deref(), Some("a"));
    }

    #[test]
    fn nonsense_is_nothing() {
        for text in ["", ":", "0", "0:", "0::", "\n\n", "0::/pod/podx/kubepods-pod.slice", "0::/é/日本"] {
            assert_eq!(Cgroup::parse(text), Cgroup::default(), "{text}");
        }
    }
}
