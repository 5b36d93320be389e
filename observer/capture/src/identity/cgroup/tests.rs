use proptest::prelude::*;

use super::*;

const ID: &str = "3f4e1b2c5d6a7988776655443322110fedcba98765432100123456789abcdef0";
const OTHER: &str = "0000000000000000000000000000000000000000000000000000000000000001";
const UID: &str = "0b1cd5a5-2a3b-4c5d-8e9f-001122334455";

/// All is root's, but what is below a user's manager, `/deleg`, and a service of a user's.
fn owner(group: &str) -> CgroupOwner {
    let owned = ["/deleg", "/user.slice/user-1000.slice/user@1000.service", "/system.slice/app.service"];
    match owned.iter().any(|own| group.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))) {
        true => CgroupOwner::User(1000),
        false => CgroupOwner::Root,
    }
}

fn parse(path: &str) -> CgroupFacts {
    CgroupFacts::of_path(path, &owner)
}

fn filled(form: &str) -> String {
    form.replace("UNDER", &UID.replace('-', "_")).replace("UID", UID).replace("OTHER", OTHER).replace("ID", ID)
}

fn id(facts: &CgroupFacts) -> Option<&str> {
    facts.container.as_ref().map(|container| container.id.as_str())
}

fn unit(facts: &CgroupFacts) -> Option<&str> {
    facts.unit.as_ref().map(|unit| unit.name.as_str())
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
        "/machine.slice/machine-libpod_pod_0123.slice/libpod-ID.scope/container",
        "/libpod_parent/libpod-ID",
        "/ecs/0123456789abcdef/ID",
        "/ecs/my-cluster/0123456789abcdef/ID",
        "/ecstasks.slice/ecstasks-0123456789abcdef.slice/docker-ID.scope",
        "/system.slice/containerd.service/kubepods-besteffort.slice:cri-containerd:ID",
    ] {
        let facts = parse(&filled(form));
        assert_eq!((id(&facts), unit(&facts)), (Some(ID), None), "{form}");
        assert_eq!(facts.container.unwrap().user, None, "{form}");
    }
}

#[test]
fn pods_in_every_form() {
    for form in [
        "/kubepods/besteffort/podUID/ID",
        "/kubepods/podUID/ID",
        "/kubepods/podUID/crio-ID",
        "/mine/kubepods/burstable/podUID/ID/init",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUNDER.slice/cri-containerd-ID.scope",
        "/kubepods.slice/kubepods-podUNDER.slice/crio-ID.scope",
        "/kubepods.slice/kubepods-podUNDER.slice/docker-ID.scope",
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/\
         kubelet-kubepods-besteffort-podUNDER.slice/cri-containerd-ID.scope",
        "/system.slice/containerd.service/kubepods-burstable-podUNDER.slice:cri-containerd:ID",
        "/kubepods-burstable-podUNDER.slice:cri-containerd:ID",
    ] {
        let facts = parse(&filled(form));
        assert_eq!((id(&facts), facts.pod_uid.as_deref()), (Some(ID), Some(UID)), "{form}");
    }
    let fixed = "0123456789abcdef".repeat(2);
    assert_eq!(parse(&format!("/kubepods/burstable/pod{fixed}/{ID}")).pod_uid, Some(fixed));
}

