//! What waits to be looked at, and in which order. Pure: time is an argument.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::super::watch::NewMapping;
use super::budget::BudgetPayer;
use super::registry::TargetId;
use capture::stacks::is_likely;
use capture::units::Ns;

/// Something to do with files or processes, away from the pipeline's thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileJob {
    /// A file was mapped.
    Look(NewMapping),
    /// A file is to be looked through, for no symbol of it names a stack: this takes its time.
    Survey(NewMapping),
    /// All that a process has mapped.
    Process(u32),
    /// Which TLS a process uses that no probe enters.
    Explain(u32),
    /// What the probes of a process's library captured cannot be right.
    FallBack(u32),
    /// Nobody is known to have these files mapped: let go of those that nobody has.
    Release(Vec<TargetId>),
    /// Which processes are gone whose end was lost.
    Purge,
}

/// Jobs that wait; beyond it they are dropped, counted, and the whole host is looked at again once there is room.
const MAX_WAITING: usize = 32_768;

/// Files that wait to be looked through; beyond it they are dropped as those are.
const MAX_SURVEYS: usize = 4096;

/// Jobs that wait for time to pass (a budget, a lease).
const MAX_PARKED: usize = 1024;

/// A process, and a file that it has mapped, as the kernel calls it.
type Place = (u32, (u32, u32), u64);

fn place(job: &FileJob) -> Option<Place> {
    let (FileJob::Look(mapping) | FileJob::Survey(mapping)) = job else { return None };
    mapping.file().map(|(device, inode)| (mapping.pid, device, inode))
}

/// A job that waits for time to pass.
#[derive(Debug)]
struct ParkedJob {
    /// For whom it waits: who has most of these loses one when there is no room.
    payer: BudgetPayer,
    job: FileJob,
}

/// Jobs in the order in which they are to be done.
#[derive(Debug, Default)]
pub(super) struct JobQueue {
    /// Files that are called after TLS, and programs that begin: somebody may use them in a moment.
    urgent: VecDeque<FileJob>,
    ordinary: VecDeque<FileJob>,
    /// What takes its time, and has a thread of its own: programs, which make their first call in a
    /// moment, and libraries.
    surveys: [VecDeque<FileJob>; 2],
    /// By the moment from which each may be done, and a number of its own.
    parked: BTreeMap<(Ns, u64), ParkedJob>,
    /// Where mappings are parked: a process that maps a file again and again waits for it once.
    waiting: HashMap<Place, (Ns, u64)>,
    numbered: u64,
    /// Some were dropped since the host was last looked at as a whole, and when that was.
    dropped: bool,
    made_up: Ns,
    /// Jobs that were dropped, ever.
    pub(super) lost: u64,
}

impl JobQueue {
    pub(super) fn add(&mut self, job: FileJob) {
        if matches!(job, FileJob::Survey(_)) {
            return self.add_slow(job);
        }
        let urgent = matches!(&job, FileJob::Look(mapping) if is_likely(&mapping.path));
        self.put(job, urgent);
    }

    /// The file of a program that begins: it may carry its TLS with it, and make its first call within
    /// 20 ms, as Go's do. Before all libraries.
    pub(super) fn add_program(&mut self, mapping: NewMapping) {
        self.put(FileJob::Look(mapping), true);
    }

    fn put(&mut self, job: FileJob, urgent: bool) {
        if self.len() >= MAX_WAITING {
            self.dropped = true;
            self.lost += 1;
            return;
        }
        if urgent { &mut self.urgent } else { &mut self.ordinary }.push_back(job);
    }

    /// For the thread that has time: nobody else waits for it.
    pub(super) fn add_slow(&mut self, job: FileJob) {
        if self.surveys() >= MAX_SURVEYS {
            self.dropped = true;
            self.lost += 1;
            return;
        }
        let library = matches!(&job, FileJob::Survey(mapping) if is_library(&mapping.path));
        let [programs, libraries] = &mut self.surveys;
        if library { libraries } else { programs }.push_back(job);
    }

    /// Not before `until`. Where there is no room, the payer who has most of the waiting jobs loses
    /// one: nobody can take the places of all others.
    pub(super) fn park(&mut self, until: Ns, payer: BudgetPayer, job: FileJob) {
        let place = place(&job);
        let same = place.and_then(|place| self.waiting.get(&place)).and_then(|key| self.parked.get_mut(key));
        if let Some(parked) = same {
            parked.job = job; // the program may be another by now, with this mapping alone
            return;
        }
        if self.parked.len() >= MAX_PARKED {
            self.dropped = true;
            self.lost += 1;
            self.make_place();
        }
        self.numbered += 1;
        let key = (until, self.numbered);
        if let Some(place) = place {
            self.waiting.insert(place, key);
        }
        self.parked.insert(key, ParkedJob { payer, job });
    }

