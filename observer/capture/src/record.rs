//! `Record`: what the kernel edge, a recording or a test generator hands to the pipeline.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

pub use observer_common::record::ConnKey;

use crate::identity::ProcessIdentity;
use crate::units::{Direction, LossCause, Ns};

/// One thing that happened on the host. Borrowed: the payload lies in the ring until the pipeline returns.
#[derive(Clone, Debug)]
pub enum Record<'a> {
    /// Who a process is. Comes before the first record of that process.
    Process { tgid: u32, start_ns: u64, identity: Arc<ProcessIdentity> },
    /// A TLS object was born: its bytes are seen from the first one.
    Open { conn: ConnKey, at: Ns },
    /// A call moved plaintext.
    Data(TlsData<'a>),
    /// The application asked for an orderly end of its side (`SSL_shutdown`).
    Shutdown { conn: ConnKey, at: Ns },
    /// The peer ended its side: in order (`clean`) or by a reset. What had arrived before may still be read after this.
    ReadEnd { conn: ConnKey, at: Ns, clean: bool },
    /// The peer's address is known without its socket (a masked recording says no more).
    Remote { conn: ConnKey, peer: SocketAddr },
    /// The socket that carries this TLS object was found (by the pairing of both layers).
    Paired(TlsSocketPairing),
    /// The TLS object is gone. Positions tell what was lost at the end.
    Close { conn: ConnKey, at: Ns, read_pos: u64, write_pos: u64 },
    /// What the kernel's own table said of a TLS object after a loss: how many bytes were read and
    /// written (what has not come up to there never will), or that it is gone, its end being among
    /// what was lost.
    Audited { conn: ConnKey, at: Ns, moved: Option<[u64; 2]> },
    /// A process ended; its connections ended with it.
    Exit { tgid: u32, at: Ns },
    /// A TCP socket of a client is followed from here on.
    SockOpen(SockOpen),
    /// A TCP segment of a followed socket.
    Segment(TcpSegment<'a>),
    /// What the kernel's TCP knows of a followed socket.
    SockInfo(SockInfo),
    /// A followed socket is closed, by both sides or by a reset.
    SockClose { sock: SocketCookie, at: Ns },
    /// A process of the tree below this one started a program. `None`: the kernel dropped what it
    /// had to say of programs, so any process may have.
    Started { tgid: Option<u32>, at: Ns },
}

impl Record<'_> {
    /// The record's stamp; 0 for records that only name something.
    #[must_use]
    pub fn at(&self) -> Ns {
        match self {
            Record::Process { .. } | Record::Remote { .. } | Record::Paired(_) => Ns(0),
            Record::Data(data) => data.at,
            Record::SockOpen(open) => open.at,
            Record::Segment(segment) => segment.at,
            Record::SockInfo(info) => info.at,
            Record::Open { at, .. }
            | Record::Shutdown { at, .. }
            | Record::ReadEnd { at, .. }
            | Record::Close { at, .. }
            | Record::Audited { at, .. }
            | Record::SockClose { at, .. }
            | Record::Started { at, .. }
            | Record::Exit { at, .. } => *at,
        }
    }
}

/// The bytes of one call, or a piece of them.
#[derive(Clone, Copy)]
pub struct TlsData<'a> {
    /// The connection.
    pub conn: ConnKey,
    /// Which way.
    pub direction: Direction,
    /// When the call returned.
    pub at: Ns,
    /// When the call was entered.
    pub entered: Ns,
    /// Position of `bytes[0]` in this direction of the connection.
    pub pos: u64,
    /// Bytes the whole call moved.
    pub call_len: u32,
    /// Offset of `bytes[0]` in the call.
    pub offset: u32,
    /// The birth of this connection was seen, so `pos` counts from its first byte.
    pub born: bool,
    /// Set when bytes of this call are missing after `bytes`.
    pub lost: Option<LossCause>,
    /// The plaintext.
    pub bytes: &'a [u8],
}

impl TlsData<'_> {
    /// Position of the call's first byte.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.pos.saturating_sub(self.offset.into())
    }

    /// Since when the bytes exist: those of a read once it returns, those of a write when it is
    /// entered (if that was told).
    #[must_use]
    pub fn exists(&self) -> Ns {
        match self.direction {
            Direction::Write if self.entered != Ns(0) => self.entered.min(self.at),
            _ => self.at,
        }
    }
}

/// Without the payload: it must not reach a log.
impl fmt::Debug for TlsData<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TlsData { conn, direction, at, entered, pos, call_len, offset, born, lost, bytes } = self;
        f.debug_struct("Data")
            .field("conn", conn)
            .field("direction", direction)
            .field("at", at)
            .field("entered", entered)
            .field("pos", pos)
            .field("call_len", call_len)
            .field("offset", offset)
            .field("born", born)
            .field("lost", lost)
            .field("len", &bytes.len())
            .finish()
    }
}

/// A TCP socket, by its cookie: unique while the host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SocketCookie(pub u64);

