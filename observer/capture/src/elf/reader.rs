//! Reads a file in windows of one size, whatever it claims of itself, and keeps the accounts.

use object::Pod;
use object::pod;

use super::budget::{ElfBudget, ElfReadCost, ElfRefusal, ElfRefusalReason};
use super::bytes::{self, RandomAccess};

/// A part of the file that is a table: its offset and length, both claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TableExtent {
    pub offset: u64,
    pub len: u64,
}

/// Bytes read at a time: large enough that the system calls cost nothing, small enough to stay in a core's cache.
const WINDOW: usize = 256 << 10;

/// Reads within a budget.
#[derive(Debug)]
pub(super) struct ElfReader<'a> {
    bytes: &'a dyn RandomAccess,
    budget: &'a ElfBudget,
    began_ns: u64,
    window: Vec<u8>,
    pub spent: ElfReadCost,
}

impl<'a> ElfReader<'a> {
    pub(super) fn new(bytes: &'a dyn RandomAccess, budget: &'a ElfBudget) -> Self {
        Self { bytes, budget, began_ns: (budget.cpu)(), window: Vec::new(), spent: ElfReadCost::default() }
    }

    pub(super) fn budget(&self) -> &'a ElfBudget {
        self.budget
    }

    /// Brings the account of CPU time up to date.
    pub(super) fn look_at_clock(&mut self) {
        self.spent.cpu_ns = (self.budget.cpu)().saturating_sub(self.began_ns);
    }

    /// Reads what there is at `offset`, `into.len()` at most; less only at the file's end.
    pub(super) fn fill(&mut self, into: &mut [u8], offset: u64) -> Result<usize, ElfRefusal> {
        self.look_at_clock();
        if self.spent.cpu_ns > self.budget.cpu_ns {
            let detail = format!("reading it took over {} ms of CPU time", self.budget.cpu_ns / 1_000_000);
            return Err(ElfRefusal::new(ElfRefusalReason::TooMuchCpu, detail));
        }
        if self.spent.bytes.saturating_add(into.len() as u64) > self.budget.bytes {
            let detail = format!("its tables take over {} bytes to read", self.budget.bytes);
            return Err(ElfRefusal::new(ElfRefusalReason::TooManyBytes, detail));
        }
        let len = bytes::fill(self.bytes, into, offset)
            .map_err(|error| ElfRefusal::new(ElfRefusalReason::Unreadable, format!("it cannot be read: {error}")))?;
        self.spent.bytes += len as u64;
        Ok(len)
    }

    /// All of a small table; less only at the file's end.
    pub(super) fn bytes(&mut self, table: TableExtent) -> Result<Vec<u8>, ElfRefusal> {
        let mut bytes = vec![0; usize::try_from(table.len).unwrap_or_default()];
        let len = self.fill(&mut bytes, table.offset)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    /// One record; `None` beyond the file's end.
    pub(super) fn record<T: Pod + Copy>(&mut self, offset: u64) -> Result<Option<T>, ElfRefusal> {
        let mut room = [0; LARGEST_RECORD];
        let Some(room) = room.get_mut(..size_of::<T>()) else { return Ok(None) };
        if self.fill(room, offset)? < room.len() {
            return Ok(None);
        }
        Ok(pod::from_bytes::<T>(room).ok().map(|(record, _)| *record))
    }

    /// The records of a table, in order, with their numbers. A remainder smaller than a record is
    /// none. Returns how many there were: fewer than claimed where the file ends.
    pub(super) fn records<T: Pod>(
        &mut self,
        table: TableExtent,
        mut each: impl FnMut(u64, &T) -> Result<(), ElfRefusal>,
    ) -> Result<u64, ElfRefusal> {
        let size = size_of::<T>() as u64;
        let whole = TableExtent { len: table.len - table.len % size, ..table };
        let mut number = 0;
        self.windows(whole, size_of::<T>(), |window, _| {
            let (records, _) = pod::slice_from_bytes::<T>(window, window.len() / size_of::<T>()).unwrap_or_default();
            for record in records {
                each(number, record)?;
                number += 1;
            }
            Ok(size_of_val(records))
        })?;
        Ok(number)
    }

    /// Shows a table in windows. `each` gets what is at hand and whether it is all that comes, and
    /// returns how much of it is done with; the rest, less than `most_left`, stands at the front of
    /// the next window. Returns how many bytes the table had.
    pub(super) fn windows(
        &mut self,
        table: TableExtent,
        most_left: usize,
        mut each: impl FnMut(&[u8], bool) -> Result<usize, ElfRefusal>,
    ) -> Result<u64, ElfRefusal> {
        let mut window = std::mem::take(&mut self.window);
        let size = usize::try_from(table.len).unwrap_or(WINDOW).saturating_add(most_left).min(WINDOW);
        if window.len() < size {
            window = vec![0; size];
        }
        let (mut at, mut kept) = (0, 0);
        let done = loop {
            let room = window.get_mut(kept..).unwrap_or_default();
            let wanted = usize::try_from(table.len - at).unwrap_or(usize::MAX).min(room.len());
            let len = match self.fill(room.get_mut(..wanted).unwrap_or_default(), table.offset.saturating_add(at)) {
                Ok(len) => len,
                Err(refusal) => break Err(refusal),
            };
            at += len as u64;
            let (last, held) = (len < wanted || at >= table.len, kept + len);
            let shown = window.get(..held).unwrap_or_default();
            match each(shown, last) {
                Err(refusal) => break Err(refusal),
                Ok(_) if last => break Ok(at),
                // At least something is done with, or the same window would come for ever.
                Ok(used) => {
                    let from = used.max(held.saturating_sub(most_left)).min(held);
                    window.copy_within(from..held, 0);
                    kept = held - from;
                }
            }
        };
        self.window = window;
        done
    }

    /// Adds to an account.
    pub(super) fn spend(&mut self, account: EntryAccount, more: u64) -> Result<(), ElfRefusal> {
        let (spent, limit, reason, what) = match account {
            EntryAccount::Sections => {
                (&mut self.spent.sections, self.budget.sections, ElfRefusalReason::TooManySections, "section headers")
            }
            EntryAccount::Symbols => {
                (&mut self.spent.symbols, self.budget.symbols, ElfRefusalReason::TooManySymbols, "symbols")
            }
            EntryAccount::Relocations => (
                &mut self.spent.relocations,
                self.budget.relocations,
                ElfRefusalReason::TooManyRelocations,
                "relocations",
            ),
        };
        let sum = spent.saturating_add(more);
        if sum > limit {
            return Err(ElfRefusal::new(reason, format!("it claims {sum} {what}; {limit} are looked at")));
        }
        *spent = sum;
        Ok(())
    }
}

/// What entries are counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum EntryAccount {
    Sections,
    Symbols,
    Relocations,
}

/// Size of the largest record: a file header, a section header.
const LARGEST_RECORD: usize = 64;

/// A needed table ends before it should.
pub(super) fn cut_short(what: &str) -> ElfRefusal {
    ElfRefusal::new(
        ElfRefusalReason::CutShort,
        format!("its {what} goes beyond the end of the file: it is cut, or being written"),
    )
}
