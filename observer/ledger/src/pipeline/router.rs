//! Messages of one connection's parser to the dialect that claimed the exchange, and what it says to the ledger.
//!
//! A POST that no dialect claims is asked for its answer (`asked`): if that is a stream of events,
//! it is a call of an unknown API, and shown as such. So is one whose path a dialect claims, and
//! whose body is not that dialect's. The upgrade to a WebSocket is no call itself; those on it are
//! (`turns`).

mod pending;

use super::calls::{InFlightCall, OpenCalls, PendingRequest};
use super::context::SessionContext;
use super::entries::{begin, end, on_message, released};
use super::turns::WebSocketCalls;
use crate::HostEvent;
use capture::conn::Chunk;
use capture::proto::{ExchangeEnd, ExchangeId, Message, MessageSink, ProtocolParser, RequestHead, ws};
use capture::units::{Direction, Moment, Ns};
use dialects::prompt::PromptScan;
use dialects::spans;
use dialects::{self, Dialect, DialectRow, unknown};

/// What a push brought, for the verdict on its connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PushOutcome {
    /// A dialect claimed a request.
    pub(super) claimed: bool,
    /// A stream of events began that no dialect claims.
    pub(super) unknown: bool,
    /// A process exports spans, or sends sound on: the connection goes on coming up.
    pub(super) kept: bool,
    /// Something else was asked, and its answer is of no interest.
    pub(super) unclaimed: bool,
    /// How many of those requests do not even go where model calls go.
    pub(super) strangers: u32,
}

/// The sink of one push.
pub(super) struct MessageRouter<'a, 'e> {
    calls: &'a mut OpenCalls,
    outcome: PushOutcome,
    /// Requests that no dialect claimed, and whose answer is of no interest.
    unclaimed: Vec<ExchangeId>,
    /// Requests whose answer is a stream of JSON texts, if it is JSON.
    json_streams: Vec<ExchangeId>,
    /// The dialect of an answer that was running when the observer came to the connection: the next request is its.
    mid_stream_row: Option<&'static DialectRow>,
    /// Added to the parser's exchange ids.
    base: u64,
    env: &'a mut SessionContext<'e>,
}

impl MessageSink for MessageRouter<'_, '_> {
    fn message(&mut self, exchange: ExchangeId, at: Moment, message: Message<'_>) {
        match message {
            Message::Request(head) => self.request(exchange, at, head),
            Message::End(how) => self.end(exchange, at, how),
            message => self.route(exchange, at, &message),
        }
    }
}

impl<'a, 'e> MessageRouter<'a, 'e> {
    pub(super) fn new(calls: &'a mut OpenCalls, base: u64, env: &'a mut SessionContext<'e>) -> Self {
        let outcome = PushOutcome::default();
        MessageRouter {
            calls,
            outcome,
            unclaimed: Vec::new(),
            json_streams: Vec::new(),
            mid_stream_row: None,
            base,
            env,
        }
    }

    /// The observer attached while an answer of this dialect was running: the next request is its.
    pub(super) fn attached_within(&mut self, row: Option<&'static DialectRow>) {
        self.mid_stream_row = row;
    }

