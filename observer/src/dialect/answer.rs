//! Answers that are one JSON document, and error bodies: scanned as they come, in constant memory. A dialect gives a
//! table of paths; everything else is here.

use std::borrow::Cow;

use super::json::scan::{Found, Scanner, Take, Want};
use super::{DeltaKind, Named, Usage, Utterance, error};
use crate::proto::ResponseHead;
use crate::proto::body::is_media;

/// What stands at a path of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Id,
    Model,
    /// Text of a known kind.
    Text(DeltaKind),
    /// Text of a block whose kind is told by `BlockType`, which may stand before or behind it.
    BlockText,
    BlockType,
    /// The end of the block.
    Block,
    /// Why the answer ended.
    Finish,
    /// The answer's state, which is why it ended where no `Finish` says better.
    Status,
    Tokens(Tokens),
    /// There is an error: a text or the like, and an object.
    Error,
    ErrorObject,
    ErrorType,
    ErrorCode,
    /// The same words beside `error`, not in it; they mean an error only where there is one.
    OuterType,
    OuterCode,
}

/// A token count, as the API means it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    Input,
    Output,
    Cached,
    CacheWrite,
    Reasoning,
}

/// A table of paths.
pub type Parts = &'static [Want<Part>];

/// A row of such a table.
#[must_use]
pub const fn at(path: &'static [&'static str], what: Part) -> Want<Part> {
    let take = match what {
        Part::Text(_) | Part::BlockText => Take::Chars,
        Part::Block | Part::ErrorObject => Take::Close,
        _ => Take::Value,
    };
    Want { path, take, what }
}

/// Error bodies of every API (status 4xx, 5xx).
static ERRORS: Parts = &[
    at(&["error", "type"], Part::ErrorType),
    at(&["error", "code"], Part::ErrorCode),
    at(&["error", "metadata", "error_type"], Part::OuterType),
    at(&["type"], Part::OuterType),
    at(&["error_type"], Part::OuterType),
    at(&["code"], Part::OuterCode),
];

/// One answer, as far as it came.
pub struct Answer {
    parts: Parts,
    /// Input tokens are reported without the cached ones.
    cache_apart: bool,
    scanner: Option<Box<Scanner<Part>>>,
    status: Option<u16>,
    /// The response claims to be JSON, so that anything else is a fault.
    json: bool,
    /// The body is sound or the like: nothing in it is read.
    media: bool,
    lost: bool,
    facts: Facts,
}

/// What is settled only at the end.
#[derive(Default)]
struct Facts {
    named: Named,
    block_type: Option<DeltaKind>,
    block_chars: Option<u64>,
    usage: Usage,
    finished: bool,
    status: Option<String>,
    error: bool,
    error_type: Option<String>,
    error_code: Option<String>,
    outer_type: Option<String>,
    outer_code: Option<String>,
}

impl Answer {
    #[must_use]
    pub fn new(parts: Parts, cache_apart: bool) -> Self {
        Self {
            parts,
            cache_apart,
            scanner: None,
            status: None,
            json: false,
            media: false,
            lost: false,
            facts: Facts::default(),
        }
    }

    pub fn response(&mut self, head: &ResponseHead) {
        self.status = Some(head.status);
        self.media = !self.failed() && head.content_type.as_deref().is_some_and(is_media);
        self.json = head.content_type.as_deref().is_some_and(|t| t.ends_with("/json") || t.ends_with("+json"));
    }

    /// A piece of the body.
    pub fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(Utterance<'_>)) {
        if self.media {
            return out(Utterance::Media { bytes: bytes.len() as u64 });
        }
        if self.lost {
            return;
        }
        let parts = if self.failed() { ERRORS } else { self.parts };
        let facts = &mut self.facts;
        let scanner = self.scanner.get_or_insert_with(|| Box::new(Scanner::new(parts)));
        scanner.push(bytes, &mut |part, found| facts.note(part, found, out));
    }

    /// Bytes are missing: what follows cannot be placed.
    pub fn gap(&mut self) {
        self.lost = true;
    }

