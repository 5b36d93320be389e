//! Nobody may take the kernel side's tables for himself: connections and calls in progress of all programs share
//! them, and what finds no room is not seen.
//!
//! The tables are looked through while they are full, and once in a while. Who has more than his share of a crowded
//! one loses what is beyond it and gets no more room for a while: the programs look at the marks set here before they
//! add an entry. Until the look, a second at most, a flood takes calls from others; those are counted as `table_full`,
//! and what the marked one loses as `over_share`.

mod marks;
mod owner;
mod share;

use std::collections::{BTreeMap, HashMap};

use aya::Pod;
use aya::maps::{Array, HashMap as BpfHashMap, MapData};
use observer_common::crowd;

use self::marks::Marks;
use self::share::{Excess, TableOwner};
use crate::coverage::{CheckSeverity, HealthCheck};
use capture::units::Ns;

/// Between two looks while nothing finds a full table: a look is a system call for each entry.
const EVERY_NS: u64 = 10_000_000_000;

/// How long `doctor` tells of calls that found no room.
const TOLD_NS: u64 = 600_000_000_000;

/// Processes of a table, those with most entries, whose owner is asked for: each is a few files of /proc.
const MAX_ASKED: usize = 512;

/// A table that all programs share.
pub(super) struct SharedTable<'a, K: Pod, V: Pod> {
    /// What is in it, for `doctor`.
    pub name: &'static str,
    pub map: &'a mut BpfHashMap<MapData, K, V>,
    pub capacity: usize,
    pub tgid: fn(&K) -> u32,
}

/// Keeps the tables free for all.
pub(super) struct TableGuard {
    words: Array<MapData, u64>,
    marks: Marks,
    /// Words that are set in the kernel.
    set: BTreeMap<u32, u64>,
    next: Ns,
    /// Calls that had ever found no room, as told last.
    full: u64,
    /// When calls last found no room, and how many did then.
    lost: Option<(Ns, u64)>,
}

impl TableGuard {
    pub(super) fn new(words: Array<MapData, u64>) -> Self {
        Self { words, marks: Marks::default(), set: BTreeMap::new(), next: Ns(0), full: 0, lost: None }
    }

    /// Is it time to look? `full`: calls that ever found no room.
    pub(super) fn due(&mut self, full: u64, now: Ns) -> bool {
        let more = full.saturating_sub(self.full);
        self.full = full;
        if more > 0 {
            self.lost = Some((now, more));
        }
        let due = more > 0 || now >= self.next;
        if due {
            self.next = Ns(now.0.saturating_add(EVERY_NS));
        }
        due
    }

    /// Looks a table through. True: entries were taken from somebody.
    pub(super) fn look<K: Pod, V: Pod>(&mut self, table: &mut SharedTable<'_, K, V>, now: Ns) -> bool {
        let mut by_process: HashMap<u32, usize> = HashMap::new();
        for key in table.map.keys().flatten() {
            *by_process.entry((table.tgid)(&key)).or_default() += 1;
        }
        let owners = owners(&by_process);
        let mut by_owner: HashMap<TableOwner, usize> = HashMap::new();
        for (tgid, owner) in &owners {
            *by_owner.entry(*owner).or_default() += by_process.get(tgid).copied().unwrap_or(0);
        }
        let found = share::excesses(table.capacity, &by_owner);
        for Excess { owner, used, excess } in &found {
            tracing::warn!(?owner, used, table = table.name, "has most of a table: gets no more room for a while");
            self.marks.mark(*owner, table.name, *used, now);
            // Before they are taken away, or they would be back at once.
            self.set_words(now);
            let theirs = |key: &K| owners.get(&(table.tgid)(key)) == Some(owner);
            let gone: Vec<K> = table.map.keys().flatten().filter(theirs).take(*excess).collect();
            for key in gone {
                let _ = table.map.remove(&key);
            }
        }
        !found.is_empty()
    }

    /// Lets those go whose time is over, or whose process.
    pub(super) fn tick(&mut self, now: Ns) {
        self.marks.forget(now, |tgid| !std::path::Path::new(&format!("/proc/{tgid}")).exists());
        self.set_words(now);
    }

    fn set_words(&mut self, now: Ns) {
        let wanted: BTreeMap<u32, u64> =
            self.marks.refused(now).map(|(owner, _)| owner.word()).map(|word| (crowd::slot(word), word)).collect();
        if wanted == self.set {
            return;
        }
        for slot in self.set.keys().filter(|slot| !wanted.contains_key(slot)) {
            let _ = self.words.set(*slot, 0, 0);
        }
        for (slot, word) in &wanted {
            let _ = self.words.set(*slot, word, 0);
        }
        let _ = self.words.set(0, wanted.len() as u64, 0);
        self.set = wanted;
    }

    /// The line of `doctor`.
    pub(super) fn check(&self, now: Ns) -> HealthCheck {
        let told: Vec<String> = self.marks.refused(now).map(|(owner, mark)| told(owner, mark, now)).collect();
        let lost = self.lost.filter(|(at, _)| now - *at < TOLD_NS);
        match (told.is_empty(), lost) {
            (false, _) => HealthCheck::bad(
                NAME,
                CheckSeverity::Degraded,
                told.join("; "),
                "new connections and calls of whoever is named; of others those that found no room until this was seen (llm_observer_events_lost_total, causes over_share and table_full)",
                "find out what the program does with so many at once: end it, or tell us if it is right to",
            ),
            (true, Some((_, calls))) => HealthCheck::bad(
                NAME,
                CheckSeverity::Degraded,
                format!("{calls} calls found no room in a second of the last ten minutes"),
                "these calls (llm_observer_events_lost_total, cause table_full)",
                "so many connections or calls at once are of many programs, or the one to blame is gone",
            ),
            (true, None) => HealthCheck::ok(NAME, "nobody has more than a share of the kernel's tables"),
        }
    }
}

const NAME: &str = "tables";

fn told(owner: TableOwner, mark: &marks::Mark, now: Ns) -> String {
    let who = match owner {
        TableOwner::Process(tgid) => format!("process {tgid}"),
        TableOwner::User(uid) => format!("user {uid}"),
        TableOwner::Group(id) => format!("the container of cgroup {id}"),
    };
    let left = (mark.until - now) / 1_000_000_000;
    format!("{who} had {} entries in the table of {} and gets no more room for {left} s", mark.used, mark.table)
}

/// Whose processes these are; those that are gone are nobody's.
fn owners(by_process: &HashMap<u32, usize>) -> HashMap<u32, TableOwner> {
    let mut most: Vec<_> = by_process.iter().map(|(tgid, entries)| (*entries, *tgid)).collect();
    most.sort_unstable_by_key(|found| std::cmp::Reverse(*found));
    most.into_iter().take(MAX_ASKED).filter_map(|(_, tgid)| Some((tgid, owner::owner(tgid)?))).collect()
}
