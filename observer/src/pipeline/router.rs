//! Messages of one connection's parser to the dialect that claimed the exchange, and what it says to the ledger.
//!
//! A POST that no dialect claims is asked for its answer: if that is a stream of events, it is a call of an unknown API, and
//! shown as such. So is one whose path a dialect claims, and whose body is not that dialect's. The upgrade to a WebSocket is no call itself; those on it are (`turns`).

use super::calls::{Asked, Call, Calls, Doubt};
use super::session::Env;
use super::turns::Socket;
use super::wire::BEHIND_PROXY;
use crate::conn::Path;
use crate::dialect::look::Look;
use crate::dialect::prompt::PromptScan;
use crate::dialect::{self, Dialect, RequestFacts, Row, Utterance, unknown};
use crate::ledger::{Audience, Happening, Opening, Stream, StreamNo};
use crate::limits;
use crate::proto::{End, ExchangeId, Message, RequestHead, ResponseHead, Sink, body, ws};
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

    /// A dialect claims it by its address, for which some need to see the body too.
    fn found(&mut self, exchange: ExchangeId, row: &'static Row, head: &RequestHead, at: Moment) {
        let dialect = (row.make)(head);
        let Some(look) = Look::new(row, head, &self.env.settings.extras) else {
            self.claimed = true;
            return self.begin(exchange, row, head, dialect, at);
        };
        let prompt = PromptScan::new(row.api, &self.env.settings.salt);
        let (asks, answer, first, since) = (None, None, Vec::new(), at);
        let doubt = Some(Box::new(Doubt { row, dialect, prompt, look, asks, answer, first, since }));
        self.calls.asked.push(Asked { doubt, ..self.asked(exchange, at, head) });
    }

    /// It tells of spans: of interest if its process calls models, and no stranger if not.
    fn export(&mut self, exchange: ExchangeId, head: &RequestHead) {
        if self.calls.exports.take(exchange, head, self.env) {
            self.kept = true;
        } else {
            self.pass(exchange, false);
        }
    }

    fn asked(&self, exchange: ExchangeId, at: Moment, head: &RequestHead) -> Asked {
        let stranger = !dialect::related(head, &self.env.settings.extras);
        let (head, dialect) = (head.clone(), (unknown::ROW.make)(head));
        Asked { exchange, at, head, dialect, facts: None, notes: Vec::new(), stranger, doubt: None }
    }

    /// What was in doubt is a dialect's.
    fn claim(&mut self, asked: Asked) {
        let Some(doubt) = asked.doubt else { return };
        let Doubt { row, dialect, mut prompt, asks, answer, first, since, .. } = *doubt;
        let exchange = asked.exchange;
        self.claimed = true;
        self.begin(exchange, row, &asked.head, dialect, asked.at);
        let Some(call) = self.calls.open.iter_mut().find(|call| call.exchange == exchange) else { return };
        let Some((facts, at)) = asks else {
            call.prompt = Some(Box::new(prompt));
            let stream = self.env.book.stream(call.stream);
            return stream.into_iter().for_each(|stream| asked.notes.iter().for_each(|note| stream.mark(note)));
        };
        call.prompt = None;
        let (stream, prompt) = (call.stream, prompt.end(facts.truncated));
        self.requested(exchange, Some((facts, at)), &asked.notes);
        self.env.book.prompt(stream, &prompt, self.env.audience);
        if let Some((head, at)) = &answer {
            self.tell(exchange, *at, &Message::Response(head));
        }
        if !first.is_empty() {
            self.tell(exchange, since, &Message::Body(&first));
        }
    }

    /// No dialect claims it: its answer may be worth a look.
    fn ask(&mut self, exchange: ExchangeId, at: Moment, head: &RequestHead) {
        // Where the request was not seen (HTTP/2, joined in the middle), its answer is all there is.
        let may_stream = head.method == "POST" || head.method.is_empty();
        let asked = self.asked(exchange, at, head);
        if !may_stream || self.calls.unclaimed() >= limits::UNCLAIMED_ASKED {
            return self.pass(exchange, asked.stranger);
        }
        self.calls.asked.push(asked);
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

    fn tell_asked(&mut self, index: usize, exchange: ExchangeId, at: Moment, message: &Message<'_>) {
        let Some(asked) = self.calls.asked.get_mut(index) else { return };
        match asked.settle(message, at) {
            None => {
                let asks = matches!(message, Message::RequestEnd { .. });
                let lines = asks && asked.doubt.as_ref().is_some_and(|doubt| doubt.dialect.streams_json());
                self.json_streams.extend(lines.then_some(exchange));
            }
            Some(true) => {
                let asked = self.calls.asked.swap_remove(index);
                let waited = asked.doubt.as_ref().is_some_and(|doubt| doubt.asks.is_some());
                self.claim(asked);
                // What was held is told by now.
                if !waited || !matches!(message, Message::Response(_) | Message::Body(_)) {
                    self.tell(exchange, at, message);
                }
                return;
            }
            Some(false) => {
                let answer = asked.doubt.take().and_then(|doubt| doubt.answer);
                if let Some((head, at)) = answer.filter(|_| !matches!(message, Message::Response(_))) {
                    // It is nobody's: what it is answered with may still be a stream of events.
                    self.tell_asked(index, exchange, at, &Message::Response(&head));
                    return self.tell(exchange, at, message);
                }
            }
        }
        let doubted = self.calls.asked.get(index).is_some_and(|asked| asked.doubt.is_some());
        if doubted && matches!(message, Message::Response(_)) {
            return; // it is held
        }
        if self.calls.unclaimed() > limits::UNCLAIMED_ASKED {
            let asked = self.calls.asked.swap_remove(index);
            return self.pass(exchange, asked.stranger);
        }
        let Some(asked) = self.calls.asked.get_mut(index) else { return };
        match message {
            Message::RequestBody(bytes) => asked.dialect.request_body(bytes),
            Message::RequestEnd { lost } => asked.facts = Some((asked.dialect.request_end(*lost), at)),
            Message::Response(head) => {
                let asked = self.calls.asked.swap_remove(index);
                if !is_stream(head) {
                    return self.pass(exchange, asked.stranger);
                }
                self.unknown = true;
                self.begin(exchange, &unknown::ROW, &asked.head, asked.dialect, asked.at);
                self.requested(exchange, asked.facts, &asked.notes);
                self.tell(exchange, at, message);
            }
            Message::Note(note) => {
                if asked.notes.len() < limits::NOTES {
                    asked.notes.push(note.reason);
                }
                self.env.audience.hear(Happening::Odd(*note));
            }
            _ => {}
        }
    }

    /// What was asked for before it was known to be a call.
    fn requested(&mut self, exchange: ExchangeId, facts: Option<(RequestFacts, Moment)>, notes: &[&'static str]) {
        let call = self.calls.open.iter().find(|call| call.exchange == exchange);
        let Some(stream) = call.and_then(|call| self.env.book.stream(call.stream)) else { return };
        notes.iter().for_each(|note| stream.mark(note));
        if let Some((facts, at)) = facts {
            stream.requested(facts, at, self.env.audience);
            let lost = stream.entry().request.as_ref().is_some_and(|request| request.truncated);
            self.env.audience.overhear(stream.entry(), at, &Message::RequestEnd { lost });
        }
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

/// Opens a call in the ledger; `None`: there are too many.
pub(super) fn begin(
    exchange: u64,
    row: &'static Row,
    head: &RequestHead,
    at: Moment,
    env: &mut Env<'_>,
) -> Option<StreamNo> {
    let opening = Opening {
        conn: env.key,
        exchange,
        identity: env.identity,
        remote: env.remote,
        head,
        row,
        at: at.read,
        salt: &env.settings.salt,
        shape: false,
    };
    let stream = env.book.begin(&opening, env.audience)?;
    if let Some(stream) = env.book.stream(stream) {
        if env.path.is_some_and(|path| path.proxied) {
            stream.mark(BEHIND_PROXY);
        }
        env.links.began(stream.entry(), env.birth, env.path, env.audience);
        env.audience.overhear(stream.entry(), at, &Message::Request(head));
    }
    Some(stream)
}

/// Ends a call.
pub(super) fn end(stream: StreamNo, dialect: &mut dyn Dialect, how: End, at: Moment, env: &mut Env<'_>) {
    if let Some(stream) = env.book.stream(stream) {
        dialect.end(how, &mut |utterance: Utterance<'_>| stream.utter(&utterance, at, env.audience));
        env.audience.overhear(stream.entry(), at, &Message::End(how));
    }
    env.book.end(stream, how, at.read, env.audience);
    released(at.read, env);
}

fn released(at: Ns, env: &mut Env<'_>) {
    env.links.released(&env.key, at, env.path, env.audience);
}

/// A stream of events by its label, and no error.
fn is_stream(head: &ResponseHead) -> bool {
    head.status < 400 && head.content_type.as_deref().is_some_and(body::is_stream)
}

/// One message of a claimed exchange.
pub(super) fn tell(
    dialect: &mut dyn Dialect,
    stream: &mut Stream,
    message: &Message<'_>,
    at: Moment,
    path: Option<&Path>,
    audience: &mut dyn Audience,
) {
    match message {
        Message::RequestBody(bytes) => dialect.request_body(bytes),
        Message::RequestEnd { lost } => stream.requested(dialect.request_end(*lost), at, audience),
        Message::Response(head) => {
            dialect.response(head);
            stream.response(head, at, audience);
        }
        Message::Event(event) => {
            stream.event_begin(at, event.data.len(), event.wire_bytes);
            let mut said = |utterance: Utterance<'_>| stream.utter(&utterance, at, audience);
            dialect.event(event, &mut said);
            stream.event_end(path, audience);
        }
        Message::Comment => stream.comment(at),
        Message::Body(bytes) => {
            stream.body(at, bytes.len());
            dialect.body(bytes, &mut |utterance| stream.utter(&utterance, at, audience));
        }
        Message::Gap { bytes, cause } => {
            dialect.gap();
            stream.gap(*bytes, *cause, at);
        }
        Message::Trailers(list) => dialect.trailers(list, &mut |utterance| stream.utter(&utterance, at, audience)),
        Message::Note(note) => stream.odd(*note, audience),
        Message::Request(_) | Message::Sent { .. } | Message::End(_) => {}
    }
    audience.overhear(stream.entry(), at, message);
}
