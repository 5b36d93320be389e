//! The table of followed sockets: TCP order of both directions, and what the network did to them.

use std::collections::{BTreeSet, HashMap, VecDeque};

use foldhash::fast::RandomState;

use super::Chunk;
use super::tcp::{Seen, Tcp};
use super::tls::{Align, Shape, ShapeSeen, Tls};
use crate::limits;
use crate::record::{ConnKey, Joined, Segment, Sock, SockInfo, SockOpen};
use crate::units::{Direction, LossCause, Moment, Ns};

/// How exact "longest idle" is: a socket moves in the order of idleness at most this often.
const IDLE_STEP: u64 = 1_000_000_000;

/// What a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Nothing has been said yet.
    Unknown,
    /// TLS.
    Tls,
    /// Anything else: plain text.
    Plain,
}

/// Something the network did that delays bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A segment was lost or overtaken: what came after it waited.
    Hole,
    /// So many packets of the peer were lost on the way here.
    Missed(u32),
    /// The peer's timer ran out: what comes now had been lost before, once at least.
    TimedOut,
    /// The peer sent again what had come before: an acknowledgement was lost, or it lost patience.
    Again,
    /// This side had to send again.
    Retransmit,
    /// The round-trip time jumped.
    Rtt,
    /// This side had no room to receive: the application does not read.
    NoRoom,
}

impl Trouble {
    /// It happens at one moment.
    fn is_point(self) -> bool {
        !matches!(self, Trouble::Hole | Trouble::NoRoom)
    }

    /// Packets that had to be sent once more.
    fn packets(self) -> u32 {
        match self {
            Trouble::Missed(packets) => packets,
            Trouble::TimedOut | Trouble::Again | Trouble::Retransmit => 1,
            Trouble::Hole | Trouble::Rtt | Trouble::NoRoom => 0,
        }
    }
}

/// A followed socket.
#[derive(Debug)]
pub struct Socket {
    /// Who, where to, since when.
    pub open: SockOpen,
    /// What it carries.
    pub carries: Carries,
    /// Pieces looked at to tell.
    pub sniffed: u32,
    /// Bytes from the peer.
    pub read: Tcp,
    /// Bytes to the peer.
    pub write: Tcp,
    /// What the network did.
    pub path: Path,
    /// TLS as it looks from outside, if that is what it carries.
    pub tls: Option<Box<Outside>>,
    /// The TLS object above it, once known.
    pub joined: Option<Joined>,
    /// Last payload in either direction.
    pub last: Ns,
    idle_since: Ns,
}

/// TLS from outside, and the reads inside that match it.
#[derive(Debug, Default)]
pub struct Outside {
    /// The records.
    pub tls: Tls,
    /// Which of the peer's records each read of the application was of.
    pub align: Align,
    /// Requests and answers, as far as records tell.
    shape: Shape,
}

impl Outside {
    /// The next piece of one direction. Returns what it tells of requests and answers.
    pub fn push(&mut self, direction: Direction, chunk: Chunk<'_>, at: Moment) -> Vec<ShapeSeen> {
        let Outside { tls, align, shape } = self;
        let losses = tls.facts().losses;
        let (mut records, mut seen) = (Vec::new(), Vec::new());
        tls.push(direction, chunk, at, &mut |record| {
            records.push(record);
            if direction == Direction::Read {
                align.record(record);
            }
        });
        for record in &records {
            shape.record(direction, record, tls.facts(), &mut |what| seen.push(what));
        }
        if tls.facts().losses != losses && direction == Direction::Read {
            align.lose_place();
        }
        align.costs(tls.facts().overhead());
        seen
    }

    /// Time passed.
    pub fn tick(&mut self, now: Ns) -> Vec<ShapeSeen> {
        let mut seen = Vec::new();
        self.shape.tick(now, &mut |what| seen.push(what));
        seen
    }
}

/// What the network did to a socket.
#[derive(Clone, Debug, Default)]
pub struct Path {
    /// Smoothed round-trip time, microseconds, and the least there was.
    pub srtt_us: Option<u32>,
    pub least_us: Option<u32>,
    /// Segments this side sent again, since the birth.
    pub retransmits: Option<u32>,
    /// Segments the peer sent again that we saw twice, and holes that were filled later.
    pub again: u64,
    pub holes: u64,
    /// Packets of the peer that never came, where it numbers them.
    pub missed: u64,
    /// Segments this side sent again, as they passed.
    resent: u32,
    /// Times this side closed its window, and how long it was closed in all, as far as it opened again.
    pub closed_window: u64,
    closed_ns: u64,
    troubles: VecDeque<(Trouble, Ns, Ns)>,
    no_room_since: Option<Ns>,
}

impl Path {
    fn note(&mut self, trouble: Trouble, from: Ns, to: Ns) {
        if self.troubles.len() >= limits::TROUBLES {
            self.troubles.pop_front();
        }
        self.troubles.push_back((trouble, from, to));
    }

