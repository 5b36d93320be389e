//! What a cgroup path says of a process: its systemd unit, its container, its pod. Pure: who owns the groups is asked.
//!
//! A path is read from its root, and counts as far as root made it. Whoever owns a group makes what
//! is below it, so what stands below the first group that a user owns is that user's word: it may
//! name his own units and containers, never a pod, and never anybody else's. The outermost
//! container ends the reading: what it makes of its own groups is its own affair. The forms are
//! those that systemd, docker, containerd, cri-o, podman and the kubelet write with either driver
//! (`grammar`).

use super::grammar::{self, CgroupPart, ContainerRuntime};

/// The facts of `/proc/PID/cgroup`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupFacts {
    /// systemd service, without `.service`. `None` inside a container and for sessions and scopes.
    pub unit: Option<SystemdUnit>,
    pub container: Option<ContainerRef>,
    /// Kubernetes pod UID, with dashes; only of groups that root made.
    pub pod_uid: Option<String>,
    /// It is inside a container of which no more can be said.
    pub inside: bool,
}

/// A systemd service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemdUnit {
    pub name: String,
    /// Whose manager runs it; `None`: the system's.
    pub user: Option<u32>,
}

/// The outermost container that a path names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerRef {
    /// Full hex.
    pub id: String,
    pub runtime: ContainerRuntime,
    /// Whose word it is; `None`: root's.
    pub user: Option<u32>,
}

/// Who can make groups in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupOwner {
    /// Root alone.
    Root,
    User(u32),
    /// The group cannot be looked at, or several may write to it.
    Unknown,
}

/// One line of `/proc/PID/cgroup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupLine<'a> {
    /// Controllers or name of an older hierarchy; empty for the unified one.
    pub hierarchy: &'a str,
    pub path: &'a str,
}

/// The lines of the file's text. A carriage return at the end of one is its group's own.
pub fn lines(text: &str) -> impl Iterator<Item = CgroupLine<'_>> {
    text.split('\n').filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, hierarchy, path) = (fields.next()?, fields.next()?, fields.next()?);
        Some(CgroupLine { hierarchy, path })
    })
}

/// The groups of a path, from its root.
pub fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

impl CgroupFacts {
    /// Puts together what the hierarchies say, the unified one first: hybrid hosts keep containers
    /// in the older trees. Where two name different containers neither is believed.
    #[must_use]
    pub fn of_all(mut facts: Vec<CgroupFacts>) -> CgroupFacts {
        // The unified hierarchy is printed last.
        facts.reverse();
        let roots: Vec<&CgroupFacts> = facts.iter().filter(|fact| fact.by_root()).collect();
        if let Some(first) = roots.iter().find(|fact| fact.container.is_some()).or(roots.first()) {
            let agree = roots.iter().all(|fact| {
                let same = |a: Option<&str>, b: Option<&str>| a.zip(b).is_none_or(|(a, b)| a == b);
                let id = |fact: &CgroupFacts| fact.container.as_ref().map(|container| container.id.clone());
                same(id(fact).as_deref(), id(first).as_deref())
                    && same(fact.pod_uid.as_deref(), first.pod_uid.as_deref())
            });
            return if agree { (**first).clone() } else { CgroupFacts { inside: true, ..CgroupFacts::default() } };
        }
        let best = facts.iter().find(|fact| fact.container.is_some() || fact.inside);
        best.or_else(|| facts.iter().find(|fact| fact.unit.is_some())).cloned().unwrap_or_default()
    }

    fn by_root(&self) -> bool {
        self.pod_uid.is_some() || self.container.as_ref().is_some_and(|container| container.user.is_none())
    }

    /// One absolute path. `owner` answers for the groups on it, by their paths.
    #[must_use]
    pub fn of_path(path: &str, owner: &dyn Fn(&str) -> CgroupOwner) -> CgroupFacts {
        let mut walk = CgroupWalk { facts: CgroupFacts::default(), maker: CgroupOwner::Root, slices: true };
        let parts: Vec<&str> = parts(path).collect();
        if parts.contains(&"..") {
            return CgroupFacts::default();
        }
        let mut above = String::new();
        for (at, part) in parts.iter().enumerate() {
            let before = parts.get(..at).unwrap_or_default();
            if walk.maker == CgroupOwner::Root {
                walk.maker = owner(if above.is_empty() { "/" } else { &above });
            }
            if walk.step(part, before) {
                break;
            }
            above.push('/');
            above.push_str(part);
        }
        walk.facts
    }
}

/// A path on the way from its root.
struct CgroupWalk {
    facts: CgroupFacts,
    /// Who made the group at hand: the owner of the first group above it that is not root's alone.
    maker: CgroupOwner,
    /// So far slices only, each in the one that its name says: where systemd puts services and scopes.
    slices: bool,
}

