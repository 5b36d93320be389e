//! The threads that look at files. One hears what perf tells and sees to it that none of the others
//! waits for ever; those others open and read. A file whose server does not answer costs one of
//! them, which is replaced, and its device is left alone for a while.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::queue::FileJob;
use super::{SharedFiles, State, sleep};
use crate::clock;
use capture::units::Ns;

/// Threads that look at files. Two: one file that takes its time must not stop all others.
const LOOKERS: usize = 2;

/// … and those that look through whole files: one, for it takes a processor for as long as it works.
const SURVEYORS: usize = 1;

/// The longest that a thread may sleep over one file, from open to probed. What it computes is
/// bounded by the file's budget, and what it waits for a processor is nobody's fault: neither is in
/// it.
const LONGEST_NS: u64 = 3_000_000_000;

/// The longest that a whole file may take, however steadily it comes: 400 MB took a cold disk 45 s.
const LONGEST_SURVEY_NS: u64 = 180_000_000_000;

/// Threads that may be stuck before nothing is replaced any more, each on a device of its own: a
/// few pages of memory each.
pub(super) const MAX_STUCK: u64 = 64;

/// How often the hearing thread looks after the others, whatever perf tells: each look reads files of `/proc`.
const ROUND: Duration = Duration::from_millis(100);

/// After it heard something it lets things gather for this long: a program maps its libraries one after the other.
const GATHER: Duration = Duration::from_millis(1);

/// Longest time that a stop waits for threads; one that is stuck ends with the process.
const LONGEST_STOP: Duration = Duration::from_secs(1);

/// The priority of these threads: what they do must come before the first call of the program that waits for nobody.
const NICE: i32 = -10;

/// … and while they look closely at what strangers bring: an ordinary one, so that the pipeline and scrapes come first.
const NICE_FOR_STRANGERS: i32 = 0;

/// … and of those who look through whole files: after whatever the host's programs do.
const NICE_FOR_SURVEYS: i32 = 10;

/// Wakes the pipeline's thread.
pub(super) struct PipelineWaker(OwnedFd);

