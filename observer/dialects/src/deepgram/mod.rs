//! Deepgram: text to speech, whose answer is sound, and transcription of what is uploaded.
//!
//! Endpoints: POST `…/v1/speak`, `…/v2/speak`; POST `…/v1/listen`; GET `…/v1/speak`, `…/v2/speak`
//! upgraded to a WebSocket: a call lasts from the first text to `Flushed` (or what was cleared).
//! The model is in the query. Transcription over a WebSocket: `listen`. Source: the types of
//! deepgram-sdk 7.17 (Python) and the API reference. Checked 2026-11.

mod listen;

use std::borrow::Cow;

use serde::Deserialize;

use super::answer::{AnswerPart, AnswerParts, at};
use super::emit::{StartReporter, emit_finish};
use super::error;
use super::exchange::{DialectExchange, DialectRules};
use super::json::loose::{self, BoxedObject, LooseCode, LooseText};
use super::path::{self, PathPreset};
use super::socket::{self, SocketDialect, SocketRow, SocketTurn};
use super::{DeltaKind, Dialect, DialectRow, Utterance, path_ends, provider};
use capture::proto::{BodyEvent, RequestHead};

pub(super) static SPEAK: DialectRow = DialectRow {
    api: "deepgram.speak",
    operation: "speech",
    matches: |head| path_ends(head, &["/v1/speak", "/v2/speak"]),
    provider: |head| provider::name(head, "deepgram"),
    make: |head| Box::new(DialectExchange::<DeepgramSpeech>::new(head)),
};

pub(super) static LISTEN: DialectRow = DialectRow {
    api: "deepgram.listen",
    operation: "transcription",
    matches: |head| path_ends(head, &["/v1/listen"]),
    provider: |head| provider::name(head, "deepgram"),
    make: |head| Box::new(DialectExchange::<DeepgramSpeech>::new(head)),
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

impl SocketDialect for Input {
    fn sent(&mut self, message: &BodyEvent<'_>) -> SocketTurn {
        let speak = socket::kind(message) == Some("Speak");
        if speak && !std::mem::replace(&mut self.open, true) { SocketTurn::Begins } else { SocketTurn::Same }
    }

    fn received(&mut self, message: &BodyEvent<'_>) -> SocketTurn {
        match socket::kind(message) {
            Some("Flushed" | "Cleared" | "SpeechInterrupted" | "Error") => {
                self.open = false;
                SocketTurn::Ends
            }
            _ => SocketTurn::Same,
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
pub struct DeepgramSpeech {
    named: StartReporter,
}

impl DialectRules for DeepgramSpeech {
    const ANSWER: AnswerParts = ANSWER;

    fn preset(head: &RequestHead) -> PathPreset {
        PathPreset { model: path::parameter(head, "model"), ..PathPreset::default() }
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let event = loose::read::<BoxedObject<StreamEvent<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        match event.class.word().unwrap_or("") {
            "Flushed" => out(Utterance::End),
            class @ ("Cleared" | "SpeechInterrupted") => {
                emit_finish(class, out);
                out(Utterance::End);
            }
            "Metadata" => self.named.emit(event.request_id.word(), event.model_name.word(), out),
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
    class: LooseText<'a>,
    #[serde(borrow)]
    request_id: LooseText<'a>,
    #[serde(borrow)]
    model_name: LooseText<'a>,
    #[serde(borrow)]
    code: LooseCode<'a>,
    #[serde(borrow)]
    err_code: LooseCode<'a>,
}

static ANSWER: AnswerParts = &[
    at(&["metadata", "request_id"], AnswerPart::Id),
    at(&["results", "channels", "[]", "alternatives", "[]", "transcript"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["err_code"], AnswerPart::ErrorType),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<DeepgramSpeech>(data);
    super::exchange::fuzz::<listen::DeepgramUtterance>(data);
    socket::fuzz(&SOCKET, data);
    socket::fuzz(&LISTEN_SOCKET, data);
}
