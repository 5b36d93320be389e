//! OpenAI's audio: speech as bytes or as events (`stream_format: "sse"`), transcriptions whole or as events.
//!
//! Endpoints: POST `…/audio/speech`; POST `…/audio/transcriptions`, `…/audio/translations` (forms).
//! Source: the OpenAI API reference and the types of openai-python 2.54. Checked 2026-11.

use std::borrow::Cow;

use serde::Deserialize;

use super::answer::{Part, Parts, Tokens as Told, at};
use super::error::Failure;
use super::exchange::{Exchange, Speech, say, say_error, say_usage};
use super::json::loose::{self, Count, Object, Text};
use super::{DeltaKind, Row, Usage, Utterance, path_ends, provider};

pub(super) static SPEECH: Row = Row {
    api: "openai.speech",
    operation: "speech",
    matches: |head| path_ends(head, &["/audio/speech"]),
    provider: |head| provider::name(head, "openai"),
    make: |head| Box::new(Exchange::<Audio>::new(head)),
};

pub(super) static TRANSCRIPTION: Row = Row {
    api: "openai.transcription",
    operation: "transcription",
    matches: |head| path_ends(head, &["/audio/transcriptions", "/audio/translations"]),
    provider: |head| provider::name(head, "openai"),
    make: |head| Box::new(Exchange::<Audio>::new(head)),
};

/// A stream of typed events; each stands for itself. Sound that comes as bytes needs no interpreter.
#[derive(Debug, Default)]
pub struct Audio;

#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    class: Text<'a>,
    /// Base64.
    #[serde(borrow)]
    audio: Text<'a>,
    #[serde(borrow)]
    delta: Text<'a>,
    usage: Object<Tokens>,
    #[serde(borrow)]
    error: Failure<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tokens {
    input_tokens: Count,
    output_tokens: Count,
    input_token_details: Object<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    audio_tokens: Count,
}

impl Speech for Audio {
    const ANSWER: Parts = ANSWER;

    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        out: &mut dyn FnMut(Utterance<'_>),
    ) -> Result<(), &'static str> {
        let mut spare = String::new();
        let event = loose::read::<Object<StreamEvent<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        match event.class.word().or(name).unwrap_or("") {
            "speech.audio.delta" => say(DeltaKind::Audio, &event.audio, out),
            "transcript.text.delta" => say(DeltaKind::Visible, &event.delta, out),
            // `transcript.text.done` repeats the whole text.
            "speech.audio.done" | "transcript.text.done" => {
                say_usage(event.usage.0.as_deref().map(Tokens::usage).unwrap_or_default(), out);
                out(Utterance::End);
            }
            "error" => out(Utterance::Error { kind: event.error.kind().map(Cow::Borrowed) }),
            _ => say_error(&event.error, out),
        }
        Ok(())
    }
}

impl Tokens {
    fn usage(&self) -> Usage {
        Usage {
            input: self.input_tokens.0,
            output: self.output_tokens.0,
            audio_input: self.input_token_details.0.as_deref().and_then(|details| details.audio_tokens.0),
            ..Usage::default()
        }
    }
}

static ANSWER: Parts = &[
    at(&["text"], Part::Text(DeltaKind::Visible)),
    at(&["usage", "input_tokens"], Part::Tokens(Told::Input)),
    at(&["usage", "output_tokens"], Part::Tokens(Told::Output)),
    at(&["usage", "input_token_details", "audio_tokens"], Part::Tokens(Told::AudioInput)),
    at(&["error"], Part::Error),
    at(&["error"], Part::ErrorObject),
    at(&["error", "type"], Part::ErrorType),
    at(&["error", "code"], Part::ErrorCode),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<Audio>(data);
}
