//! Which record carried the plaintext of a read: what ties the two timelines together.
//!
//! A TLS library hands out the plaintext of one record at a time, whole or in pieces, so each read
//! begins at a record's first byte or where the read before it stopped. Records that the
//! application never sees (session tickets, key updates) lie in between and look like any other:
//! they are found because no read fits them. What cannot be told stays unknown.

use std::collections::VecDeque;

use super::{RecordOverhead, TlsRecord};
use crate::limits;
use crate::units::Ns;

/// How well reads and records match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadAlignment {
    /// Reads that ended exactly with a record.
    pub hits: u64,
    /// Reads that contradicted what was believed, or fitted nothing.
    pub misses: u64,
    /// Records that no read fitted: not the application's.
    pub skipped: u64,
}

/// The reading direction of one TLS object over its socket.
#[derive(Debug)]
pub struct ReadAligner {
    /// Records that no read has touched yet.
    records: VecDeque<TlsRecord>,
    overhead: RecordOverhead,
    /// The record being read: bytes left of it, and its moment.
    current: Option<(u32, Ns)>,
    /// Position of the next read in the plaintext.
    next: Option<u64>,
    /// What was seen fits: at least one record ended where a read did, and nothing contradicted since.
    sure: bool,
    /// Every read so far was seen, from the first on.
    from_start: bool,
    /// The call asked about last: its pieces share an answer.
    last: Option<(u64, Ns, Option<Ns>)>,
    account: ReadAlignment,
    votes: Vec<(u16, u32)>,
}

/// An overhead is learned from so many reads that agree …
const VOTES: u32 = 3;
/// … among records costing at most this much (explicit nonce, tag, type, a little padding).
const MOST: u32 = 64;
/// A read that returns so soon after a record came was waiting for it.
const PROMPT_NS: u64 = 5_000_000;
/// From the start on, a read is looked for among so many records: after a handshake a few tickets come first.
const FIRST: usize = 16;

