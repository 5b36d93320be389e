//! What container runtimes write about a container into their own files. Pure: text in, names out. Only the fields
//! named here are taken; the same files hold environments with secrets.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::ContainerNames;

/// What the Kubernetes job controller gives to each pod of an indexed job.
const INDEXED: &str = "JOB_COMPLETION_INDEX=";

/// Longest name that is taken, in bytes: Kubernetes allows 253, and the others' are chosen as
/// short. A user may write what he likes into his own runtime's files, and each name is kept, and
/// shown, many times.
const NAME_BYTES: usize = 256;

#[derive(Deserialize)]
struct Config<'a> {
    #[serde(default)]
    annotations: HashMap<String, String>,
    #[serde(borrow)]
    process: Option<Process<'a>>,
}

#[derive(Deserialize)]
struct Process<'a> {
    #[serde(borrow, default)]
    env: Vec<Cow<'a, str>>,
}

/// The `config.json` of a task of containerd: annotations of its CRI plugin in `k8s.io`, or
/// nerdctl's label. None of them comes from the image.
pub fn containerd(text: &str, namespace: &str) -> Option<ContainerNames> {
    if namespace != "k8s.io" {
        let container = notes(text)?.0.remove("nerdctl/name").filter(|name| is_name(name));
        return Some(ContainerNames { container, ..ContainerNames::default() });
    }
    let keys = ["container-name", "sandbox-name", "sandbox-namespace", "sandbox-uid"];
    pod(text, keys.map(|key| format!("io.kubernetes.cri.{key}")))
}

/// The `config.json` of a container of cri-o.
pub fn crio(text: &str) -> Option<ContainerNames> {
    let keys = ["container.name", "pod.name", "pod.namespace", "pod.uid"];
    pod(text, keys.map(|key| format!("io.kubernetes.{key}")))
}

fn pod(text: &str, keys: [String; 4]) -> Option<ContainerNames> {
    let (mut notes, indexed) = notes(text)?;
    let [container, pod, namespace, pod_uid] =
        keys.map(|key| notes.remove(&key).filter(|value| is_name(value) && value != "POD"));
    Some(ContainerNames { container, pod, namespace, pod_uid, indexed })
}

/// The annotations, and whether the environment is that of a pod of an indexed job.
fn notes(text: &str) -> Option<(HashMap<String, String>, bool)> {
    let config: Config<'_> = serde_json::from_str(text).ok()?;
    let indexed = config.process.is_some_and(|process| process.env.iter().any(|one| one.starts_with(INDEXED)));
    Some((config.annotations, indexed))
}

/// dockerd's own record. Its name begins with a slash; one of cri-dockerd's, in a pod's group, is
/// `k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT`. Labels are not looked at: an image brings its own.
pub fn docker(text: &str, pod_uid: Option<&str>) -> Option<ContainerNames> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Record<'a> {
        name: String,
        #[serde(borrow)]
        config: Option<Inner<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Inner<'a> {
        #[serde(borrow)]
        env: Option<Vec<Cow<'a, str>>>,
    }
    let record: Record<'_> = serde_json::from_str(text).ok()?;
    let env = record.config.and_then(|config| config.env).unwrap_or_default();
    let indexed = env.iter().any(|one| one.starts_with(INDEXED));
    let name = record.name.trim_start_matches('/');
    // Six parts at most are looked at, so that a longer name has too many.
    let parts: Vec<&str> = name.splitn(7, '_').collect();
    if let (["k8s", container, pod, namespace, uid, _], Some(pod_uid)) = (parts.as_slice(), pod_uid)
        && *uid == pod_uid
    {
        let known = |text: &str| is_name(text).then(|| text.to_owned());
        let container = known(container).filter(|name| name != "POD");
        return Some(ContainerNames {
            container,
            pod: known(pod),
            namespace: known(namespace),
            pod_uid: known(uid),
            indexed,
        });
    }
    named(name)
}

/// The storage library's list, which podman's containers are in by name. cri-o keeps its own there, too.
pub fn containers_storage(text: &str, id: &str) -> Option<ContainerNames> {
    let mut json = serde_json::Deserializer::from_str(text);
    let found = json.deserialize_seq(Rows { id }).ok()?;
    json.end().ok()?;
    named(&found?)
}

/// The first name in the row of `id`. Nothing else is kept: a user's list may be all rows or all names.
struct Rows<'a> {
    id: &'a str,
}

impl<'de> Visitor<'de> for Rows<'_> {
    type Value = Option<String>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list of containers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Option<String>, A::Error> {
        #[derive(Deserialize)]
        struct Row<'a> {
            #[serde(borrow)]
            id: Cow<'a, str>,
            names: Option<First>,
        }
        let mut found = None;
        while let Some(row) = rows.next_element::<Row<'_>>()? {
            if found.is_none() && row.id == self.id {
                found = row.names.and_then(|names| names.0);
            }
        }
        Ok(found)
    }
}

/// The first of some names.
struct First(Option<String>);

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<First, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = First;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a list of names")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<First, A::Error> {
                let first = names.next_element()?;
                while names.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        from.deserialize_seq(Names)
    }
}

fn named(name: &str) -> Option<ContainerNames> {
    is_name(name).then(|| ContainerNames { container: Some(name.to_owned()), ..Default::default() })
}

/// What a runtime could call something; all else is some user's own writing, and names nothing.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_BYTES && !text.contains(char::is_control)
}

