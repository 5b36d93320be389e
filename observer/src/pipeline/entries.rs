//! A call's way through the ledger: begun, told each message, ended.

use super::session::Env;
use super::wire::BEHIND_PROXY;
use crate::conn::Path;
use crate::dialect::{Dialect, Row, Utterance};
use crate::ledger::{Audience, Opening, Stream, StreamNo};
use crate::proto::{End, Message, RequestHead};
use crate::units::{Moment, Ns};

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

pub(super) fn released(at: Ns, env: &mut Env<'_>) {
    env.links.released(&env.key, at, env.path, env.audience);
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
