//! Mapped files, most of them strangers': opened without waiting for anybody (`open`), told apart
//! by their real inode (`inode`, `layer`, `handle`), examined within a budget (`budget`) in threads
//! of their own (`threads`), probed by a path that holds nobody's mount (`pin`), and let go of when
//! nobody has them mapped any more (`holders`, `release`).
//!
//! The pipeline's thread never waits for any of it: it gives work to `MappedFiles` and takes the
//! answers when they are there.

mod account;
mod budget;
mod case;
mod examine;
mod explain;
mod fall_back;
mod found;
mod generations;
mod handle;
mod holders;
mod hung;
mod inode;
mod layer;
mod layouts;
mod open;
mod payer;
mod pin;
mod queue;
mod registry;
mod release;
mod room;
mod sleep;
mod threads;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use self::account::FileCounters;
use self::budget::FileTimeBudget;
pub(super) use self::found::TlsFile;
use self::holders::{FileHolders, HeldFile};
use self::hung::HungFiles;
use self::layouts::KeptLayouts;
use self::open::SeenAs;
use self::queue::{FileJob, JobQueue};
pub(super) use self::registry::TargetId;
use self::registry::{FileRegistry, FileVerdict};
pub(super) use self::room::raise as raise_descriptors;
use super::procmaps;
use super::targets::CallCounts;
use super::uprobes::UprobePrograms;
use super::watch::{MappingWatch, NewMapping, WatchEvent};
use crate::coverage::ProbeRow;
use capture::stacks::{PlacementStrategy, UnseenReason, is_likely};
use capture::units::Ns;

/// What became known of a process, away from the pipeline's thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProcessFinding {
    /// The process has a probed file mapped.
    Uses { pid: u32 },
    /// It has a file mapped that is not looked at, for this reason.
    Unseen {
        pid: u32,
        reason: UnseenReason,
        /// The file's name says that TLS is in it.
        surely_tls: bool,
    },
    /// It uses TLS that no probe enters, for this reason.
    Explained { pid: u32, reason: UnseenReason },
}

/// The host's mapped files.
#[derive(Clone)]
pub(super) struct MappedFiles {
    shared: Arc<SharedFiles>,
}

/// What the threads share with the pipeline's.
pub(super) struct SharedFiles {
    /// Always taken before `state`, so that what two threads read of it is applied in order.
    watch: Mutex<MappingWatch>,
    state: Mutex<State>,
    /// There is a job, or it is time to end.
    work: Condvar,
    /// One file is probed at a time: two threads must not probe one inode at once.
    attaching: Mutex<()>,
    pub(super) uprobes: UprobePrograms,
    strategy: PlacementStrategy,
    bell: threads::PipelineWaker,
}

#[derive(Default)]
struct State {
    registry: FileRegistry,
    holders: FileHolders,
    budget: FileTimeBudget,
    queue: JobQueue,
    /// Jobs in work.
    working: usize,
    told: Vec<ProcessFinding>,
    /// What perf told that is the pipeline's to know, in order.
    events: VecDeque<WatchEvent>,
    /// Files that were just looked at, by what perf and /proc call them.
    recent: HashMap<Hint, (Ns, FileVerdict)>,
    /// Where stacks are in files that were looked through.
    layouts: KeptLayouts,
    /// Files that do not answer.
    hung: HungFiles,
    /// Processes that began a program and have not mapped its file yet.
    beginning: HashSet<u32>,
    /// Processes whose first thread has ended before the others.
    headless: Vec<u32>,
    counters: FileCounters,
    /// When the house was last kept, and processes last asked whether they live.
    housed: Ns,
    eased: Ns,
    purged: Ns,
    stopping: bool,
}

/// How perf and `/proc/PID/maps` call a file.
type Hint = ((u32, u32), u64, u64);

/// A file that was looked at is believed unchanged for this long: a host that starts a thousand
/// programs a second maps the same few libraries each time.
const RECENT_NS: u64 = 1_000_000_000;

/// Processes between the two records of a begin, which follow each other within microseconds.
const MAX_BEGINNING: usize = 4096;

/// Files remembered so.
const MAX_RECENT: usize = 8192;

impl SharedFiles {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all that perf has told: mappings become jobs, births and ends change who holds what,
    /// and the pipeline gets its part.
    fn drain(&self) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = Vec::new();
        watch.drain(&mut seen);
        if seen.is_empty() {
            return;
        }
        let now = crate::clock::now();
        let mut state = self.state();
        seen.into_iter().for_each(|seen| state.on_watch_event(seen, now));
        let waiting = state.queue.len() + state.queue.surveys();
        drop(state);
        // Most of what a host's programs map is known at once; threads that have nothing to do sleep on.
        // All: not every thread takes every job.
        if waiting > 0 {
            self.work.notify_all();
        }
    }
}

