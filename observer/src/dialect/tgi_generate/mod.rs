//! Text Generation Inference's own endpoint: an event a token, the last with the whole text and the details.
//!
//! Endpoint: POST `…/generate_stream`. (`/generate`, which answers whole, is shared with SGLang: `sglang_generate`. Its
//! `/v1/chat/completions` is `openai_chat`.)
//! Source: TGI's router (`StreamResponse`, `Details`) and its API description. Checked 2026-11.

use std::borrow::Cow;

use serde::Deserialize;

use super::answer::{Part, Parts, Tokens, at};
use super::error;
use super::exchange::{Exchange, Speech, say_finish, say_usage};
use super::json::loose::{self, Code, Count, Flag, Object, Text};
use super::path::Preset;
use super::think::Tags;
use super::{DeltaKind, Row, Usage, Utterance, path_ends, provider};
use crate::proto::{End, RequestHead};

pub(super) static ROW: Row = Row {
    api: "tgi.generate",
    operation: "text_completion",
    matches: |head| path_ends(head, &["/generate_stream"]),
    provider: |head| provider::name(head, "tgi"),
    make: |head| Box::new(Exchange::<Generate>::new(head)),
};

/// A stream of tokens.
#[derive(Debug, Default)]
pub struct Generate {
    tags: Tags,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamEvent<'a> {
    #[serde(borrow)]
    token: Object<Token<'a>>,
    /// The whole text: only in the last event.
    #[serde(borrow)]
    generated_text: Text<'a>,
    #[serde(borrow)]
    details: Object<Details<'a>>,
    #[serde(borrow)]
    error: Text<'a>,
    #[serde(borrow)]
    error_type: Code<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Token<'a> {
    #[serde(borrow)]
    text: Text<'a>,
    /// A mark of the template, such as the end of the turn: nobody's text.
    special: Flag,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details<'a> {
    #[serde(borrow)]
    finish_reason: Text<'a>,
    generated_tokens: Count,
    input_length: Count,
}

impl Speech for Generate {
    const ANSWER: Parts = ANSWER;

    fn preset(_: &RequestHead) -> Preset {
        Preset { stream: Some(true), ..Preset::default() }
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let event = loose::read::<Object<StreamEvent<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        if let Some(text) = event.token.0.as_deref().filter(|token| !token.special.0).and_then(|t| t.text.0.as_deref())
        {
            self.tags.say(0, text, out);
        }
        if let Some(details) = &event.details.0 {
            let (input, output) = (details.input_length.0, details.generated_tokens.0);
            say_usage(Usage { input, output, ..Usage::default() }, out);
            if let Some(reason) = details.finish_reason.word() {
                self.tags.finish(0, out);
                say_finish(reason, out);
            }
        }
        if event.error.word().is_some() || event.error_type.0.is_some() {
            out(Utterance::Error { kind: error::kind(None, event.error_type.0.as_deref()).map(Cow::Borrowed) });
        } else if event.generated_text.0.is_some() {
            out(Utterance::End);
        }
        Ok(())
    }

    fn end(&mut self, _: End, out: &mut dyn FnMut(Utterance<'_>)) {
        self.tags.end(out);
    }

    fn gap(&mut self) {
        self.tags.gap();
    }
}

static ANSWER: Parts = &[
    at(&["generated_text"], Part::Text(DeltaKind::Visible)),
    at(&["details", "finish_reason"], Part::Finish),
    at(&["details", "generated_tokens"], Part::Tokens(Tokens::Output)),
    at(&["details", "input_length"], Part::Tokens(Tokens::Input)),
    at(&["error"], Part::Error),
    at(&["error_type"], Part::ErrorType),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<Generate>(data);
}