/// Paths that nobody's runtime makes, and those that a container or a user makes below what is his.
#[test]
fn forged_paths_name_no_pod() {
    for form in [
        // Not where the kubelet puts pods.
        "/kubepods-burstable-podUNDER.slice/cri-containerd-ID.scope",
        "/system.slice/kubepods-burstable-podUNDER.slice/cri-containerd-ID.scope",
        "/podUID/ID",
        "/besteffort/podUID/ID",
        "/kubepods/burstable/guaranteed/podUID/ID",
        "/kubepods.slice/kubepods-burstable-podUNDER.slice/cri-containerd-ID.scope",
    ] {
        assert_eq!(parse(&filled(form)).pod_uid, None, "{form}");
    }
    for form in [
        // A container's own groups.
        "/docker/OTHER/kubepods/burstable/podUID/ID",
        "/machine.slice/libpod-OTHER.scope/kubepods.slice/kubepods-podUNDER.slice/cri-containerd-ID.scope",
        "/lxc.payload.c1/kubepods/burstable/podUID/ID",
        "/machine.slice/machine-c1.scope/kubepods/podUID/ID",
        // A user's own.
        "/deleg/kubepods/burstable/podUID/ID",
        "/deleg/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUNDER.slice/cri-containerd-ID.scope",
        "/user.slice/user-1000.slice/user@1000.service/kubepods/podUID/ID",
        "/user.slice/user-1000.slice/user@1000.service/kubepods.slice/kubepods-podUNDER.slice/crio-ID.scope",
        "/user.slice/user-1000.slice/user@1000.service/kubepods-podUNDER.slice:cri-containerd:ID",
        "/system.slice/app.service/kubepods/podUID/ID",
        "/system.slice/app.service/kubepods-podUNDER.slice:cri-containerd:ID",
    ] {
        let facts = parse(&filled(form));
        assert_eq!(facts.pod_uid, None, "{form}");
        let claimed = facts.container.filter(|container| container.user.is_none() && container.id == ID);
        assert_eq!(claimed, None, "{form}");
    }
}

#[test]
fn the_outermost_container_counts() {
    for form in [
        "/docker/OTHER/docker/ID",
        "/kubepods/podUID/OTHER/docker/ID",
        "/system.slice/docker-OTHER.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podUNDER.slice/\
         cri-containerd-ID.scope",
    ] {
        let facts = parse(&filled(form));
        assert_eq!((id(&facts), unit(&facts)), (Some(OTHER), None), "{form}");
    }
}

#[test]
fn a_users_containers_are_his() {
    for form in [
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
        "/deleg/libpod_parent/libpod-ID",
    ] {
        let container = parse(&filled(form)).container.unwrap();
        assert_eq!((container.id.as_str(), container.user), (ID, Some(1000)), "{form}");
    }
    // The manager's name says it, too, where its group is still root's.
    let early = filled("/user.slice/user-7.slice/user@7.service/user.slice/libpod-ID.scope");
    assert_eq!(parse(&early).container.unwrap().user, Some(7));
}

/// Where nobody can be asked who owns what, no container is believed.
#[test]
fn without_owners_units_alone_are_known() {
    let blind = |path: &str| CgroupFacts::of_path(path, &|_| CgroupOwner::Unknown);
    for form in ["/kubepods/podUID/ID", "/docker/ID", "/system.slice/docker-ID.scope"] {
        let facts = blind(&filled(form));
        assert_eq!((id(&facts), facts.pod_uid.as_deref(), facts.inside), (None, None, true), "{form}");
    }
    assert_eq!(unit(&blind("/system.slice/nginx.service")), Some("nginx"));
}

#[test]
fn monitors_are_not_containers() {
    for form in ["/machine.slice/libpod-conmon-ID.scope", "/system.slice/crio-conmon-ID.scope"] {
        let facts = parse(&filled(form));
        assert_eq!((id(&facts), facts.inside), (None, false), "{form}");
    }
}

#[test]
fn units() {
    for (path, name, user) in [
        ("/system.slice/nginx.service", Some("nginx"), None),
        ("/nginx.service", Some("nginx"), None),
        ("/system.slice/system-getty.slice/getty@tty1.service", Some("getty@tty1"), None),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/agent.service", Some("agent"), Some(1000)),
        ("/user.slice/user-1000.slice/user@1000.service/agent.service", Some("agent"), Some(1000)),
        ("/user.slice/user-1000.slice/user@1000.service/init.scope", None, None),
        ("/user.slice/user-1000.slice/session-3.scope", None, None),
        ("/system.slice/my\\x2dagent.service", Some("my-agent"), None),
        ("/system.slice/agent.service/payload", Some("agent"), None),
        // A service makes groups of its own, and is still itself.
        ("/system.slice/app.service/payments.service", Some("app"), None),
        ("/system.slice/systemd-nspawn@c1.service/payload/system.slice/nginx.service", Some("systemd-nspawn@c1"), None),
        // None of systemd's places.
        ("/deleg/payments.service", None, None),
        ("/mine/payments.service", None, None),
        ("/a.slice/b.slice/payments.service", None, None),
        ("/lxc.payload.c1/system.slice/nginx.service", None, None),
        ("/", None, None),
        ("", None, None),
    ] {
        let facts = parse(path);
        assert_eq!(unit(&facts), name, "{path}");
        assert_eq!(facts.unit.and_then(|unit| unit.user), user, "{path}");
    }
}

