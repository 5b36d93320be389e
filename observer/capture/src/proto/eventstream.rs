//! The event stream of AWS (`application/vnd.amazon.eventstream`): binary messages, each with a checksum of its prelude
//! and one of the whole.
//!
//! ```text
//! u32 total | u32 headers | u32 crc(first 8) │ headers │ payload │ u32 crc(all before)      big-endian
//! ```
//! A message whose checksum is wrong, or of which bytes are missing, is skipped and counted: its
//! length still says where the next one begins. Where that is lost too, a prelude is looked for;
//! its checksum leaves no doubt.

mod headers;

use flate2::Crc;

use self::headers::EventStreamHeaders;
use super::body::EventScanner;
use super::{BodyEvent, BodyEventKind, Message, ProtocolNote};
use crate::limits::{EVENTSTREAM_HEADERS, EVENTSTREAM_MESSAGE, SSE_EVENT, SSE_EVENT_HEAD, SSE_IDLE};

/// Size of the prelude, and of what frames a payload.
const PRELUDE: usize = 12;
const CRC: usize = 4;

/// The scanner of one body.
#[derive(Default)]
pub struct EventStream {
    at: At,
    /// The message in progress, its prelude included, as far as it is kept.
    kept: Vec<u8>,
    /// Checksum of the message in progress.
    crc: Crc,
    /// Why it will be none.
    spoilt: Option<&'static str>,
}

#[derive(Clone, Copy, Default)]
enum At {
    /// In a prelude, as much of which as has come is in `kept`.
    #[default]
    Prelude,
    /// In a message: so many bytes of it are left.
    Message(Prelude, usize),
    /// The place is lost: the last bytes, as one number, and how many of them are real.
    Hunt(u128, usize),
}

/// The lengths of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prelude {
    total: usize,
    headers: usize,
}

impl Prelude {
    /// What the first bytes say; `None` if they are no prelude.
    fn read(bytes: &[u8]) -> Option<Prelude> {
        let &[t3, t2, t1, t0, h3, h2, h1, h0, c3, c2, c1, c0, ..] = bytes else { return None };
        let total = u32::from_be_bytes([t3, t2, t1, t0]) as usize;
        let headers = u32::from_be_bytes([h3, h2, h1, h0]) as usize;
        let fits = headers <= EVENTSTREAM_HEADERS
            && total <= EVENTSTREAM_MESSAGE
            && headers.saturating_add(PRELUDE + CRC) <= total;
        let sum = || checksum(&[t3, t2, t1, t0, h3, h2, h1, h0]);
        (fits && sum() == u32::from_be_bytes([c3, c2, c1, c0])).then_some(Prelude { total, headers })
    }

