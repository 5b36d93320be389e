//! Dialects of WebSockets, where several calls may follow each other on one connection: what each
//! message does to the calls, and which dialect a call speaks. What a socket is to the stages
//! around: `proto::ws`.
//!
//! A row here, beside the row of the calls' dialect, is all that a new one needs; most are a table
//! of words (`MessageTypes`).

use super::{Dialect, DialectRow, deepgram, elevenlabs, gemini_live, openai_realtime, openai_responses, path_ends};
use crate::json::member;
use capture::proto::{BodyEvent, BodyEventKind, RequestHead, ws};

/// What a message does to the calls on its socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketTurn {
    /// The message belongs to the call that is open, if one is.
    #[default]
    Same,
    /// A call begins with it. Of the server: unless one waits for its answer, in which case it is that.
    Begins,
    /// A piece of an answer that nobody asked for at a moment, since what it answers goes up all
    /// the time: unless its call is open, a call begins that is under way (`Stream::live`).
    Runs,
    /// The same, and nothing of that call follows.
    Last,
    /// The message is the last of the call that is open.
    Ends,
    /// The message is the last of every call that is open.
    EndsAll,
    /// The message belongs to no call: it is about the socket itself.
    Apart,
}

/// One socket's interpreter. Pure, never panics, constant memory.
pub trait SocketDialect: Send {
    /// A message of the client.
    fn sent(&mut self, message: &BodyEvent<'_>) -> SocketTurn;
    /// A message of the server.
    fn received(&mut self, message: &BodyEvent<'_>) -> SocketTurn;
    /// Which of the open calls the last message is of, where several may be answered at once; 0: no
    /// name tells. A call keeps the name it was begun with; one begun without takes the first name
    /// that is no other's. See `whose`.
    fn name(&self) -> u64 {
        0
    }
    /// The interpreter of a call that begins now. Its request body is the message that began it, if the client did.
    fn call(&mut self) -> Box<dyn Dialect>;
    /// What its calls are, where a message told that they are not what its row says.
    fn row(&self) -> Option<&'static DialectRow> {
        None
    }
    /// Bytes held now.
    fn held(&self) -> usize;
}

/// A row of the table.
pub struct SocketRow {
    /// What the calls are.
    pub call: &'static DialectRow,
    /// Does this upgrade lead to such a socket?
    pub matches: fn(&RequestHead) -> bool,
    /// A new interpreter.
    pub make: fn(&RequestHead) -> Box<dyn SocketDialect>,
}

/// The sockets. The first row that matches speaks.
pub static SOCKETS: &[&SocketRow] = &[
    &RESPONSES,
    &openai_realtime::TRANSCRIPTION,
    &openai_realtime::SOCKET,
    &elevenlabs::SOCKET,
    &deepgram::SOCKET,
    &deepgram::LISTEN_SOCKET,
    &gemini_live::SOCKET,
];

/// The place of the call that a message with this name is of, among the names of the open calls,
/// oldest first: the one of that name, else the oldest without one; for a message without a name,
/// the oldest where all have one.
#[must_use]
pub fn whose(name: u64, open: &[u64]) -> Option<usize> {
    let of = |wanted: u64| open.iter().position(|&name| name == wanted);
    let nameless = of(0);
    match name {
        0 => nameless.or((!open.is_empty()).then_some(0)),
        _ => of(name).or(nameless),
    }
}

/// The row of an upgrade; `None`: it leads to no model, or is none.
#[must_use]
pub fn find_socket(head: &RequestHead) -> Option<&'static SocketRow> {
    let asked = ws::is_requested(head);
    SOCKETS.iter().copied().find(|row| asked && (row.matches)(head))
}

/// OpenAI Responses over WebSocket: the same events, one a message; many turns a socket.
static RESPONSES: SocketRow = SocketRow {
    call: &openai_responses::ROW,
    matches: |head| path_ends(head, &["/v1/responses", "/openai/responses", "/codex/responses"]),
    make: |head| {
        Box::new(TypedSocket::new(
            head,
            openai_responses::ROW.make,
            &MessageTypes {
                begin: &["response.create"],
                answer: &["response.created"],
                end: &openai_responses::TURN_ENDS,
            },
        ))
    },
};

