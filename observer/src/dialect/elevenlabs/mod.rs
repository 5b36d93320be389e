//! ElevenLabs' text to speech: sound as bytes, or as JSON texts with the moments of the characters.
//!
//! Endpoints: POST `…/text-to-speech/VOICE`, `…/stream`, `…/with-timestamps`, `…/stream/with-timestamps`; GET
//! `…/stream-input` upgraded to a WebSocket: texts go up in pieces, sound comes down; a call lasts from the first text to
//! `isFinal`. (`…/multi-stream-input` likewise, its contexts taken together.)
//! Source: the types of elevenlabs 2.78 (Python) and the API reference. Checked 2026-11.

use serde::Deserialize;

use super::answer::{Part, Parts, at};
use super::error::Failure;
use super::exchange::{Exchange, Speech, say, say_error};
use super::json::loose::{self, Flag, Object, Text};
use super::path::{self, Preset};
use super::socket::{Socket, SocketRow, Turn};
use super::{DeltaKind, Dialect, RequestFacts, Row, Utterance, path_ends, provider};
use crate::proto::{End, Event, RequestHead};

pub(super) static ROW: Row = Row {
    api: "elevenlabs.text_to_speech",
    operation: "speech",
    matches: |head| shape(head).is_some(),
    provider: |head| provider::name(head, "elevenlabs"),
    make: |head| Box::new(Exchange::<TextToSpeech>::new(head)),
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

impl Socket for Input {
    fn sent(&mut self, message: &Event<'_>) -> Turn {
        // An empty text says only that there is no more.
        let text = read(message).is_some_and(|piece| piece.text.word().is_some());
        if text && !std::mem::replace(&mut self.open, true) { Turn::Begins } else { Turn::Same }
    }

    fn received(&mut self, message: &Event<'_>) -> Turn {
        let last = read(message).is_some_and(|piece| piece.is_final.0 || piece.error.present);
        if last {
            self.open = false;
            return Turn::Ends;
        }
        Turn::Same
    }

    fn call(&mut self) -> Box<dyn Dialect> {
        (ROW.make)(&self.head)
    }

    fn held(&self) -> usize {
        size_of_val(self) + self.head.path.capacity()
    }
}

/// A message of either side.
fn read<'a>(message: &Event<'a>) -> Option<Box<Piece<'a>>> {
    serde_json::from_slice::<Object<Piece<'a>>>(message.data).ok()?.0
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
    audio_base64: Text<'a>,
    /// What goes up a WebSocket.
    #[serde(borrow)]
    text: Text<'a>,
    /// Of a WebSocket, as is the end.
    #[serde(borrow)]
    audio: Text<'a>,
    #[serde(rename = "isFinal")]
    is_final: Flag,
    #[serde(borrow)]
    error: Failure<'a>,
}

impl Speech for TextToSpeech {
    const ANSWER: Parts = ANSWER;

    fn preset(head: &RequestHead) -> Preset {
        Preset { stream: shape(head), model: path::parameter(head, "model_id"), ..Preset::default() }
    }

    fn begin(&mut self, head: &RequestHead) {
        self.stream = shape(head) == Some(true);
    }

    fn streams_json(&self, _: &RequestFacts) -> bool {
        self.stream
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let piece = loose::read::<Object<Piece<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        self.heard |= piece.audio_base64.word().is_some();
        say(DeltaKind::Audio, &piece.audio_base64, out);
        say(DeltaKind::Audio, &piece.audio, out);
        say_error(&piece.error, out);
        if piece.is_final.0 {
            out(Utterance::End);
        }
        Ok(())
    }

    fn end(&mut self, how: End, out: &mut dyn FnMut(Utterance<'_>)) {
        if how == End::Complete && self.heard {
            out(Utterance::End);
        }
    }
}

static ANSWER: Parts = &[at(&["audio_base64"], Part::Text(DeltaKind::Audio)), at(&["error"], Part::ErrorObject)];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<TextToSpeech>(data);
}
