use super::cgroup::CgroupOwner;
use super::*;

const UID: &str = "0b1cd5a5-2a3b-4c5d-8e9f-001122334455";

fn facts(uid: u32, root: bool) -> ProcessFacts {
    ProcessFacts { pid: 7, comm: "python3".into(), exe: Some("/usr/bin/python3.11".into()), uid: Some(uid), root }
}

/// Everything on the path is root's but what lies below `/deleg` and a user's manager.
fn cgroup(path: &str) -> CgroupFacts {
    CgroupFacts::of_path(path, &|group| match group {
        group if group.starts_with("/deleg") => CgroupOwner::User(1000),
        group if group.contains("user@1000.service") => CgroupOwner::User(1000),
        _ => CgroupOwner::Root,
    })
}

fn service_of(path: &str, names: Option<ContainerNames>, facts: ProcessFacts, own: ExecutableOwner) -> String {
    ProcessIdentity::new(facts, cgroup(path), names, own).service
}

fn called(name: &str) -> Option<ContainerNames> {
    Some(ContainerNames { container: Some(name.into()), ..Default::default() })
}

#[test]
fn unit_then_container_then_executable() {
    let root = || facts(0, true);
    let docker = format!("/docker/{}", "a".repeat(64));
    assert_eq!(service_of("/system.slice/agent.service", None, root(), ExecutableOwner::Strange), "agent");
    assert_eq!(service_of(&docker, called("shop"), root(), ExecutableOwner::Strange), "shop");
    assert_eq!(service_of("/user.slice/session-1.scope", None, root(), ExecutableOwner::Strange), "python3.11");
    let bare = ProcessFacts { exe: None, comm: "java".into(), ..root() };
    assert_eq!(service_of("/", None, bare, ExecutableOwner::Strange), "java");
}

/// What somebody else could have chosen says whose it is, and nobody can make the mark up.
#[test]
fn whoever_chose_a_name_is_told() {
    let user = || facts(65534, false);
    let renamed = |name: &str| ProcessFacts { exe: Some(format!("/tmp/{name}")), ..user() };
    assert_eq!(service_of("/", None, user(), ExecutableOwner::System), "python3.11");
    assert_eq!(service_of("/", None, renamed("payments-api"), ExecutableOwner::Strange), "payments-api (uid 65534)");
    assert_eq!(service_of("/", None, renamed("a (uid 0)"), ExecutableOwner::Strange), "a (uid 0) (uid 65534)");
    let below = "/user.slice/user-1000.slice/user@1000.service/app.slice/payments-api.service";
    assert_eq!(service_of(below, None, facts(1000, false), ExecutableOwner::System), "payments-api (uid 1000)");
    let rootless = format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{}.scope", "b".repeat(64));
    assert_eq!(service_of(&rootless, called("web"), facts(1000, false), ExecutableOwner::Strange), "web (uid 1000)");
    assert_eq!(service_of(&rootless, None, facts(100_999, false), ExecutableOwner::Strange), "python3.11 (uid 1000)");
    let container = format!("/docker/{}", "a".repeat(64));
    assert_eq!(service_of(&container, None, facts(0, true), ExecutableOwner::Strange), "python3.11 (container)");
    assert_eq!(ProcessIdentity::gone(7, "payments-api".into()).service, "payments-api (gone)");
    assert_eq!(ProcessIdentity::gone(7, "x".into()).uid, None);
}

#[test]
fn a_pods_uid_is_never_its_name() {
    let path = format!("/kubepods/burstable/pod{UID}/{}", "b".repeat(64));
    let bare = ProcessIdentity::new(facts(0, true), cgroup(&path), None, ExecutableOwner::Strange);
    assert_eq!((bare.k8s.pod, bare.k8s.pod_uid.as_deref(), bare.k8s.workload), (None, Some(UID), None));
    let names = ContainerNames {
        container: Some("web".into()),
        pod: Some("shop-7d9f8c6b5d-x2x4z".into()),
        namespace: Some("prod".into()),
        ..Default::default()
    };
    let full = ProcessIdentity::new(facts(0, true), cgroup(&path), Some(names.clone()), ExecutableOwner::Strange);
    assert_eq!(full.k8s.workload.as_deref(), Some("shop"));
    assert_eq!((full.k8s.namespace.as_deref(), full.k8s.container.as_deref()), (Some("prod"), Some("web")));
    assert_eq!((full.service.as_str(), full.k8s.pod_uid.as_deref()), ("web", Some(UID)));
    let other = ContainerNames { pod_uid: Some("1b1cd5a5-2a3b-4c5d-8e9f-001122334455".into()), ..names };
    let torn = ProcessIdentity::new(facts(0, true), cgroup(&path), Some(other), ExecutableOwner::Strange);
    assert_eq!((torn.k8s.pod, torn.k8s.namespace), (None, None), "path and state speak of two pods");
}

/// A user's container is never a pod, and its id counts only once his runtime knows it.
#[test]
fn a_users_container_is_no_pod() {
    let id = "b".repeat(64);
    let path = format!("/deleg/kubepods/burstable/pod{UID}/{id}");
    let names = ContainerNames { pod: Some("payments-0".into()), namespace: Some("prod".into()), ..Default::default() };
    let forged = ProcessIdentity::new(facts(1000, false), cgroup(&path), Some(names), ExecutableOwner::Strange);
    assert_eq!(forged.k8s, K8sIdentity::default());
    let unknown = ProcessIdentity::new(facts(1000, false), cgroup(&path), None, ExecutableOwner::Strange);
    assert_eq!(unknown.container_id, None);
}
