//! Text Generation Inference's own endpoint: an event a token, the last with the whole text and the details.
//!
//! Endpoint: POST `…/generate_stream`. (`/generate`, which answers whole, is shared with SGLang: `sglang_generate`. Its
//! `/v1/chat/completions` is `openai_chat`.)
//! Source: TGI's router (`StreamResponse`, `Details`) and its API description. Checked 2026-11.

use std::borrow::Cow;

use serde::Deserialize;

use super::answer::{AnswerPart, AnswerParts, TokenCount, at};
use super::emit::{emit_finish, emit_usage};
use super::error;
use super::exchange::{DialectExchange, DialectRules};
use super::json::loose::{self, BoxedObject, LooseCode, LooseCount, LooseFlag, LooseText};
use super::path::PathPreset;
use super::think::ThinkTags;
use super::{DeltaKind, DialectRow, TokenUsage, Utterance, path_ends, provider};
use capture::proto::{ExchangeEnd, RequestHead};

pub(super) static ROW: DialectRow = DialectRow {
    api: "tgi.generate",
    operation: "text_completion",
    matches: |head| path_ends(head, &["/generate_stream"]),
    provider: |head| provider::name(head, "tgi"),
    make: |head| Box::new(DialectExchange::<TgiGenerate>::new(head)),
};

/// A stream of tokens.
#[derive(Debug, Default)]
pub struct TgiGenerate {
    tags: ThinkTags,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamEvent<'a> {
    #[serde(borrow)]
    token: BoxedObject<Token<'a>>,
    /// The whole text: only in the last event.
    #[serde(borrow)]
    generated_text: LooseText<'a>,
    #[serde(borrow)]
    details: BoxedObject<Details<'a>>,
    #[serde(borrow)]
    error: LooseText<'a>,
    #[serde(borrow)]
    error_type: LooseCode<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Token<'a> {
    #[serde(borrow)]
    text: LooseText<'a>,
    /// A mark of the template, such as the end of the turn: nobody's text.
    special: LooseFlag,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details<'a> {
    #[serde(borrow)]
    finish_reason: LooseText<'a>,
    generated_tokens: LooseCount,
    input_length: LooseCount,
}

impl DialectRules for TgiGenerate {
    const ANSWER: AnswerParts = ANSWER;

    fn preset(_: &RequestHead) -> PathPreset {
        PathPreset { stream: Some(true), ..PathPreset::default() }
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let event = loose::read::<BoxedObject<StreamEvent<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        if let Some(text) = event.token.0.as_deref().filter(|token| !token.special.0).and_then(|t| t.text.0.as_deref())
        {
            self.tags.emit(0, text, out);
        }
        if let Some(details) = &event.details.0 {
            let (input, output) = (details.input_length.0, details.generated_tokens.0);
            emit_usage(TokenUsage { input, output, ..TokenUsage::default() }, out);
            if let Some(reason) = details.finish_reason.word() {
                self.tags.finish(0, out);
                emit_finish(reason, out);
            }
        }
        if event.error.word().is_some() || event.error_type.0.is_some() {
            out(Utterance::Error { kind: error::kind(None, event.error_type.0.as_deref()).map(Cow::Borrowed) });
        } else if event.generated_text.0.is_some() {
            out(Utterance::End);
        }
        Ok(())
    }

    fn end(&mut self, _: ExchangeEnd, out: &mut dyn FnMut(Utterance<'_>)) {
        self.tags.end(out);
    }

    fn gap(&mut self) {
        self.tags.gap();
    }
}

static ANSWER: AnswerParts = &[
    at(&["generated_text"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["details", "finish_reason"], AnswerPart::Finish),
    at(&["details", "generated_tokens"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["details", "input_length"], AnswerPart::Tokens(TokenCount::Input)),
    at(&["error"], AnswerPart::Error),
    at(&["error_type"], AnswerPart::ErrorType),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<TgiGenerate>(data);
}