impl SocketCookie {
    /// No TLS object lies at an address with this bit: it is the kernel's half.
    const MARK: u64 = 1 << 63;

    /// The connection that this socket is, for one that carries plain text.
    #[must_use]
    pub fn conn(self, tgid: u32, start_ns: u64) -> ConnKey {
        ConnKey { handle: self.0 | Self::MARK, start_ns, tgid, generation: 0 }
    }

    /// The socket that this connection is, unless it is a TLS object.
    #[must_use]
    pub fn of(conn: &ConnKey) -> Option<SocketCookie> {
        (conn.handle & Self::MARK != 0).then_some(SocketCookie(conn.handle & !Self::MARK))
    }
}

/// How we came to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketOrigin {
    /// The socket's connect() was seen, and every segment since.
    Born,
    /// The socket was open when the observer came.
    Mid,
}

/// A TCP socket that connected somewhere. Sockets that accepted a connection are none of ours: one
/// that both ends on this host share would count twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SockOpen {
    /// Which.
    pub sock: SocketCookie,
    /// The process that connected it, or holds it.
    pub tgid: u32,
    /// That process's start.
    pub start_ns: u64,
    /// This side, where it is known.
    pub local: Option<SocketAddr>,
    /// The other side.
    pub peer: SocketAddr,
    /// When it was established; of one seen from the middle, when it was first heard of.
    pub at: Ns,
    /// When connect() was called.
    pub connect_at: Option<Ns>,
    /// Seen from its birth?
    pub attach: SocketOrigin,
}

impl SockOpen {
    /// See `SocketCookie::conn`.
    #[must_use]
    pub fn conn(&self) -> ConnKey {
        self.sock.conn(self.tgid, self.start_ns)
    }
}

/// A TCP segment, as it passed the host's IP layer: retransmissions, reordering and overlaps are still in.
#[derive(Clone, Copy)]
pub struct TcpSegment<'a> {
    /// The socket.
    pub sock: SocketCookie,
    /// `Read`: from the peer.
    pub direction: Direction,
    /// When it passed.
    pub at: Ns,
    /// Sequence number of the first payload byte (of the SYN or FIN itself where there is none).
    pub seq: u32,
    /// Payload bytes on the wire.
    pub len: u32,
    /// Its flags.
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    /// Its sender has no room to receive.
    pub zero_window: bool,
    /// Up to where its sender has received the other direction; `None`: not told.
    pub ack: Option<u32>,
    /// Packets of its sender that should have come before it and did not: lost on the way, or late.
    /// Known where the sender numbers its IPv4 packets, as Linux does.
    pub missed: u32,
    /// Its sender's timer ran out before it: it has changed its IPv6 flow label, as Linux does then.
    pub timed_out: bool,
    /// What was copied: a prefix of the payload, maybe empty.
    pub bytes: &'a [u8],
    /// Why the rest was not.
    pub lost: Option<LossCause>,
}

/// Without the payload: it must not reach a log.
impl fmt::Debug for TcpSegment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TcpSegment {
            sock,
            direction,
            at,
            seq,
            len,
            syn,
            fin,
            rst,
            zero_window,
            ack,
            missed,
            timed_out,
            bytes,
            lost,
        } = self;
        f.debug_struct("Segment")
            .field("sock", sock)
            .field("direction", direction)
            .field("at", at)
            .field("seq", seq)
            .field("len", len)
            .field("syn", syn)
            .field("fin", fin)
            .field("rst", rst)
            .field("zero_window", zero_window)
            .field("ack", ack)
            .field("missed", missed)
            .field("timed_out", timed_out)
            .field("copied", &bytes.len())
            .field("lost", lost)
            .finish()
    }
}

/// What the kernel's TCP knows of a socket; `None`: not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SockInfo {
    /// The socket.
    pub sock: SocketCookie,
    /// When.
    pub at: Ns,
    /// Smoothed round-trip time, microseconds.
    pub srtt_us: Option<u32>,
    /// Segments that this side sent again, since the birth.
    pub retransmits: Option<u32>,
}

/// A TLS object and the socket below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsSocketPairing {
    /// The TLS object.
    pub conn: ConnKey,
    /// Its socket.
    pub sock: SocketCookie,
    /// The other side.
    pub peer: SocketAddr,
    /// What told.
    pub method: PairingMethod,
    /// How sure that is.
    pub confidence: PairingConfidence,
}

/// What told which socket carries a TLS object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PairingMethod {
    /// A TLS record of the right length left during the write.
    Inside,
    /// It left after the write: the nearest earlier write that fits.
    Nearest,
}

impl PairingMethod {
    /// Every method; a recording holds the index.
    pub const ALL: [PairingMethod; 2] = [Self::Inside, Self::Nearest];
}

/// How sure a pairing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PairingConfidence {
    /// Another one would have fitted too, or nearly.
    Low,
    /// Nothing else fitted.
    High,
}
