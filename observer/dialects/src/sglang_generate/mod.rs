//! SGLang's own endpoint: each event repeats the text so far; `[DONE]` at the end. An answer that
//! comes whole may be TGI's, whose endpoint has the same path.
//!
//! Endpoint: POST `/generate`, without a prefix: the word is too common to be looked for under others.
//! Source: SGLang's `http_server` and `io_struct`, its native API description; TGI's router. Checked 2026-11.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use serde::Deserialize;

use super::answer::{AnswerPart, AnswerParts, TokenCount, at};
use super::emit::{StartReporter, emit_error, emit_finish, emit_usage};
use super::error::ErrorMember;
use super::exchange::{DialectExchange, DialectRules};
use super::json::loose::{self, BoxedObject, LooseCount, LooseText};
use super::think::ThinkTags;
use super::{DeltaKind, DialectRow, TokenUsage, Utterance, provider};
use capture::limits;
use capture::proto::{ExchangeEnd, RequestHead};

pub(super) static ROW: DialectRow = DialectRow {
    api: "sglang.generate",
    operation: "text_completion",
    matches: is_generate,
    provider: |head| provider::name(head, "sglang"),
    make: |head| Box::new(DialectExchange::<SglangGenerate>::new(head)),
};

fn is_generate(head: &RequestHead) -> bool {
    let json = head.header("content-type").is_some_and(|media| media.starts_with("application/json"));
    json && head.path.trim_end_matches('/') == "/generate"
}

/// A stream of texts that grow.
#[derive(Debug, Default)]
pub struct SglangGenerate {
    named: StartReporter,
    tags: ThinkTags,
    /// How far each answer of the request has come.
    answers: Vec<(u64, TextSoFar)>,
}

/// The text told so far, as its length and hash.
#[derive(Clone, Copy, Debug, Default)]
struct TextSoFar {
    bytes: usize,
    hash: u64,
    /// Events bring only what is new (`--stream-output`).
    pieces: bool,
    /// Bytes were lost: where the text stands is to be seen.
    unsure: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamEvent<'a> {
    index: LooseCount,
    #[serde(borrow)]
    text: LooseText<'a>,
    #[serde(borrow)]
    meta_info: BoxedObject<Meta<'a>>,
    #[serde(borrow)]
    error: ErrorMember<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta<'a> {
    #[serde(borrow)]
    id: LooseText<'a>,
    #[serde(borrow)]
    finish_reason: BoxedObject<Reason<'a>>,
    prompt_tokens: LooseCount,
    completion_tokens: LooseCount,
    cached_tokens: LooseCount,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reason<'a> {
    #[serde(borrow, rename = "type")]
    class: LooseText<'a>,
}

impl DialectRules for SglangGenerate {
    const ANSWER: AnswerParts = ANSWER;

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let event = loose::read::<BoxedObject<StreamEvent<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        let index = event.index.0.unwrap_or(0);
        let meta = event.meta_info.0.as_deref();
        self.named.emit(meta.and_then(|meta| meta.id.word()), None, out);
        if let Some(new) = event.text.0.as_deref().and_then(|text| self.told(index)?.advance(text)) {
            self.tags.emit(index, new, out);
        }
        if let Some(meta) = meta {
            let usage = TokenUsage {
                input: meta.prompt_tokens.0,
                output: meta.completion_tokens.0,
                cached: meta.cached_tokens.0,
                ..TokenUsage::default()
            };
            emit_usage(usage, out);
            if let Some(reason) = meta.finish_reason.0.as_deref().and_then(|reason| reason.class.word()) {
                self.tags.finish(index, out);
                emit_finish(reason, out);
            }
        }
        emit_error(&event.error, out);
        Ok(())
    }

    fn end(&mut self, _: ExchangeEnd, out: &mut dyn FnMut(Utterance<'_>)) {
        self.tags.end(out);
    }

    fn gap(&mut self) {
        self.tags.gap();
        self.answers.iter_mut().for_each(|(_, told)| told.unsure = true);
        if self.answers.is_empty() {
            self.answers.push((0, TextSoFar { unsure: true, ..TextSoFar::default() }));
        }
    }

    fn held(&self) -> usize {
        self.tags.held() + self.answers.capacity() * size_of::<(u64, TextSoFar)>()
    }
}

impl SglangGenerate {
    /// The state of one answer; `None` past the cap.
    fn told(&mut self, index: u64) -> Option<&mut TextSoFar> {
        let at = self.answers.iter().position(|(known, _)| *known == index);
        if at.is_none() && self.answers.len() < limits::EVENT_ITEMS {
            self.answers.push((index, TextSoFar::default()));
        }
        let at = at.unwrap_or_else(|| self.answers.len().saturating_sub(1));
        self.answers.get_mut(at).filter(|(known, _)| *known == index).map(|(_, told)| told)
    }
}

impl TextSoFar {
    /// What of `text` is new; `None` where bytes lost before it hide that.
    fn advance<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        if self.pieces {
            return Some(text);
        }
        let grown = text.split_at_checked(self.bytes).filter(|(old, _)| self.bytes == 0 || hash(old) == self.hash);
        let (bytes, unsure) = (self.bytes, std::mem::take(&mut self.unsure));
        (self.bytes, self.hash) = (text.len(), hash(text));
        match grown {
            _ if unsure => None,
            Some((_, new)) => Some(new),
            // The end of a text may be taken back: a character whose last bytes had not come.
            None if bytes > 0 && text.len() + 4 >= bytes && text.len() > 16 => {
                text.get(text.floor_char_boundary(bytes)..)
            }
            None => {
                self.pieces = true;
                Some(text)
            }
        }
    }
}

fn hash(text: &str) -> u64 {
    FixedState::default().hash_one(text)
}

static ANSWER: AnswerParts = &[
    at(&["text"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["meta_info", "id"], AnswerPart::Id),
    at(&["meta_info", "finish_reason", "type"], AnswerPart::Finish),
    at(&["meta_info", "prompt_tokens"], AnswerPart::Tokens(TokenCount::Input)),
    at(&["meta_info", "completion_tokens"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["meta_info", "cached_tokens"], AnswerPart::Tokens(TokenCount::Cached)),
    // TGI.
    at(&["generated_text"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["[]", "generated_text"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["details", "finish_reason"], AnswerPart::Finish),
    at(&["details", "generated_tokens"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["error"], AnswerPart::Error),
    at(&["error"], AnswerPart::ErrorObject),
    at(&["error", "type"], AnswerPart::ErrorType),
    at(&["error", "code"], AnswerPart::ErrorCode),
    at(&["error_type"], AnswerPart::ErrorType),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<SglangGenerate>(data);
}
