//! Records of one direction: five bytes of head, then as many bytes as the head says.

use super::{APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE};
use crate::conn::Chunk;
use crate::limits;
use crate::units::Ns;

const HEAD: usize = 5;
/// TLS 1.2 allows 2^14 + 2048 bytes in a record, TLS 1.3 less.
const LONGEST: u16 = (1 << 14) + 2048;
const HEARTBEAT: u8 = 24;

/// A record, as far as it is in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsRecord {
    /// Content type.
    pub kind: u8,
    /// Bytes after the head.
    pub len: u16,
    /// When its first byte could be read.
    pub first: Ns,
    /// When its last byte could be read: from then on an application could have its plaintext.
    pub at: Ns,
}

/// What was found.
#[derive(Debug)]
pub enum RecordLayerEvent<'a> {
    /// A record is complete.
    Record(TlsRecord),
    /// A handshake message is complete: the hellos, before encryption begins. Comes before its record.
    Hello(&'a [u8]),
    /// Bytes were missing or made no record: the next record found may not be the next there was.
    Lost,
}

/// One direction. Holds the head being read, and the hello until it is complete.
#[derive(Debug)]
pub struct RecordLayerScanner {
    state: State,
    hello: Hello,
}

#[derive(Debug)]
enum State {
    Head {
        bytes: [u8; HEAD],
        have: usize,
        first: Ns,
    },
    Body {
        kind: u8,
        len: u16,
        left: u64,
        first: Ns,
    },
    /// A record is looked for at the beginning of each piece: stacks write records, so segments begin with them.
    Lost,
}

/// Handshake messages in the clear.
enum Hello {
    Waiting(Vec<u8>),
    Done,
}

/// Sizes only: names in it belong to `facts`, not to a log.
impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Hello::Waiting(bytes) => write!(f, "Waiting({} bytes)", bytes.len()),
            Hello::Done => f.write_str("Done"),
        }
    }
}

impl Default for RecordLayerScanner {
    fn default() -> Self {
        RecordLayerScanner { state: State::between(), hello: Hello::Waiting(Vec::new()) }
    }
}

impl State {
    fn between() -> State {
        State::Head { bytes: [0; HEAD], have: 0, first: Ns(0) }
    }
}

impl RecordLayerScanner {
    /// The next piece.
    pub fn push(&mut self, chunk: Chunk<'_>, at: Ns, out: &mut dyn FnMut(RecordLayerEvent<'_>)) {
        match chunk {
            Chunk::Data(bytes) => self.bytes(bytes, at, out),
            Chunk::Gap { bytes, .. } => self.gap(bytes, at, out),
        }
    }

    /// Bytes held.
    #[must_use]
    pub fn held(&self) -> usize {
        match &self.hello {
            Hello::Waiting(bytes) => bytes.len(),
            Hello::Done => 0,
        }
    }

    fn bytes(&mut self, mut bytes: &[u8], at: Ns, out: &mut dyn FnMut(RecordLayerEvent<'_>)) {
        if matches!(self.state, State::Lost) {
            if head(bytes).is_none() {
                return;
            }
            self.state = State::between();
        }
        while !bytes.is_empty() {
            match &mut self.state {
                State::Lost => return,
                State::Head { bytes: kept, have, first } => {
                    if *have == 0 {
                        *first = at;
                    }
                    let (now, rest) = split(bytes, HEAD - *have);
                    for (place, byte) in kept.iter_mut().skip(*have).zip(now) {
                        *place = *byte;
                    }
                    *have += now.len();
                    bytes = rest;
                    if *have == HEAD {
                        let (kept, first) = (*kept, *first);
                        self.begin(&kept, first, at, out);
                    }
                }
                State::Body { kind, left, .. } => {
                    let (now, rest) = split(bytes, usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= now.len() as u64;
                    bytes = rest;
                    if *kind == HANDSHAKE {
                        self.hello.take(now, out);
                    }
                    self.complete(at, out);
                }
            }
        }
    }

    fn gap(&mut self, missing: Option<u64>, at: Ns, out: &mut dyn FnMut(RecordLayerEvent<'_>)) {
        self.hello = Hello::Done;
        match (&mut self.state, missing) {
            // Inside a record: its end is known all the same.
            (State::Body { left, .. }, Some(missing)) if missing <= *left => {
                *left -= missing;
                self.complete(at, out);
            }
            (State::Lost, _) => {}
            _ => self.lose(out),
        }
    }

    fn begin(&mut self, kept: &[u8; HEAD], first: Ns, at: Ns, out: &mut dyn FnMut(RecordLayerEvent<'_>)) {
        match head(kept) {
            Some((kind, len)) => {
                if kind != HANDSHAKE {
                    self.hello = Hello::Done;
                }
                self.state = State::Body { kind, len, left: len.into(), first };
                self.complete(at, out);
            }
            None => self.lose(out),
        }
    }

    fn complete(&mut self, at: Ns, out: &mut dyn FnMut(RecordLayerEvent<'_>)) {
        if let State::Body { kind, len, left: 0, first } = self.state {
            self.state = State::between();
            out(RecordLayerEvent::Record(TlsRecord { kind, len, first, at }));
        }
    }

    fn lose(&mut self, out: &mut dyn FnMut(RecordLayerEvent<'_>)) {
        self.state = State::Lost;
        self.hello = Hello::Done;
        out(RecordLayerEvent::Lost);
    }
}

impl Hello {
    /// More of the handshake. A retry request is followed by the hello proper; more than that is not in the clear.
    fn take(&mut self, bytes: &[u8], out: &mut dyn FnMut(RecordLayerEvent<'_>)) {
        let Hello::Waiting(kept) = self else { return };
        kept.extend_from_slice(bytes);
        while let Some(message) = message(kept) {
            out(RecordLayerEvent::Hello(message));
            let length = message.len();
            kept.drain(..length);
        }
        if kept.len() > limits::TLS_HELLO {
            *self = Hello::Done;
        }
    }
}

/// A whole handshake message: type, length (3 bytes), body.
fn message(bytes: &[u8]) -> Option<&[u8]> {
    let &[_, a, b, c, ..] = bytes else { return None };
    let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    bytes.get(..4 + length)
}

/// Content type and length, if the bytes begin with the head of a record.
fn head(bytes: &[u8]) -> Option<(u8, u16)> {
    let &[kind, 3, minor, high, low, ..] = bytes else { return None };
    let len = u16::from_be_bytes([high, low]);
    let known = matches!(kind, CHANGE_CIPHER_SPEC..=APPLICATION_DATA | HEARTBEAT);
    (known && minor <= 4 && len <= LONGEST).then_some((kind, len))
}

fn split(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(at).unwrap_or((bytes, &[]))
}