    /// Most bytes kept of a message: a payload that is too large leaves its head.
    fn room(self) -> usize {
        if self.total <= SSE_EVENT { self.total } else { PRELUDE + self.headers + SSE_EVENT_HEAD }
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

impl EventScanner for EventStream {
    fn push(&mut self, mut input: &[u8], out: &mut dyn FnMut(Message<'_>)) {
        while !input.is_empty() {
            let used = match self.at {
                At::Prelude => match self.whole(input, out) {
                    Some(used) => used,
                    None => self.prelude(input, out),
                },
                At::Message(prelude, left) => self.message(prelude, left, input, out),
                At::Hunt(window, have) => self.hunt(window, have, input),
            };
            input = input.get(used..).unwrap_or_default();
        }
    }

    fn gap(&mut self) {
        self.lose_place();
    }

    fn skip(&mut self, bytes: u64) {
        let lost = usize::try_from(bytes).unwrap_or(usize::MAX);
        match self.at {
            At::Message(prelude, left) if lost < left => {
                self.at = At::Message(prelude, left - lost);
                self.spoilt = Some("lost_bytes");
                self.kept = Vec::new();
            }
            At::Message(_, left) if lost == left => self.next(),
            _ => self.lose_place(),
        }
    }

    fn finish(&mut self, out: &mut dyn FnMut(Message<'_>)) {
        if matches!(self.at, At::Message(..)) || !self.kept.is_empty() {
            out(note("truncated"));
        }
        *self = EventStream::default();
    }

    fn held(&self) -> usize {
        size_of::<Self>() + self.kept.capacity()
    }
}

impl EventStream {
    /// A message that lies whole in the piece: nothing is copied.
    fn whole(&mut self, input: &[u8], out: &mut dyn FnMut(Message<'_>)) -> Option<usize> {
        if !self.kept.is_empty() {
            return None;
        }
        let prelude = Prelude::read(input)?;
        let (body, sum) = input.get(..prelude.total)?.split_last_chunk::<CRC>()?;
        if checksum(body) == u32::from_be_bytes(*sum) {
            emit(body.get(..prelude.room()).unwrap_or(body), prelude, out);
        } else {
            out(note("bad_crc"));
        }
        Some(prelude.total)
    }

    fn prelude(&mut self, input: &[u8], out: &mut dyn FnMut(Message<'_>)) -> usize {
        let size = PRELUDE.saturating_sub(self.kept.len()).min(input.len());
        self.kept.extend_from_slice(input.get(..size).unwrap_or_default());
        if self.kept.len() < PRELUDE {
            return size;
        }
        match Prelude::read(&self.kept) {
            Some(prelude) => self.begin(prelude),
            None => {
                // What follows may hold the next prelude, its first bytes perhaps among these.
                out(note("bad_prelude"));
                let window = self.kept.iter().fold(0, |window, byte| window << 8 | u128::from(*byte));
                self.lose_place();
                self.at = At::Hunt(window, PRELUDE);
            }
        }
        size
    }

    fn begin(&mut self, prelude: Prelude) {
        self.crc = Crc::new();
        self.crc.update(&self.kept);
        self.at = At::Message(prelude, prelude.total.saturating_sub(PRELUDE));
    }

    /// A piece of the message in progress.
    fn message(&mut self, prelude: Prelude, left: usize, input: &[u8], out: &mut dyn FnMut(Message<'_>)) -> usize {
        let piece = input.get(..left).unwrap_or(input);
        if self.spoilt.is_none() {
            let (body, _) = piece.split_at_checked(left.saturating_sub(CRC)).unwrap_or((piece, &[]));
            self.crc.update(body);
            self.keep(prelude, left, piece);
        }
        if piece.len() < left {
            self.at = At::Message(prelude, left - piece.len());
            return piece.len();
        }
        match (self.spoilt, self.kept.split_last_chunk::<CRC>()) {
            (None, Some((body, sum))) if self.crc.sum() == u32::from_be_bytes(*sum) => emit(body, prelude, out),
            (reason, _) => out(note(reason.unwrap_or("bad_crc"))),
        }
        self.next();
        piece.len()
    }

    /// Keeps of a piece what is wanted: the beginning of the message, and its checksum.
    fn keep(&mut self, prelude: Prelude, left: usize, piece: &[u8]) {
        let begin = prelude.total.saturating_sub(left);
        let room = prelude.room().saturating_sub(begin.min(prelude.room()));
        let head = piece.get(..room).unwrap_or(piece);
        self.kept.extend_from_slice(head);
        let sum_at = left.saturating_sub(CRC).max(head.len());
        self.kept.extend_from_slice(piece.get(sum_at..).unwrap_or_default());
    }

    /// Looks for a prelude, byte by byte.
    fn hunt(&mut self, mut window: u128, mut have: usize, input: &[u8]) -> usize {
        for (index, byte) in input.iter().enumerate() {
            window = window << 8 | u128::from(*byte);
            have = (have + 1).min(PRELUDE);
            let bytes = window.to_be_bytes();
            let Some(last) = bytes.last_chunk::<PRELUDE>().filter(|last| have == PRELUDE && last.first() <= Some(&1))
            else {
                continue;
            };
            if let Some(prelude) = Prelude::read(last) {
                self.kept.extend_from_slice(last);
                self.begin(prelude);
                return index + 1;
            }
        }
        self.at = At::Hunt(window, have);
        input.len()
    }

    fn next(&mut self) {
        self.at = At::Prelude;
        self.spoilt = None;
        self.kept.clear();
        self.kept.shrink_to(SSE_IDLE);
    }

    fn lose_place(&mut self) {
        self.next();
        self.at = At::Hunt(0, 0);
    }
}

/// One message, proven: its prelude, headers, and payload (or the head of it).
fn emit(message: &[u8], prelude: Prelude, out: &mut dyn FnMut(Message<'_>)) {
    let rest = message.get(PRELUDE..).unwrap_or_default();
    let (headers, payload) = rest.split_at_checked(prelude.headers).unwrap_or((rest, &[]));
    let Some(headers) = EventStreamHeaders::read(headers) else { return out(note("bad_headers")) };
    let truncated = prelude.total > SSE_EVENT;
    if truncated {
        out(note("event_too_large"));
    }
    let kind = if headers.exception { BodyEventKind::Exception } else { BodyEventKind::Text };
    out(Message::Event(BodyEvent { kind, name: headers.name, data: payload, wire_bytes: prelude.total, truncated }));
}

fn note(reason: &'static str) -> Message<'static> {
    Message::Note(ProtocolNote { protocol: "eventstream", reason })
}

/// Fuzz target: a stream must come out the same whole and cut. See `body::fuzz`.
pub fn fuzz(data: &[u8]) {
    super::body::fuzz::<EventStream>(data);
}

#[cfg(test)]
mod tests;