/// Of podman's `--cgroups=split`, and of a container that a service's user runs, the service is the operator's word.
#[test]
fn a_service_keeps_a_container_that_is_its_own() {
    for form in ["/system.slice/web.service/libpod-payload-ID", "/system.slice/app.service/libpod-payload-ID"] {
        let facts = parse(&filled(form));
        assert!(unit(&facts).is_some() && id(&facts) == Some(ID), "{form}: {facts:?}");
    }
}

fn all(text: &str) -> CgroupFacts {
    CgroupFacts::of_all(lines(text).map(|line| parse(line.path)).collect())
}

#[test]
fn hybrid_hosts_keep_containers_in_the_old_tree() {
    let text = format!("12:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/system.slice/containerd.service\n");
    assert_eq!(id(&all(&text)), Some(ID));
    assert_eq!(unit(&all("4:cpu:/\n1:name=systemd:/system.slice/a.service\n0::/\n")), Some("a"));
    let torn = all(&format!("2:cpu:/docker/{OTHER}\n1:name=systemd:/docker/{ID}\n0::/\n"));
    assert_eq!((id(&torn), torn.inside), (None, true), "two containers at once");
    let deleg = all(&format!("2:cpu:/deleg/kubepods/pod{UID}/{OTHER}\n1:memory:/docker/{ID}\n0::/\n"));
    assert_eq!((id(&deleg), deleg.pod_uid.as_deref()), (Some(ID), None), "a tree of the user's own takes nothing away");
}

#[test]
fn nonsense_is_nothing() {
    for text in
        ["", ":", "0", "0:", "0::", "\n\n", "0::/pod/podx/kubepods-pod.slice", "0::/é/日本", "0::/../docker-1.scope"]
    {
        assert_eq!(all(text), CgroupFacts::default(), "{text}");
    }
}

fn groups() -> impl Strategy<Value = String> {
    let known = [
        "kubepods",
        "burstable",
        "podUID",
        "ID",
        "OTHER",
        "docker",
        "kubepods.slice",
        "kubepods-burstable.slice",
        "kubepods-burstable-podUNDER.slice",
        "cri-containerd-ID.scope",
        "crio-ID.scope",
        "libpod-ID",
        "system.slice",
        "payments.service",
        "user@0.service",
        "user@7.service",
        "kubepods-podUNDER.slice:cri-containerd:ID",
        "user.slice",
        "libpod-payload-ID",
        "libpod-conmon-ID.scope",
        "machine-x",
        "init.scope",
    ];
    let part = prop_oneof![prop::sample::select(known.to_vec()).prop_map(filled), "[ -~&&[^/.]][ -~&&[^/]]{0,11}"];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.join("/"))
}

proptest! {
    /// Whatever a user makes below a group that is his: never a pod, a container or a service but his own.
    #[test]
    fn below_a_users_group_nothing_is_roots(place in 0..3_usize, below in groups()) {
        let above = ["/deleg", "/user.slice/user-1000.slice/user@1000.service", "/system.slice/app.service"][place];
        let facts = parse(&format!("{above}/{below}"));
        prop_assert_eq!((&facts.pod_uid, facts.inside), (&None, false));
        if let Some(container) = &facts.container {
            prop_assert_eq!(container.user, Some(1000));
        }
        if let Some(unit) = &facts.unit {
            prop_assert!(unit.user == Some(1000) || unit.name == "app", "{unit:?}");
        }
    }

    /// Whatever a container makes of its own groups: it is that container.
    #[test]
    fn below_a_container_nothing_changes(below in groups()) {
        let above = format!("/kubepods/pod{UID}/{OTHER}");
        prop_assert_eq!(parse(&format!("{above}/{below}")), parse(&above));
    }
}
