//! ElevenLabs' text to speech: sound as bytes, or as JSON texts with the moments of the characters.
//!
//! Endpoints: POST `…/text-to-speech/VOICE`, `…/stream`, `…/with-timestamps`,
//! `…/stream/with-timestamps`; GET `…/stream-input` upgraded to a WebSocket: texts go up in pieces,
//! sound comes down; a call lasts from the first text to `isFinal`. (`…/multi-stream-input`
//! likewise, its contexts taken together.) Source: the types of elevenlabs 2.78 (Python) and the
//! API reference. Checked 2026-11.

use serde::Deserialize;

use super::answer::{AnswerPart, AnswerParts, at};
use super::emit::{emit_error, emit_text};
use super::error::ErrorMember;
use super::exchange::{DialectExchange, DialectRules};
use super::json::loose::{self, BoxedObject, LooseFlag, LooseText};
use super::path::{self, PathPreset};
use super::socket::{SocketDialect, SocketRow, SocketTurn};
use super::{DeltaKind, Dialect, DialectRow, RequestFacts, Utterance, path_ends, provider};
use capture::proto::{BodyEvent, ExchangeEnd, RequestHead};

pub(super) static ROW: DialectRow = DialectRow {
    api: "elevenlabs.text_to_speech",
    operation: "speech",
    matches: |head| shape(head).is_some(),
    provider: |head| provider::name(head, "elevenlabs"),
    make: |head| Box::new(DialectExchange::<TextToSpeech>::new(head)),
};

pub(super) static SOCKET: SocketRow = SocketRow {
    call: &ROW,
    matches: |head| {
        path_ends(head, &["/stream-input", "/multi-stream-input"]) && head.path.contains("/text-to-speech/")
    },
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
        // An empty text says only that there is no more.
        let text = read(message).is_some_and(|piece| piece.text.word().is_some());
        if text && !std::mem::replace(&mut self.open, true) { SocketTurn::Begins } else { SocketTurn::Same }
    }

    fn received(&mut self, message: &BodyEvent<'_>) -> SocketTurn {
        let last = read(message).is_some_and(|piece| piece.is_final.0 || piece.error.present);
        if last {
            self.open = false;
            return SocketTurn::Ends;
        }
        SocketTurn::Same
    }

    fn call(&mut self) -> Box<dyn Dialect> {
        (ROW.make)(&self.head)
    }

    fn held(&self) -> usize {
        size_of_val(self) + self.head.path.capacity()
    }
}

/// A message of either side.
fn read<'a>(message: &BodyEvent<'a>) -> Option<Box<Piece<'a>>> {
    serde_json::from_slice::<BoxedObject<Piece<'a>>>(message.data).ok()?.0
}

/// Whether the answer streams; `None`: it is another endpoint.
fn shape(head: &RequestHead) -> Option<bool> {
    let (_, rest) = head.path.trim_end_matches('/').split_once("/text-to-speech/")?;
    let (voice, how) = rest.split_once('/').unwrap_or((rest, ""));
    match how {
        _ if voice.is_empty() => None,
        "" | "with-timestamps" => Some(false),
        "stream" | "stream/with-timestamps" | "stream-input" | "multi-stream-input" => Some(true),
        _ => None,
    }
}

/// Sound in JSON texts. It has no end marker.
#[derive(Debug, Default)]
pub struct TextToSpeech {
    stream: bool,
    heard: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Piece<'a> {
    #[serde(borrow)]
    audio_base64: LooseText<'a>,
    /// What goes up a WebSocket.
    #[serde(borrow)]
    text: LooseText<'a>,
    /// Of a WebSocket, as is the end.
    #[serde(borrow)]
    audio: LooseText<'a>,
    #[serde(rename = "isFinal")]
    is_final: LooseFlag,
    #[serde(borrow)]
    error: ErrorMember<'a>,
}

impl DialectRules for TextToSpeech {
    const ANSWER: AnswerParts = ANSWER;

    fn preset(head: &RequestHead) -> PathPreset {
        PathPreset { stream: shape(head), model: path::parameter(head, "model_id"), ..PathPreset::default() }
    }

    fn begin(&mut self, head: &RequestHead) {
        self.stream = shape(head) == Some(true);
    }

    fn streams_json(&self, _: &RequestFacts) -> bool {
        self.stream
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let piece = loose::read::<BoxedObject<Piece<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        self.heard |= piece.audio_base64.word().is_some();
        emit_text(DeltaKind::Audio, &piece.audio_base64, out);
        emit_text(DeltaKind::Audio, &piece.audio, out);
        emit_error(&piece.error, out);
        if piece.is_final.0 {
            out(Utterance::End);
        }
        Ok(())
    }

    fn end(&mut self, how: ExchangeEnd, out: &mut dyn FnMut(Utterance<'_>)) {
        if how == ExchangeEnd::Complete && self.heard {
            out(Utterance::End);
        }
    }
}

static ANSWER: AnswerParts =
    &[at(&["audio_base64"], AnswerPart::Text(DeltaKind::Audio)), at(&["error"], AnswerPart::ErrorObject)];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<TextToSpeech>(data);
}
