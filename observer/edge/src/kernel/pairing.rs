//! Which socket carries which TLS object. Pure: what both layers report goes in, pairs and ends come out.
//!
//! The rule: a write of n bytes leaves as a TLS record of n bytes and a little more, or as several
//! of them: what is longer than 16 KiB is cut, and some libraries (Go) make a connection's first
//! records no longer than a packet. With the socket inside the TLS object (sync CPython, curl) the
//! record leaves *during* the write; with a memory BIO (asyncio, Node) the application sends it
//! right *after* the write, before its thread writes again, so the nearest earlier write that fits
//! is the one. A pair, once made, stays.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use super::unmatched::{MatchChange, UnmatchedSockets};
use capture::record::{ConnKey, PairingConfidence, PairingMethod, SocketCookie, TlsSocketPairing};
use capture::units::Ns;

/// A write on a TLS object.
#[derive(Clone, Copy, Debug)]
pub(super) struct TlsWrite {
    pub entered: Ns,
    pub at: Ns,
    pub len: u32,
}

/// The other end of a socket, and who connected it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketPeer {
    pub tgid: u32,
    pub addr: SocketAddr,
}

/// What a TLS socket did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireEvent {
    /// Sent a ClientHello.
    Hello,
    /// Sent a TLS record of application data; its length, header excluded.
    Out { record: u32 },
    /// The socket's request is being answered.
    Answered,
    /// FIN or RST, by whom.
    End { by_peer: bool, reset: bool },
}

/// How a paired socket ended first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketEnd {
    pub at: Ns,
    pub by_peer: bool,
    pub reset: bool,
}

/// The pairing of both layers, for the whole host.
#[derive(Debug, Default)]
pub(super) struct SocketPairing {
    sockets: HashMap<u64, PairableSocket>,
    /// TLS objects without a socket yet, by process.
    loose: HashMap<u32, HashMap<ConnKey, VecDeque<TlsWrite>>>,
    paired: HashMap<ConnKey, u64>,
    /// Records that left and found no write yet.
    waiting: VecDeque<PendingDeparture>,
    unmatched: UnmatchedSockets,
}

#[derive(Debug)]
struct PairableSocket {
    peer: SocketPeer,
    conn: Option<ConnKey>,
    end: Option<SocketEnd>,
}

#[derive(Clone, Copy, Debug)]
struct PendingDeparture {
    cookie: u64,
    tgid: u32,
    at: Ns,
    record: u32,
}

/// Writes remembered for each loose TLS object, and departures waiting on the host: only the last few can still match.
const MAX_WRITES: usize = 8;
const MAX_WAITING: usize = 4096;
const MAX_SOCKETS: usize = 65_536;

/// How long after a write its record may leave: the application's own event loop lies in between.
const WINDOW_NS: u64 = 200_000_000;

/// How long, if no other write fits: the record may wait for the handshake's end to be acknowledged
/// (Nagle's algorithm), and that may be lost a few times.
const LONG_WINDOW_NS: u64 = 30_000_000_000;

/// How long a departure waits for the write that contains it to return (the write's record comes after it on the ring).
const SETTLE_NS: u64 = 5_000_000;

impl SocketPairing {
    /// A TLS object wrote. Returns the other end if this pairs it.
    pub(super) fn wrote(&mut self, conn: ConnKey, write: TlsWrite) -> Option<TlsSocketPairing> {
        if self.paired.contains_key(&conn) {
            return None;
        }
        let writes = self.loose.entry(conn.tgid).or_default().entry(conn).or_default();
        writes.push_back(write);
        if writes.len() > MAX_WRITES {
            writes.pop_front();
        }
        let cookie = self.left_inside(conn.tgid, write)?;
        self.pair(cookie, conn, PairingMethod::Inside)
    }

