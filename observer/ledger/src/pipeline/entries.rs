//! A call in the ledger: how it begins, what each message does to it, how it ends.

use super::context::SessionContext;
use super::wire::BEHIND_PROXY;
use crate::{CallNo, CallOpening, EventSink, MessageTap, OpenCall};
use capture::conn::NetworkPath;
use capture::proto::{ExchangeEnd, Message, RequestHead};
use capture::units::{Moment, Ns};
use dialects::{Dialect, DialectRow, Utterance};

/// Opens a call in the ledger; `None`: there are too many.
pub(super) fn begin(
    exchange: u64,
    row: &'static DialectRow,
    head: &RequestHead,
    at: Moment,
    env: &mut SessionContext<'_>,
) -> Option<CallNo> {
    let opening = CallOpening {
        conn: env.key,
        exchange,
        identity: env.identity,
        remote: env.remote,
        head,
        row,
        at: at.at,
        salt: &env.settings.salt,
        shape: false,
    };
    let stream = env.call_table.begin(&opening, env.events)?;
    if let Some(stream) = env.call_table.open_call(stream) {
        if env.path.is_some_and(|path| path.proxied) {
            stream.add_note(BEHIND_PROXY);
        }
        env.connections.on_call_begun(stream.entry(), env.birth, env.path, env.events);
        env.tap.on_message(stream.entry(), at, &Message::Request(head));
    }
    Some(stream)
}

/// Ends a call.
pub(super) fn end(
    stream: CallNo,
    dialect: &mut dyn Dialect,
    how: ExchangeEnd,
    at: Moment,
    env: &mut SessionContext<'_>,
) {
    if let Some(stream) = env.call_table.open_call(stream) {
        dialect.end(how, &mut |utterance: Utterance<'_>| stream.on_utterance(&utterance, at, env.events));
        env.tap.on_message(stream.entry(), at, &Message::End(how));
    }
    env.call_table.end(stream, how, at.at, env.events);
    released(at.at, env);
}

pub(super) fn released(at: Ns, env: &mut SessionContext<'_>) {
    env.connections.on_call_ended(&env.key, at, env.path, env.events);
}

/// Gives one message of a claimed exchange to the dialect, the call and the tap.
pub(super) fn on_message(
    dialect: &mut dyn Dialect,
    stream: &mut OpenCall,
    message: &Message<'_>,
    at: Moment,
    path: Option<&NetworkPath>,
    events: &mut dyn EventSink,
    tap: &mut dyn MessageTap,
) {
    match message {
        Message::RequestBody(bytes) => dialect.request_body(bytes),
        Message::RequestEnd { lost } => stream.on_request_sent(dialect.request_end(*lost), at, events),
        Message::Response(head) => {
            dialect.response(head);
            stream.on_response_head(head, at, events);
        }
        Message::Event(event) => {
            stream.event_begin(at, event.data.len(), event.wire_bytes);
            let mut emit = |utterance: Utterance<'_>| stream.on_utterance(&utterance, at, events);
            dialect.event(event, &mut emit);
            stream.event_end(path, events);
        }
        Message::Comment => stream.on_comment(at),
        Message::Body(bytes) => {
            stream.on_body(at, bytes.len());
            dialect.body(bytes, &mut |utterance| stream.on_utterance(&utterance, at, events));
        }
        Message::Gap { bytes, cause } => {
            dialect.gap();
            stream.on_gap(*bytes, *cause, at);
        }
        Message::Trailers(list) => dialect.trailers(list, &mut |utterance| stream.on_utterance(&utterance, at, events)),
        Message::Note(note) => stream.report_odd(*note, events),
        Message::Request(_) | Message::Sent { .. } | Message::End(_) => {}
    }
    tap.on_message(stream.entry(), at, message);
}
