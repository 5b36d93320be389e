//! The table of followed sockets: TCP order of both directions, and what is told of them.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::Chunk;
use super::idle::IdleOrder;
use super::path::NetworkPath;
use super::tcp::TcpReassembler;
use super::tls::{ReadAligner, RequestShape, ShapeSeen, TlsRecordFollower};
use crate::record::{ConnKey, SockInfo, SockOpen, SocketCookie, TcpSegment, TlsSocketPairing};
use crate::units::{Direction, LossCause, Moment, Ns};

/// What a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketContent {
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
pub struct TrackedSocket {
    /// Who, where to, since when.
    pub open: SockOpen,
    /// What it carries.
    pub carries: SocketContent,
    /// Pieces looked at to tell; of a tunnel, those that the application sent.
    pub sniffed: u32,
    /// Bytes from the peer.
    pub read: TcpReassembler,
    /// Bytes to the peer.
    pub write: TcpReassembler,
    /// What the network did.
    pub path: NetworkPath,
    /// TLS as it looks from outside, if that is what it carries.
    pub tls: Option<Box<TlsFromWire>>,
    /// The TLS object above it, once known.
    pub paired: Option<TlsSocketPairing>,
    /// Last payload in either direction.
    pub last: Ns,
    idle_since: Ns,
}

/// TLS from outside, and the reads inside that match it.
#[derive(Debug, Default)]
pub struct TlsFromWire {
    /// The records.
    pub tls: TlsRecordFollower,
    /// Which of the peer's records each read of the application was of.
    pub align: ReadAligner,
    /// Requests and answers, as far as records tell.
    shape: RequestShape,
}

impl TlsFromWire {
    /// The next piece of one direction. Returns what it tells of requests and answers.
    pub fn push(&mut self, direction: Direction, chunk: Chunk<'_>, at: Moment) -> Vec<ShapeSeen> {
        let TlsFromWire { tls, align, shape } = self;
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

impl TrackedSocket {
    fn new(open: SockOpen) -> Self {
        TrackedSocket {
            carries: SocketContent::Unknown,
            sniffed: 0,
            read: TcpReassembler::default(),
            write: TcpReassembler::default(),
            path: NetworkPath::default(),
            tls: None,
            paired: None,
            last: open.at,
            idle_since: open.at,
            open,
        }
    }

    /// A segment is about to go through its direction's order: what it tells of the path is known before its bytes are.
    pub fn observe_segment(&mut self, segment: &TcpSegment<'_>) {
        // Told of because it was lost here: no packet, and maybe told twice.
        if segment.lost == Some(LossCause::RingFull) {
            return;
        }
        let seen = self.direction_mut(segment.direction).preview(segment);
        if segment.len > 0 && !seen.keepalive && !seen.strange {
            self.last = self.last.max(segment.at);
        }
        self.path.segment(segment, seen);
    }

    /// The connection that it is or carries.
    #[must_use]
    pub fn conn(&self) -> ConnKey {
        self.paired.map_or_else(|| self.open.conn(), |paired| paired.conn)
    }

    /// What TCP knows.
    pub fn update_tcp_info(&mut self, info: &SockInfo) {
        self.path.update_tcp_info(info);
    }

    /// One direction.
    pub fn direction_mut(&mut self, direction: Direction) -> &mut TcpReassembler {
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
pub struct SocketTable {
    cap: usize,
    /// An empty place: the socket is lent, and comes back before anything else happens.
    table: HashMap<SocketCookie, Option<Box<TrackedSocket>>, RandomState>,
    idle: IdleOrder<SocketCookie>,
}

impl SocketTable {
    /// An empty table.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        SocketTable { cap: cap.max(1), table: HashMap::default(), idle: IdleOrder::default() }
    }

    /// A socket is followed. Returns the one that had to go for it.
    #[must_use]
    pub fn open(&mut self, open: SockOpen) -> Option<Box<TrackedSocket>> {
        if let Some(known) = self.table.get_mut(&open.sock) {
            // Told twice: by the list at the start, and by its own connect().
            if let Some(known) = known {
                known.open.local = known.open.local.or(open.local);
            }
            return None;
        }
        let evicted = if self.table.len() >= self.cap { self.idle.longest() } else { None };
        let evicted = evicted.and_then(|sock| self.remove(sock));
        self.idle.insert(open.at, open.sock);
        self.table.insert(open.sock, Some(Box::new(TrackedSocket::new(open))));
        evicted
    }

    /// The socket, if it is followed.
    #[must_use]
    pub fn get(&self, sock: SocketCookie) -> Option<&TrackedSocket> {
        self.table.get(&sock)?.as_deref()
    }

    /// The socket, to change it.
    pub fn get_mut(&mut self, sock: SocketCookie) -> Option<&mut TrackedSocket> {
        self.table.get_mut(&sock)?.as_deref_mut()
    }

    /// Lends the socket for a segment at `at`, so that the table's owner can be worked on meanwhile.
    pub fn lend(&mut self, sock: SocketCookie, at: Ns) -> Option<Box<TrackedSocket>> {
        let mut socket = self.table.get_mut(&sock)?.take()?;
        self.idle.touch(&mut socket.idle_since, at, sock);
        Some(socket)
    }

    /// Takes a lent socket back.
    pub fn return_lent(&mut self, socket: Box<TrackedSocket>) {
        if let Some(place) = self.table.get_mut(&socket.open.sock) {
            *place = Some(socket);
        }
    }

    /// Takes a socket out.
    pub fn remove(&mut self, sock: SocketCookie) -> Option<Box<TrackedSocket>> {
        let socket = self.table.remove(&sock)??;
        self.idle.remove(socket.idle_since, sock);
        Some(socket)
    }

    /// All sockets.
    pub fn iter(&self) -> impl Iterator<Item = &TrackedSocket> {
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
