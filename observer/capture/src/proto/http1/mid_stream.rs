//! An answer that was already running when the observer came to the connection: its head is gone, its
//! events still come.

use super::body::Http1Framing;
use super::{Half, Http1Parser, PendingExchange, State};
use crate::limits::MID_STREAM_LINES;
use crate::proto::body::BodyInterpreter;
use crate::proto::{ExchangeId, Message, MessageSink, ProtocolParser, RequestHead, ResponseHead, Salt};
use crate::units::{LossCause, Moment};

/// The exchange of the running answer.
const RUNNING: ExchangeId = ExchangeId(1);

/// A parser for a connection whose first bytes read are these, if they are plainly from the middle of an event stream.
pub(super) fn parse_mid_stream(salt: &Salt, bytes: &[u8]) -> Option<Box<dyn ProtocolParser>> {
    let framing = framing(bytes)?;
    let head = ResponseHead { status: 200, content_type: Some("text/event-stream".into()), ..ResponseHead::default() };
    let mut parser = Http1Parser::new(salt.clone());
    parser.mid_stream = true;
    parser.next = RUNNING.0 + 1;
    parser.open.push_back(PendingExchange {
        id: RUNNING,
        head_only: false,
        tunnel: false,
        upgrade: false,
        ignored: false,
        json_stream: false,
        writing: false,
        unsure: false,
    });
    parser.requests.skip();
    parser.responses = Half::default();
    parser.responses.begin_body(framing, BodyInterpreter::response(&head, Some(&[]), false));
    Some(Box::new(parser))
}

/// How the body goes on: in chunks if a line is a chunk's size, else until the connection's end.
/// `None`: this is no event stream.
fn framing(bytes: &[u8]) -> Option<Http1Framing> {
    if bytes.contains(&0) {
        return None; // frames of another protocol, with events inside
    }
    let (mut event, mut sized) = (false, false);
    for line in bytes.split(|&byte| byte == b'\n').take(MID_STREAM_LINES) {
        event |= [&b"data:"[..], b"event:"].iter().any(|field| line.starts_with(field));
        sized |= line.strip_suffix(b"\r").is_some_and(is_size);
    }
    event.then(|| if sized { Http1Framing::chunked() } else { Http1Framing::UntilClose })
}

fn is_size(line: &[u8]) -> bool {
    (1..=8).contains(&line.len()) && line.iter().all(u8::is_ascii_hexdigit)
}

impl Http1Parser {
    /// Emits once what is known of the running answer: that there is one, and that its beginning is missing.
    pub(super) fn emit_mid_stream(&mut self, at: Moment, sink: &mut dyn MessageSink) {
        if !std::mem::take(&mut self.mid_stream) {
            return;
        }
        let head = RequestHead { protocol: "http/1.1", ..RequestHead::default() };
        sink.message(RUNNING, at, Message::Request(&head));
        sink.message(RUNNING, at, Message::RequestEnd { lost: true });
        if let State::Body(framing, body) = &mut self.responses.state {
            framing.gap(None);
            body.gap(None, LossCause::LateAttach, &mut |message| sink.message(RUNNING, at, message));
        }
        self.responses.damaged = true;
    }
}
