//! Where container runtimes keep their state, and what it says of one container. Only the host's
//! own root is looked into; the files of a container's root never count. Of a container that a user
//! runs, that user's state alone is asked.

use super::ContainerNames;
use super::cgroup::ContainerRef;
use super::files::HostRoot;
use super::grammar::ContainerRuntime;
use super::oci;

/// An OCI config with many mounts is under 100 KiB.
const CONFIG_BYTES: u64 = 1024 * 1024;

/// A storage list takes 1–2 KiB a container.
const LIST_BYTES: u64 = 16 * 1024 * 1024;

/// A user's own list: some thousand containers. He may fill as many as there are places for one, and each is read.
const USERS_LIST_BYTES: u64 = 2 * 1024 * 1024;

/// Longest `/etc/passwd`, `daemon.json` or `storage.conf`.
const TABLE_BYTES: u64 = 1024 * 1024;

/// State folders of containerd: its own, k3s and rke2, k0s, microk8s, docker's own one.
const CONTAINERD: &[&str] = &[
    "/run/containerd",
    "/run/k3s/containerd",
    "/run/k0s/containerd",
    "/var/snap/microk8s/common/run/containerd",
    "/run/docker/containerd/daemon",
    "/run/docker/containerd",
];

/// Where containerd keeps its tasks, now and before 1.4; below it lie its namespaces.
const TASKS: &[&str] = &["io.containerd.runtime.v2.task", "io.containerd.runtime.v1.linux"];

/// docker's data: its own, and the snap's.
const DOCKER: &[&str] = &["/var/lib/docker", "/var/snap/docker/common/var-lib-docker"];

/// The storage library's: its data and what does not outlive a boot.
const STORAGE: &[&str] = &["/var/lib/containers/storage", "/run/containers/storage"];

/// Its drivers, each with a folder.
const DRIVERS: &[&str] = &["overlay", "vfs", "btrfs", "zfs"];

/// Its lists of containers; the second since podman 4.4.
const LISTS: &[&str] = &["containers.json", "volatile-containers.json"];

/// What root's runtimes know of a container. `None`: they do not know it.
pub(super) fn of_root(root: &HostRoot, container: &ContainerRef, pod_uid: Option<&str>) -> Option<ContainerNames> {
    // Hex, see `grammar`: it cannot lead out of a path.
    let id = container.id.as_str();
    match container.runtime {
        ContainerRuntime::Containerd => containerd(root, id),
        ContainerRuntime::Docker => docker(root, id, pod_uid),
        ContainerRuntime::Bare => docker(root, id, pod_uid).or_else(|| containerd(root, id)),
        ContainerRuntime::CriO => crio(root, id),
        ContainerRuntime::Podman => storages(root).iter().find_map(|storage| {
            listed(storage).find_map(|list| oci::containers_storage(&root.read(&list, LIST_BYTES)?, id))
        }),
    }
}

/// What a user's own runtime knows of a container of his. May block for as long as his home's file system does.
pub(super) fn of_user(root: &HostRoot, container: &ContainerRef, user: u32) -> Option<ContainerNames> {
    let home = home(&root.read("/etc/passwd", TABLE_BYTES)?, user)?;
    let id = container.id.as_str();
    match container.runtime {
        ContainerRuntime::Docker => {
            let path = format!(".local/share/docker/containers/{id}/config.v2.json");
            oci::docker(&root.read_users(&home, &path, user, CONFIG_BYTES)?, None)
        }
        ContainerRuntime::Podman => listed(".local/share/containers/storage")
            .find_map(|list| oci::containers_storage(&root.read_users(&home, &list, user, USERS_LIST_BYTES)?, id))
            .or_else(|| {
                let run = format!("/run/user/{user}");
                listed("containers").find_map(|list| {
                    oci::containers_storage(&root.read_users(&run, &list, user, USERS_LIST_BYTES)?, id)
                })
            }),
        ContainerRuntime::Bare | ContainerRuntime::Containerd | ContainerRuntime::CriO => None,
    }
}

/// Whether the system has a service of that name, or may start one.
pub(super) fn has_unit(root: &HostRoot, name: &str) -> bool {
    let folders = ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
    !name.contains('/') && folders.iter().any(|folder| root.has(&format!("{folder}/{name}.service")))
}

/// Runtimes whose state is here, for `doctor`.
pub(super) fn found(root: &HostRoot) -> Vec<String> {
    let containerd = CONTAINERD.iter().flat_map(|state| {
        let names: Vec<String> = TASKS.iter().flat_map(|tasks| root.list(&format!("{state}/{tasks}"))).collect();
        (!names.is_empty()).then(|| format!("containerd ({state}: {})", names.join(", ")))
    });
    let docker = docker_folders(root).into_iter().filter(|folder| root.has(&format!("{folder}/containers")));
    let docker = docker.map(|folder| format!("docker ({folder})"));
    let mut seen = Vec::new();
    for storage in storages(root) {
        if DRIVERS.iter().any(|driver| root.has(&format!("{storage}/{driver}-containers"))) {
            seen.push(format!("podman or cri-o ({storage})"));
        }
    }
    containerd.chain(docker).chain(seen).collect()
}