/// Events kept for the pipeline; it takes them several times a second, a host that forks more than
/// this meanwhile is out of order.
const MAX_EVENTS: usize = 262_144;

impl State {
    fn on_watch_event(&mut self, seen: WatchEvent, now: Ns) {
        match &seen {
            WatchEvent::Mapped(mapping) => return self.mapped(mapping, now),
            WatchEvent::Forked { pid, parent } => self.holders.forked(*pid, *parent),
            WatchEvent::Exec { pid, at, .. } => {
                self.holders.replaced(*pid, *at);
                self.begins(*pid);
            }
            WatchEvent::Ended { pid }
                if self.holders.of(*pid).next().is_some() && procmaps::has_other_threads(*pid) =>
            {
                return self.headless.push(*pid);
            }
            WatchEvent::Ended { pid } => self.holders.ended(*pid, now),
            WatchEvent::Lost(count) => {
                self.counters.lost_records += count;
                self.look_at_all();
            }
        }
        self.send_to_pipeline(seen);
    }

    fn send_to_pipeline(&mut self, seen: WatchEvent) {
        if self.events.len() >= MAX_EVENTS {
            self.events.clear();
            self.events.push_back(WatchEvent::Lost(0));
        }
        self.events.push_back(seen);
    }

    fn begins(&mut self, pid: u32) {
        // Whoever never maps its file has ended in exec.
        if self.beginning.len() >= MAX_BEGINNING {
            self.beginning.clear();
        }
        self.beginning.insert(pid);
    }

    /// The first code that a process maps once it has begun a program is that program's.
    fn mapped(&mut self, mapping: &NewMapping, now: Ns) {
        let begins = self.beginning.remove(&mapping.pid);
        match mapping.hint().and_then(|hint| self.recent.get(&hint)).filter(|(at, _)| now - *at < RECENT_NS) {
            Some((_, what)) => self.uses(mapping, *what),
            None if begins => self.queue.add_program(mapping.clone()),
            None => self.queue.add(FileJob::Look(mapping.clone())),
        }
    }

    /// A process has a file mapped that is known.
    fn uses(&mut self, mapping: &NewMapping, what: FileVerdict) {
        let pid = mapping.pid;
        let told = match what {
            FileVerdict::Plain(_) => return,
            FileVerdict::Refused(reason) => {
                ProcessFinding::Unseen { pid, reason, surely_tls: is_likely(&mapping.path) }
            }
            FileVerdict::Target(id) if pid == std::process::id() => return self.holders.unheld(id, mapping.at),
            FileVerdict::Target(id) => {
                let place = HeldFile { device: mapping.device.unwrap_or_default(), path: mapping.path.as_str().into() };
                if !self.holders.mapped(pid, id, place, mapping.at) {
                    return;
                }
                ProcessFinding::Uses { pid }
            }
        };
        if self.told.len() < MAX_EVENTS && self.told.last() != Some(&told) {
            self.told.push(told);
        }
    }

    /// Not what an overlay shows, or another file system without a device: its file may be copied
    /// up at any moment, and is another inode then under the same number.
    ///
    /// And only if it is the file that perf told of: a process may have mapped another one at the
    /// same place since, to have all others taken for that.
    fn remember(&mut self, mapping: &NewMapping, opened: SeenAs, what: FileVerdict, now: Ns) {
        let is_it = mapping.device == Some(opened.device) && mapping.inode == Some(opened.inode);
        if !is_it || opened.device.0 == 0 {
            return;
        }
        if self.recent.len() >= MAX_RECENT {
            self.recent.clear();
        }
        if let Some(hint) = mapping.hint() {
            self.recent.insert(hint, (now, what));
        }
    }

    /// Every process of the host is looked at.
    fn look_at_all(&mut self) {
        procmaps::pids().into_iter().for_each(|pid| self.queue.add(FileJob::Process(pid)));
    }
}

