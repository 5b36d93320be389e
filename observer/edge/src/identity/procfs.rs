//! The part that reads: /proc, cgroup trees, and the container runtimes' files.

use std::collections::{HashMap, HashSet};
use std::fs::{File, read_link};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cgroup::{CgroupFacts, ContainerRef, lines};
use super::files::HostRoot;
use super::lane::{IdentityAnswer, IdentityQuestion, IdentityThreads};
use super::tree::CgroupTrees;
use super::{ContainerNames, ExecutableOwner, ProcessFacts, ProcessIdentity, host, state};

/// /proc texts are far shorter.
const FILE_BYTES: u64 = 64 * 1024;

/// Containers remembered; beyond it users' are forgotten, then all, and looked up again.
const REMEMBERED: usize = 1024;

/// Processes, and names of units and containers, kept in mind to be told apart; a node has hundreds.
const KEPT: usize = 4096;

/// When a container that no runtime knew is asked for again: first, and at last.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_AT_LAST: Duration = Duration::from_secs(300);

/// Look-ups of containers in a second, of root's and of users' each: a runtime starts a few; what
/// is over waits for the next. Users make up as many containers as they like, but take no look-up
/// from root's.
const LOOKUPS: u32 = 50;

/// Reads identities. Keeps container names, since a container's processes share them.
#[derive(Debug)]
pub struct IdentityReader {
    proc: PathBuf,
    /// Where the runtimes' files may be.
    roots: Vec<PathBuf>,
    trees: CgroupTrees,
    lane: IdentityThreads,
    containers: HashMap<ContainerRef, ContainerAnswer>,
    /// Processes that may be told better later, and when to look.
    open: HashMap<u32, Instant>,
    /// Names that units and containers have.
    taken: HashSet<String>,
    /// Programs of users that go by their bare name, by process.
    bare: HashMap<u32, String>,
    /// Processes whose bare name has been taken since.
    renamed: Vec<u32>,
    /// Look-ups in the second that began then: of root's containers, and of users'.
    second: (Instant, [u32; 2]),
}

/// What came of asking for a container.
#[derive(Debug)]
struct ContainerAnswer {
    names: Option<ContainerNames>,
    next: Instant,
    wait: Duration,
}

impl Default for IdentityReader {
    /// This host.
    fn default() -> Self {
        IdentityReader::new("/proc".into(), host::roots())
    }
}

impl IdentityReader {
    /// A reader over these trees.
    #[must_use]
    pub fn new(proc: PathBuf, roots: Vec<PathBuf>) -> IdentityReader {
        IdentityReader {
            trees: CgroupTrees::new(proc.clone(), roots.clone()),
            lane: IdentityThreads::new(roots.clone()),
            proc,
            roots,
            containers: HashMap::new(),
            open: HashMap::new(),
            taken: HashSet::new(),
            bare: HashMap::new(),
            renamed: Vec::new(),
            second: (Instant::now(), [0; 2]),
        }
    }

    /// Who `pid` is, and its start in nanoseconds on CLOCK_BOOTTIME, cut to a clock tick (10 ms) as
    /// the kernel side does. `None` when the process is gone. Blocks for a few milliseconds at
    /// most, whatever strangers' files do; what is not known by then is told by `again`.
    pub fn read(&mut self, pid: u32) -> Option<(u64, ProcessIdentity)> {
        let start_ns = self.start(pid)?;
        let dir = self.proc.join(pid.to_string());
        let (mut facts, groups) = (facts(pid, &dir), text(&dir.join("cgroup")));
        // Of another process that got its number meanwhile nothing is known.
        if self.start(pid)? != start_ns {
            return None;
        }
        // Groups so deep that the kernel does not print them are somebody's hiding place, and make
        // nobody the host's own.
        let hidden = groups.is_none();
        facts.root &= !hidden;
        let cgroup = self.trees.read(&groups.unwrap_or_default());
        let (names, again) = self.names(&cgroup);
        self.take_names(&cgroup, names.as_ref());
        let (own, sure) = if !hidden && facts.needs_own(&cgroup, names.as_ref()) {
            self.own(pid, start_ns, &facts)
        } else {
            (ExecutableOwner::Strange, true)
        };
        let of_user = !sure || cgroup.container.as_ref().is_some_and(|container| container.user.is_some());
        self.keep_open(pid, if sure { again } else { Some(Instant::now() + AGAIN) }, of_user);
        Some((start_ns, ProcessIdentity::new(facts, cgroup, names, own)))
    }