fn containerd(root: &HostRoot, id: &str) -> Option<ContainerNames> {
    CONTAINERD.iter().flat_map(|state| TASKS.iter().map(move |tasks| format!("{state}/{tasks}"))).find_map(|tasks| {
        // All of them: whoever runs containerd names its namespaces.
        root.list(&tasks).iter().find_map(|namespace| {
            oci::containerd(&root.read(&format!("{tasks}/{namespace}/{id}/config.json"), CONFIG_BYTES)?, namespace)
        })
    })
}

fn docker(root: &HostRoot, id: &str, pod_uid: Option<&str>) -> Option<ContainerNames> {
    docker_folders(root).iter().find_map(|folder| {
        let path = format!("{folder}/containers/{id}/config.v2.json");
        oci::docker(&root.read(&path, CONFIG_BYTES)?, pod_uid)
    })
}

fn crio(root: &HostRoot, id: &str) -> Option<ContainerNames> {
    storages(root).iter().find_map(|storage| {
        DRIVERS.iter().find_map(|driver| {
            let path = format!("{storage}/{driver}-containers/{id}/userdata/config.json");
            oci::crio(&root.read(&path, CONFIG_BYTES)?)
        })
    })
}

fn listed(storage: &str) -> impl Iterator<Item = String> {
    DRIVERS.iter().flat_map(move |driver| LISTS.iter().map(move |list| format!("{storage}/{driver}-containers/{list}")))
}

/// docker's usual folders, the one that its configuration names, and below each those of remapped users (`UID.GID`).
fn docker_folders(root: &HostRoot) -> Vec<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Daemon {
        data_root: Option<String>,
        graph: Option<String>,
    }
    let typed = root.read("/etc/docker/daemon.json", TABLE_BYTES);
    let typed = typed.and_then(|text| serde_json::from_str::<Daemon>(&text).ok());
    let own = typed.and_then(|daemon| daemon.data_root.or(daemon.graph));
    let mut folders: Vec<String> = own.into_iter().chain(DOCKER.iter().map(|&folder| folder.to_owned())).collect();
    for at in 0..folders.len() {
        let Some(folder) = folders.get(at).cloned() else { continue };
        let remapped = root.list(&folder).into_iter().filter(|name| {
            name.split_once('.').is_some_and(|(uid, gid)| uid.parse::<u32>().is_ok() && gid.parse::<u32>().is_ok())
        });
        folders.extend(remapped.map(|name| format!("{folder}/{name}")));
    }
    folders
}

/// The storage library's usual folders and those that its configuration names.
fn storages(root: &HostRoot) -> Vec<String> {
    let text = root.read("/etc/containers/storage.conf", TABLE_BYTES).unwrap_or_default();
    let typed = text.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        let value = value.trim().strip_prefix('"')?.split('"').next()?;
        (["graphroot", "runroot"].contains(&key.trim()) && value.starts_with('/')).then(|| value.to_owned())
    });
    let mut all: Vec<String> = STORAGE.iter().map(|&folder| folder.to_owned()).collect();
    for folder in typed {
        if !all.contains(&folder) {
            all.push(folder);
        }
    }
    all
}