impl MappedFiles {
    /// Starts the threads: from here on what is mapped is looked at. `found`: what `found_layouts` told an earlier
    /// process, and which build this is.
    ///
    /// # Errors
    /// A thread or the descriptor that wakes cannot be had.
    pub(super) fn start(
        watch: MappingWatch,
        uprobes: UprobePrograms,
        strategy: PlacementStrategy,
        (found, program): (Option<&[u8]>, &str),
    ) -> std::io::Result<MappedFiles> {
        let mut layouts = KeptLayouts::default();
        if let Some(Err(error)) = found.map(|text| layouts.restore(text, program)) {
            tracing::warn!(%error, "what was found in files before cannot be read: they are looked through again");
        }
        let shared = Arc::new(SharedFiles {
            watch: Mutex::new(watch),
            // From now on it is known since when nothing was looked at.
            state: Mutex::new(State { layouts, housed: crate::clock::now(), ..State::default() }),
            work: Condvar::new(),
            attaching: Mutex::new(()),
            uprobes,
            strategy,
            bell: threads::PipelineWaker::new()?,
        });
        threads::start(&shared)?;
        Ok(MappedFiles { shared })
    }

    /// Looks at what runs already, what is called after TLS first, and waits until that is done,
    /// `LONGEST_START` at most.
    pub(super) fn take_stock(&self) {
        let mut state = self.shared.state();
        procmaps::likely().into_iter().for_each(|mapping| state.queue.add(FileJob::Look(mapping)));
        state.look_at_all();
        drop(state);
        self.shared.work.notify_all();
        let deadline = std::time::Instant::now() + LONGEST_START;
        while std::time::Instant::now() < deadline && !self.shared.state().idle() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// Where stacks were found in files, if there is something new in it, as text for the next process.
    pub(super) fn found_layouts(&self, program: &str) -> Option<String> {
        self.shared.state().layouts.news(program)
    }

    /// The descriptor that becomes readable when something was told.
    #[must_use]
    pub(super) fn fd(&self) -> std::os::fd::RawFd {
        self.shared.bell.fd()
    }

    /// What was told since the last time: by perf, in its order, and by those who looked at files.
    #[must_use]
    pub(super) fn take(&self) -> (VecDeque<WatchEvent>, Vec<ProcessFinding>) {
        self.shared.bell.silence();
        self.shared.drain();
        let mut state = self.shared.state();
        (std::mem::take(&mut state.events), std::mem::take(&mut state.told))
    }

    /// The probed files that a process has mapped: id, path as it sees it, and whether the probes work.
    #[must_use]
    pub(super) fn of(&self, pid: u32) -> Vec<(TargetId, String, bool)> {
        let state = self.shared.state();
        let works = |id| state.registry.targets.get(&id).is_some_and(|entry| entry.target.works());
        state.holders.of(pid).map(|(id, path)| (id, path.to_owned(), works(id))).collect()
    }

    /// The probed file that serves this process, if it is one alone.
    #[must_use]
    pub(super) fn only(&self, pid: u32) -> Option<TargetId> {
        let state = self.shared.state();
        let mut held = state.holders.of(pid);
        held.next().map(|(id, _)| id).filter(|_| held.next().is_none())
    }

    /// Which TLS does this process use? The answer is told.
    pub(super) fn explain(&self, pid: u32) {
        self.add(FileJob::Explain(pid));
    }

    /// What the probes of this process's library captured cannot be right: the public symbols are probed instead.
    pub(super) fn fall_back(&self, pid: u32) {
        self.add(FileJob::FallBack(pid));
    }

    fn add(&self, job: FileJob) {
        self.shared.state().queue.add(job);
        // All: not every thread takes every job.
        self.shared.work.notify_all();
    }

    /// Rows for `inspect probes`.
    #[must_use]
    pub(super) fn rows(&self, calls: &HashMap<TargetId, CallCounts>) -> Vec<ProbeRow> {
        let state = self.shared.state();
        state.registry.rows(calls, &state.holders)
    }

    /// Is this file still probed?
    #[must_use]
    pub(super) fn has(&self, id: TargetId) -> bool {
        self.shared.state().registry.targets.contains_key(&id)
    }

    /// The programs of the probes.
    #[must_use]
    pub(super) fn uprobes(&self) -> &UprobePrograms {
        &self.shared.uprobes
    }

    /// Ends the threads and detaches every probe.
    pub(super) fn stop(&self) {
        threads::stop(&self.shared);
        let targets = std::mem::take(&mut self.shared.state().registry.targets);
        release::detach(targets.into_values().flat_map(|mut entry| entry.target.take_links()).collect());
    }
}

/// The longest that a start waits for the host's files: whatever strangers do, the daemon becomes ready.
const LONGEST_START: std::time::Duration = std::time::Duration::from_secs(10);

impl State {
    fn idle(&self) -> bool {
        self.queue.len() == 0 && self.working == 0
    }
}
