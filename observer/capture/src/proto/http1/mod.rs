//! HTTP/1: both directions of one connection. Request N is paired with response N; nothing is assumed about how bytes
//! are cut or about clients waiting for their answer.
//!
//! A half that lost its place (seen from the middle, bytes missing) *skips* until a call of the application begins with
//! a head. Clients write a request in a call of its own, and an answer begins in a call of its own because the server
//! waited for that request; so the place is found again at the next exchange, whatever was lost.

mod body;
mod fuzz;
mod head;
mod mid_stream;
mod request;
mod response;
mod sniff;

pub use fuzz::{fuzz, fuzz_exchange};

use std::collections::VecDeque;

use body::Http1Framing;
use head::HeadCollector;

use super::body::BodyInterpreter;
use super::ws::WebSocketParser;
use super::{
    ConnClosing, ExchangeEnd, ExchangeId, Message, MessageSink, ProtocolNote, ProtocolParser, ProtocolRow, Salt,
};
use crate::conn::Chunk;
use crate::units::{Direction, LossCause, Moment};

/// The row of the protocol table.
pub(super) const ROW: ProtocolRow = ProtocolRow {
    name: "http/1",
    whole: false,
    sniff: sniff::sniff,
    make: |salt| Box::new(Http1Parser::new(salt.clone())),
    mid_stream: mid_stream::parse_mid_stream,
};

/// One connection.
pub struct Http1Parser {
    salt: Salt,
    requests: Half,
    responses: Half,
    /// Requests whose answer is not complete, oldest first.
    open: VecDeque<PendingExchange>,
    /// Ordinal of the next request.
    next: u64,
    /// Ordinal of the request being written.
    writing: u64,
    dead: bool,
    /// An answer was running when the observer came to the connection, and nothing was emitted of it yet.
    mid_stream: bool,
    /// The connection speaks another protocol now.
    socket: Option<Box<WebSocketParser>>,
}

/// One direction.
#[derive(Default)]
struct Half {
    state: State,
    head: HeadCollector,
    /// The call that the last piece came from.
    call: Option<u64>,
    /// The head in progress was found by its looks: if it is none, the half goes on skipping.
    trial: bool,
    /// Bytes of the body in progress are missing.
    damaged: bool,
}

#[derive(Default)]
enum State {
    /// In a head, or between messages.
    #[default]
    Head,
    Body(Http1Framing, BodyInterpreter),
    /// The place is lost.
    Skip,
}

/// A request and what is known about its answer.
struct PendingExchange {
    id: ExchangeId,
    /// HEAD: the answer has no body, whatever its head says.
    head_only: bool,
    /// CONNECT: a 2xx opens a tunnel.
    tunnel: bool,
    /// A change to WebSocket was asked for.
    upgrade: bool,
    /// Nobody wants the bodies.
    ignored: bool,
    /// JSON is expected to be a stream of texts.
    json_stream: bool,
    /// The request is not complete.
    writing: bool,
    /// The request's answer may lie among lost bytes.
    unsure: bool,
}

impl ProtocolParser for Http1Parser {
    fn push(&mut self, direction: Direction, chunk: Chunk<'_>, at: Moment, sink: &mut dyn MessageSink) {
        if self.dead {
            return;
        }
        if let Some(socket) = &mut self.socket {
            socket.push(direction, chunk, at, sink);
            return if socket.over() {
                self.die();
            };
        }
        self.emit_mid_stream(at, sink);
        match (chunk, direction) {
            (Chunk::Gap { cause: LossCause::LateAttach, .. }, _) if self.half(direction).idle() => {
                self.half(direction).skip();
                self.note(ExchangeId::CONNECTION, at, "late_attach", sink);
            }
            (Chunk::Gap { bytes, cause }, Direction::Write) => self.request_gap(bytes, cause, at, sink),
            (Chunk::Gap { bytes, cause }, Direction::Read) => self.response_gap(bytes, cause, at, sink),
            (Chunk::Data(bytes), Direction::Write) => self.requests(bytes, at, sink),
            (Chunk::Data(bytes), Direction::Read) => self.responses(bytes, at, sink),
        }
    }