/// The home of a user, by the table of users.
fn home(passwd: &str, user: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (_, _, uid) = (fields.next()?, fields.next()?, fields.next()?);
        let home = fields.nth(2)?;
        (uid.parse() == Ok(user) && home.starts_with('/')).then(|| home.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const UID: &str = "0b1cd5a5-2a3b-4c5d-8e9f-001122334455";

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, HostRoot) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let root = HostRoot::open(dir.path()).unwrap();
        (dir, root)
    }

    fn container(runtime: ContainerRuntime) -> ContainerRef {
        ContainerRef { id: "c".repeat(64), runtime, user: None }
    }

    fn web(root: &HostRoot, runtime: ContainerRuntime) -> Option<String> {
        of_root(root, &container(runtime), Some(UID)).and_then(|names| names.container)
    }

    #[test]
    fn each_runtimes_folder_is_found() {
        let id = "c".repeat(64);
        let cri = r#"{"annotations":{"io.kubernetes.cri.container-name":"web"}}"#;
        let crio = r#"{"annotations":{"io.kubernetes.container.name":"web"}}"#;
        let list = format!(r#"[{{"id":"{id}","names":["web"]}}]"#);
        let docker = r#"{"Name":"/web"}"#;
        for (path, text, runtime) in [
            ("/run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json", cri, ContainerRuntime::Containerd),
            ("/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json", cri, ContainerRuntime::Bare),
            (
                "/run/k0s/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json",
                cri,
                ContainerRuntime::Containerd,
            ),
            (
                "/var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json",
                cri,
                ContainerRuntime::Containerd,
            ),
            (
                "/run/containerd/io.containerd.runtime.v2.task/mine/ID/config.json",
                r#"{"annotations":{"nerdctl/name":"web"}}"#,
                ContainerRuntime::Bare,
            ),
            ("/var/lib/docker/containers/ID/config.v2.json", docker, ContainerRuntime::Docker),
            ("/var/lib/docker/100000.100000/containers/ID/config.v2.json", docker, ContainerRuntime::Bare),
            ("/run/containers/storage/overlay-containers/ID/userdata/config.json", crio, ContainerRuntime::CriO),
            ("/var/lib/containers/storage/overlay-containers/containers.json", &list, ContainerRuntime::Podman),
            (
                "/var/lib/containers/storage/overlay-containers/volatile-containers.json",
                &list,
                ContainerRuntime::Podman,
            ),
            ("/run/containers/storage/vfs-containers/volatile-containers.json", &list, ContainerRuntime::Podman),
        ] {
            let (_dir, root) = host(&[(&path.replace("ID", &id), text)]);
            assert_eq!(web(&root, runtime).as_deref(), Some("web"), "{path}");
            assert!(!found(&root).is_empty(), "{path}");
        }
        let (_dir, root) = host(&[]);
        assert!(web(&root, ContainerRuntime::Bare).is_none() && found(&root).is_empty());
    }

    #[test]
    fn folders_of_the_runtimes_own_configuration_are_found() {
        let id = "c".repeat(64);
        let list = format!(r#"[{{"id":"{id}","names":["web"]}}]"#);
        let files = [
            ("/etc/docker/daemon.json", r#"{"data-root":"/data/docker"}"#),
            (&format!("/data/docker/containers/{id}/config.v2.json"), r#"{"Name":"/web"}"#),
            ("/etc/containers/storage.conf", "[storage]\n graphroot = \"/data/pods\" # mine\n"),
            ("/data/pods/overlay-containers/containers.json", &list),
        ];
        let (_dir, root) = host(&files);
        assert_eq!(web(&root, ContainerRuntime::Docker).as_deref(), Some("web"));
        assert_eq!(web(&root, ContainerRuntime::Podman).as_deref(), Some("web"));
    }

    /// Podman takes annotations from images, and cri-o's files lie beside its own.
    #[test]
    fn a_podman_container_is_no_pod() {
        let id = "c".repeat(64);
        let note = r#"{"annotations":{"io.kubernetes.pod.name":"payments","io.kubernetes.container.name":"pay"}}"#;
        let list = format!(r#"[{{"id":"{id}","names":["web"]}}]"#);
        let (_dir, root) = host(&[
            (&format!("/run/containers/storage/overlay-containers/{id}/userdata/config.json"), note),
            ("/var/lib/containers/storage/overlay-containers/containers.json", &list),
        ]);
        let names = of_root(&root, &container(ContainerRuntime::Podman), None).unwrap();
        assert_eq!((names.pod, names.container.as_deref()), (None, Some("web")));
        assert_eq!(web(&root, ContainerRuntime::Bare), None, "an id alone is docker's or containerd's");
    }

    #[test]
    fn users_have_their_own_state() {
        let id = "c".repeat(64);
        let list = format!(r#"[{{"id":"{id}","names":["web"]}}]"#);
        let path = "/home/me/.local/share/containers/storage/overlay-containers/containers.json";
        let (dir, root) = host(&[(path, &list)]);
        let user = fs::metadata(dir.path()).unwrap().uid();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/passwd"), format!("root:x:9:0:r:/root:/bin/sh\nme:x:{user}:1:Me:/home/me:\n"))
            .unwrap();
        let container = ContainerRef { id, runtime: ContainerRuntime::Podman, user: Some(user) };
        assert_eq!(of_user(&root, &container, user).unwrap().container.as_deref(), Some("web"));
        assert_eq!(of_user(&root, &container, user + 1), None);
        assert_eq!(of_root(&root, &container, None), None);
        assert_eq!(home("x:x:1:1", 1), None);
    }

    #[test]
    fn the_systems_services_are_known() {
        let (_dir, root) = host(&[("/etc/systemd/system/payments-api.service", "")]);
        assert!(has_unit(&root, "payments-api") && !has_unit(&root, "payments") && !has_unit(&root, "../payments-api"));
    }
}
