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
//! A connection joined after its upgrade is not recognised: what it speaks, and with which window, was said before.

mod deflate;
mod frame;
mod fuzz;

pub use fuzz::fuzz;

use deflate::{DeflateParameters, MessageInflater};
use frame::{BINARY, CLOSE, CONTINUATION, TEXT, WsFrameHead, WsFrameStep, WsFramer, WsHoleOutcome, unmask};

use super::{
    BodyEvent, BodyEventKind, ExchangeEnd, ExchangeId, Message, MessageSink, ProtocolNote, RequestHead, ResponseHead,
};
use crate::conn::Chunk;
use crate::limits::{SSE_EVENT, SSE_EVENT_HEAD, SSE_IDLE};
use crate::units::{Direction, LossCause, Moment};

/// One socket.
pub struct WebSocketParser {
    id: ExchangeId,
    client: WsDirection,
    server: WsDirection,
    over: bool,
}

/// One direction.
struct WsDirection {
    framer: WsFramer,
    /// `None`: no compression was agreed on.
    inflater: Option<MessageInflater>,
    message: PartialMessage,
    /// Payload of the control frame in progress.
    control: Vec<u8>,
    /// When the message in progress began.
    began: Moment,
    /// An extension is in use that we do not know: what messages hold is not read.
    opaque: bool,
}

/// The message in progress.
#[derive(Debug, Default)]
struct PartialMessage {
    /// Whether there is one, and of what kind.
    opcode: Option<u8>,
    compressed: bool,
    /// What is kept of it.
    bytes: Vec<u8>,
    /// Bytes on the wire, frame heads included.
    wire: usize,
    /// The message is too large: `bytes` is its head.
    truncated: bool,
    /// The message was handed out already, without a copy.
    said: bool,
    /// Why it will not be handed out.
    spoilt: Option<&'static str>,
}

/// The field of an extended CONNECT that names what the stream is to speak, as it stands among the kept headers.
pub const PROTOCOL: &str = ":protocol";

/// Whether a request asks for a WebSocket: an upgrade, or an extended CONNECT.
#[must_use]
pub fn asked(head: &RequestHead) -> bool {
    let says = |name| head.header(name).is_some_and(|to| to.trim().eq_ignore_ascii_case("websocket"));
    match head.method.as_str() {
        "GET" => says("upgrade"),
        "CONNECT" => says(PROTOCOL),
        _ => false,
    }
}

/// Whether this answer grants it.
#[must_use]
pub fn granted(asked: &RequestHead, answer: &ResponseHead) -> bool {
    if asked.method == "CONNECT" { matches!(answer.status, 200..=299) } else { answer.status == 101 }
}

/// Whether a head says that the protocol changes to this one.
#[must_use]
pub fn accepted(head: &ResponseHead) -> bool {
    head.status == 101 && head.header("upgrade").is_some_and(|to| to.trim().eq_ignore_ascii_case("websocket"))
}

