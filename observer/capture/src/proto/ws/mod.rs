//! WebSocket (RFC 6455), both directions of one socket. It begins where an HTTP/1.1 upgrade hands
//! over (`http1`), on the same connection and as the same exchange; or on a stream of HTTP/2
//! (`h2`), by an extended CONNECT (RFC 8441).
//!
//! # The seam to the dialects
//! A socket is one exchange: `Request`, `RequestEnd`, `Response` (101; over HTTP/2 2xx), then what
//! is said on it until `End`:
//!
//! | message | what |
//! |---|---|
//! | `Sent { message, began }` | the client's messages, whole: fragments joined, unmasked, decompressed |
//! | `Event` | the server's messages, likewise; `kind` tells text from binary |
//! | `Comment` | a ping or pong of the server: the socket lives |
//! | `Gap` | bytes are missing, of either direction; a message with a hole is skipped |
//! | `Note` | a close code that means failure (`close_internal_error`, `close_try_again_later` …) |
//!
//! A model call is not a socket but a *turn* on it. Which message begins or ends one, only the
//! dialect knows: a row of `dialect::SOCKETS` makes a `dialect::SocketDialect`, which is asked
//! about each message (`sent`, `received`) and makes an ordinary `Dialect` for each call that
//! begins. The pipeline's router keeps the turns: each is an entry of the ledger, with the
//! upgrade's head; the message that began it is its request body, the events that follow are its
//! events. `http_error` of a refused upgrade is a call as any other.
//!
//! A connection seen from after its upgrade on is not recognised: the upgrade named the protocol and
//! the window.

mod deflate;
mod direction;
mod frame;
mod fuzz;
mod handshake;

pub use fuzz::fuzz;
pub use handshake::{PROTOCOL, is_accepted, is_granted, is_requested};

use deflate::{DeflateParameters, MessageInflater};
use direction::{PartialMessage, WsDirection, emit, kind};
use frame::{CLOSE, WsFrameHead, WsFrameStep, WsHoleOutcome, unmask};

use super::{BodyEvent, ExchangeEnd, ExchangeId, Message, MessageSink, ProtocolNote, ResponseHead};
use crate::conn::Chunk;
use crate::units::{Direction, LossCause, Moment};

/// One socket.
pub struct WebSocketParser {
    id: ExchangeId,
    client: WsDirection,
    server: WsDirection,
    over: bool,
}

impl WebSocketParser {
    /// A socket that begins behind this answer, as exchange `id`.
    #[must_use]
    pub fn new(id: ExchangeId, answer: &ResponseHead) -> Self {
        let agreed = DeflateParameters::read(answer.header("sec-websocket-extensions").unwrap_or_default());
        let direction = |forgets: fn(&DeflateParameters) -> bool| {
            let inflater = agreed.ok().flatten().map(|agreed| MessageInflater::new(forgets(&agreed)));
            WsDirection::new(inflater, agreed.is_err())
        };
        WebSocketParser {
            id,
            client: direction(|a| a.client_forgets),
            server: direction(|a| a.server_forgets),
            over: false,
        }
    }

    /// The next piece of one direction.
    pub fn push(&mut self, direction: Direction, chunk: Chunk<'_>, at: Moment, sink: &mut dyn MessageSink) {
        match chunk {
            Chunk::Data(bytes) => self.data(direction, bytes, at, sink),
            Chunk::Gap { bytes, cause } => self.gap(direction, bytes, cause, at, sink),
        }
    }

    /// The connection ended, if the socket had not.
    pub fn close(&mut self, end: ExchangeEnd, at: Moment, sink: &mut dyn MessageSink) {
        if !std::mem::replace(&mut self.over, true) {
            sink.message(self.id, at, Message::End(end));
        }
    }

    /// The exchange that it is.
    #[must_use]
    pub fn exchange(&self) -> ExchangeId {
        self.id
    }

    /// Whether its exchange has ended.
    #[must_use]
    pub fn over(&self) -> bool {
        self.over
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        size_of::<Self>() + self.client.held() + self.server.held()
    }

    fn direction_mut(&mut self, direction: Direction) -> &mut WsDirection {
        match direction {
            Direction::Write => &mut self.client,
            Direction::Read => &mut self.server,
        }
    }

