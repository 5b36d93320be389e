//! Messages of one connection's parser to the dialect that claimed the exchange, and what it says to the ledger.
//!
//! A POST that no dialect claims is asked for its answer (`asked`): if that is a stream of events, it is a call of an unknown API, and
//! shown as such. So is one whose path a dialect claims, and whose body is not that dialect's. The upgrade to a WebSocket is no call itself; those on it are (`turns`).

mod asked;

use super::calls::{Asked, Call, Calls};
use super::entries::{begin, end, released, tell};
use super::session::Env;
use super::turns::Socket;
use crate::dialect::prompt::PromptScan;
use crate::dialect::{self, Dialect, Row, unknown};
use crate::ledger::{Happening, Stream};
use crate::proto::{End, ExchangeId, Message, RequestHead, Sink, ws};
use crate::spans;
use crate::units::{Moment, Ns};

/// The sink of one push.
pub(super) struct Router<'a, 'e> {
    calls: &'a mut Calls,
    /// A dialect claimed a request.
    pub(super) claimed: bool,
    /// Requests that none claimed, and whose answer is of no interest.
    pub(super) unclaimed: Vec<ExchangeId>,
    /// How many of them do not even go where model calls go.
    pub(super) strangers: u32,
    /// A stream of events came that no dialect claims.
    pub(super) unknown: bool,
    /// A process exports spans, or sends sound on: the connection goes on coming up.
    pub(super) kept: bool,
    /// The dialect of an answer that was running when the connection was joined: the next request is its.
    pub(super) joined: Option<&'static Row>,
    /// Requests whose answer is a stream of JSON texts, if it is JSON.
    pub(super) json_streams: Vec<ExchangeId>,
    /// Added to the parser's exchange ids.
    base: u64,
    env: &'a mut Env<'e>,
}

impl Sink for Router<'_, '_> {
    fn message(&mut self, exchange: ExchangeId, at: Moment, message: Message<'_>) {
        match message {
            Message::Request(head) => self.request(exchange, at, head),
            Message::End(how) => self.end(exchange, at, how),
            message => self.tell(exchange, at, &message),
        }
    }
}

impl<'a, 'e> Router<'a, 'e> {
    pub(super) fn new(calls: &'a mut Calls, base: u64, env: &'a mut Env<'e>) -> Self {
        let (unclaimed, json_streams) = (Vec::new(), Vec::new());
        Router {
            calls,
            claimed: false,
            unclaimed,
            strangers: 0,
            unknown: false,
            kept: false,
            joined: None,
            json_streams,
            base,
            env,
        }
    }

    /// The parser is gone: what it left open ends as lost.
    pub(super) fn abandon(&mut self, at: Ns) {
        for asked in std::mem::take(&mut self.calls.asked).into_iter().filter(Asked::may_fit) {
            self.claim(asked);
        }
        let Calls { open, sockets, exports, .. } = std::mem::take(self.calls);
        exports.abandon(at, self.env);
        for call in open {
            self.env.book.end(call.stream, End::Lost, at, self.env.audience);
            released(at, self.env);
        }
        for mut socket in sockets {
            socket.end(End::Lost, Moment { read: at, ..Moment::default() }, self.env);
        }
    }

    fn request(&mut self, exchange: ExchangeId, at: Moment, head: &RequestHead) {
        if let Some(row) = self.joined.take() {
            self.claimed = true;
            self.begin(exchange, row, head, (row.make)(head), at);
            let stream = self.calls.open.last().and_then(|call| self.env.book.stream(call.stream));
            stream.into_iter().for_each(Stream::joined);
        } else if let Some(row) = dialect::find(head, &self.env.settings.extras) {
            self.found(exchange, row, head, at);
        } else if let Some(row) = dialect::find_socket(head) {
            self.claimed = true;
            self.calls.sockets.push(Socket::new(exchange, row, head, at));
        } else if spans::is_export(head) {
            self.export(exchange, head);
        } else if self.calls.media.take(exchange, head, self.env) {
            self.kept = true;
        } else {
            self.ask(exchange, at, head);
        }
    }

