//! ElevenLabs' text to speech: sound as bytes, or as JSON texts with the moments of the characters.
//!
//! Endpoints: POST `…/text-to-speech/VOICE`, `…/stream`, `…/with-timestamps`, `…/stream/with-timestamps`.
//! Source: the types of elevenlabs 2.78 (Python) and the API reference. Checked 2026-11.

use serde::Deserialize;

use super::answer::{Part, Parts, at};
use super::error::Failure;
use super::exchange::{Exchange, Speech, say, say_error};
use super::json::loose::{self, Object, Text};
use super::path::Preset;
use super::{DeltaKind, RequestFacts, Row, Utterance, provider};
use crate::proto::{End, RequestHead};

pub(super) static ROW: Row = Row {
    api: "elevenlabs.text_to_speech",
    operation: "speech",
    matches: |head| shape(head).is_some(),
    provider: |head| provider::name(head, "elevenlabs"),
    make: |head| Box::new(Exchange::<TextToSpeech>::new(head)),
};

/// Whether the answer streams; `None`: it is another endpoint.
fn shape(head: &RequestHead) -> Option<bool> {
    let (_, rest) = head.path.trim_end_matches('/').split_once("/text-to-speech/")?;
    let (voice, how) = rest.split_once('/').unwrap_or((rest, ""));
    match how {
        _ if voice.is_empty() => None,
        "" | "with-timestamps" => Some(false),
        "stream" | "stream/with-timestamps" => Some(true),
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
    #[serde(borrow)]
    error: Failure<'a>,
}

impl Speech for TextToSpeech {
    const ANSWER: Parts = ANSWER;

    fn preset(head: &RequestHead) -> Preset {
        Preset { stream: shape(head), ..Preset::default() }
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
        say_error(&piece.error, out);
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