impl PipelineWaker {
    pub(super) fn new() -> std::io::Result<PipelineWaker> {
        Ok(PipelineWaker(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub(super) fn ring(&self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    pub(super) fn silence(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

/// What one thread is doing.
pub(super) struct WorkerState {
    /// The thread's number; 0 before it runs.
    tid: AtomicU64,
    /// Since when it does what it does, nanoseconds on our clock; 0: nothing.
    since: Arc<AtomicU64>,
    /// It looks through whole files.
    surveys: bool,
    /// The file that it looks at.
    file: Mutex<Option<((u32, u32), u64)>>,
    /// It took too long: it must not change anything any more.
    given_up: AtomicBool,
}

/// A thread as the hearing one sees it.
struct WatchedWorker {
    desk: Arc<WorkerState>,
    /// What it was at when it was last looked after, when that was noticed, and how busy it had been by then.
    since: u64,
    noticed: Ns,
    busy_ns: u64,
}

impl WorkerState {
    fn new(surveys: bool) -> Arc<WorkerState> {
        Arc::new(WorkerState {
            tid: AtomicU64::new(0),
            since: Arc::default(),
            surveys,
            file: Mutex::new(None),
            given_up: AtomicBool::new(false),
        })
    }

    /// It begins with another file, or with another step that has its own time.
    pub(super) fn begins(&self, file: Option<((u32, u32), u64)>) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        self.since.store(clock::now().0.max(1), Ordering::Release);
    }

    /// Does it look through whole files? Others leave those to it.
    pub(super) fn surveys(&self) -> bool {
        self.surveys
    }

    /// What tells that it goes on with the same file; `None`: all of it must come in time.
    pub(super) fn progress(&self) -> Option<SurveyProgress> {
        self.surveys
            .then(|| SurveyProgress { since: Arc::clone(&self.since), until: Ns(clock::now().0 + LONGEST_SURVEY_NS) })
    }

    /// What it does now is between the kernel and us, and may take its time.
    pub(super) fn rests(&self) {
        self.since.store(0, Ordering::Release);
    }

    /// Somebody else does its work by now.
    pub(super) fn given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    fn file(&self) -> Option<((u32, u32), u64)> {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Told at each piece of a file: a disk may take a minute over 300 MB, and no piece of it takes long.
#[derive(Debug)]
pub(super) struct SurveyProgress {
    since: Arc<AtomicU64>,
    until: Ns,
}

impl SurveyProgress {
    pub(super) fn goes_on(&self) {
        let now = clock::now();
        if now < self.until {
            self.since.store(now.0.max(1), Ordering::Release);
        }
    }
}

impl WatchedWorker {
    fn new(desk: Arc<WorkerState>) -> WatchedWorker {
        WatchedWorker { desk, since: 0, noticed: Ns(0), busy_ns: 0 }
    }

    /// Has it slept too long over one thing?
    fn is_stuck(&mut self, now: Ns) -> bool {
        let since = self.desk.since.load(Ordering::Acquire);
        if since == 0 {
            return false;
        }
        // Where the kernel does not tell, all of its time counts as sleep.
        let busy_ns = sleep::busy_ns(self.desk.tid.load(Ordering::Relaxed)).unwrap_or(0);
        if since != self.since {
            (self.since, self.noticed, self.busy_ns) = (since, now, busy_ns);
        }
        let slept = (now - self.noticed).saturating_sub(busy_ns.saturating_sub(self.busy_ns));
        slept > LONGEST_NS
    }
}

pub(super) fn start(shared: &Arc<SharedFiles>) -> std::io::Result<()> {
    let mut desks = Vec::new();
    for number in 0..LOOKERS + SURVEYORS {
        desks.push(WatchedWorker::new(looker(shared, number >= LOOKERS)?));
    }
    let shared = Arc::clone(shared);
    let hear = move || watch_mappings(&shared, desks);
    std::thread::Builder::new().name("discovery".into()).spawn(hear)?;
    Ok(())
}

/// Tells the threads to end, and waits for those that can.
pub(super) fn stop(shared: &Arc<SharedFiles>) {
    shared.state().stopping = true;
    shared.work.notify_all();
    let deadline = Instant::now() + LONGEST_STOP;
    while shared.state().working > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn looker(shared: &Arc<SharedFiles>, surveys: bool) -> std::io::Result<Arc<WorkerState>> {
    let desk = WorkerState::new(surveys);
    let (shared, own) = (Arc::clone(shared), Arc::clone(&desk));
    let name = if surveys { "surveys" } else { "files" };
    std::thread::Builder::new().name(name.into()).spawn(move || look(&shared, &own))?;
    Ok(desk)
}

fn look(shared: &SharedFiles, desk: &WorkerState) {
    if desk.surveys {
        take_time();
    } else {
        hurry();
    }
    desk.tid.store(sleep::own_tid(), Ordering::Relaxed);
    while let Some(job) = next(shared, desk) {
        shared.work_on(job, desk);
        let mut state = shared.state();
        desk.rests();
        if desk.given_up() {
            // It was counted out when it was given up; what it was stuck in has ended at last.
            state.counters.stuck -= 1;
            if let Some(file) = desk.file() {
                state.hung.ends(file);
            }
            return;
        }
        state.working -= usize::from(!desk.surveys);
        let news = !state.told.is_empty();
        drop(state);
        if news {
            shared.bell.ring();
        }
    }
}

/// The next job; `None`: it is time to end.
fn next(shared: &SharedFiles, desk: &WorkerState) -> Option<FileJob> {
    let mut state = shared.state();
    loop {
        if state.stopping {
            return None;
        }
        let now = clock::now();
        let job = if desk.surveys { state.queue.take_slow(now) } else { state.queue.take(now) };
        if let Some(job) = job {
            state.working += usize::from(!desk.surveys);
            desk.begins(None);
            return Some(job);
        }
        let waited = shared.work.wait_timeout(state, Duration::from_millis(200));
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn watch_mappings(shared: &Arc<SharedFiles>, mut desks: Vec<WatchedWorker>) {
    hurry();
    let rings: Vec<OwnedFd> = {
        let watch = shared.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.descriptors()
    };
    let longest = Timespec::try_from(ROUND).ok();
    let mut polled: Vec<PollFd<'_>> =
        rings.iter().map(|ring| PollFd::from_borrowed_fd(ring.as_fd(), PollFlags::IN)).collect();
    let mut looked_after: Option<Instant> = None;
    while !shared.state().stopping {
        if poll(&mut polled, longest.as_ref()).is_ok_and(|ready| ready > 0) {
            shared.drain();
            std::thread::sleep(GATHER);
        }
        if looked_after.is_none_or(|last| last.elapsed() >= ROUND) {
            shared.replace_stuck(&mut desks);
            shared.keep_house();
            looked_after = Some(Instant::now());
        }
    }
}

fn hurry() {
    set_priority(NICE);
}

fn take_time() {
    set_priority(NICE_FOR_SURVEYS);
}

fn set_priority(nice: i32) {
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        tracing::debug!(%error, "the priority stays as it is");
    }
}

/// Does something of a stranger's, in the stranger's time.
pub(super) fn without_hurry(work: impl FnOnce()) {
    let _ = rustix::process::setpriority_process(None, NICE_FOR_STRANGERS);
    work();
    hurry();
}

impl SharedFiles {
    /// Threads that sleep too long over a file are given up and replaced, and the file is left alone.
    fn replace_stuck(self: &Arc<Self>, desks: &mut [WatchedWorker]) {
        let now = clock::now();
        for watched in desks.iter_mut() {
            if !watched.is_stuck(now) {
                continue;
            }
            let mut state = self.state();
            if watched.desk.since.load(Ordering::Acquire) != watched.since || state.counters.stuck >= MAX_STUCK {
                continue;
            }
            let Ok(another) = looker(self, watched.desk.surveys) else { continue };
            watched.desk.given_up.store(true, Ordering::Release);
            state.give_up(&watched.desk, now);
            drop(state);
            *watched = WatchedWorker::new(another);
        }
    }
}

impl State {
    fn give_up(&mut self, desk: &WorkerState, now: Ns) {
        let file = desk.file();
        self.counters.stuck += 1;
        self.counters.stuck_ever += 1;
        self.working -= usize::from(!desk.surveys);
        tracing::warn!(
            ?file,
            stuck = self.counters.stuck,
            "a file does not answer (device, inode): it is left alone for a minute"
        );
        if let Some(file) = file {
            self.hung.begins(file, now);
        }
    }
}