    fn data(&mut self, direction: Direction, mut input: &[u8], at: Moment, sink: &mut dyn MessageSink) {
        let id = self.id;
        let side = self.direction_mut(direction);
        if side.framer.enter(at.call) && matches!(side.framer.at, frame::WsFramerState::Hunt) {
            let deflate = side.inflater.is_some();
            side.framer.try_here(input, direction == Direction::Write, deflate);
        }
        while !self.over {
            let side = self.direction_mut(direction);
            match side.framer.next(&mut input) {
                WsFrameStep::More => return,
                WsFrameStep::Begin(frame) => {
                    if side.begin(frame, at).is_err() {
                        return self.broken(direction, at, sink);
                    }
                }
                WsFrameStep::Payload(frame, _, bytes) if frame.is_control() => side.control.extend_from_slice(bytes),
                WsFrameStep::Payload(frame, offset, bytes) if side.lies_whole(frame, offset, bytes) => {
                    side.message.delivered = true;
                    let wire_bytes = frame.head + bytes.len();
                    let event = BodyEvent { kind: kind(frame.opcode), data: bytes, wire_bytes, ..BodyEvent::default() };
                    emit(id, direction, event, side.began, at, sink);
                }
                WsFrameStep::Payload(frame, offset, bytes) => side.payload(frame, offset, bytes),
                WsFrameStep::End(frame) if frame.is_control() => {
                    let mut payload = std::mem::take(&mut side.control);
                    if let Some(mask) = frame.mask {
                        unmask(&mut payload, mask, 0);
                    }
                    self.control(direction, frame, &payload, at, sink);
                }
                WsFrameStep::End(frame) if frame.fin => side.end(id, direction, at, sink),
                WsFrameStep::End(_) => {}
                WsFrameStep::Bad => return self.broken(direction, at, sink),
            }
        }
    }

    /// What came is no frame.
    fn broken(&mut self, direction: Direction, at: Moment, sink: &mut dyn MessageSink) {
        let side = self.direction_mut(direction);
        if side.framer.hurt() {
            side.framer.lose(); // our own loss is no error of the peer
            return;
        }
        sink.message(self.id, at, note("bad_frame"));
        self.close(ExchangeEnd::Lost, at, sink);
    }

    fn control(
        &mut self,
        direction: Direction,
        frame: WsFrameHead,
        payload: &[u8],
        at: Moment,
        sink: &mut dyn MessageSink,
    ) {
        match (frame.opcode, direction) {
            (CLOSE, _) => {
                let code = payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
                if let Some(reason) = code.and_then(failure) {
                    sink.message(self.id, at, note(reason));
                }
                let by = if direction == Direction::Read { ExchangeEnd::PeerClosed } else { ExchangeEnd::LocalClosed };
                self.close(by, at, sink);
            }
            (_, Direction::Read) => sink.message(self.id, at, Message::Comment),
            _ => {}
        }
    }

    fn gap(
        &mut self,
        direction: Direction,
        bytes: Option<u64>,
        cause: LossCause,
        at: Moment,
        sink: &mut dyn MessageSink,
    ) {
        if self.over {
            return;
        }
        let id = self.id;
        let side = self.direction_mut(direction);
        let in_control = matches!(side.framer.at, frame::WsFramerState::Payload(frame, _) if frame.is_control());
        match side.framer.gap(bytes) {
            WsHoleOutcome::Payload if in_control => side.control.clear(),
            WsHoleOutcome::Payload => side.spoil("lost_bytes"),
            WsHoleOutcome::Lost => {
                // Whole messages may be missing, and a window with them.
                if let Some(inflater) = &mut side.inflater {
                    inflater.gap();
                    inflater.over();
                }
                side.message = PartialMessage::default();
                side.control.clear();
            }
        }
        sink.message(id, at, Message::Gap { bytes, cause });
    }
}

/// The name of a close code that is more than a goodbye; codes without a meaning of their own share one.
fn failure(code: u16) -> Option<&'static str> {
    Some(match code {
        1000 | 1001 | 1005 => return None,
        1002 => "close_protocol_error",
        1003 => "close_unsupported_data",
        1006 => "close_abnormal",
        1007 => "close_invalid_data",
        1008 => "close_policy_violation",
        1009 => "close_too_big",
        1010 => "close_extension_missing",
        1011 => "close_internal_error",
        1012 => "close_service_restart",
        1013 => "close_try_again_later",
        1014 => "close_bad_gateway",
        1015 => "close_tls",
        3000 => "close_unauthorized",
        3003 => "close_forbidden",
        3008 => "close_timeout",
        4000.. => "close_application",
        _ => "close_other",
    })
}

fn note(reason: &'static str) -> Message<'static> {
    Message::Note(ProtocolNote { protocol: "websocket", reason })
}

#[cfg(test)]
mod tests;
