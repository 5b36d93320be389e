//! Messages of one connection's parser to the dialect that claimed the exchange, and what it says to the ledger.

use std::net::SocketAddr;

use super::session::Env;
use crate::conn::Path;
use crate::dialect::prompt::{Prompt, PromptScan};
use crate::dialect::{self, Dialect, Utterance};
use crate::ledger::{Audience, Happening, Opening, Stream, StreamNo};
use crate::proto::{End, ExchangeId, Message, RequestHead, Sink};
use crate::units::{Moment, Ns};

/// An exchange that a dialect claimed.
pub(super) struct Call {
    exchange: ExchangeId,
    pub(super) stream: StreamNo,
    pub(super) dialect: Box<dyn Dialect>,
    /// Until the request is complete.
    prompt: Option<PromptScan>,
}

impl Call {
    /// Bytes held for it.
    pub(super) fn held(&self) -> usize {
        self.dialect.held() + self.prompt.as_ref().map_or(0, PromptScan::held)
    }
}

/// The sink of one push.
pub(super) struct Router<'a, 'e> {
    pub(super) calls: &'a mut Vec<Call>,
    /// A dialect claimed a request.
    pub(super) claimed: bool,
    /// Requests that none claimed.
    pub(super) unclaimed: Vec<ExchangeId>,
    /// How many of them do not even go where model calls go.
    pub(super) strangers: u32,
    /// Requests whose answer is a stream of JSON texts, if it is JSON.
    pub(super) json_streams: Vec<ExchangeId>,
    /// Added to the parser's exchange ids.
    pub(super) base: u64,
    /// The peer's address.
    pub(super) remote: Option<SocketAddr>,
    pub(super) env: &'a mut Env<'e>,
}

impl Sink for Router<'_, '_> {
    fn message(&mut self, exchange: ExchangeId, at: Moment, message: Message<'_>) {
        match message {
            Message::Request(head) => self.request(exchange, at, head),
            Message::End(how) => self.end(exchange, at, how),
            message => {
                let call = self.calls.iter_mut().find(|call| call.exchange == exchange);
                let asked = matches!(message, Message::RequestEnd { .. });
                let stream = call.and_then(|call| Some((self.env.book.stream(call.stream)?, call)));
                match (stream, message) {
                    (Some((stream, call)), message) => {
                        let (no, prompt) = (call.stream, prompt(call, &message));
                        tell(call.dialect.as_mut(), stream, &message, at, self.env.path, self.env.audience);
                        if asked && call.dialect.streams_json() {
                            self.json_streams.push(exchange);
                        }
                        if let Some(prompt) = prompt {
                            self.env.book.prompt(no, &prompt, self.env.audience);
                        }
                    }
                    (None, Message::Note(note)) => self.env.audience.hear(Happening::Odd(note)),
                    (None, _) => {}
                }
            }
        }
    }
}

impl<'a, 'e> Router<'a, 'e> {
    pub(super) fn new(calls: &'a mut Vec<Call>, base: u64, remote: Option<SocketAddr>, env: &'a mut Env<'e>) -> Self {
        let (unclaimed, json_streams) = (Vec::new(), Vec::new());
        Router { calls, claimed: false, unclaimed, strangers: 0, json_streams, base, remote, env }
    }

    /// The parser is gone: what it left open ends as lost.
    pub(super) fn abandon(&mut self, at: Ns) {
        for call in std::mem::take(self.calls) {
            self.env.book.end(call.stream, End::Lost, at, self.env.audience);
        }
    }

    fn request(&mut self, exchange: ExchangeId, at: Moment, head: &RequestHead) {
        let Some(row) = dialect::find(head, &self.env.settings.extras) else {
            self.strangers += u32::from(!dialect::related(head, &self.env.settings.extras));
            return self.unclaimed.push(exchange);
        };
        self.claimed = true;
        let opening = Opening {
            conn: self.env.key,
            exchange: self.base.wrapping_add(exchange.0),
            identity: self.env.identity,
            remote: self.remote,
            head,
            row,
            at: at.read,
            salt: &self.env.settings.salt,
        };
        if let Some(stream) = self.env.book.begin(&opening, self.env.audience) {
            if let Some(stream) = self.env.book.stream(stream) {
                self.env.audience.overhear(stream.entry(), at, &Message::Request(head));
            }
            let prompt = Some(PromptScan::new(row.api, &self.env.settings.salt));
            self.calls.push(Call { exchange, stream, dialect: (row.make)(head), prompt });
        }
    }

    fn end(&mut self, exchange: ExchangeId, at: Moment, how: End) {
        let Some(index) = self.calls.iter().position(|call| call.exchange == exchange) else { return };
        let mut call = self.calls.swap_remove(index);
        let audience = &mut *self.env.audience;
        if let Some(stream) = self.env.book.stream(call.stream) {
            call.dialect.end(how, &mut |utterance| stream.utter(&utterance, at, audience));
            audience.overhear(stream.entry(), at, &Message::End(how));
        }
        self.env.book.end(call.stream, how, at.read, self.env.audience);
    }
}

/// What a message adds to the prompt of a call; the prompt, once it is complete.
fn prompt(call: &mut Call, message: &Message<'_>) -> Option<Prompt> {
    match message {
        Message::RequestBody(bytes) => {
            if let Some(scan) = &mut call.prompt {
                scan.push(bytes);
            }
            None
        }
        Message::RequestEnd { lost } => call.prompt.take().map(|mut scan| scan.end(*lost)),
        _ => None,
    }
}

/// One message of a claimed exchange.
fn tell(
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
        Message::Note(note) => stream.odd(*note, audience),
        Message::Request(_) | Message::End(_) => {}
    }
    audience.overhear(stream.entry(), at, message);
}
