//! What must hold of every parser's messages, whatever the input: for fuzzing and property tests.

use std::collections::BTreeMap;

use super::{ConnClosing, ExchangeId, Message, MessageSink, ProtocolParser};
use crate::conn::Chunk;
use crate::limits::{DECODED_PER_PIECE, HTTP1_HEAD, SSE_EVENT};
use crate::units::{Direction, LossCause, Moment};

/// The most a connection may hold, buffers' slack and decoder windows (zstd 8 MiB, brotli 16 MiB, one per direction and
/// coding) included.
pub const HELD: usize = 2 * HTTP1_HEAD + 4 * SSE_EVENT + 8 * (24 << 20);

/// A connection as a list of operations: bytes either way, gaps, new calls, ignoring, closing. Whatever they are: no
/// panic, messages in order, every exchange ended at close, memory under the cap.
///
/// Each operation is a byte (bits 0: direction, 1-2: kind, 3: new call) and for data two bytes of length.
pub fn operations(parser: &mut dyn ProtocolParser, mut data: &[u8]) {
    let mut checker = OrderChecker::default();
    let mut at = Moment::default();
    while let [op, rest @ ..] = data {
        data = rest;
        let direction = if op & 1 == 0 { Direction::Write } else { Direction::Read };
        at.call += u64::from(op >> 3 & 1);
        checker.burst = 0;
        match op >> 1 & 3 {
            3 if op >> 4 == 0 => parser.ignore(ExchangeId(u64::from(*op))),
            3 => {
                let cause = if op >> 4 == 1 { LossCause::LateAttach } else { LossCause::RingFull };
                let bytes = (op >> 4 != 2).then_some(u64::from(op >> 4) * 3);
                parser.push(direction, Chunk::Gap { bytes, cause }, at, &mut checker);
            }
            _ => {
                let [high, low, rest @ ..] = data else { break };
                let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
                let (piece, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                data = rest;
                parser.push(direction, Chunk::Data(piece), at, &mut checker);
            }
        }
        assert!(parser.held() <= HELD, "{} bytes are held", parser.held());
    }
    let how = if data.is_empty() { ConnClosing::Peer } else { ConnClosing::Reset };
    parser.close(how, at, &mut checker);
    assert!(checker.all_over(), "an exchange never ended");
}

/// A sink that panics when the order of an exchange's messages is broken. Keeps the events and joined bodies, so that
/// two runs can be compared.
#[derive(Debug, Default)]
pub struct OrderChecker {
    exchanges: BTreeMap<u64, Phase>,
    /// What was said, independent of how bytes were cut.
    pub said: Vec<OwnedMessage>,
    /// Body bytes in one call of `push`, to be reset by the caller.
    pub burst: usize,
}

/// One message, without its moment.
#[derive(Debug, PartialEq, Eq)]
pub struct OwnedMessage(pub u64, pub String, pub Vec<u8>);

#[derive(Clone, Copy, Debug, Default)]
struct Phase {
    request_over: bool,
    answered: bool,
    over: bool,
}

impl OrderChecker {
    fn check(&mut self, exchange: u64, message: &Message<'_>) {
        if let Message::Request(_) = message {
            assert!(self.exchanges.insert(exchange, Phase::default()).is_none(), "exchange {exchange} began twice");
            return;
        }
        if exchange == ExchangeId::CONNECTION.0 {
            assert!(matches!(message, Message::Note(_)), "the connection said {message:?}");
            return;
        }
        let phase = self.exchanges.get_mut(&exchange);
        assert!(phase.as_ref().is_some_and(|phase| !phase.over), "{message:?} outside exchange {exchange}");
        let Some(phase) = phase else { return };
        match message {
            Message::RequestBody(_) => assert!(!phase.request_over, "body after the request's end"),
            Message::RequestEnd { .. } => {
                assert!(!std::mem::replace(&mut phase.request_over, true), "two ends of a request");
            }
            Message::Response(_) => assert!(!std::mem::replace(&mut phase.answered, true), "two responses"),
            Message::Event(_) | Message::Sent { .. } | Message::Comment | Message::Body(_) | Message::Trailers(_) => {
                assert!(phase.answered, "{message:?} unanswered");
            }
            Message::End(_) => {
                assert!(phase.request_over, "the exchange ended before its request");
                phase.over = true;
            }
            Message::Request(_) | Message::Gap { .. } | Message::Note(_) => {}
        }
    }

    /// Whether every exchange that began has ended.
    #[must_use]
    pub fn all_over(&self) -> bool {
        self.exchanges.values().all(|phase| phase.over)
    }
}

impl MessageSink for OrderChecker {
    fn message(&mut self, ExchangeId(exchange): ExchangeId, _: Moment, message: Message<'_>) {
        self.check(exchange, &message);
        let (key, bytes) = match message {
            Message::RequestBody(bytes) => ("request body".to_owned(), bytes),
            Message::Body(bytes) => ("body".to_owned(), bytes),
            Message::Event(event) => {
                (format!("event {:?} {} {}", event.name, event.wire_bytes, event.truncated), event.data)
            }
            Message::Sent { message, began: _ } => {
                (format!("sent {} {}", message.wire_bytes, message.truncated), message.data)
            }
            Message::Request(head) => {
                // The salt differs from run to run.
                let head = super::RequestHead { credential_hash: head.credential_hash.map(|_| 0), ..head.clone() };
                (format!("{head:?}"), &[][..])
            }
            other => (format!("{other:?}"), &[][..]),
        };
        self.burst += bytes.len();
        assert!(self.burst <= 2 * DECODED_PER_PIECE + SSE_EVENT, "a piece became {} bytes", self.burst);
        if key.ends_with("body")
            && let Some(OwnedMessage(x, before, all)) = self.said.last_mut()
            && (*x, before.as_str()) == (exchange, key.as_str())
        {
            return all.extend_from_slice(bytes);
        }
        self.said.push(OwnedMessage(exchange, key, bytes.to_vec()));
    }
}