    /// What explains at least half of the silence between `from` and `to`, when bytes came again: a closed window, or what the
    /// network did in the meantime. `None`: nothing that was seen.
    ///
    /// A loss explains as much as it takes to send again, no more: a peer that paused for a second and whose first packet then
    /// was lost is not excused by it.
    #[must_use]
    pub fn explains(&self, from: Ns, to: Ns) -> Option<Trouble> {
        let enough = ((to - from) / 2).max(1);
        let closed = self.no_room_since.map_or(0, |since| to - since.max(from));
        if self.lasted(Trouble::NoRoom, from, to) + closed >= enough {
            return Some(Trouble::NoRoom);
        }
        let within = self.troubles.iter().filter(|&&(_, _, at)| at > from && at <= to);
        let points = || within.clone().map(|(trouble, ..)| *trouble).filter(|trouble| trouble.is_point());
        if points().any(|trouble| trouble == Trouble::Rtt) {
            return Some(Trouble::Rtt);
        }
        if self.lasted(Trouble::Hole, from, to) >= enough {
            return Some(Trouble::Hole);
        }
        let lost = points().map(Trouble::packets).fold(0, u32::saturating_add);
        points().next_back().filter(|_| self.resending_ns(lost) >= enough)
    }

    /// The peer's timer ran out in that time: it had sent, nobody knows how long before, what came late.
    #[must_use]
    pub fn timed_out(&self, from: Ns, to: Ns) -> bool {
        self.troubles.iter().any(|&(trouble, _, at)| trouble == Trouble::TimedOut && at > from && at <= to)
    }

    /// How long a peer whose packets come through again needs for what has piled up, nanoseconds: a few round trips, for it begins
    /// with one packet and doubles.
    #[must_use]
    pub fn rush_ns(&self) -> u64 {
        RUSH_LEAST_NS + u64::from(self.srtt_us.unwrap_or(0)) * 1_000 * RUSH_TRIPS
    }

    /// How long a trouble that lasts was there between two moments; where it was there twice at once, it counts once.
    fn lasted(&self, wanted: Trouble, from: Ns, to: Ns) -> u64 {
        let (mut sum, mut counted_from) = (0, to);
        for &(_, since, until) in self.troubles.iter().rev().filter(|(trouble, ..)| *trouble == wanted) {
            sum += until.min(counted_from) - since.max(from);
            counted_from = counted_from.min(since);
        }
        sum
    }

    /// How long it takes at least until a packet comes through of which `lost` were lost before it, one after the other: the
    /// timer of the sender doubles each time (RFC 6298, with the 200 ms that Linux waits at least).
    fn resending_ns(&self, lost: u32) -> u64 {
        let timer = RESEND_LEAST_NS + u64::from(self.srtt_us.unwrap_or(0)) * 4 * 1_000;
        timer.saturating_mul((1 << lost.min(RESENDS)) - 1)
    }

    /// Segments this side sent again: as TCP tells, or as they passed.
    #[must_use]
    pub fn sent_again(&self) -> u32 {
        self.retransmits.unwrap_or(0).max(self.resent)
    }

    /// How long this side has left no room to send, nanoseconds.
    #[must_use]
    pub fn closed_ns(&self, now: Ns) -> u64 {
        self.closed_ns + self.no_room_since.map_or(0, |since| now - since)
    }

    /// A segment is about to go through its direction's order.
    fn sees(&mut self, direction: Direction, seen: Seen, at: Ns) {
        match direction {
            Direction::Read => {
                if let Some(since) = seen.filled {
                    self.holes += 1;
                    self.note(Trouble::Hole, since, at);
                }
                if seen.again > 0 {
                    self.again += 1;
                    self.note(Trouble::Again, at, at);
                }
            }
            Direction::Write if seen.again > 0 => {
                self.resent = self.resent.saturating_add(1);
                self.note(Trouble::Retransmit, at, at);
            }
            Direction::Write => {}
        }
    }

    fn room(&mut self, none: bool, at: Ns) {
        match (self.no_room_since, none) {
            (None, true) => {
                self.no_room_since = Some(at);
                self.closed_window += 1;
            }
            (Some(since), false) => {
                self.no_room_since = None;
                self.closed_ns += at - since;
                self.note(Trouble::NoRoom, since, at);
            }
            _ => {}
        }
    }

    fn told(&mut self, info: &SockInfo) {
        if let (Some(before), Some(now)) = (self.retransmits, info.retransmits)
            && now > before
        {
            self.note(Trouble::Retransmit, info.at, info.at);
        }
        self.retransmits = info.retransmits.or(self.retransmits);
        let Some(srtt) = info.srtt_us else { return };
        let least = self.least_us.map_or(srtt, |least| least.min(srtt));
        let jump = least.saturating_mul(RTT_JUMP).max(RTT_JUMP_LEAST_US);
        // Only the jump itself: a path that stays slow delays nothing that follows.
        if srtt > jump && self.srtt_us.is_none_or(|before| before <= jump) {
            self.note(Trouble::Rtt, info.at, info.at);
        }
        (self.srtt_us, self.least_us) = (Some(srtt), Some(least));
    }
}

/// The least time until Linux sends again what nobody acknowledged.
const RESEND_LEAST_NS: u64 = 200_000_000;
/// Doublings of that time that are reckoned with: beyond, any silence is explained.
const RESENDS: u32 = 16;

