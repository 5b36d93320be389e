//! `Record`: what the kernel edge, a recording or a test generator hands to the pipeline.

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
    /// A read ended the incoming direction: the peer closed (`clean`) or the connection broke.
    ReadEnd { conn: ConnKey, at: Ns, clean: bool },
    /// The TLS object is gone. Positions tell what was lost at the end.
    Close { conn: ConnKey, at: Ns, read_pos: u64, write_pos: u64 },
    /// A process ended; its connections ended with it.
    Exit { tgid: u32, at: Ns },
}

/// The bytes of one call, or a piece of them.
#[derive(Clone, Copy, Debug)]
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
