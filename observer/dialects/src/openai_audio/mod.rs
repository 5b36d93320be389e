//! OpenAI's audio: speech as bytes or as events (`stream_format: "sse"`), transcriptions whole or as events.
//!
//! Endpoints: POST `…/audio/speech`; POST `…/audio/transcriptions`, `…/audio/translations` (forms).
//! Source: the OpenAI API reference and the types of openai-python 2.54. Checked 2026-11.

use std::borrow::Cow;

use serde::Deserialize;

use super::answer::{AnswerPart, AnswerParts, TokenCount as Told, at};
use super::emit::{emit_error, emit_text, emit_usage};
use super::error::ErrorMember;
use super::exchange::{DialectExchange, DialectRules};
use super::json::loose::{self, BoxedObject, LooseCount, LooseText};
use super::{DeltaKind, DialectRow, TokenUsage, Utterance, path_ends, provider};

pub(super) static SPEECH: DialectRow = DialectRow {
    api: "openai.speech",
    operation: "speech",
    matches: |head| path_ends(head, &["/audio/speech"]),
    provider: |head| provider::name(head, "openai"),
    make: |head| Box::new(DialectExchange::<OpenAiAudio>::new(head)),
};

pub(super) static TRANSCRIPTION: DialectRow = DialectRow {
    api: "openai.transcription",
    operation: "transcription",
    matches: |head| path_ends(head, &["/audio/transcriptions", "/audio/translations"]),
    provider: |head| provider::name(head, "openai"),
    make: |head| Box::new(DialectExchange::<OpenAiAudio>::new(head)),
};

/// A stream of typed events; each stands for itself. Sound that comes as bytes needs no interpreter.
#[derive(Debug, Default)]
pub struct OpenAiAudio;

#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    class: LooseText<'a>,
    /// Base64.
    #[serde(borrow)]
    audio: LooseText<'a>,
    #[serde(borrow)]
    delta: LooseText<'a>,
    usage: BoxedObject<Tokens>,
    #[serde(borrow)]
    error: ErrorMember<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tokens {
    input_tokens: LooseCount,
    output_tokens: LooseCount,
    input_token_details: BoxedObject<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    audio_tokens: LooseCount,
}

impl DialectRules for OpenAiAudio {
    const ANSWER: AnswerParts = ANSWER;

    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        out: &mut dyn FnMut(Utterance<'_>),
    ) -> Result<(), &'static str> {
        let mut spare = String::new();
        let event = loose::read::<BoxedObject<StreamEvent<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        match event.class.word().or(name).unwrap_or("") {
            "speech.audio.delta" => emit_text(DeltaKind::Audio, &event.audio, out),
            "transcript.text.delta" => emit_text(DeltaKind::Visible, &event.delta, out),
            // `transcript.text.done` repeats the whole text.
            "speech.audio.done" | "transcript.text.done" => {
                emit_usage(event.usage.0.as_deref().map(Tokens::usage).unwrap_or_default(), out);
                out(Utterance::End);
            }
            "error" => out(Utterance::Error { kind: event.error.kind().map(Cow::Borrowed) }),
            _ => emit_error(&event.error, out),
        }
        Ok(())
    }
}

impl Tokens {
    fn usage(&self) -> TokenUsage {
        TokenUsage {
            input: self.input_tokens.0,
            output: self.output_tokens.0,
            audio_input: self.input_token_details.0.as_deref().and_then(|details| details.audio_tokens.0),
            ..TokenUsage::default()
        }
    }
}

static ANSWER: AnswerParts = &[
    at(&["text"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["usage", "input_tokens"], AnswerPart::Tokens(Told::Input)),
    at(&["usage", "output_tokens"], AnswerPart::Tokens(Told::Output)),
    at(&["usage", "input_token_details", "audio_tokens"], AnswerPart::Tokens(Told::AudioInput)),
    at(&["error"], AnswerPart::Error),
    at(&["error"], AnswerPart::ErrorObject),
    at(&["error", "type"], AnswerPart::ErrorType),
    at(&["error", "code"], AnswerPart::ErrorCode),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<OpenAiAudio>(data);
}