    /// It tells of spans: of interest if its process calls models, and no stranger if not.
    fn export(&mut self, exchange: ExchangeId, head: &RequestHead) {
        if self.calls.exports.take(exchange, head, self.env) {
            self.kept = true;
        } else {
            self.pass(exchange, false);
        }
    }

    /// Of no interest.
    fn pass(&mut self, exchange: ExchangeId, stranger: bool) {
        self.strangers += u32::from(stranger);
        self.unclaimed.push(exchange);
    }

    fn tell(&mut self, exchange: ExchangeId, at: Moment, message: &Message<'_>) {
        if let Some(call) = self.calls.open.iter_mut().find(|call| call.exchange == exchange) {
            let Some(stream) = self.env.book.stream(call.stream) else { return };
            tell(call.dialect.as_mut(), stream, message, at, self.env.path, self.env.audience);
            if matches!(message, Message::RequestEnd { .. }) && call.dialect.streams_json() {
                self.json_streams.push(exchange);
            }
            if let Some(prompt) = call.prompt(message) {
                self.env.book.prompt(call.stream, &prompt, self.env.audience);
            }
        } else if let Some(at_) = self.calls.sockets.iter().position(|socket| socket.exchange == exchange) {
            self.tell_socket(at_, exchange, at, message);
        } else if let Some(at_) = self.calls.asked.iter().position(|asked| asked.exchange == exchange) {
            self.tell_asked(at_, exchange, at, message);
        } else if self.calls.exports.tell(exchange, at.read, message, self.env)
            || self.calls.media.tell(exchange, message, self.env)
        {
            self.kept = true;
        } else if let Message::Note(note) = message {
            self.env.audience.hear(Happening::Odd(*note));
            if exchange == ExchangeId::CONNECTION && self.calls.mark(note.reason) {
                for call in &self.calls.open {
                    self.env.book.stream(call.stream).into_iter().for_each(|stream| stream.mark(note.reason));
                }
            }
        }
    }

    fn tell_socket(&mut self, index: usize, exchange: ExchangeId, at: Moment, message: &Message<'_>) {
        let Some(socket) = self.calls.sockets.get_mut(index) else { return };
        match message {
            Message::Response(head) if ws::granted(&socket.head, head) => socket.opened(head),
            // Refused: a call like any other, and this is its answer.
            Message::Response(_) => {
                let socket = self.calls.sockets.swap_remove(index);
                self.refused(&socket, at);
                self.tell(exchange, at, message);
            }
            Message::RequestEnd { .. } => socket.asked = Some(at),
            message => socket.message(at, message, self.base, self.env),
        }
    }

    /// An upgrade that led to no socket: a call that asked for nothing we know.
    fn refused(&mut self, socket: &Socket, at: Moment) {
        let row = socket.row.call;
        self.begin(socket.exchange, row, &socket.head, (row.make)(&socket.head), socket.at);
        self.tell(socket.exchange, socket.asked.unwrap_or(at), &Message::RequestEnd { lost: false });
    }

    fn begin(
        &mut self,
        exchange: ExchangeId,
        row: &'static Row,
        head: &RequestHead,
        dialect: Box<dyn Dialect>,
        at: Moment,
    ) {
        if let Some(stream) = begin(self.base.wrapping_add(exchange.0), row, head, at, self.env) {
            let known = row.api != unknown::API;
            let prompt = known.then(|| Box::new(PromptScan::new(row.api, &self.env.settings.salt)));
            if let Some(stream) = self.env.book.stream(stream) {
                self.calls.marks().iter().for_each(|mark| stream.mark(mark));
            }
            self.calls.open.push(Call { exchange, stream, dialect, prompt });
        }
    }

    fn end(&mut self, exchange: ExchangeId, at: Moment, how: End) {
        if self.calls.exports.end(exchange) || self.calls.media.end(exchange) {
            self.kept = true;
            return;
        }
        let Calls { open, asked, sockets, .. } = &mut *self.calls;
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
        } else if let Some(index) = asked.iter().position(|asked| asked.exchange == exchange) {
            let asked = asked.swap_remove(index);
            if asked.may_fit() {
                self.claim(asked);
                return self.end(exchange, at, how);
            }
            self.pass(exchange, asked.stranger);
        }
    }
}