    /// Lets the parser read these pieces, then has it ignore the exchanges that are of no interest and
    /// expect the answers that are streams of JSON.
    pub(super) fn push<'c>(
        mut self,
        parser: &mut dyn ProtocolParser,
        direction: Direction,
        chunks: impl Iterator<Item = Chunk<'c>>,
        at: Moment,
    ) -> PushOutcome {
        for chunk in chunks {
            parser.push(direction, chunk, at, &mut self);
        }
        for exchange in self.json_streams {
            parser.expect_json_stream(exchange);
        }
        self.outcome.unclaimed = !self.unclaimed.is_empty();
        for exchange in self.unclaimed {
            parser.ignore(exchange);
        }
        self.outcome
    }

    /// The parser is gone: what it left open ends as lost.
    pub(super) fn abandon(&mut self, at: Ns) {
        for asked in std::mem::take(&mut self.calls.pending).into_iter().filter(PendingRequest::may_fit) {
            self.claim(asked);
        }
        let OpenCalls { open, sockets, exports, .. } = std::mem::take(self.calls);
        exports.abandon(at, self.env);
        for call in open {
            self.env.call_table.end(call.stream, ExchangeEnd::Lost, at, self.env.events);
            released(at, self.env);
        }
        for mut socket in sockets {
            socket.end(ExchangeEnd::Lost, Moment { at, ..Moment::default() }, self.env);
        }
    }

    fn request(&mut self, exchange: ExchangeId, at: Moment, head: &RequestHead) {
        if let Some(row) = self.mid_stream_row.take() {
            self.outcome.claimed = true;
            self.begin(exchange, row, head, (row.make)(head), at);
            if let Some(stream) = self.calls.open.last().and_then(|call| self.env.call_table.open_call(call.stream)) {
                stream.mark_mid_stream();
            }
        } else if let Some(row) = dialects::find(head, &self.env.settings.extras) {
            self.found(exchange, row, head, at);
        } else if let Some(row) = dialects::find_socket(head) {
            self.outcome.claimed = true;
            self.calls.sockets.push(WebSocketCalls::new(exchange, row, head, at));
        } else if spans::is_export(head) {
            self.export(exchange, head);
        } else if self.calls.media.take(exchange, head, self.env) {
            self.outcome.kept = true;
        } else {
            self.ask(exchange, at, head);
        }
    }

    /// A request that exports spans is of interest if its process calls models, and no stranger if not.
    fn export(&mut self, exchange: ExchangeId, head: &RequestHead) {
        if self.calls.exports.take(exchange, head, self.env) {
            self.outcome.kept = true;
        } else {
            self.pass(exchange, false);
        }
    }

    /// Marks an exchange as of no interest.
    fn pass(&mut self, exchange: ExchangeId, stranger: bool) {
        self.outcome.strangers += u32::from(stranger);
        self.unclaimed.push(exchange);
    }

    fn route(&mut self, exchange: ExchangeId, at: Moment, message: &Message<'_>) {
        if let Some(call) = self.calls.open.iter_mut().find(|call| call.exchange == exchange) {
            let Some(stream) = self.env.call_table.open_call(call.stream) else { return };
            on_message(call.dialect.as_mut(), stream, message, at, self.env.path, self.env.events, self.env.tap);
            if matches!(message, Message::RequestEnd { .. }) && call.dialect.streams_json() {
                self.json_streams.push(exchange);
            }
            if let Some(prompt) = call.prompt(message) {
                self.env.call_table.on_prompt(call.stream, &prompt, self.env.events);
            }
        } else if let Some(index) = self.calls.sockets.iter().position(|socket| socket.exchange == exchange) {
            self.route_to_socket(index, exchange, at, message);
        } else if let Some(index) = self.calls.pending.iter().position(|asked| asked.exchange == exchange) {
            self.route_to_pending(index, exchange, at, message);
        } else if self.calls.exports.on_message(exchange, at.at, message, self.env)
            || self.calls.media.on_message(exchange, message, self.env)
        {
            self.outcome.kept = true;
        } else if let Message::Note(note) = message {
            self.env.events.on_host_event(&HostEvent::ParserNote(*note));
            if exchange == ExchangeId::CONNECTION && self.calls.mark(note.reason) {
                for call in &self.calls.open {
                    if let Some(stream) = self.env.call_table.open_call(call.stream) {
                        stream.add_note(note.reason);
                    }
                }
            }
        }
    }

    fn route_to_socket(&mut self, index: usize, exchange: ExchangeId, at: Moment, message: &Message<'_>) {
        let Some(socket) = self.calls.sockets.get_mut(index) else { return };
        match message {
            Message::Response(head) if ws::is_granted(&socket.head, head) => socket.opened(head),
            // Refused: a call like any other, and this is its answer.
            Message::Response(_) => {
                let socket = self.calls.sockets.swap_remove(index);
                self.refused(&socket, at);
                self.route(exchange, at, message);
            }
            Message::RequestEnd { .. } => socket.asked = Some(at),
            message => socket.message(at, message, self.base, self.env),
        }
    }

    /// An upgrade that led to no socket: a call that asked for nothing we know.
    fn refused(&mut self, socket: &WebSocketCalls, at: Moment) {
        let row = socket.row.call;
        self.begin(socket.exchange, row, &socket.head, (row.make)(&socket.head), socket.at);
        self.route(socket.exchange, socket.asked.unwrap_or(at), &Message::RequestEnd { lost: false });
    }

    fn begin(
        &mut self,
        exchange: ExchangeId,
        row: &'static DialectRow,
        head: &RequestHead,
        dialect: Box<dyn Dialect>,
        at: Moment,
    ) {
        if let Some(stream) = begin(self.base.wrapping_add(exchange.0), row, head, at, self.env) {
            let known = row.api != unknown::API;
            let prompt = known.then(|| Box::new(PromptScan::new(row.api, &self.env.settings.salt)));
            if let Some(stream) = self.env.call_table.open_call(stream) {
                self.calls.marks().iter().for_each(|mark| stream.add_note(mark));
            }
            self.calls.open.push(InFlightCall { exchange, stream, dialect, prompt });
        }
    }

    fn end(&mut self, exchange: ExchangeId, at: Moment, how: ExchangeEnd) {
        if self.calls.exports.end(exchange) || self.calls.media.end(exchange) {
            self.outcome.kept = true;
            return;
        }
        let OpenCalls { open, pending, sockets, .. } = &mut *self.calls;
        if let Some(index) = open.iter().position(|call| call.exchange == exchange) {
            let mut call = open.swap_remove(index);
            end(call.stream, call.dialect.as_mut(), how, at, self.env);
        } else if let Some(index) = sockets.iter().position(|socket| socket.exchange == exchange) {
            let mut socket = sockets.swap_remove(index);
            if socket.is_open() {
                return socket.end(how, at, self.env);
            }
            self.refused(&socket, at);
            self.end(exchange, at, how);
        } else if let Some(index) = pending.iter().position(|asked| asked.exchange == exchange) {
            let asked = pending.swap_remove(index);
            if asked.may_fit() {
                self.claim(asked);
                return self.end(exchange, at, how);
            }
            self.pass(exchange, asked.stranger);
        }
    }
}
