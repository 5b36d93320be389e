//! Deepgram: text to speech, whose answer is sound, and transcription of what is uploaded.
//!
//! Endpoints: POST `…/v1/speak`, `…/v2/speak`; POST `…/v1/listen`; GET `…/v1/speak`, `…/v2/speak` upgraded to a WebSocket: a
//! call lasts from the first text to `Flushed` (or what was cleared). The model is in the query. Transcription over a WebSocket:
//! `listen`.
//! Source: the types of deepgram-sdk 7.17 (Python) and the API reference. Checked 2026-11.

mod listen;

use std::borrow::Cow;

use serde::Deserialize;

use super::answer::{Part, Parts, at};
use super::error;
use super::exchange::{Exchange, Named, Speech, say_finish};
use super::json::loose::{self, Code, Object, Text};
use super::path::{self, Preset};
use super::socket::{self, Socket, SocketRow, Turn};
use super::{DeltaKind, Dialect, Row, Utterance, path_ends, provider};
use crate::proto::{Event, RequestHead};

pub(super) static SPEAK: Row = Row {
    api: "deepgram.speak",
    operation: "speech",
    matches: |head| path_ends(head, &["/v1/speak", "/v2/speak"]),
    provider: |head| provider::name(head, "deepgram"),
    make: |head| Box::new(Exchange::<Deepgram>::new(head)),
};

pub(super) static LISTEN: Row = Row {
    api: "deepgram.listen",
    operation: "transcription",
    matches: |head| path_ends(head, &["/v1/listen"]),
    provider: |head| provider::name(head, "deepgram"),
    make: |head| Box::new(Exchange::<Deepgram>::new(head)),
};

pub(super) use listen::SOCKET as LISTEN_SOCKET;

pub(super) static SOCKET: SocketRow = SocketRow {
    call: &SPEAK,
    matches: |head| path_ends(head, &["/v1/speak", "/v2/speak"]),
    make: |head| Box::new(Input { head: head.clone(), open: false }),
};

/// A WebSocket's texts.
struct Input {
    head: RequestHead,
    /// Texts have gone up whose sound is not complete.
    open: bool,
}

impl Socket for Input {
    fn sent(&mut self, message: &Event<'_>) -> Turn {
        let speak = socket::kind(message) == Some("Speak");
        if speak && !std::mem::replace(&mut self.open, true) { Turn::Begins } else { Turn::Same }
    }

    fn received(&mut self, message: &Event<'_>) -> Turn {
        match socket::kind(message) {
            Some("Flushed" | "Cleared" | "SpeechInterrupted" | "Error") => {
                self.open = false;
                Turn::Ends
            }
            _ => Turn::Same,
        }
    }

    fn call(&mut self) -> Box<dyn Dialect> {
        (SPEAK.make)(&self.head)
    }

    fn held(&self) -> usize {
        size_of_val(self) + self.head.path.capacity()
    }
}

/// Events come on a WebSocket only; sound, there and over HTTP, as bytes.
#[derive(Debug, Default)]
pub struct Deepgram {
    named: Named,
}

impl Speech for Deepgram {
    const ANSWER: Parts = ANSWER;

    fn preset(head: &RequestHead) -> Preset {
        Preset { model: path::parameter(head, "model"), ..Preset::default() }
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let event = loose::read::<Object<StreamEvent<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        match event.class.word().unwrap_or("") {
            "Flushed" => out(Utterance::End),
            class @ ("Cleared" | "SpeechInterrupted") => {
                say_finish(class, out);
                out(Utterance::End);
            }
            "Metadata" => self.named.say(event.request_id.word(), event.model_name.word(), out),
            "Error" => {
                let code = event.code.0.as_deref().or(event.err_code.0.as_deref());
                out(Utterance::Error { kind: error::kind(code, None).map(Cow::Borrowed) });
            }
            _ => {}
        }
        Ok(())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    class: Text<'a>,
    #[serde(borrow)]
    request_id: Text<'a>,
    #[serde(borrow)]
    model_name: Text<'a>,
    #[serde(borrow)]
    code: Code<'a>,
    #[serde(borrow)]
    err_code: Code<'a>,
}

static ANSWER: Parts = &[
    at(&["metadata", "request_id"], Part::Id),
    at(&["results", "channels", "[]", "alternatives", "[]", "transcript"], Part::Text(DeltaKind::Visible)),
    at(&["err_code"], Part::ErrorType),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<Deepgram>(data);
    super::exchange::fuzz::<listen::Listen>(data);
    socket::fuzz(&SOCKET, data);
    socket::fuzz(&LISTEN_SOCKET, data);
}
