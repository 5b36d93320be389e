//! Dialects of WebSockets, where several calls may follow each other on one connection: what each message does to the calls,
//! and which dialect a call speaks. What a socket is to the stages around: `proto::ws`.
//!
//! A row here, beside the row of the calls' dialect, is all that a new one needs; most are a table of words (`Words`).

use super::{Dialect, Row, deepgram, elevenlabs, gemini_live, openai_realtime, openai_responses, path_ends};
use crate::dialect::json::member;
use crate::proto::{Event, EventKind, RequestHead};

/// What a message does to the calls on its socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turn {
    /// It belongs to the call that is open, if one is.
    #[default]
    Same,
    /// A call begins with it. Of the server: unless one waits for its answer, in which case it is that.
    Begins,
    /// It is the last message of the call that is open.
    Ends,
    /// It belongs to no call: the socket's own affairs.
    Apart,
}

/// One socket's interpreter. Pure, never panics, constant memory.
pub trait Socket: Send {
    /// A message of the client.
    fn sent(&mut self, message: &Event<'_>) -> Turn;
    /// A message of the server.
    fn received(&mut self, message: &Event<'_>) -> Turn;
    /// The interpreter of a call that begins now. Its request body is the message that began it, if the client did.
    fn call(&mut self) -> Box<dyn Dialect>;
    /// Bytes held now.
    fn held(&self) -> usize;
}

/// A row of the table.
pub struct SocketRow {
    /// What the calls are.
    pub call: &'static Row,
    /// Does this upgrade lead to such a socket?
    pub matches: fn(&RequestHead) -> bool,
    /// A new interpreter.
    pub make: fn(&RequestHead) -> Box<dyn Socket>,
}

/// The sockets. The first row that matches speaks.
pub static SOCKETS: &[&SocketRow] =
    &[&RESPONSES, &openai_realtime::SOCKET, &elevenlabs::SOCKET, &deepgram::SOCKET, &gemini_live::SOCKET];

/// The row of an upgrade; `None`: it leads to no model, or is none.
#[must_use]
pub fn find_socket(head: &RequestHead) -> Option<&'static SocketRow> {
    let upgrade =
        head.method == "GET" && head.header("upgrade").is_some_and(|to| to.trim().eq_ignore_ascii_case("websocket"));
    SOCKETS.iter().copied().find(|row| upgrade && (row.matches)(head))
}

/// OpenAI Responses over WebSocket: the same events, one a message; many turns a socket.
static RESPONSES: SocketRow = SocketRow {
    call: &openai_responses::ROW,
    matches: |head| path_ends(head, &["/v1/responses", "/openai/responses", "/codex/responses"]),
    make: |head| {
        Box::new(Typed::new(
            head,
            openai_responses::ROW.make,
            &Words {
                begin: &["response.create"],
                answer: &["response.created"],
                end: &["response.completed", "response.failed", "response.incomplete", "error"],
            },
        ))
    },
};

/// The types of messages that matter, where each is a JSON object with a `type`.
#[derive(Debug)]
pub struct Words {
    /// Of the client: a call begins.
    pub begin: &'static [&'static str],
    /// Of the server: its answer begins, or a call that nobody asked for.
    pub answer: &'static [&'static str],
    /// Of the server: the call is over.
    pub end: &'static [&'static str],
}

/// A socket whose messages are JSON objects with a `type`.
pub struct Typed {
    head: RequestHead,
    make: fn(&RequestHead) -> Box<dyn Dialect>,
    words: &'static Words,
}

impl Typed {
    #[must_use]
    pub fn new(head: &RequestHead, make: fn(&RequestHead) -> Box<dyn Dialect>, words: &'static Words) -> Self {
        Typed { head: head.clone(), make, words }
    }
}

/// The `type` of a message.
#[must_use]
pub fn kind<'a>(message: &Event<'a>) -> Option<&'a str> {
    (message.kind == EventKind::Text).then(|| member::text(message.data, "type"))?
}

impl Socket for Typed {
    fn sent(&mut self, message: &Event<'_>) -> Turn {
        match kind(message) {
            Some(kind) if self.words.begin.contains(&kind) => Turn::Begins,
            _ => Turn::Same,
        }
    }

    fn received(&mut self, message: &Event<'_>) -> Turn {
        match kind(message) {
            Some(kind) if self.words.answer.contains(&kind) => Turn::Begins,
            Some(kind) if self.words.end.contains(&kind) => Turn::Ends,
            _ => Turn::Same,
        }
    }

    fn call(&mut self) -> Box<dyn Dialect> {
        (self.make)(&self.head)
    }

    fn held(&self) -> usize {
        size_of_val(self) + self.head.path.capacity()
    }
}