    /// The start of `pid`, as `read` gives it, and nothing else.
    #[must_use]
    pub fn start(&self, pid: u32) -> Option<u64> {
        start_ns(&text(&self.proc.join(pid.to_string()).join("stat"))?)
    }

    /// The executable of `pid`, as it sees it.
    #[must_use]
    pub fn exe(&self, pid: u32) -> Option<String> {
        facts(pid, &self.proc.join(pid.to_string())).exe
    }

    /// The cgroup paths of `pid`, one for each hierarchy; none when the process is gone.
    #[must_use]
    pub fn cgroups(&self, pid: u32) -> Vec<String> {
        let text = text(&self.proc.join(pid.to_string()).join("cgroup")).unwrap_or_default();
        lines(&text).map(|line| line.path.to_owned()).collect()
    }

    /// Processes worth reading again: what was not known of them may be by now. Call it about once a second.
    pub fn again(&mut self) -> Vec<u32> {
        let (late, now) = (self.lane.late(), Instant::now());
        let mut due = std::mem::take(&mut self.renamed);
        due.extend(self.open.iter().filter(|(_, at)| late || **at <= now).map(|(pid, _)| *pid));
        for pid in &due {
            self.open.remove(pid);
            self.bare.remove(pid);
        }
        due
    }

    /// `of_user`: a user's word is waited for; those leave room for root's.
    fn keep_open(&mut self, pid: u32, again: Option<Instant>, of_user: bool) {
        let room = if of_user { KEPT / 2 } else { KEPT };
        match again {
            None => {
                self.open.remove(&pid);
            }
            Some(at) if self.open.len() < room => {
                self.open.insert(pid, at);
            }
            Some(_) => {}
        }
    }

    /// The names of its container, and when to ask again if that is not the last word.
    fn names(&mut self, cgroup: &CgroupFacts) -> (Option<ContainerNames>, Option<Instant>) {
        let Some(container) = &cgroup.container else { return (None, None) };
        let now = Instant::now();
        let wait = match self.containers.get(container) {
            Some(asked) if asked.names.is_some() => return (asked.names.clone(), None),
            Some(asked) if asked.next > now => return (None, Some(asked.next)),
            Some(asked) => (asked.wait * 2).min(AGAIN_AT_LAST),
            None => AGAIN,
        };
        if !self.may_look(now, container.user.is_some()) {
            return (None, Some(now + AGAIN));
        }
        let names = self.look_up(container, cgroup.pod_uid.as_deref());
        self.forget();
        let next = now + wait;
        self.containers.insert(container.clone(), ContainerAnswer { names: names.clone(), next, wait });
        let again = names.is_none().then_some(next);
        (names, again)
    }

    /// Makes room for a container: users' go first, who may have made them up.
    fn forget(&mut self) {
        if self.containers.len() >= REMEMBERED {
            self.containers.retain(|container, _| container.user.is_none());
        }
        if self.containers.len() >= REMEMBERED {
            self.containers.clear();
        }
    }

    fn may_look(&mut self, now: Instant, of_user: bool) -> bool {
        if now.duration_since(self.second.0) >= Duration::from_secs(1) {
            self.second = (now, [0; 2]);
        }
        let [roots, users] = &mut self.second.1;
        let looks = if of_user { users } else { roots };
        *looks += 1;
        *looks <= LOOKUPS
    }

