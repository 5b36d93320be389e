//! TLS libraries and executables that carry one: found once an inode, probed for the whole host at once.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::elf::Image;
use super::placement::{self, Place, Strategy};
use super::probes::{FUNCTIONS, Function, LengthIn, Role, programs};
use super::uprobes::{Link, Uprobes};
use super::watch::Mapping;
use crate::clock;
use crate::coverage::{ProbeRow, ProbeState};
use crate::units::Direction;

/// A file on disk, whatever names lead to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    device: u64,
    inode: u64,
    /// A file rewritten in place is another file.
    modified_ns: i64,
}

/// What a mapped file turned out to be.
#[derive(Debug)]
pub enum Found {
    /// It carries OpenSSL's functions.
    Target(Box<Target>),
    /// It does not.
    Other,
}

/// A probed file.
#[derive(Debug)]
pub struct Target {
    /// Path as the first process that mapped it sees it.
    pub path: String,
    pub build_id: Option<String>,
    image: Image,
    placed: Vec<Placed>,
    /// Calls that went up, of processes that have no other TLS library.
    calls: Calls,
}

/// Calls seen, by role and by how they return their length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    reads: [u64; 2],
    writes: [u64; 2],
}

impl Calls {
    /// One more call; `ex`: its length came through a pointer.
    pub fn count(&mut self, direction: Direction, ex: bool) {
        let [plain, through_pointer] = match direction {
            Direction::Read => &mut self.reads,
            Direction::Write => &mut self.writes,
        };
        *(if ex { through_pointer } else { plain }) += 1;
    }

    fn add(&mut self, more: Calls) {
        for (sum, more) in self.reads.iter_mut().zip(more.reads).chain(self.writes.iter_mut().zip(more.writes)) {
            *sum += more;
        }
    }

    /// Calls at one place; `None` for functions whose calls do not go up one by one.
    fn at(&self, place: &Place) -> Option<u64> {
        let [plain, ex] = match place.function.role {
            Role::Read => self.reads,
            Role::Write => self.writes,
            _ => return None,
        };
        Some(if place.length == LengthIn::Result { plain } else { ex })
    }
}

#[derive(Debug)]
struct Placed {
    place: Place,
    links: Vec<Link>,
    error: Option<String>,
}

/// Every file looked at so far.
#[derive(Debug, Default)]
pub struct Targets {
    files: HashMap<FileId, Found>,
    strategy: Strategy,
}

/// Probes detached at the same time: more of them only wait for each other in the kernel.
const DETACHING: usize = 8;

/// Files remembered; beyond it the memory of uninteresting ones is dropped (they are looked at again when mapped again).
const MAX_FILES: usize = 65_536;

impl Targets {
    #[must_use]
    pub fn new(strategy: Strategy) -> Self {
        Self { strategy, ..Self::default() }
    }

    /// Looks at a mapped file; probes it if it is new and carries TLS. `None`: the file is gone.
    pub fn look(&mut self, mapping: &Mapping, uprobes: &mut Uprobes) -> Option<FileId> {
        let (via, id) = open_way(mapping)?;
        if self.files.contains_key(&id) {
            return Some(id);
        }
        let image = Image::read(&via).ok()??;
        if self.files.len() >= MAX_FILES {
            self.files.retain(|_, found| matches!(found, Found::Target(_)));
        }
        let found = if image.functions.is_empty() {
            Found::Other
        } else {
            Found::Target(Box::new(probe(image, mapping.path.clone(), self.strategy, uprobes)))
        };
        self.files.insert(id, found);
        Some(id)
    }

    /// What is known of a file.
    #[must_use]
    pub fn get(&self, id: FileId) -> Option<&Found> {
        self.files.get(&id)
    }

    /// What these probes captured cannot be right: detaches them and takes the public symbols instead.
    pub fn fall_back(&mut self, id: FileId, mapping: &Mapping, uprobes: &mut Uprobes) {
        let Some((via, _)) = open_way(mapping).filter(|(_, found)| *found == id) else { return };
        let (Some(Found::Target(target)), Ok(Some(image))) = (self.files.get_mut(&id), Image::read(&via)) else {
            return;
        };
        target.placed.clear();
        **target = probe(image, mapping.path.clone(), Strategy::Symbol, uprobes);
        for placed in &mut target.placed {
            placed.place.why = "the cheaper place captured what cannot be right; back at the public symbol".into();
        }
    }

    /// Detaches every probe. Each takes a grace period of the kernel (tens of milliseconds), so they are taken at the same time.
    pub fn detach_all(&mut self) {
        let targets = self.files.values_mut().filter_map(|f| if let Found::Target(t) = f { Some(t) } else { None });
        let links = targets.flat_map(|target| target.placed.drain(..)).flat_map(|placed| placed.links);
        let mut hands: Vec<Vec<_>> = (0..DETACHING).map(|_| Vec::new()).collect();
        for (link, hand) in links.zip((0..DETACHING).cycle()) {
            if let Some(hand) = hands.get_mut(hand) {
                hand.push(link);
            }
        }
        std::thread::scope(|scope| {
            for hand in hands {
                scope.spawn(move || drop(hand));
            }
        });
    }