impl WebSocketParser {
    /// A socket that begins behind this answer, as exchange `id`.
    #[must_use]
    pub fn new(id: ExchangeId, answer: &ResponseHead) -> Self {
        let agreed = DeflateParameters::read(answer.header("sec-websocket-extensions").unwrap_or_default());
        let way = |forgets: fn(&DeflateParameters) -> bool| {
            let inflater = agreed.ok().flatten().map(|agreed| MessageInflater::new(forgets(&agreed)));
            WsDirection {
                framer: WsFramer::default(),
                inflater,
                message: PartialMessage::default(),
                control: Vec::new(),
                began: Moment::default(),
                opaque: agreed.is_err(),
            }
        };
        WebSocketParser { id, client: way(|a| a.client_forgets), server: way(|a| a.server_forgets), over: false }
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

    fn way(&mut self, direction: Direction) -> &mut WsDirection {
        match direction {
            Direction::Write => &mut self.client,
            Direction::Read => &mut self.server,
        }
    }

    fn data(&mut self, direction: Direction, mut input: &[u8], at: Moment, sink: &mut dyn MessageSink) {
        let id = self.id;
        let way = self.way(direction);
        if way.framer.enter(at.call) && matches!(way.framer.at, frame::WsFramerState::Hunt) {
            let deflate = way.inflater.is_some();
            way.framer.try_here(input, direction == Direction::Write, deflate);
        }
        while !self.over {
            let way = self.way(direction);
            match way.framer.next(&mut input) {
                WsFrameStep::More => return,
                WsFrameStep::Begin(frame) => {
                    if way.begin(frame, at).is_err() {
                        return self.broken(direction, at, sink);
                    }
                }
                WsFrameStep::Payload(frame, _, bytes) if frame.is_control() => way.control.extend_from_slice(bytes),
                WsFrameStep::Payload(frame, offset, bytes) if way.lies_whole(frame, offset, bytes) => {
                    way.message.said = true;
                    let wire_bytes = frame.head + bytes.len();
                    let event = BodyEvent { kind: kind(frame.opcode), data: bytes, wire_bytes, ..BodyEvent::default() };
                    say(id, direction, event, way.began, at, sink);
                }
                WsFrameStep::Payload(frame, offset, bytes) => way.payload(frame, offset, bytes),
                WsFrameStep::End(frame) if frame.is_control() => {
                    let mut payload = std::mem::take(&mut way.control);
                    if let Some(mask) = frame.mask {
                        unmask(&mut payload, mask, 0);
                    }
                    self.control(direction, frame, &payload, at, sink);
                }
                WsFrameStep::End(frame) if frame.fin => way.end(id, direction, at, sink),
                WsFrameStep::End(_) => {}
                WsFrameStep::Bad => return self.broken(direction, at, sink),
            }
        }
    }

    /// What came is no frame.
    fn broken(&mut self, direction: Direction, at: Moment, sink: &mut dyn MessageSink) {
        let way = self.way(direction);
        if way.framer.hurt() {
            way.framer.lose(); // our own loss is no error of the peer
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
        let way = self.way(direction);
        let in_control = matches!(way.framer.at, frame::WsFramerState::Payload(frame, _) if frame.is_control());
        match way.framer.gap(bytes) {
            WsHoleOutcome::Payload if in_control => way.control.clear(),
            WsHoleOutcome::Payload => way.spoil("lost_bytes"),
            WsHoleOutcome::Lost => {
                // Whole messages may be missing, and a window with them.
                if let Some(inflater) = &mut way.inflater {
                    inflater.gap();
                    inflater.over();
                }
                way.message = PartialMessage::default();
                way.control.clear();
            }
        }
        sink.message(id, at, Message::Gap { bytes, cause });
    }
}

impl WsDirection {
    /// A frame begins.
    fn begin(&mut self, frame: WsFrameHead, at: Moment) -> Result<(), ()> {
        if frame.is_control() {
            self.control.clear();
            return Ok(());
        }
        match (frame.opcode, self.message.opcode) {
            (CONTINUATION, Some(_)) => {}
            // Its beginning was lost.
            (CONTINUATION, None) if self.framer.hurt() => self.message.spoilt = Some("lost_bytes"),
            (CONTINUATION, None) => return Err(()),
            // Its end was lost.
            (_, Some(_)) if !self.framer.hurt() => return Err(()),
            (opcode, _) => {
                if frame.compressed && self.inflater.is_none() && !self.opaque {
                    return Err(());
                }
                let bytes = std::mem::take(&mut self.message.bytes);
                self.message = PartialMessage {
                    opcode: Some(opcode),
                    compressed: frame.compressed,
                    bytes,
                    ..PartialMessage::default()
                };
                self.message.bytes.clear();
                self.began = at;
            }
        }
        self.message.wire = self.message.wire.saturating_add(frame.head);
        Ok(())
    }

    /// A message of one frame that lies in one piece: nothing need be copied.
    fn lies_whole(&self, frame: WsFrameHead, offset: u64, bytes: &[u8]) -> bool {
        let plain = frame.mask.is_none() && !frame.compressed && !self.opaque && self.message.spoilt.is_none();
        plain
            && frame.fin
            && frame.opcode != CONTINUATION
            && offset == 0
            && bytes.len() as u64 == frame.length
            && bytes.len() <= SSE_EVENT
    }

    /// A piece of a data frame.
    fn payload(&mut self, frame: WsFrameHead, offset: u64, bytes: &[u8]) {
        let message = &mut self.message;
        message.wire = message.wire.saturating_add(bytes.len());
        if message.spoilt.is_some() || self.opaque {
            return;
        }
        let from = message.bytes.len();
        match (&mut self.inflater, message.compressed) {
            (Some(inflater), true) => {
                let mut plain = bytes.to_vec();
                if let Some(mask) = frame.mask {
                    unmask(&mut plain, mask, offset);
                }
                if let Err(reason) = inflater.push(&plain, &mut |bytes| message.keep(bytes)) {
                    self.spoil(reason);
                }
            }
            _ => {
                message.keep(bytes);
                if let (Some(mask), Some(new)) = (frame.mask, message.bytes.get_mut(from..)) {
                    unmask(new, mask, offset);
                }
            }
        }
    }

    /// The message in progress will not be had.
    fn spoil(&mut self, reason: &'static str) {
        self.message.spoilt = self.message.spoilt.or(Some(reason));
        self.message.bytes = Vec::new();
        if let Some(inflater) = self.inflater.as_mut().filter(|_| self.message.compressed) {
            inflater.gap();
        }
    }

    /// The message in progress is complete.
    fn end(&mut self, id: ExchangeId, direction: Direction, at: Moment, sink: &mut dyn MessageSink) {
        if let Some(inflater) = self.inflater.as_mut().filter(|_| self.message.compressed) {
            if self.message.spoilt.is_some() {
                inflater.over();
            } else {
                let message = &mut self.message;
                if let Err(reason) = inflater.end(&mut |bytes| message.keep(bytes)) {
                    self.message.spoilt = Some(reason);
                }
            }
        }
        let PartialMessage { opcode, bytes, wire, truncated, said, spoilt, .. } = std::mem::take(&mut self.message);
        match spoilt {
            _ if said => {}
            Some(reason) => sink.message(id, at, note(reason)),
            None => {
                if truncated {
                    sink.message(id, at, note("event_too_large"));
                }
                let kind = if self.opaque { BodyEventKind::Opaque } else { kind(opcode.unwrap_or(BINARY)) };
                let data = if self.opaque { &[][..] } else { bytes.as_slice() };
                say(
                    id,
                    direction,
                    BodyEvent { kind, data, wire_bytes: wire, truncated, name: None },
                    self.began,
                    at,
                    sink,
                );
            }
        }
        self.message.bytes = bytes;
        self.message.bytes.clear();
        self.message.bytes.shrink_to(SSE_IDLE);
    }

    fn held(&self) -> usize {
        let inflater = self.inflater.as_ref().map_or(0, MessageInflater::held);
        self.message.bytes.capacity() + self.control.capacity() + inflater
    }
}

impl PartialMessage {
    /// Keeps what there is room for.
    fn keep(&mut self, bytes: &[u8]) {
        if self.truncated {
            return;
        }
        if self.bytes.len() + bytes.len() <= SSE_EVENT {
            return self.bytes.extend_from_slice(bytes);
        }
        self.truncated = true;
        let room = SSE_EVENT_HEAD.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.bytes.truncate(SSE_EVENT_HEAD);
        self.bytes.shrink_to(SSE_IDLE);
    }
}

fn kind(opcode: u8) -> BodyEventKind {
    if opcode == TEXT { BodyEventKind::Text } else { BodyEventKind::Binary }
}

/// One message, whole.
fn say(
    id: ExchangeId,
    direction: Direction,
    message: BodyEvent<'_>,
    began: Moment,
    at: Moment,
    sink: &mut dyn MessageSink,
) {
    match direction {
        Direction::Read => sink.message(id, at, Message::Event(message)),
        Direction::Write => sink.message(id, at, Message::Sent { message, began }),
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