    fn look_up(&mut self, container: &ContainerRef, pod_uid: Option<&str>) -> Option<ContainerNames> {
        let roots: Vec<HostRoot> = self.roots.iter().filter_map(|path| HostRoot::open(path).ok()).collect();
        let of_root = roots.iter().find_map(|root| state::of_root(root, container, pod_uid));
        let Some(user) = container.user else { return of_root };
        // A user who claims root's container is no witness.
        if of_root.is_some() || roots.is_empty() {
            return None;
        }
        match self.lane.ask(&IdentityQuestion::Names { container: container.clone(), user })? {
            IdentityAnswer::Names(names) => names,
            IdentityAnswer::Program(_) => None,
        }
    }

    /// Whether the program is the host's own and its name nobody else's, and whether that is the last word.
    fn own(&mut self, pid: u32, start_ns: u64, facts: &ProcessFacts) -> (ExecutableOwner, bool) {
        let (Some(path), name) = (facts.exe.clone(), facts.program().to_owned()) else {
            return (ExecutableOwner::Strange, true);
        };
        let link = self.proc.join(pid.to_string()).join("exe");
        match self.lane.ask(&IdentityQuestion::Program { link, start_ns, path, user: facts.uid }) {
            None => (ExecutableOwner::Strange, false),
            Some(IdentityAnswer::Program(true)) if !self.is_taken(&name) => {
                if self.bare.len() >= KEPT {
                    let proc = &self.proc;
                    self.bare.retain(|pid, _| proc.join(pid.to_string()).exists());
                }
                self.bare.insert(pid, name);
                (ExecutableOwner::System, true)
            }
            Some(_) => (ExecutableOwner::Strange, true),
        }
    }

    fn is_taken(&self, name: &str) -> bool {
        let unit = |path: &PathBuf| HostRoot::open(path).is_ok_and(|root| state::has_unit(&root, name));
        self.taken.contains(name) || self.roots.iter().any(unit)
    }

    /// Units and containers of the system keep their names to themselves from now on.
    fn take_names(&mut self, cgroup: &CgroupFacts, names: Option<&ContainerNames>) {
        let unit = cgroup.unit.as_ref().filter(|unit| unit.user.is_none()).map(|unit| &unit.name);
        let roots = cgroup.container.as_ref().is_some_and(|container| container.user.is_none());
        let container = names.filter(|_| roots).and_then(|names| names.container.as_ref());
        for name in [unit, container].into_iter().flatten() {
            if self.taken.len() < KEPT && !self.taken.contains(name) {
                self.taken.insert(name.clone());
                self.renamed.extend(self.bare.iter().filter(|(_, bare)| *bare == name).map(|(pid, _)| *pid));
            }
        }
    }
}

/// What /proc says of the process itself.
fn facts(pid: u32, dir: &Path) -> ProcessFacts {
    let status = text(&dir.join("status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mut uids = field("Uid:").into_iter().flat_map(str::split_ascii_whitespace).map(str::parse);
    let (real, effective) = (uids.next().and_then(Result::ok), uids.next().and_then(Result::ok));
    let bound = |status: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let first = || text(&dir.with_file_name("1").join("status")).as_deref().and_then(bound);
    // As mighty as the host's first process: root of the host, not of some container.
    let mighty = || bound(&status).zip(first()).is_some_and(|(own, first)| own & first == first);
    ProcessFacts {
        pid,
        comm: text(&dir.join("comm")).map(|comm| comm.trim_end_matches('\n').to_owned()).unwrap_or_default(),
        exe: read_link(dir.join("exe"))
            .ok()
            .map(|path| path.to_string_lossy().trim_end_matches(" (deleted)").to_owned()),
        uid: effective,
        root: real == Some(0) && effective == Some(0) && mighty(),
    }
}

/// Field 22 of `stat`, after the command name, which may hold anything.
fn start_ns(stat: &str) -> Option<u64> {
    let ticks: u64 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(ticks.saturating_mul(1_000_000_000 / ::procfs::ticks_per_second().max(1)))
}

fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(FILE_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