    fn close(&mut self, how: ConnClosing, at: Moment, sink: &mut dyn MessageSink) {
        if self.dead {
            return;
        }
        let end = match how {
            ConnClosing::Peer => ExchangeEnd::PeerClosed,
            ConnClosing::Reset => ExchangeEnd::Reset,
            ConnClosing::Local => ExchangeEnd::LocalClosed,
            ConnClosing::ProcessExit => ExchangeEnd::ProcessExit,
            ConnClosing::Abandoned => ExchangeEnd::Lost,
        };
        if let Some(socket) = &mut self.socket {
            socket.close(end, at, sink);
        }
        if how == ConnClosing::Peer && matches!(self.responses.state, State::Body(Http1Framing::UntilClose, _)) {
            self.end_response(ExchangeEnd::Complete, at, sink);
        }
        self.end_all(end, at, sink);
        self.die();
    }

    fn ignore(&mut self, exchange: ExchangeId) {
        if self.socket.as_ref().is_some_and(|socket| socket.exchange() == exchange) {
            return self.die(); // a socket is all that is left of the connection, and nobody wants to hear how it ends
        }
        if let Some(found) = self.open.iter_mut().find(|open| open.id == exchange) {
            found.ignored = true;
        }
    }

    fn expect_json_stream(&mut self, exchange: ExchangeId) {
        if let Some(found) = self.open.iter_mut().find(|open| open.id == exchange) {
            found.json_stream = true;
        }
    }

    fn early(&self, _: &[u8]) -> bool {
        self.socket.is_none() && self.responses.idle() && self.open.front().is_none_or(|open| open.writing)
    }

    fn held(&self) -> usize {
        let queue = self.open.capacity() * size_of::<PendingExchange>();
        let socket = self.socket.as_ref().map_or(0, |socket| socket.held());
        size_of::<Self>() + queue + self.requests.held() + self.responses.held() + socket
    }

    fn dead(&self) -> bool {
        self.dead
    }
}

impl Http1Parser {
    /// A parser for a connection that begins now (or is seen from the middle, if the first chunk says so).
    #[must_use]
    pub fn new(salt: Salt) -> Self {
        Http1Parser {
            salt,
            requests: Half::default(),
            responses: Half::default(),
            open: VecDeque::new(),
            next: 1,
            writing: 0,
            dead: false,
            mid_stream: false,
            socket: None,
        }
    }

    fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Write => &mut self.requests,
            Direction::Read => &mut self.responses,
        }
    }

    fn note(&self, id: ExchangeId, at: Moment, reason: &'static str, sink: &mut dyn MessageSink) {
        sink.message(id, at, Message::Note(ProtocolNote { protocol: "http1", reason }));
    }

    /// What came is no HTTP/1: nothing after it can be trusted.
    fn give_up(&mut self, id: ExchangeId, reason: &'static str, at: Moment, sink: &mut dyn MessageSink) {
        self.note(id, at, reason, sink);
        self.end_all(ExchangeEnd::Lost, at, sink);
        self.die();
    }

    fn die(&mut self) {
        self.dead = true;
        self.open = VecDeque::new();
        self.requests = Half::default();
        self.responses = Half::default();
        self.socket = None;
    }
}

impl Half {
    /// Notes the call a piece belongs to; whether the piece is its first.
    fn begins_call(&mut self, at: Moment) -> bool {
        self.call.replace(at.call) != Some(at.call)
    }

    /// At what looks like a head: if the place is lost, or the body in progress has a hole and may
    /// be over, reads a head here. True if a body was cut off by that.
    fn try_here(&mut self) -> bool {
        match self.state {
            State::Skip => {
                self.state = State::Head;
                self.trial = true;
                false
            }
            State::Head => false,
            State::Body(..) => {
                self.trial = self.damaged;
                self.damaged
            }
        }
    }

    /// Between messages.
    fn idle(&self) -> bool {
        matches!(self.state, State::Head) && self.head.is_empty()
    }

    fn begin_body(&mut self, framing: Http1Framing, body: BodyInterpreter) {
        self.state = State::Body(framing, body);
        self.trial = false;
        self.damaged = false;
    }

    fn skip(&mut self) {
        self.head.clear();
        self.state = State::Skip;
        self.trial = false;
    }

    fn held(&self) -> usize {
        let body = if let State::Body(_, body) = &self.state { body.held() } else { 0 };
        self.head.held() + body
    }
}

#[cfg(test)]
mod tests;