    fn unpark(&mut self, key: (Ns, u64)) -> Option<FileJob> {
        let job = self.parked.remove(&key)?.job;
        if let Some(place) = place(&job) {
            self.waiting.remove(&place);
        }
        Some(job)
    }

    fn make_place(&mut self) {
        let mut payers: HashMap<&BudgetPayer, usize> = HashMap::new();
        self.parked.values().for_each(|parked| *payers.entry(&parked.payer).or_default() += 1);
        let greediest = payers.into_iter().max_by_key(|(_, count)| *count).map(|(payer, _)| payer.clone());
        let last =
            self.parked.iter().rfind(|(_, parked)| Some(&parked.payer) == greediest.as_ref()).map(|(key, _)| *key);
        let _ = last.and_then(|key| self.unpark(key));
    }

    pub(super) fn take(&mut self, now: Ns) -> Option<FileJob> {
        self.unpark_due(now);
        self.urgent.pop_front().or_else(|| self.ordinary.pop_front())
    }

    /// The next job that takes its time.
    pub(super) fn take_slow(&mut self, now: Ns) -> Option<FileJob> {
        self.unpark_due(now);
        self.surveys.iter_mut().find_map(VecDeque::pop_front)
    }

    /// They waited for their time, and wait for their turn like all others from here on.
    fn unpark_due(&mut self, now: Ns) {
        while let Some(key) = self.parked.first_key_value().map(|(key, _)| *key).filter(|(until, _)| *until <= now) {
            if let Some(job) = self.unpark(key) {
                self.add(job);
            }
        }
    }

    /// Jobs that take their time.
    pub(super) fn surveys(&self) -> usize {
        self.surveys.iter().map(VecDeque::len).sum()
    }

    /// Jobs that wait for nothing but their turn.
    pub(super) fn len(&self) -> usize {
        self.urgent.len() + self.ordinary.len()
    }

    pub(super) fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Whether jobs were dropped and there is room to make up for it; once in a while, for what was
    /// dropped may be dropped again.
    pub(super) fn make_up(&mut self, now: Ns) -> bool {
        let now_is_the_time = self.dropped && self.len() == 0 && now - self.made_up > MADE_UP_NS;
        if now_is_the_time {
            self.dropped = false;
            self.made_up = now;
        }
        now_is_the_time
    }
}

/// By its name: `libcurl.so.4`, `cygrpc.cpython-311-x86_64-linux-gnu.so`, `runtime.node`.
fn is_library(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.contains(".so.") || [".so", ".node"].iter().any(|end| name.ends_with(end))
}