/// The types of messages that matter, where each is a JSON object with a `type`.
#[derive(Debug)]
pub struct MessageTypes {
    /// Of the client: a call begins.
    pub begin: &'static [&'static str],
    /// Of the server: its answer begins, or a call that nobody asked for.
    pub answer: &'static [&'static str],
    /// Of the server: the call is over.
    pub end: &'static [&'static str],
}

/// A socket whose messages are JSON objects with a `type`.
pub struct TypedSocket {
    head: RequestHead,
    make: fn(&RequestHead) -> Box<dyn Dialect>,
    words: &'static MessageTypes,
}

impl TypedSocket {
    #[must_use]
    pub fn new(head: &RequestHead, make: fn(&RequestHead) -> Box<dyn Dialect>, words: &'static MessageTypes) -> Self {
        TypedSocket { head: head.clone(), make, words }
    }
}

/// The `type` of a message.
#[must_use]
pub fn kind<'a>(message: &BodyEvent<'a>) -> Option<&'a str> {
    (message.kind == BodyEventKind::Text).then(|| member::text(message.data, "type"))?
}

impl SocketDialect for TypedSocket {
    fn sent(&mut self, message: &BodyEvent<'_>) -> SocketTurn {
        match kind(message) {
            Some(kind) if self.words.begin.contains(&kind) => SocketTurn::Begins,
            _ => SocketTurn::Same,
        }
    }

    fn received(&mut self, message: &BodyEvent<'_>) -> SocketTurn {
        match kind(message) {
            Some(kind) if self.words.answer.contains(&kind) => SocketTurn::Begins,
            Some(kind) if self.words.end.contains(&kind) => SocketTurn::Ends,
            _ => SocketTurn::Same,
        }
    }

    fn call(&mut self) -> Box<dyn Dialect> {
        (self.make)(&self.head)
    }

    fn held(&self) -> usize {
        size_of_val(self) + self.head.path.capacity()
    }
}

/// Messages of both sides, a line each: the first byte chooses whose. Never panics, and holds little.
pub fn fuzz(row: &SocketRow, data: &[u8]) {
    let mut socket = (row.make)(&RequestHead { query: Some("model=m".into()), ..RequestHead::default() });
    for line in data.split(|&byte| byte == b'\n') {
        let Some((&side, data)) = line.split_first() else { continue };
        let kind = if side & 2 == 0 { BodyEventKind::Text } else { BodyEventKind::Binary };
        let message = BodyEvent { kind, data, wire_bytes: data.len(), ..BodyEvent::default() };
        let turn = if side & 1 == 0 { socket.received(&message) } else { socket.sent(&message) };
        if matches!(turn, SocketTurn::Begins | SocketTurn::Runs | SocketTurn::Last) {
            let _ = (socket.call(), socket.name(), socket.row().map(|row| row.api));
        }
        assert!(socket.held() < 16 * 1024, "a socket holds {} bytes", socket.held());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_last_event_of_a_response_ends_its_turn() {
        let mut socket = (RESPONSES.make)(&RequestHead::default());
        for (class, ends) in openai_responses::TURN_ENDS
            .map(|class| (class, true))
            .into_iter()
            .chain([("response.output_text.done", false), ("response.output_item.done", false)])
        {
            let data = format!("{{\"type\":\"{class}\"}}");
            let message = BodyEvent { kind: BodyEventKind::Text, data: data.as_bytes(), ..BodyEvent::default() };
            assert_eq!(matches!(socket.received(&message), SocketTurn::Ends), ends, "{class}");
        }
    }

    #[test]
    fn a_message_is_of_the_call_of_its_name() {
        for (name, open, expected) in [
            (0, &[][..], None),
            (7, &[], None),
            // Sockets that name nothing: the oldest.
            (0, &[0, 0], Some(0)),
            (7, &[3, 7], Some(1)),
            // Asked for before it had a name.
            (7, &[3, 0, 0], Some(1)),
            (7, &[3, 4], None),
            (0, &[3, 0], Some(1)),
            (0, &[3, 4], Some(0)),
        ] {
            assert_eq!(whose(name, open), expected, "{name} among {open:?}");
        }
    }
}