    /// The socket that a write left through while it ran: by one record, or by all that left through
    /// it together, if that is so of one socket alone.
    fn left_inside(&mut self, tgid: u32, write: TlsWrite) -> Option<u64> {
        let inside = |d: &&PendingDeparture| d.tgid == tgid && d.at >= write.entered && d.at <= write.at;
        if let Some(index) = self.waiting.iter().position(|d| inside(&d) && fits(write.len, d.record)) {
            return self.waiting.remove(index).map(|departure| departure.cookie);
        }
        let mut sums: Vec<(u64, u32, u32)> = Vec::new();
        for departure in self.waiting.iter().filter(inside) {
            match sums.iter_mut().find(|(cookie, ..)| *cookie == departure.cookie) {
                Some((_, records, bytes)) => {
                    *records += 1;
                    *bytes = bytes.saturating_add(departure.record);
                }
                None => sums.push((departure.cookie, 1, departure.record)),
            }
        }
        let mut fitting = sums.into_iter().filter(|(_, records, bytes)| fit_together(write.len, *records, *bytes));
        let (cookie, ..) = fitting.next()?;
        fitting.next().is_none().then_some(cookie)
    }

    /// A socket did something.
    pub(super) fn wire(&mut self, cookie: u64, at: Ns, peer: SocketPeer, what: WireEvent) {
        match what {
            WireEvent::Hello => {
                if self.sockets.len() >= MAX_SOCKETS {
                    self.forget_ended();
                }
                self.sockets.insert(cookie, PairableSocket { peer, conn: None, end: None });
            }
            WireEvent::Out { record } => {
                if self.sockets.get(&cookie).is_some_and(|s| s.conn.is_none()) && self.waiting.len() < MAX_WAITING {
                    self.waiting.push_back(PendingDeparture { cookie, tgid: peer.tgid, at, record });
                }
            }
            WireEvent::Answered => self.unmatched.answered(cookie, peer.tgid, at),
            WireEvent::End { by_peer, reset } => {
                if let Some(socket) = self.sockets.get_mut(&cookie) {
                    // The first end is the cause; a reset that follows a FIN of the same side is
                    // its answer to late data.
                    socket.end.get_or_insert(SocketEnd { at, by_peer, reset });
                }
            }
        }
    }

    /// Departures that no write contained: the nearest earlier write that fits. `now`: the newest stamp seen.
    pub(super) fn settle(&mut self, now: Ns) -> Vec<TlsSocketPairing> {
        let mut pairs = Vec::new();
        while self.waiting.front().is_some_and(|d| now - d.at > SETTLE_NS) {
            let Some(departure) = self.waiting.pop_front() else { break };
            if self.sockets.get(&departure.cookie).is_none_or(|s| s.conn.is_some()) {
                continue;
            }
            if let Some(conn) = self.nearest(departure)
                && let Some(paired) = self.pair(departure.cookie, conn, PairingMethod::Nearest)
            {
                pairs.push(paired);
            }
        }
        pairs
    }

    /// The socket of this TLS object is known.
    #[must_use]
    pub(super) fn is_paired(&self, conn: &ConnKey) -> bool {
        self.paired.contains_key(conn)
    }

    /// The TLS object was answered, or is about to go: departures that would still wait are settled
    /// for it now, or an end of its socket just before would not be known as its own.
    pub(super) fn settle_for(&mut self, conn: &ConnKey) -> Option<TlsSocketPairing> {
        let free = |d: &PendingDeparture| self.sockets.get(&d.cookie).is_some_and(|s| s.conn.is_none());
        let own = |d: &PendingDeparture| d.tgid == conn.tgid && free(d) && self.nearest(*d) == Some(*conn);
        let index = self.waiting.iter().position(own)?;
        let departure = self.waiting.remove(index)?;
        self.pair(departure.cookie, *conn, PairingMethod::Nearest)
    }