impl ReadAligner {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        ReadAligner {
            records: VecDeque::new(),
            overhead: RecordOverhead::Unknown,
            current: None,
            next: None,
            sure: false,
            from_start: true,
            last: None,
            account: ReadAlignment::default(),
            votes: Vec::new(),
        }
    }

    /// The hellos said what a record costs.
    pub fn costs(&mut self, overhead: RecordOverhead) {
        if overhead != RecordOverhead::Unknown {
            self.overhead = overhead;
        }
    }

    /// A record of the peer that may carry application data is complete.
    pub fn record(&mut self, record: TlsRecord) {
        if self.records.len() >= limits::TLS_RECORDS {
            self.records.pop_front();
            self.lose_place();
        }
        self.records.push_back(record);
    }

    /// Records are missing here.
    pub fn lose_place(&mut self) {
        self.current = None;
        self.sure = false;
        self.from_start = false;
    }

    /// A read returned `len` bytes of plaintext from position `pos` at `at`: when the last of them had arrived.
    pub fn read(&mut self, pos: u64, len: u32, at: Ns) -> Option<Ns> {
        if let Some((known, when, arrived)) = self.last
            && (known, when) == (pos, at)
        {
            return arrived;
        }
        let arrived = self.match_read(pos, len, at);
        self.last = Some((pos, at, arrived));
        arrived
    }

    fn match_read(&mut self, pos: u64, len: u32, at: Ns) -> Option<Ns> {
        if self.next.unwrap_or(0) != pos {
            // Reads were not seen: lost, or left out on purpose.
            self.lose_place();
        }
        self.next = Some(pos.saturating_add(len.into()));
        if len == 0 {
            return None;
        }
        let RecordOverhead::Bytes(overhead) = self.overhead else {
            self.learn(len, at);
            return None;
        };
        if let Some((left, arrived)) = self.current {
            if len <= left {
                return self.consume(left - len, arrived);
            }
            // A read never goes over a record's end: this was another record.
            self.account.misses += 1;
            self.lose_place();
        }
        let Some(index) = self.find(len, overhead, at) else {
            self.account.misses += 1;
            self.sure = false;
            return None;
        };
        self.account.skipped += index as u64;
        self.records.drain(..index);
        let record = self.records.pop_front()?;
        self.consume(plain(&record, overhead).saturating_sub(len), record.at)
    }

    /// How well it went so far.
    #[must_use]
    pub fn account(&self) -> ReadAlignment {
        self.account
    }

    /// Reads and records match.
    #[must_use]
    pub fn sure(&self) -> bool {
        self.sure
    }

    /// The oldest record that no read has touched, if reads and records match: bytes that wait for the application.
    #[must_use]
    pub fn unread_since(&self) -> Option<Ns> {
        self.records.front().filter(|_| self.sure).map(|record| record.at)
    }

    fn consume(&mut self, left: u32, arrived: Ns) -> Option<Ns> {
        self.current = (left > 0).then_some((left, arrived));
        if left == 0 {
            self.account.hits += 1;
            self.sure = true;
        }
        self.sure.then_some(arrived)
    }

    /// The record that this read begins. While all is well, the next one that is long enough; else
    /// the first one of exactly its length; without one, the first that is longer.
    fn find(&self, len: u32, overhead: u16, at: Ns) -> Option<usize> {
        let there = || self.records.iter().take_while(|record| record.at <= at).map(|record| plain(record, overhead));
        if self.sure && there().next().is_some_and(|plain| plain >= len) {
            return Some(0);
        }
        if !self.sure && !self.from_start {
            return self.find_place(len, overhead, at);
        }
        let exact = there().take(FIRST).position(|plain| plain == len);
        exact.or_else(|| there().take(FIRST).position(|plain| plain > len))
    }

    /// In the middle, records that were read long ago may be of the same length: only the newest,
    /// read promptly, tells, or the only one that fits.
    fn find_place(&self, len: u32, overhead: u16, at: Ns) -> Option<usize> {
        let there = || self.records.iter().take_while(|record| record.at <= at).enumerate();
        let fits = |(_, record): &(usize, &TlsRecord)| plain(record, overhead) == len;
        if let Some((index, newest)) = there().last()
            && fits(&(index, newest))
            && at - newest.at <= PROMPT_NS
        {
            return Some(index);
        }
        let mut fitting = there().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some((index, _)), None) => Some(index),
            _ => None,
        }
    }

    /// Which overhead explains reads by records? Each read votes for what fits the newest record
    /// that was there; a record read in one piece, as most are, votes right each time, others vote
    /// at random.
    fn learn(&mut self, len: u32, at: Ns) {
        if self.overhead == RecordOverhead::Varies {
            return;
        }
        let there = self.records.iter().take_while(|record| record.at <= at);
        let costs: Vec<u16> = there
            .filter_map(|record| u16::try_from(u32::from(record.len).checked_sub(len)?).ok())
            .filter(|&cost| cost > 0 && u32::from(cost) <= MOST)
            .collect();
        for cost in costs {
            match self.votes.iter_mut().find(|(known, _)| *known == cost) {
                Some((_, votes)) => *votes += 1,
                None => self.votes.push((cost, 1)),
            }
        }
        self.votes.sort_unstable_by_key(|&(_, votes)| std::cmp::Reverse(votes));
        if let [(cost, votes), rest @ ..] = self.votes.as_slice()
            && *votes >= VOTES
            && rest.first().is_none_or(|(_, second)| second * 2 <= *votes)
        {
            self.overhead = RecordOverhead::Bytes(*cost);
        }
        // What was there has been read, for all we know.
        self.records.retain(|record| record.at > at);
    }
}

impl Default for ReadAligner {
    fn default() -> Self {
        Self::new()
    }
}

fn plain(record: &TlsRecord, overhead: u16) -> u32 {
    u32::from(record.len.saturating_sub(overhead))
}