    /// Calls that passed a file's probes.
    pub fn passed(&mut self, id: FileId, calls: Calls) {
        if let Some(Found::Target(target)) = self.files.get_mut(&id) {
            target.calls.add(calls);
        }
    }

    /// Rows for `inspect probes`.
    #[must_use]
    pub fn rows(&self) -> Vec<ProbeRow> {
        let targets =
            self.files.values().filter_map(|f| if let Found::Target(t) = f { Some(t.as_ref()) } else { None });
        targets.flat_map(Target::rows).collect()
    }
}

impl Target {
    /// Reads and writes are both probed.
    #[must_use]
    pub fn works(&self) -> bool {
        let probed = |role| self.placed.iter().any(|p| p.place.function.role == role && p.error.is_none());
        probed(Role::Read) && probed(Role::Write)
    }

    /// Did the loader choose other places than the public symbols?
    #[must_use]
    pub fn can_fall_back(&self) -> bool {
        self.placed.iter().any(|p| p.place.how != "entry")
    }

    fn rows(&self) -> Vec<ProbeRow> {
        FUNCTIONS.iter().map(|function| self.row(function)).collect()
    }

    fn row(&self, function: &'static Function) -> ProbeRow {
        let (placement, reason, state, hits) = self.state_of(function);
        let (target, build_id) = (self.path.clone(), self.build_id.clone());
        ProbeRow { probe: function.probe, target, build_id, placement, reason, state, hits }
    }

    /// Placement, reason, state and hits of a function's probe.
    fn state_of(&self, function: &'static Function) -> (String, String, ProbeState, Option<u64>) {
        if let Some(placed) = self.placed.iter().find(|p| p.place.function == function) {
            let at = self.image.file_offset(placed.place.address).unwrap_or(0);
            let placement = format!("{} 0x{at:x}", placed.place.how);
            return match &placed.error {
                None => (placement, placed.place.why.clone(), ProbeState::Ok, self.calls.at(&placed.place)),
                Some(error) => (placement, error.clone(), ProbeState::Broken, None),
            };
        }
        if let Some(host) = self.placed.iter().find(|p| p.place.serves.contains(&function)) {
            let reason = format!("calls pass the probe of {}, which counts them", host.place.function.symbol);
            let state = if host.error.is_none() { ProbeState::Ok } else { ProbeState::Broken };
            return ("shared".into(), reason, state, None);
        }
        if self.image.functions.contains_key(function.symbol) {
            return ("shared".into(), "it forwards to a function that is probed".into(), ProbeState::Ok, None);
        }
        ("-".into(), "this build has no such function".into(), ProbeState::NotApplicable, None)
    }
}

fn probe(mut image: Image, path: String, strategy: Strategy, uprobes: &mut Uprobes) -> Target {
    let began = clock::now();
    let places = placement::places(&image, strategy);
    let placed: Vec<_> = places.into_iter().map(|place| attach(&image, place, uprobes)).collect();
    image.close();
    tracing::info!(library = path, took_ms = (clock::now() - began) / 1_000_000, "probed");
    Target { path, build_id: image.build_id.clone(), image, placed, calls: Calls::default() }
}

fn attach(image: &Image, place: Place, uprobes: &mut Uprobes) -> Placed {
    let mut placed = Placed { place, links: Vec::new(), error: None };
    let Some(via) = image.open_path() else {
        placed.error = Some("the file is not open".into());
        return placed;
    };
    let Some(offset) = image.file_offset(placed.place.address) else {
        placed.error = Some("the function lies outside the file's code".into());
        return placed;
    };
    let (entry, done) = programs(placed.place.function.role, placed.place.length, placed.place.inner());
    // The return probe first: a call seen at entry alone would leave its entry behind.
    for name in [done, entry].into_iter().flatten() {
        match uprobes.attach(name, &via, offset) {
            Ok(link) => placed.links.push(link),
            Err(error) => placed.error = Some(error),
        }
    }
    placed
}

/// An error and its causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A path that opens the very file that is mapped: the mapping itself (right even if the file was replaced), else the path in
/// the process's own root, else in ours (the process may be gone already).
fn open_way(mapping: &Mapping) -> Option<(PathBuf, FileId)> {
    let Mapping { pid, start, end, path } = mapping;
    let ways = [format!("/proc/{pid}/map_files/{start:x}-{end:x}"), format!("/proc/{pid}/root{path}"), path.clone()];
    ways.into_iter().map(PathBuf::from).find_map(|way| {
        let meta = fs::metadata(&way).ok().filter(fs::Metadata::is_file)?;
        let modified_ns = meta.mtime().wrapping_mul(1_000_000_000).wrapping_add(meta.mtime_nsec());
        Some((way, FileId { device: meta.dev(), inode: meta.ino(), modified_ns }))
    })
}
