//! The table of followed sockets: TCP order of both directions, and what is told of them.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;

use super::Chunk;
use super::path::Path;
use super::tcp::Tcp;
use super::tls::{Align, Shape, ShapeSeen, Tls};
use crate::record::{ConnKey, Joined, Segment, Sock, SockInfo, SockOpen};
use crate::units::{Direction, LossCause, Moment, Ns};

/// How exact "longest idle" is: a socket moves in the order of idleness at most this often.
const IDLE_STEP: u64 = 1_000_000_000;

/// What a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Nothing has been said yet.
    Unknown,
    /// The way to somebody behind a proxy is being made.
    Tunnel,
    /// TLS.
    Tls,
    /// Anything else: plain text.
    Plain,
}

/// A followed socket.
#[derive(Debug)]
pub struct Socket {
    /// Who, where to, since when.
    pub open: SockOpen,
    /// What it carries.
    pub carries: Carries,
    /// Pieces looked at to tell; of a tunnel, those that the application sent.
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
        self.path.segment(segment, seen);
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
