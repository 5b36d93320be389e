//! The names that runtimes and systemd give to cgroups, one group at a time. Pure.

/// Who runs a container, as far as a group's name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContainerRuntime {
    Docker,
    Containerd,
    CriO,
    Podman,
    /// The id alone: docker's and containerd's with the cgroupfs driver.
    Bare,
}

/// What one group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupPart<'a> {
    /// A slice in the slice that its name says.
    Slice,
    /// A service in slices.
    Unit(&'a str),
    /// The service of a user's own manager.
    Manager(u32),
    /// `keeps_unit`: it runs as a part of the service above it, by the operator's wish.
    Container {
        runtime: ContainerRuntime,
        id: &'a str,
        keeps_unit: bool,
    },
    /// A container, or a machine, of which the runtime is not known.
    Sealed,
    /// A runtime's own process beside a container.
    Monitor,
    Other,
}

/// Reads `part`, which lies below `before`; `slices`: `before` is nothing but slices, each in its
/// place (or those and a user's manager).
pub fn part<'a>(part: &'a str, before: &[&str], slices: bool) -> CgroupPart<'a> {
    if let Some(stem) = part.strip_suffix(".slice") {
        return if slices && nests(stem, before) { CgroupPart::Slice } else { CgroupPart::Other };
    }
    if let Some(name) = part.strip_suffix(".service") {
        return match name.strip_prefix("user@").map(str::parse) {
            Some(Ok(uid)) if slices => CgroupPart::Manager(uid),
            _ => CgroupPart::Unit(name),
        };
    }
    container(part, slices)
}

/// `a-b.slice` lies in `a.slice`, `a.slice` at the top (or at a user manager's).
fn nests(stem: &str, before: &[&str]) -> bool {
    let above = before.last().filter(|above| !above.ends_with(".service"));
    match (stem.rsplit_once('-'), above) {
        (None, above) => above.is_none(),
        (Some((parent, _)), Some(above)) => above.strip_suffix(".slice") == Some(parent),
        (Some(_), None) => false,
    }
}

/// `ID`, `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID[.scope]`, `libpod-ID[.scope]`, `libpod-payload-ID`,
/// `nerdctl-ID.scope`, and `slice:runtime:ID`, which runc makes of systemd's form with the other driver.
fn container(part: &str, slices: bool) -> CgroupPart<'_> {
    if let Some((slice, rest)) = part.split_once(':') {
        return match rest.split_once(':') {
            Some((prefix, id)) if slice.ends_with(".slice") && is_id(id) => known(prefix, id, true),
            _ => CgroupPart::Other,
        };
    }
    if ["lxc.payload.", "lxc.payload-", "machine-"].iter().any(|machine| part.starts_with(machine)) {
        return CgroupPart::Sealed;
    }
    let (name, scope) = part.strip_suffix(".scope").map_or((part, false), |name| (name, true));
    match name.rsplit_once('-') {
        // A scope lies in slices; elsewhere it is none of systemd's.
        _ if scope && !slices && name.rsplit('-').next().is_some_and(is_id) => CgroupPart::Sealed,
        None if is_id(name) && !scope => {
            CgroupPart::Container { runtime: ContainerRuntime::Bare, id: name, keeps_unit: false }
        }
        None if is_id(name) => CgroupPart::Sealed,
        Some((prefix, id)) if is_id(id) => known(prefix, id, scope),
        _ => CgroupPart::Other,
    }
}

fn known<'a>(prefix: &str, id: &'a str, scope: bool) -> CgroupPart<'a> {
    let of = |runtime| CgroupPart::Container { runtime, id, keeps_unit: false };
    match prefix {
        "docker" if scope => of(ContainerRuntime::Docker),
        "cri-containerd" | "nerdctl" if scope => of(ContainerRuntime::Containerd),
        "crio" => of(ContainerRuntime::CriO),
        "libpod" => of(ContainerRuntime::Podman),
        "libpod-payload" if !scope => CgroupPart::Container { runtime: ContainerRuntime::Podman, id, keeps_unit: true },
        _ if prefix.ends_with("conmon") => CgroupPart::Monitor,
        _ => CgroupPart::Sealed,
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The pod's UID if `part` is a pod's group: `kubepods[/burstable|/besteffort]/pod<uid>`, or
/// `…kubepods[-burstable|-besteffort].slice/…-pod<uid with underscores>.slice`.
pub fn pod(part: &str, before: &[&str]) -> Option<String> {
    let above = before.last()?;
    if let Some(stem) = part.strip_suffix(".slice") {
        let (parent, uid) = pod_slice(stem)?;
        return (above.strip_suffix(".slice")? == parent).then_some(uid);
    }
    let uid = uid(part.strip_prefix("pod")?)?;
    let kubepods = match *above {
        "burstable" | "besteffort" => before.get(before.len().checked_sub(2)?)?,
        other => other,
    };
    (kubepods == "kubepods").then_some(uid)
}

/// That of `…-pod<uid>.slice:runtime:ID`.
pub fn pod_of_colons(part: &str, before: &[&str]) -> Option<String> {
    // It lies where runc runs itself: at the top, or in the runtime's own service.
    let place = before.last().is_none_or(|above| above.ends_with(".service"));
    let stem = part.split_once(':')?.0.strip_suffix(".slice")?;
    pod_slice(stem).filter(|_| place).map(|(_, uid)| uid)
}

/// `[X-]kubepods[-burstable|-besteffort]-pod<uid>`: the stem of the slice above, and the UID.
fn pod_slice(stem: &str) -> Option<(&str, String)> {
    let (parent, pod) = stem.rsplit_once('-')?;
    let class = ["-burstable", "-besteffort"].iter().find_map(|class| parent.strip_suffix(class));
    let root = class.unwrap_or(parent);
    let kubepods = root == "kubepods" || root.ends_with("-kubepods");
    let uid = uid(&pod.strip_prefix("pod")?.replace('_', "-"))?;
    kubepods.then_some((parent, uid))
}

/// A UUID; static pods have a hash of 32 digits.
fn uid(text: &str) -> Option<String> {
    let places = text.bytes().enumerate().all(|(at, b)| match b {
        b'-' => [8, 13, 18, 23].contains(&at),
        b => b.is_ascii_hexdigit(),
    });
    let dashes = text.bytes().filter(|b| *b == b'-').count();
    (places && (text.len() == 36 && dashes == 4 || text.len() == 32 && dashes == 0)).then(|| text.to_owned())
}

/// systemd writes `-` in a name's path part as `\x2d`.
pub fn unescape(name: &str) -> String {
    name.replace("\\x2d", "-")
}