    fn nearest(&self, departure: PendingDeparture) -> Option<ConnKey> {
        let within = |window: u64| {
            let fitting = move |w: &&TlsWrite| {
                w.at <= departure.at && departure.at - w.at < window && fits(w.len, departure.record)
            };
            let loose = self.loose.get(&departure.tgid).into_iter().flatten();
            loose.filter_map(move |(conn, writes)| Some((writes.iter().filter(fitting).map(|w| w.at).max()?, *conn)))
        };
        if let Some((_, conn)) = within(WINDOW_NS).max() {
            return Some(conn);
        }
        let mut long = within(LONG_WINDOW_NS);
        let (_, conn) = long.next()?;
        long.next().is_none().then_some(conn)
    }

    fn pair(&mut self, cookie: u64, conn: ConnKey, method: PairingMethod) -> Option<TlsSocketPairing> {
        let socket = self.sockets.get_mut(&cookie)?;
        if socket.conn.is_some() {
            return None;
        }
        socket.conn = Some(conn);
        self.unmatched.matched(cookie);
        self.paired.insert(conn, cookie);
        if let Some(loose) = self.loose.get_mut(&conn.tgid) {
            loose.remove(&conn);
        }
        // A record that leaves inside the write of its length leaves little doubt; the nearest
        // write is a guess among those that fit.
        let confidence = if method == PairingMethod::Inside { PairingConfidence::High } else { PairingConfidence::Low };
        Some(TlsSocketPairing { conn, sock: SocketCookie(cookie), peer: socket.peer.addr, method, confidence })
    }

    /// How the socket of this TLS object ended, if it is known and did.
    #[must_use]
    pub(super) fn end_of(&self, conn: &ConnKey) -> Option<SocketEnd> {
        self.sockets.get(self.paired.get(conn)?)?.end
    }

    /// Which sockets fit no write, as far as it is news. Of one that is not known nothing is said.
    pub(super) fn judge(&mut self, now: Ns) -> Vec<MatchChange> {
        let sockets = &self.sockets;
        self.unmatched.judge(now, |cookie| sockets.get(&cookie).is_none_or(|socket| socket.conn.is_some()))
    }

    /// The TLS object is gone.
    pub(super) fn closed(&mut self, conn: &ConnKey) {
        if let Some(cookie) = self.paired.remove(conn) {
            self.sockets.remove(&cookie);
        }
        if let Some(loose) = self.loose.get_mut(&conn.tgid) {
            loose.remove(conn);
        }
    }

    /// The process is gone.
    pub(super) fn exited(&mut self, tgid: u32) {
        self.loose.remove(&tgid);
        self.unmatched.exited(tgid);
        self.paired.retain(|conn, _| conn.tgid != tgid);
        self.sockets.retain(|_, socket| socket.peer.tgid != tgid);
    }

    /// Joined TLS objects whose socket ended before `before` and that still live.
    #[must_use]
    pub(super) fn ended_before(&self, before: Ns) -> Vec<(ConnKey, SocketEnd)> {
        let ended = |s: &PairableSocket| Some((s.conn?, s.end.filter(|end| end.at < before)?));
        self.sockets.values().filter_map(ended).collect()
    }

    fn forget_ended(&mut self) {
        self.sockets.retain(|_, socket| socket.end.is_none());
        if self.sockets.len() >= MAX_SOCKETS {
            self.sockets.clear();
            self.paired.clear();
        }
    }
}

/// Could a write of `len` bytes have left as a record of `record` bytes? Tag, nonce, content type
/// and padding take 16 to 64 bytes in every cipher suite in use; longer writes are cut at 16 KiB.
fn fits(len: u32, record: u32) -> bool {
    let plain = len.min(16_384);
    (plain + 16..=plain + 64).contains(&record)
}

/// Could a write of `len` bytes have left as so many records of so many bytes together?
fn fit_together(len: u32, records: u32, bytes: u32) -> bool {
    let beside = |each: u32| len.saturating_add(records.saturating_mul(each));
    records > 1 && (beside(16)..=beside(64)).contains(&bytes)
}

#[cfg(test)]
mod tests;
