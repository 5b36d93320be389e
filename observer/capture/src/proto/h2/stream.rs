//! One stream: a request and its answer; or, where a WebSocket was asked for (RFC 8441) and
//! granted, what is said on it.

use std::borrow::Cow;

use super::streams::StreamOutput;
use super::window::FlowWindowPair;
use crate::conn::Chunk;
use crate::limits::HTTP2_EARLY;
use crate::proto::body::BodyInterpreter;
use crate::proto::ws::WebSocketParser;
use crate::proto::{ExchangeId, Message, ResponseHead};
use crate::units::{Direction, LossCause, Moment};

pub(super) struct Http2Stream {
    /// `None` once the request is complete.
    pub(super) request: Option<BodyInterpreter>,
    pub(super) answer: StreamAnswer,
    /// A WebSocket was asked for, and the answer is not there.
    asks: Option<EarlyWebSocketBytes>,
    /// Nobody wants the bodies.
    pub(super) ignored: bool,
    /// JSON is expected to be a stream of texts.
    pub(super) json_stream: bool,
    /// The end of the stream may lie among lost bytes.
    pub(super) unsure: bool,
    /// Why its request was missed, if it was.
    missed: LossCause,
    pub(super) windows: FlowWindowPair,
}

/// What the client said on a WebSocket before it was granted.
#[derive(Default)]
struct EarlyWebSocketBytes {
    bytes: Vec<u8>,
    began: Moment,
    /// Why what followed is missing.
    lost: Option<LossCause>,
}

pub(super) enum StreamAnswer {
    Waiting,
    /// The head came, but what kind of body follows is among the fields that are not known: its first bytes (held until
    /// they do) will tell.
    Held(ResponseHead, Moment, Vec<u8>),
    Body(BodyInterpreter),
    /// A WebSocket was granted.
    Socket(Box<WebSocketParser>),
}

impl Http2Stream {
    pub(super) fn new(request: Option<BodyInterpreter>, windows: FlowWindowPair) -> Http2Stream {
        let answer = StreamAnswer::Waiting;
        Http2Stream {
            request,
            answer,
            asks: None,
            ignored: false,
            json_stream: false,
            unsure: false,
            missed: LossCause::LateAttach,
            windows,
        }
    }

    /// One whose request was missed, for this reason.
    pub(super) fn adopted(missed: LossCause, windows: FlowWindowPair) -> Http2Stream {
        Http2Stream { missed, ..Http2Stream::new(None, windows) }
    }

    /// One that asks for a WebSocket: what the client sends is no body of a request.
    pub(super) fn asking(windows: FlowWindowPair) -> Http2Stream {
        Http2Stream { asks: Some(EarlyWebSocketBytes::default()), ..Http2Stream::new(None, windows) }
    }

    /// The answer's head came: true if it grants the WebSocket that was asked for, on which the stream goes on.
    pub(super) fn granted(&mut self, head: &ResponseHead, began: Moment, out: &mut StreamOutput<'_>) -> bool {
        let Some(early) = self.asks.take().filter(|_| matches!(head.status, 200..=299)) else { return false };
        out.sink.message(ExchangeId(u64::from(out.id)), began, Message::Response(head));
        let mut socket = Box::new(WebSocketParser::new(ExchangeId(u64::from(out.id)), head));
        if !early.bytes.is_empty() {
            socket.push(Direction::Write, Chunk::Data(&early.bytes), early.began, out.sink);
        }
        if let Some(cause) = early.lost {
            socket.push(Direction::Write, Chunk::Gap { bytes: None, cause }, out.at, out.sink);
        }
        self.answer = StreamAnswer::Socket(socket);
        true
    }

    /// Takes what goes over a WebSocket, open or asked for; false: there is none.
    pub(super) fn spoken(&mut self, direction: Direction, chunk: Chunk<'_>, out: &mut StreamOutput<'_>) -> bool {
        if let StreamAnswer::Socket(socket) = &mut self.answer {
            if !self.ignored {
                socket.push(direction, chunk, out.at, out.sink);
            }
            return true;
        }
        let Some(early) = self.asks.as_mut().filter(|_| direction == Direction::Write) else { return false };
        match chunk {
            Chunk::Data(bytes) if early.lost.is_none() && early.bytes.len() + bytes.len() <= HTTP2_EARLY => {
                if early.bytes.is_empty() {
                    early.began = out.at;
                }
                early.bytes.extend_from_slice(bytes);
            }
            Chunk::Data(_) => early.lost = early.lost.or(Some(LossCause::Cap)),
            Chunk::Gap { cause, .. } => early.lost = early.lost.or(Some(cause)),
        }
        true
    }