    /// The exchange ended. `error_said`: the stream has told of an error already.
    pub fn end(&mut self, error_said: bool, out: &mut dyn FnMut(Utterance<'_>)) {
        let scanner = self.scanner.take();
        if let Some(reason) = scanner.as_ref().and_then(|s| s.bad()).filter(|_| self.json) {
            out(Utterance::Malformed(reason));
        }
        if (self.failed() || self.facts.error) && !error_said {
            out(Utterance::Error { kind: self.facts.error_kind().map(Cow::Borrowed) });
            return;
        }
        let complete = scanner.is_some_and(|s| s.complete()) && !self.lost;
        self.facts.settle(self.cache_apart, out);
        if complete && self.status.is_none_or(|status| (200..300).contains(&status)) {
            out(Utterance::End);
        }
    }

    #[must_use]
    pub fn held(&self) -> usize {
        self.scanner.as_ref().map_or(0, |s| size_of_val(&**s) + s.held())
    }

    fn failed(&self) -> bool {
        self.status.is_some_and(|status| status >= 400)
    }
}

impl Facts {
    fn note(&mut self, part: Part, found: Found<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        match (part, found) {
            (Part::Id, Found::Text(id)) => self.named.say(Some(id), None, out),
            (Part::Model, Found::Text(model)) => self.named.say(None, Some(model), out),
            (Part::Text(kind), Found::Chars(chars)) => out(Utterance::Whole { kind, chars }),
            (Part::BlockText, Found::Chars(chars)) => self.block_chars = Some(chars),
            (Part::BlockType, Found::Text(word)) => {
                self.block_type = word.starts_with("reasoning").then_some(DeltaKind::Reasoning);
            }
            (Part::Block, Found::Close) => self.block(out),
            (Part::Finish, Found::Text(reason)) => self.finish(reason, out),
            (Part::Status, Found::Text(status)) => self.status = Some(status.to_owned()),
            (Part::Tokens(which), Found::Number(number)) => *self.usage.count(which) = number.count(),
            _ => self.note_error(part, found),
        }
    }

    fn note_error(&mut self, part: Part, found: Found<'_>) {
        let word = match found {
            Found::Text(word) => word,
            Found::Number(number) => number.0,
            Found::Close | Found::Bool(true) => "error",
            _ => "",
        };
        let slot = match part {
            Part::Error | Part::ErrorObject => {
                self.error |= !word.is_empty();
                return;
            }
            Part::ErrorType => &mut self.error_type,
            Part::ErrorCode => &mut self.error_code,
            Part::OuterType => &mut self.outer_type,
            Part::OuterCode => &mut self.outer_code,
            _ => return,
        };
        *slot = Some(word.to_owned());
    }

    fn block(&mut self, out: &mut dyn FnMut(Utterance<'_>)) {
        let kind = self.block_type.take().unwrap_or(DeltaKind::Visible);
        if let Some(chars) = self.block_chars.take() {
            out(Utterance::Whole { kind, chars });
        }
    }

    fn finish(&mut self, reason: &str, out: &mut dyn FnMut(Utterance<'_>)) {
        self.finished = true;
        out(Utterance::Finish { reason: Cow::Borrowed(reason) });
    }

    fn settle(&mut self, cache_apart: bool, out: &mut dyn FnMut(Utterance<'_>)) {
        if self.usage != Usage::default() {
            out(Utterance::Usage(if cache_apart { self.usage.with_cache() } else { self.usage }));
        }
        if let Some(status) = self.status.take().filter(|_| !self.finished) {
            self.finish(&status, out);
        }
    }

    fn error_kind(&self) -> Option<&str> {
        let outer_type = self.outer_type.as_deref().filter(|word| *word != "error");
        error::kind(self.error_code.as_deref(), self.error_type.as_deref().or(outer_type))
            .or_else(|| error::kind(self.outer_code.as_deref(), outer_type))
    }
}

impl Usage {
    fn count(&mut self, which: Tokens) -> &mut Option<u64> {
        match which {
            Tokens::Input => &mut self.input,
            Tokens::Output => &mut self.output,
            Tokens::Cached => &mut self.cached,
            Tokens::CacheWrite => &mut self.cache_write,
            Tokens::Reasoning => &mut self.reasoning,
        }
    }

    /// For APIs that report input without what was read from or written to a cache.
    #[must_use]
    pub(super) fn with_cache(self) -> Self {
        let cache = self.cached.unwrap_or(0).saturating_add(self.cache_write.unwrap_or(0));
        Self { input: self.input.map(|input| input.saturating_add(cache)), ..self }
    }
}