impl CgroupWalk {
    /// Takes one group; true when what is below it says no more.
    fn step(&mut self, part: &str, before: &[&str]) -> bool {
        match grammar::part(part, before, self.slices) {
            CgroupPart::Slice => {
                self.pod(part, before);
                return false;
            }
            CgroupPart::Container { runtime, id, keeps_unit } => {
                self.container(runtime, id, keeps_unit, before, part);
                return true;
            }
            CgroupPart::Sealed => {
                self.sealed(false);
                return true;
            }
            CgroupPart::Monitor => return true,
            CgroupPart::Manager(uid) => {
                // A user's own manager: what is below is that user's, whoever owns the group.
                self.maker = if self.maker == CgroupOwner::Root { CgroupOwner::User(uid) } else { self.maker };
                return false;
            }
            CgroupPart::Unit(name) => self.unit(name),
            CgroupPart::Other => {
                self.pod(part, before);
                self.slices = false;
            }
        }
        false
    }

    fn pod(&mut self, part: &str, before: &[&str]) {
        if self.maker == CgroupOwner::Root
            && self.facts.pod_uid.is_none()
            && let Some(uid) = grammar::pod(part, before)
        {
            self.facts.pod_uid = Some(uid);
        }
    }

    fn unit(&mut self, name: &str) {
        // Slices cannot be delegated, so that a service in them is root's even where nobody can be asked.
        let (in_slices, user) = (std::mem::replace(&mut self.slices, false), self.user());
        if in_slices && self.facts.unit.is_none() {
            self.facts.unit = Some(SystemdUnit { name: grammar::unescape(name), user });
        }
    }

    fn container(&mut self, runtime: ContainerRuntime, id: &str, keeps_unit: bool, before: &[&str], part: &str) {
        if self.maker == CgroupOwner::Unknown {
            return self.sealed(keeps_unit);
        }
        if !self.keeps(keeps_unit) {
            self.facts.unit = None;
        }
        let user = self.user();
        if user.is_none() && self.facts.pod_uid.is_none() {
            self.facts.pod_uid = grammar::pod_of_colons(part, before);
        }
        self.facts.container = Some(ContainerRef { id: id.to_owned(), runtime, user });
    }

    /// A container of which no more can be said. Of a user's not even that: he may call a group what he likes.
    fn sealed(&mut self, keeps_unit: bool) {
        if self.user().is_none() && !self.keeps(keeps_unit) {
            self.facts = CgroupFacts { inside: true, pod_uid: self.facts.pod_uid.take(), ..CgroupFacts::default() };
        }
    }

    /// Whether a container leaves the process to the service around it: by the operator's wish, and
    /// where a user runs a container within a service of the system, which is root's word.
    fn keeps(&self, keeps_unit: bool) -> bool {
        let by_system = self.facts.unit.as_ref().is_some_and(|unit| unit.user.is_none());
        keeps_unit || by_system && self.maker != CgroupOwner::Root
    }

    fn user(&self) -> Option<u32> {
        match self.maker {
            CgroupOwner::User(uid) => Some(uid),
            CgroupOwner::Root | CgroupOwner::Unknown => None,
        }
    }
}

/// For fuzzing: the whole text, behind a byte that says from which depth on somebody else owns the
/// groups. Nothing panics, what is root's word is what root made alone, and ids have their forms.
pub fn fuzz(data: &[u8]) {
    const STRANGER: u32 = 4_000_000;
    let Some((first, text)) = data.split_first() else { return };
    let (depth, text) = (usize::from(first & 7), String::from_utf8_lossy(text));
    let theirs = if first & 8 == 0 { CgroupOwner::User(STRANGER) } else { CgroupOwner::Unknown };
    let owner = |group: &str| if parts(group).count() < depth { CgroupOwner::Root } else { theirs };
    let mut all = Vec::new();
    for line in lines(&text) {
        let facts = CgroupFacts::of_path(line.path, &owner);
        if let Some(container) = &facts.container {
            assert!(container.id.len() == 64 && container.id.bytes().all(|b| b.is_ascii_hexdigit()));
        }
        assert!(facts.pod_uid.as_ref().is_none_or(|uid| [32, 36].contains(&uid.len())));
        assert!(facts.unit.as_ref().is_none_or(|unit| !unit.name.contains(['/', '\n'])));
        let roots_own: String = parts(line.path).take(depth).flat_map(|part| ["/", part]).collect();
        let by_root = CgroupFacts::of_path(&roots_own, &|_| CgroupOwner::Root);
        let system = |facts: &CgroupFacts| facts.container.clone().filter(|container| container.user.is_none());
        let unit = |facts: &CgroupFacts| facts.unit.clone().filter(|unit| unit.user.is_none());
        if parts(line.path).any(|part| part == "..") {
            assert_eq!(facts, CgroupFacts::default());
        } else {
            assert_eq!((&facts.pod_uid, system(&facts)), (&by_root.pod_uid, system(&by_root)), "{line:?}");
            // Whom an unknown owner's slices belong to is known: they cannot be delegated.
            assert!(theirs == CgroupOwner::Unknown || unit(&facts) == unit(&by_root), "{line:?}");
            assert!(theirs == CgroupOwner::Unknown || facts.inside == by_root.inside, "{line:?}");
        }
        all.push(facts);
    }
    let whole = CgroupFacts::of_all(all.clone());
    assert!(whole.pod_uid.is_none() || all.iter().all(|one| one.pod_uid.is_none() || one.pod_uid == whole.pod_uid));
    assert!(whole.container.is_none() || all.iter().any(|one| one.container == whole.container));
}

#[cfg(test)]
mod tests;