    /// Whether the stream was a WebSocket, which is over.
    pub(super) fn is_closed_socket(&self) -> bool {
        matches!(&self.answer, StreamAnswer::Socket(socket) if socket.over())
    }

    pub(super) fn body(&mut self, direction: Direction) -> Option<&mut BodyInterpreter> {
        match (direction, &mut self.answer) {
            (Direction::Write, _) => self.request.as_mut(),
            (Direction::Read, StreamAnswer::Body(body)) => Some(body),
            (Direction::Read, _) => None,
        }
    }

    pub(super) fn end_request(&mut self, lost: bool, out: &mut StreamOutput<'_>) {
        let Some(mut body) = self.request.take() else { return };
        if !lost && !self.ignored {
            body.finish(&mut |message| out.emit(message));
        }
        out.emit(Message::RequestEnd { lost: lost || body.blind() });
    }

    /// Returns what is to be read of a piece, with what was held back before it; `None`: the piece is held
    /// back too.
    pub(super) fn release_held<'b>(
        &mut self,
        direction: Direction,
        bytes: &'b [u8],
        out: &mut StreamOutput<'_>,
    ) -> Option<Cow<'b, [u8]>> {
        let StreamAnswer::Held(.., first) = &mut self.answer else { return Some(bytes.into()) };
        if direction == Direction::Write {
            return Some(bytes.into());
        }
        let mut held = std::mem::take(first);
        held.extend_from_slice(bytes);
        let Some(shape) = BodyShape::of(&held) else {
            *first = held;
            return None;
        };
        self.emit_held_answer(shape, out);
        Some(held.into())
    }

    /// Emits a held-back answer. A body of which nothing is known (`None`) is not read: it may be compressed.
    pub(super) fn emit_held_answer(&mut self, shape: Option<BodyShape>, out: &mut StreamOutput<'_>) {
        let StreamAnswer::Held(head, began, _) = &mut self.answer else { return };
        if head.content_type.is_none() && shape == Some(BodyShape::Events) {
            head.content_type = Some("text/event-stream".into());
        }
        let codings: Option<&[_]> = shape.map(|_| &[][..]);
        let body = BodyInterpreter::response(head, codings, self.json_stream);
        out.sink.message(ExchangeId(u64::from(out.id)), *began, Message::Response(head));
        if head.status == 0 {
            // What came before is missing: nothing that follows is the first of its kind.
            out.emit(Message::Gap { bytes: None, cause: self.missed });
        }
        self.answer = StreamAnswer::Body(body);
    }

    pub(super) fn held(&self) -> usize {
        let answer = match &self.answer {
            StreamAnswer::Waiting => 0,
            StreamAnswer::Held(head, ..) => head.headers.iter().map(|(name, value)| name.len() + value.len()).sum(),
            StreamAnswer::Body(body) => body.held(),
            StreamAnswer::Socket(socket) => socket.held(),
        };
        let early = self.asks.as_ref().map_or(0, |early| early.bytes.capacity());
        size_of::<Http2Stream>() + answer + early + self.request.as_ref().map_or(0, BodyInterpreter::held)
    }
}

/// What the first bytes of a body look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyShape {
    Events,
    Plain,
}

impl BodyShape {
    /// `None`: too few bytes; `Some(None)`: like nothing we know.
    fn of(bytes: &[u8]) -> Option<Option<BodyShape>> {
        const FIELDS: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b": "];
        if FIELDS.iter().any(|field| bytes.starts_with(field)) {
            return Some(Some(BodyShape::Events));
        }
        if FIELDS.iter().any(|field| field.starts_with(bytes)) {
            return None;
        }
        Some(matches!(bytes, [b'{' | b'[', ..]).then_some(BodyShape::Plain))
    }
}
