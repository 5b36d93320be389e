//! What container runtimes write about a container into their own files. Pure: text in, names out. Only the fields
//! named here are taken; the same files hold environments with secrets.

use std::collections::HashMap;

use serde::Deserialize;

use super::ContainerNames;

/// A kind of file and how to read it. `{id}` in the path is the container's id.
pub struct Source {
    pub path: &'static str,
    pub read: fn(text: &str, id: &str) -> Option<ContainerNames>,
}

/// Where runtimes keep what they know, most telling first.
pub const SOURCES: &[Source] = &[
    Source { path: "/run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}/config.json", read: oci_config },
    Source { path: "/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/{id}/config.json", read: oci_config },
    Source { path: "/run/containerd/io.containerd.runtime.v2.task/default/{id}/config.json", read: oci_config },
    Source { path: "/run/containers/storage/overlay-containers/{id}/userdata/config.json", read: oci_config },
    Source { path: "/var/lib/docker/containers/{id}/config.v2.json", read: docker },
    Source { path: "/var/lib/containers/storage/overlay-containers/containers.json", read: containers_storage },
    Source { path: "/var/lib/containers/storage/vfs-containers/containers.json", read: containers_storage },
];

/// The OCI runtime's `config.json`: annotations of the CRI plugin (containerd), of cri-o, or nerdctl's label.
fn oci_config(text: &str, _: &str) -> Option<ContainerNames> {
    #[derive(Deserialize)]
    struct Config {
        annotations: Option<HashMap<String, String>>,
    }
    let notes = serde_json::from_str::<Config>(text).ok()?.annotations?;
    let first = |names: &[&str]| names.iter().find_map(|name| notes.get(*name)).filter(|v| !v.is_empty()).cloned();
    let names = ContainerNames {
        container: first(&["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"]),
        pod: first(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
        namespace: first(&["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"]),
    };
    (names != ContainerNames::default()).then_some(names)
}

/// dockerd's own record; the name has a leading slash.
fn docker(text: &str, _: &str) -> Option<ContainerNames> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Record {
        name: String,
    }
    let record: Record = serde_json::from_str(text).ok()?;
    named(record.name.trim_start_matches('/'))
}

/// The storage library's list, which podman's containers are in by name.
fn containers_storage(text: &str, id: &str) -> Option<ContainerNames> {
    #[derive(Deserialize)]
    struct Row {
        id: String,
        names: Option<Vec<String>>,
    }
    let rows: Vec<Row> = serde_json::from_str(text).ok()?;
    named(rows.into_iter().find(|row| row.id == id)?.names?.first()?)
}

fn named(name: &str) -> Option<ContainerNames> {
    (!name.is_empty()).then(|| ContainerNames { container: Some(name.to_owned()), ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runtime_is_read() {
        let containerd = r#"{"process":{"env":["KEY=sk-secret"]},"annotations":{"io.kubernetes.cri.container-name":"web",
            "io.kubernetes.cri.sandbox-name":"shop-7d9f8c6b5d-x2x4z","io.kubernetes.cri.sandbox-namespace":"prod"}}"#;
        let names = oci_config(containerd, "").unwrap();
        assert_eq!(names.container.as_deref(), Some("web"));
        assert_eq!(names.pod.as_deref(), Some("shop-7d9f8c6b5d-x2x4z"));
        assert_eq!(names.namespace.as_deref(), Some("prod"));
        let crio = r#"{"annotations":{"io.kubernetes.container.name":"c","io.kubernetes.pod.name":"p"}}"#;
        assert_eq!(oci_config(crio, "").unwrap().pod.as_deref(), Some("p"));
        assert_eq!(docker(r#"{"Name":"/shop","Config":{}}"#, "").unwrap().container.as_deref(), Some("shop"));
        let list = r#"[{"id":"a","names":["one"]},{"id":"b","names":["two"]},{"id":"c"}]"#;
        assert_eq!(containers_storage(list, "b").unwrap().container.as_deref(), Some("two"));
        assert_eq!(containers_storage(list, "c"), None);
    }

    #[test]
    fn other_files_say_nothing() {
        for text in ["", "{", "[]", "{}", "null", r#"{"annotations":{}}"#, r#"{"Name":""}"#] {
            for source in SOURCES {
                assert_eq!((source.read)(text, "a"), None, "{text}");
            }
        }
    }
}
