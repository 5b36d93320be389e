//! Stage 3: records to ordered bytes. `Record` in, `Chunk` out.
//!
//! `ConnTable` is the table of connections, `TlsReassembler` the position of one direction of a TLS
//! object, `tcp` the order of one direction of a socket. None knows what the bytes mean.
#![deny(clippy::disallowed_methods, reason = "pure stage: time is an argument, no files")]

mod idle;
mod path;
mod sockets;
mod table;
pub mod tcp;
#[cfg(test)]
mod tests;
pub mod tls;
mod track;
pub mod tunnel;

use std::fmt;

pub use path::{NetworkEvent, NetworkPath};
pub use sockets::{SocketContent, SocketTable, TlsFromWire, TrackedSocket};
pub use table::{ConnAdmission, ConnTable, TrackedConn};
pub use track::{OrderRepairs, TlsReassembler};

use crate::units::LossCause;

/// A piece of one direction of a connection, in order: bytes, or the knowledge that bytes are missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// The next bytes.
    Data(&'a [u8]),
    /// `bytes` are missing here (`None`: an unknown number), because of `cause`.
    Gap { bytes: Option<u64>, cause: LossCause },
}

/// Sizes only: payload must not reach a log.
impl fmt::Debug for Chunk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Chunk::Data(bytes) => write!(f, "Data({} bytes)", bytes.len()),
            Chunk::Gap { bytes: Some(n), cause } => write!(f, "Gap({n} bytes, {})", cause.name()),
            Chunk::Gap { bytes: None, cause } => write!(f, "Gap(? bytes, {})", cause.name()),
        }
    }
}
