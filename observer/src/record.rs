//! `Record`: what the kernel edge, a recording or a test generator hands to the pipeline.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

pub use observer_common::record::ConnKey;

use crate::identity::Identity;
use crate::units::{Direction, LossCause, Ns};

/// One thing that happened on the host. Borrowed: the payload lies in the ring until the pipeline returns.
#[derive(Clone, Debug)]
pub enum Record<'a> {
    /// Who a process is. Comes before the first record of that process.
    Process { tgid: u32, start_ns: u64, identity: Arc<Identity> },
    /// A TLS object was born: its bytes are seen from the first one.
    Open { conn: ConnKey, at: Ns },
    /// A call moved plaintext.
    Data(Data<'a>),
    /// The application asked for an orderly end of its side (`SSL_shutdown`).
    Shutdown { conn: ConnKey, at: Ns },
    /// The peer ended its side: in order (`clean`) or by a reset. What had arrived before may still be read after this.
    ReadEnd { conn: ConnKey, at: Ns, clean: bool },
    /// The socket that carries this TLS object was found (by the join of both layers).
    Remote { conn: ConnKey, peer: SocketAddr },
    /// The TLS object is gone. Positions tell what was lost at the end.
    Close { conn: ConnKey, at: Ns, read_pos: u64, write_pos: u64 },
    /// A process ended; its connections ended with it.
    Exit { tgid: u32, at: Ns },
}

impl Record<'_> {
    /// Its stamp; 0 for those that only name something.
    #[must_use]
    pub fn at(&self) -> Ns {
        match self {
            Record::Process { .. } | Record::Remote { .. } => Ns(0),
            Record::Data(data) => data.at,
            Record::Open { at, .. }
            | Record::Shutdown { at, .. }
            | Record::ReadEnd { at, .. }
            | Record::Close { at, .. }
            | Record::Exit { at, .. } => *at,
        }
    }
}

/// The bytes of one call, or a piece of them.
#[derive(Clone, Copy)]
pub struct Data<'a> {
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

/// Without the payload: it must not reach a log.
impl fmt::Debug for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Data { conn, direction, at, entered, pos, call_len, offset, born, lost, bytes } = self;
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