/// Round trips in which a sender that begins with one packet sends 31 of full size, more than any answer piles up in a minute …
const RUSH_TRIPS: u64 = 5;
/// … and the time it takes at least, where the round trip is short or not known.
const RUSH_LEAST_NS: u64 = 100_000_000;

/// A smoothed round-trip time this many times the least one …
const RTT_JUMP: u32 = 4;
/// … and of so many microseconds is a jump.
const RTT_JUMP_LEAST_US: u32 = 200_000;

impl Socket {
    fn new(open: SockOpen) -> Self {
        Socket {
            carries: Carries::Unknown,
            sniffed: 0,
            read: Tcp::default(),
            write: Tcp::default(),
            path: Path::default(),
            tls: None,
            joined: None,
            last: open.at,
            idle_since: open.at,
            open,
        }
    }

    /// A segment is about to go through its direction's order: what it tells of the path is known before its bytes are.
    pub fn sees(&mut self, segment: &Segment<'_>) {
        // Told of because it was lost here: no packet, and maybe told twice.
        if segment.lost == Some(LossCause::RingFull) {
            return;
        }
        let seen = self.way(segment.direction).preview(segment);
        if segment.len > 0 && !seen.keepalive && !seen.strange {
            self.last = self.last.max(segment.at);
        }
        self.path.sees(segment.direction, seen, segment.at);
        if segment.direction == Direction::Read && segment.missed > 0 {
            self.path.missed += u64::from(segment.missed);
            self.path.note(Trouble::Missed(segment.missed), segment.at, segment.at);
        }
        // What came twice tells the same.
        if segment.direction == Direction::Read && segment.timed_out && seen.again == 0 {
            self.path.note(Trouble::TimedOut, segment.at, segment.at);
        }
        if segment.direction == Direction::Write && !segment.rst {
            self.path.room(segment.zero_window, segment.at);
        }
    }

    /// The connection that it is or carries.
    #[must_use]
    pub fn conn(&self) -> ConnKey {
        self.joined.map_or_else(|| self.open.conn(), |joined| joined.conn)
    }

    /// What TCP knows.
    pub fn told(&mut self, info: &SockInfo) {
        self.path.told(info);
    }

    /// One direction.
    pub fn way(&mut self, direction: Direction) -> &mut Tcp {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }

    /// Bytes held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.read.held() + self.write.held() + self.tls.as_ref().map_or(0, |outside| outside.tls.held())
    }
}

/// All followed sockets. At most `cap`; beyond it, the one idle the longest goes.
#[derive(Debug)]
pub struct Sockets {
    cap: usize,
    /// An empty place: the socket is lent, and comes back before anything else happens.
    table: HashMap<Sock, Option<Box<Socket>>, RandomState>,
    /// Every socket once, by how long it has been idle.
    idle: BTreeSet<(Ns, Sock)>,
}

impl Sockets {
    /// An empty table.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        Sockets { cap: cap.max(1), table: HashMap::default(), idle: BTreeSet::new() }
    }

    /// A socket is followed. Returns the one that had to go for it.
    #[must_use]
    pub fn open(&mut self, open: SockOpen) -> Option<Box<Socket>> {
        if let Some(known) = self.table.get_mut(&open.sock) {
            // Told twice: by the list at the start, and by its own connect().
            if let Some(known) = known {
                known.open.local = known.open.local.or(open.local);
            }
            return None;
        }
        let evicted = if self.table.len() >= self.cap { self.idle.first().map(|&(_, sock)| sock) } else { None };
        let evicted = evicted.and_then(|sock| self.remove(sock));
        self.idle.insert((open.at, open.sock));
        self.table.insert(open.sock, Some(Box::new(Socket::new(open))));
        evicted
    }

    /// The socket, if it is followed.
    #[must_use]
    pub fn get(&self, sock: Sock) -> Option<&Socket> {
        self.table.get(&sock)?.as_deref()
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, sock: Sock) -> Option<&mut Socket> {
        self.table.get_mut(&sock)?.as_deref_mut()
    }

    /// Lends the socket for a segment at `at`, so that the table's owner can be worked on meanwhile.
    pub fn lend(&mut self, sock: Sock, at: Ns) -> Option<Box<Socket>> {
        let mut socket = self.table.get_mut(&sock)?.take()?;
        if at - socket.idle_since >= IDLE_STEP {
            self.idle.remove(&(socket.idle_since, sock));
            self.idle.insert((at, sock));
            socket.idle_since = at;
        }
        Some(socket)
    }

    /// Takes a lent socket back.
    pub fn give_back(&mut self, socket: Box<Socket>) {
        if let Some(place) = self.table.get_mut(&socket.open.sock) {
            *place = Some(socket);
        }
    }

    /// Takes a socket out.
    pub fn remove(&mut self, sock: Sock) -> Option<Box<Socket>> {
        let socket = self.table.remove(&sock)??;
        self.idle.remove(&(socket.idle_since, sock));
        Some(socket)
    }

    /// All sockets.
    pub fn iter(&self) -> impl Iterator<Item = &Socket> {
        self.table.values().filter_map(Option::as_deref)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}