/// How often the whole host is looked at for jobs that were dropped.
const MADE_UP_NS: u64 = 30_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn look(path: &str) -> FileJob {
        FileJob::Look(NewMapping { path: path.into(), ..NewMapping::default() })
    }

    #[test]
    fn files_called_after_tls_come_first_and_parked_ones_in_their_time() {
        let mut queue = JobQueue::default();
        queue.add(look("/lib/libc.so.6"));
        queue.add(look("/lib/libssl.so.3"));
        queue.park(Ns(5), BudgetPayer::Root, look("/leased"));
        assert_eq!(queue.take(Ns(1)), Some(look("/lib/libssl.so.3")));
        assert_eq!(queue.take(Ns(4)), Some(look("/lib/libc.so.6")));
        assert_eq!(queue.take(Ns(4)), None);
        assert_eq!(queue.take(Ns(5)), Some(look("/leased")));
        assert_eq!(queue.take(Ns(5)), None);
    }

    #[test]
    fn what_takes_its_time_waits_apart_programs_first() {
        let mut queue = JobQueue::default();
        let survey = |path: &str| FileJob::Survey(NewMapping { path: path.into(), ..NewMapping::default() });
        queue.add(survey("/x/cygrpc.cpython-311-x86_64-linux-gnu.so"));
        queue.add(survey("/x/runtime.node"));
        queue.add(survey("/x/libcurl.so.4.8"));
        queue.add(survey("/usr/bin/some.sort"));
        queue.add(look("/lib/libc.so.6"));
        assert_eq!((queue.len(), queue.surveys()), (1, 4));
        assert_eq!(queue.take(Ns(1)), Some(look("/lib/libc.so.6")));
        assert_eq!(queue.take(Ns(1)), None, "nobody who looks at files with symbols takes it");
        assert_eq!(queue.take_slow(Ns(1)), Some(survey("/usr/bin/some.sort")));
        queue.park(Ns(5), BudgetPayer::Root, survey("/usr/bin/claude"));
        assert_eq!(queue.take_slow(Ns(5)), Some(survey("/usr/bin/claude")));
        (0..2 * MAX_SURVEYS).for_each(|_| queue.add(survey("/a")));
        assert_eq!(queue.surveys(), MAX_SURVEYS);
    }

    #[test]
    fn programs_that_begin_come_before_libraries() {
        let mut queue = JobQueue::default();
        queue.add(look("/lib/libc.so.6"));
        queue.add_program(NewMapping { path: "/usr/bin/agent".into(), ..NewMapping::default() });
        assert_eq!((queue.take(Ns(1)), queue.len()), (Some(look("/usr/bin/agent")), 1));
    }

    #[test]
    fn a_flood_is_bounded_and_made_up_for_once() {
        let mut queue = JobQueue::default();
        (0..100_000).for_each(|_| queue.add(look("/a")));
        (0..10_000).for_each(|_| queue.park(Ns(9), BudgetPayer::Root, look("/a")));
        assert_eq!((queue.len(), queue.parked()), (MAX_WAITING, MAX_PARKED));
        assert_eq!(queue.lost, (100_000 - MAX_WAITING + 10_000 - MAX_PARKED) as u64);
        let minute = |count: u64| Ns(count * 60_000_000_000);
        assert!(!queue.make_up(minute(1)), "there is no room yet");
        while queue.take(Ns(1)).is_some() {}
        assert!(queue.make_up(minute(1)));
        assert!(!queue.make_up(minute(2)), "nothing was dropped since");
        (0..10_000).for_each(|_| queue.park(Ns(9), BudgetPayer::Root, look("/a")));
        assert!(!queue.make_up(Ns(minute(1).0 + 1)), "not so soon again");
        assert!(queue.make_up(minute(3)), "what was parked and had no room is made up for, too");
    }

    #[test]
    fn a_process_waits_for_a_file_once() {
        let mut queue = JobQueue::default();
        let mapped = |pid| {
            let (device, inode) = (Some((8, 1)), Some(5));
            FileJob::Look(NewMapping { pid, path: "/a".into(), device, inode, ..NewMapping::default() })
        };
        (0..3).for_each(|_| queue.park(Ns(5), BudgetPayer::Root, mapped(7)));
        queue.park(Ns(5), BudgetPayer::Root, mapped(8));
        assert_eq!(queue.parked(), 2);
        assert_eq!((queue.take(Ns(5)), queue.take(Ns(5)), queue.take(Ns(5))), (Some(mapped(7)), Some(mapped(8)), None));
        queue.park(Ns(9), BudgetPayer::Root, mapped(7));
        assert_eq!(queue.parked(), 1, "it may wait again");
    }

    #[test]
    fn the_mapping_that_waits_is_the_latest_one() {
        let mut queue = JobQueue::default();
        let mapped = |at| {
            let (device, inode) = (Some((8, 1)), Some(5));
            FileJob::Look(NewMapping { pid: 7, path: "/a".into(), device, inode, at: Ns(at), ..NewMapping::default() })
        };
        // What was mapped before an exec is no longer there when its time comes.
        queue.park(Ns(5), BudgetPayer::Root, mapped(1));
        queue.park(Ns(6), BudgetPayer::Root, mapped(2));
        assert_eq!((queue.take(Ns(5)), queue.take(Ns(9))), (Some(mapped(2)), None));
    }

    #[test]
    fn who_parks_most_loses_and_nobody_else() {
        let mut queue = JobQueue::default();
        queue.park(Ns(9), BudgetPayer::Root, look("/of-root"));
        (0..5000).for_each(|_| queue.park(Ns(9), BudgetPayer::User(1000), look("/a")));
        queue.park(Ns(9), BudgetPayer::User(1001), look("/of-another"));
        let due: Vec<FileJob> = std::iter::from_fn(|| queue.take(Ns(9))).collect();
        assert_eq!(due.len(), MAX_PARKED);
        assert!(due.contains(&look("/of-root")) && due.contains(&look("/of-another")));
    }
}
