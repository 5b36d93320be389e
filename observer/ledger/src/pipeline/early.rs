//! Answers that are told of before what asked for them.
//!
//! A call is told of when it returns. The bytes of a read exist then; those of a write exist from
//! the moment it is entered, and a thread that reads may have the whole answer before the thread
//! that wrote has come back from its write (on a busy host, tens of milliseconds later). So a read
//! that answers nothing asked so far waits for the write that must be on its way: until a write
//! comes (one entered before the read goes first), or until `limits::EARLY_NS` have passed.

use std::collections::VecDeque;

use capture::conn::Chunk;
use capture::limits;
use capture::units::{LossCause, Moment, Ns};

/// Pieces read that wait, oldest first.
#[derive(Default)]
pub(super) struct EarlyReads {
    waiting: VecDeque<(OwnedChunk, Moment)>,
    bytes: usize,
}

/// A `Chunk` that owns its bytes.
pub(super) enum OwnedChunk {
    Data(Box<[u8]>),
    Gap { bytes: Option<u64>, cause: LossCause },
}

impl OwnedChunk {
    pub(super) fn chunk(&self) -> Chunk<'_> {
        match self {
            OwnedChunk::Data(bytes) => Chunk::Data(bytes),
            OwnedChunk::Gap { bytes, cause } => Chunk::Gap { bytes: *bytes, cause: *cause },
        }
    }
}

impl EarlyReads {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes that wait.
    pub(super) fn held(&self) -> usize {
        self.bytes
    }

    /// Whether this much more may wait.
    pub(super) fn has_room(&self, chunk: Chunk<'_>) -> bool {
        let more = if let Chunk::Data(bytes) = chunk { bytes.len() } else { 0 };
        self.waiting.len() < limits::EARLY_PIECES && self.bytes + more <= limits::EARLY_BYTES
    }

    /// The next piece read waits.
    pub(super) fn push(&mut self, chunk: Chunk<'_>, at: Moment) {
        let piece = match chunk {
            Chunk::Data(bytes) => {
                self.bytes += bytes.len();
                OwnedChunk::Data(bytes.into())
            }
            Chunk::Gap { bytes, cause } => OwnedChunk::Gap { bytes, cause },
        };
        self.waiting.push_back((piece, at));
    }

    /// The first that waits, if `go` says so of it.
    pub(super) fn pop_if(&mut self, go: impl FnOnce(&OwnedChunk, Moment) -> bool) -> Option<(OwnedChunk, Moment)> {
        let (piece, at) = self.waiting.pop_front_if(|(piece, at)| go(piece, *at))?;
        if let OwnedChunk::Data(bytes) = &piece {
            self.bytes -= bytes.len();
        }
        Some((piece, at))
    }

    /// When the first that waits will have waited long enough.
    pub(super) fn due(&self) -> Option<Ns> {
        self.waiting.front().map(|(_, at)| Ns(at.at.0.saturating_add(limits::EARLY_NS)))
    }
}
