//! A TLS connection seen from outside: its records, with the moment at which each was complete, and
//! what the hellos say.
//!
//! Nothing is decrypted. A record's content type, version and length are in the clear; in TLS 1.3 everything after the
//! hellos is called application data, the rest of the handshake and session tickets included.

mod align;
mod hello;
mod records;
mod shape;
#[cfg(test)]
mod tests;

pub use align::{ReadAligner, ReadAlignment};
pub use hello::{ClientHello, ServerHello};
pub use records::{RecordLayerEvent, RecordLayerScanner, TlsRecord};
pub use shape::{RequestShape, ShapeEnd, ShapeEvent as ShapeSeen};

use super::Chunk;
use crate::units::{Direction, Moment, Ns};

const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const TLS13: u16 = 0x0304;

/// How much longer a record is than what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordOverhead {
    /// The hellos were not seen.
    Unknown,
    /// The same for every record (but padding, which nobody uses by default, is possible in TLS 1.3).
    Bytes(u16),
    /// CBC suites: it depends on the length.
    Varies,
}

/// What is known of a TLS connection from outside.
#[derive(Clone, Debug, Default)]
pub struct TlsHandshakeFacts {
    /// The ClientHello.
    pub hello: Option<ClientHello>,
    /// Its first byte.
    pub hello_at: Option<Ns>,
    /// The ServerHello (not a retry request).
    pub answer: Option<ServerHello>,
    /// When the client had done its part of the handshake, and may send application data.
    pub ready_at: Option<Ns>,
    /// Times that bytes were missing, so that some records are not known.
    pub losses: u64,
}

impl TlsHandshakeFacts {
    /// The server's name, as the client gave it.
    #[must_use]
    pub fn sni(&self) -> Option<&str> {
        self.hello.as_ref()?.sni.as_deref()
    }

    /// From the ClientHello to the end of the client's handshake, seconds.
    #[must_use]
    pub fn handshake_seconds(&self) -> Option<f64> {
        Some(self.ready_at?.seconds_since(self.hello_at?))
    }

    /// TLS 1.3 was chosen; `None` where the ServerHello was not seen.
    #[must_use]
    pub fn is_13(&self) -> Option<bool> {
        Some(self.answer.as_ref()?.version == TLS13)
    }

    /// What each record costs beside its plaintext.
    #[must_use]
    pub fn overhead(&self) -> RecordOverhead {
        match &self.answer {
            None => RecordOverhead::Unknown,
            Some(answer) => answer.overhead(),
        }
    }
}

/// Both directions of a TLS connection.
#[derive(Debug, Default)]
pub struct TlsRecordFollower {
    facts: TlsHandshakeFacts,
    client: RecordLayerScanner,
    server: RecordLayerScanner,
    /// The client changed ciphers (TLS 1.2).
    client_changed: bool,
}

impl TlsRecordFollower {
    /// The next piece of one direction. `out` gets each record that may carry application data.
    pub fn push(&mut self, direction: Direction, chunk: Chunk<'_>, at: Moment, out: &mut dyn FnMut(TlsRecord)) {
        let TlsRecordFollower { facts, client, server, client_changed } = self;
        let at = at.arrival.unwrap_or(at.at);
        match direction {
            Direction::Write => client.push(chunk, at, &mut |found| match found {
                RecordLayerEvent::Hello(message) => client_hello(facts, message, at),
                RecordLayerEvent::Lost => facts.losses += 1,
                RecordLayerEvent::Record(record) if client_record(facts, &record, client_changed) => out(record),
                RecordLayerEvent::Record(_) => {}
            }),
            Direction::Read => server.push(chunk, at, &mut |found| match found {
                RecordLayerEvent::Hello(message) => server_hello(facts, message),
                RecordLayerEvent::Lost => facts.losses += 1,
                RecordLayerEvent::Record(record) if server_record(facts, &record) => out(record),
                RecordLayerEvent::Record(_) => {}
            }),
        }
    }

    /// What is known so far.
    #[must_use]
    pub fn facts(&self) -> &TlsHandshakeFacts {
        &self.facts
    }

    /// Bytes held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.client.held() + self.server.held()
    }
}

fn client_hello(facts: &mut TlsHandshakeFacts, message: &[u8], at: Ns) {
    if facts.hello.is_none() {
        facts.hello = ClientHello::parse(message);
        facts.hello_at.get_or_insert(at);
    }
}

fn server_hello(facts: &mut TlsHandshakeFacts, message: &[u8]) {
    if let Some(answer) = ServerHello::parse(message).filter(|answer| !answer.retry) {
        facts.answer.get_or_insert(answer);
    }
}

/// May this record of the client carry application data?
fn client_record(facts: &mut TlsHandshakeFacts, record: &TlsRecord, changed: &mut bool) -> bool {
    if record.kind == HANDSHAKE && facts.hello.is_none() {
        facts.hello_at.get_or_insert(record.first);
    }
    match (record.kind, facts.is_13()) {
        (CHANGE_CIPHER_SPEC, Some(false)) => {
            *changed = true;
            false
        }
        // What follows the client's change of ciphers is its Finished.
        (HANDSHAKE, Some(false)) if *changed => {
            facts.ready_at.get_or_insert(record.at);
            false
        }
        // The first record after the ServerHello is the Finished. (With a client certificate there are up to three.)
        (APPLICATION_DATA, Some(true)) if facts.ready_at.is_none() => {
            facts.ready_at = Some(record.at);
            false
        }
        (APPLICATION_DATA, _) => true,
        _ => false,
    }
}

/// May this record of the server carry application data?
fn server_record(facts: &TlsHandshakeFacts, record: &TlsRecord) -> bool {
    record.kind == APPLICATION_DATA && !(facts.is_13() == Some(true) && facts.ready_at.is_none())
}

/// For fuzzing: a list of pieces, gaps and reads, each behind a byte that says which (bits 0:
/// direction, 1-2: kind) and two of length. Nothing panics, what is held stays under its caps, and
/// no read is earlier than the record it is of.
pub fn fuzz(mut data: &[u8]) {
    use crate::limits;
    use crate::units::LossCause;
    let (mut tls, mut align, mut pos) = (TlsRecordFollower::default(), ReadAligner::new(), 0u64);
    let mut now = 0u64;
    while let [op, high, low, rest @ ..] = data {
        now += 1;
        let length = u16::from_be_bytes([*high, *low]);
        let direction = if op & 1 == 0 { Direction::Write } else { Direction::Read };
        let at = Moment { at: Ns(now), arrival: Some(Ns(now)), call: now };
        let (piece, after) = rest.split_at_checked(usize::from(length).min(rest.len())).unwrap_or((rest, &[]));
        let mut heard = |record: TlsRecord| {
            assert!(record.first <= record.at && record.at == Ns(now));
            align.record(record);
        };
        match op >> 1 & 3 {
            2 => {
                let bytes = (op >> 3 & 1 == 0).then_some(u64::from(length));
                tls.push(direction, Chunk::Gap { bytes, cause: LossCause::RingFull }, at, &mut heard);
                data = rest;
            }
            3 => {
                align.costs(tls.facts().overhead());
                assert!(align.read(pos, u32::from(length), Ns(now)).is_none_or(|arrived| arrived <= Ns(now)));
                pos += u64::from(length) + u64::from(op >> 3 & 1);
                data = rest;
            }
            _ => {
                tls.push(direction, Chunk::Data(piece), at, &mut heard);
                data = after;
            }
        }
        assert!(tls.held() <= 2 * limits::TLS_HELLO + usize::from(u16::MAX));
    }
}