/// For fuzzing: the text as each runtime's file, behind a byte that says whose group it is in.
/// Nothing panics, names are names, and a pod is named only by what a cluster's runtime wrote of a
/// pod of root's.
pub fn fuzz(data: &[u8]) {
    const POD: &str = "0b1cd5a5-2a3b-4c5d-8e9f-001122334455";
    let Some((first, text)) = data.split_first() else { return };
    let (in_pod, text) = (first & 1 == 1, String::from_utf8_lossy(text));
    let docker = docker(&text, in_pod.then_some(POD));
    if let Some(ContainerNames { pod: Some(_), pod_uid, .. }) = &docker {
        assert!(in_pod && pod_uid.as_deref() == Some(POD), "{docker:?}");
    }
    let strangers = [self::docker(&text, None), containerd(&text, "moby"), containers_storage(&text, "c")];
    for names in strangers.iter().flatten() {
        assert_eq!((&names.pod, &names.namespace, &names.pod_uid, names.indexed), (&None, &None, &None, false));
    }
    let all = [docker, containerd(&text, "k8s.io"), crio(&text)].into_iter().chain(strangers);
    for ContainerNames { container, pod, namespace, pod_uid, .. } in all.flatten() {
        assert!([container, pod, namespace, pod_uid].iter().flatten().all(|name| is_name(name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0b1cd5a5-2a3b-4c5d-8e9f-001122334455";

    #[test]
    fn each_runtime_is_read() {
        let cri = r#"{"process":{"env":["KEY=sk-\"secret"]},"annotations":{"io.kubernetes.cri.container-name":"web",
            "io.kubernetes.cri.sandbox-name":"shop-7d9f8c6b5d-x2x4z","io.kubernetes.cri.sandbox-namespace":"prod"}}"#;
        let names = containerd(cri, "k8s.io").unwrap();
        assert_eq!(names.container.as_deref(), Some("web"));
        assert_eq!(names.pod.as_deref(), Some("shop-7d9f8c6b5d-x2x4z"));
        assert_eq!((names.namespace.as_deref(), names.indexed), (Some("prod"), false));
        let indexed = r#"{"process":{"env":["PATH=/","JOB_COMPLETION_INDEX=0"]},"annotations":{}}"#;
        assert!(containerd(indexed, "k8s.io").unwrap().indexed);
        let cri_o = r#"{"annotations":{"io.kubernetes.container.name":"c","io.kubernetes.pod.name":"p"}}"#;
        assert_eq!(crio(cri_o).unwrap().pod.as_deref(), Some("p"));
        assert_eq!(docker(r#"{"Name":"/shop","Config":{}}"#, None).unwrap().container.as_deref(), Some("shop"));
        let list = r#"[{"id":"a","names":["one"]},{"id":"b","names":["two"]},{"id":"c"}]"#;
        assert_eq!(containers_storage(list, "b").unwrap().container.as_deref(), Some("two"));
        assert_eq!(containers_storage(list, "c"), None);
        assert_eq!(containers_storage(&format!("{list}x"), "b"), None, "half a list is none");
        let nerdctl = r#"{"annotations":{"nerdctl/name":"db"}}"#;
        assert_eq!(containerd(nerdctl, "default").unwrap().container.as_deref(), Some("db"));
    }

    #[test]
    fn cri_dockerd_is_read_in_the_pods_group_alone() {
        let record = format!(r#"{{"Name":"/k8s_web_shop-7d9f8c6b5d-x2x4z_prod_{UID}_0"}}"#);
        let names = docker(&record, Some(UID)).unwrap();
        assert_eq!((names.container.as_deref(), names.namespace.as_deref()), (Some("web"), Some("prod")));
        assert_eq!(names.pod.as_deref(), Some("shop-7d9f8c6b5d-x2x4z"));
        for uid in [None, Some("1b1cd5a5-2a3b-4c5d-8e9f-001122334455")] {
            assert_eq!(docker(&record, uid).unwrap().pod, None, "its user chose that name");
        }
    }

    /// What an image or a user puts into labels and annotations names no pod.
    #[test]
    fn annotations_count_where_the_runtime_makes_them() {
        let note =
            r#"{"annotations":{"io.kubernetes.pod.name":"payments","io.kubernetes.cri.sandbox-name":"payments"}}"#;
        assert_eq!(containerd(note, "default").unwrap().pod, None);
        let label = r#"{"Name":"/x","Config":{"Labels":{"io.kubernetes.pod.name":"payments"}}}"#;
        assert_eq!(docker(label, Some(UID)).unwrap().pod, None);
    }

    /// A user writes his runtime's files himself.
    #[test]
    fn what_no_runtime_would_call_a_container_is_no_name() {
        let list = |name: &str| format!(r#"[{{"names":[{},"other"],"id":"a"}}]"#, serde_json::json!(name));
        let of = |name: &str| containers_storage(&list(name), "a").and_then(|names| names.container);
        let longest = "x".repeat(NAME_BYTES);
        assert_eq!(of(&longest), Some(longest.clone()));
        for name in ["", "\u{1b}[2Jweb", "web\nx", "\u{85}", &format!("{longest}x")] {
            assert_eq!(of(name), None, "{name}");
            let note = serde_json::json!({"annotations": {"io.kubernetes.pod.name": name}}).to_string();
            assert_eq!(crio(&note).unwrap().pod, None, "{name}");
            assert_eq!(docker(&serde_json::json!({ "Name": name }).to_string(), None), None, "{name}");
        }
    }

    #[test]
    fn other_files_say_nothing() {
        for text in ["", "{", "[]", "null", "[1]", r#"{"Name":""}"#, r#"[{"id":"a","names":[]}]"#] {
            let all = [containerd(text, "k8s.io"), crio(text), docker(text, None), containers_storage(text, "a")];
            assert!(all.iter().flatten().all(|names| *names == ContainerNames::default()), "{text}: {all:?}");
        }
    }
}
