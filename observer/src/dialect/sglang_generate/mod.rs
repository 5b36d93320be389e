//! SGLang's own endpoint: each event repeats the text so far; `[DONE]` at the end. An answer that comes whole may be TGI's,
//! whose endpoint has the same path.
//!
//! Endpoint: POST `/generate`, without a prefix: the word is too common to be looked for under others.
//! Source: SGLang's `http_server` and `io_struct`, its native API description; TGI's router. Checked 2026-11.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use serde::Deserialize;

use super::answer::{Part, Parts, Tokens, at};
use super::error::Failure;
use super::exchange::{Exchange, Named, Speech, say_error, say_finish, say_usage};
use super::json::loose::{self, Count, Object, Text};
use super::think::Tags;
use super::{DeltaKind, Row, Usage, Utterance, provider};
use crate::limits;
use crate::proto::{End, RequestHead};

pub(super) static ROW: Row = Row {
    api: "sglang.generate",
    operation: "text_completion",
    matches: is_generate,
    provider: |head| provider::name(head, "sglang"),
    make: |head| Box::new(Exchange::<Generate>::new(head)),
};

fn is_generate(head: &RequestHead) -> bool {
    let json = head.header("content-type").is_some_and(|media| media.starts_with("application/json"));
    json && head.path.trim_end_matches('/') == "/generate"
}

/// A stream of texts that grow.
#[derive(Debug, Default)]
pub struct Generate {
    named: Named,
    tags: Tags,
    /// How far each answer of the request has come.
    answers: Vec<(u64, Told)>,
}

/// The text told so far, as its length and hash.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
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
    index: Count,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    meta_info: Object<Meta<'a>>,
    #[serde(borrow)]
    error: Failure<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    finish_reason: Object<Reason<'a>>,
    prompt_tokens: Count,
    completion_tokens: Count,
    cached_tokens: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reason<'a> {
    #[serde(borrow, rename = "type")]
    class: Text<'a>,
}

impl Speech for Generate {
    const ANSWER: Parts = ANSWER;

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let event = loose::read::<Object<StreamEvent<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        let index = event.index.0.unwrap_or(0);
        let meta = event.meta_info.0.as_deref();
        self.named.say(meta.and_then(|meta| meta.id.word()), None, out);
        if let Some(new) = event.text.0.as_deref().and_then(|text| self.told(index)?.advance(text)) {
            self.tags.say(index, new, out);
        }
        if let Some(meta) = meta {
            let usage = Usage {
                input: meta.prompt_tokens.0,
                output: meta.completion_tokens.0,
                cached: meta.cached_tokens.0,
                ..Usage::default()
            };
            say_usage(usage, out);
            if let Some(reason) = meta.finish_reason.0.as_deref().and_then(|reason| reason.class.word()) {
                self.tags.finish(index, out);
                say_finish(reason, out);
            }
        }
        say_error(&event.error, out);
        Ok(())
    }

    fn end(&mut self, _: End, out: &mut dyn FnMut(Utterance<'_>)) {
        self.tags.end(out);
    }

    fn gap(&mut self) {
        self.tags.gap();
        self.answers.iter_mut().for_each(|(_, told)| told.unsure = true);
        if self.answers.is_empty() {
            self.answers.push((0, Told { unsure: true, ..Told::default() }));
        }
    }

    fn held(&self) -> usize {
        self.tags.held() + self.answers.capacity() * size_of::<(u64, Told)>()
    }
}

impl Generate {
    /// The state of one answer; `None` past the cap.
    fn told(&mut self, index: u64) -> Option<&mut Told> {
        let at = self.answers.iter().position(|(known, _)| *known == index);
        if at.is_none() && self.answers.len() < limits::EVENT_ITEMS {
            self.answers.push((index, Told::default()));
        }
        let at = at.unwrap_or_else(|| self.answers.len().saturating_sub(1));
        self.answers.get_mut(at).filter(|(known, _)| *known == index).map(|(_, told)| told)
    }
}

impl Told {
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

static ANSWER: Parts = &[
    at(&["text"], Part::Text(DeltaKind::Visible)),
    at(&["meta_info", "id"], Part::Id),
    at(&["meta_info", "finish_reason", "type"], Part::Finish),
    at(&["meta_info", "prompt_tokens"], Part::Tokens(Tokens::Input)),
    at(&["meta_info", "completion_tokens"], Part::Tokens(Tokens::Output)),
    at(&["meta_info", "cached_tokens"], Part::Tokens(Tokens::Cached)),
    // TGI.
    at(&["generated_text"], Part::Text(DeltaKind::Visible)),
    at(&["[]", "generated_text"], Part::Text(DeltaKind::Visible)),
    at(&["details", "finish_reason"], Part::Finish),
    at(&["details", "generated_tokens"], Part::Tokens(Tokens::Output)),
    at(&["error"], Part::Error),
    at(&["error"], Part::ErrorObject),
    at(&["error", "type"], Part::ErrorType),
    at(&["error", "code"], Part::ErrorCode),
    at(&["error_type"], Part::ErrorType),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<Generate>(data);
}
