//! Answers that are one JSON document, and error bodies: scanned as they come, in constant memory. A dialect gives a
//! table of paths; everything else is here.

mod totals;

use std::borrow::Cow;

use super::json::scan::JsonScanner;
use super::json::want::{JsonExtract, JsonMatch, JsonQuery};
use super::{DeltaKind, ProviderMark, ServerTimes, StartReporter, TokenUsage, Utterance, error};
use capture::proto::ResponseHead;
use capture::proto::body::is_media;

/// What stands at a path of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerPart {
    Id,
    Model,
    /// Text of a known kind.
    Text(DeltaKind),
    /// Text of a block whose kind is told by `BlockType`, which may stand before or behind it.
    BlockText,
    BlockType,
    /// `true`: the block is reasoning.
    BlockThought,
    /// The end of the block.
    Block,
    /// Why the answer ended.
    Finish,
    /// The answer's state, which is why it ended where no `Finish` says better.
    Status,
    Tokens(TokenCount),
    /// Something that the provider says of itself.
    Mark(ProviderMark),
    /// Reasoning that only the provider can read, in a field of this name.
    Sealed(&'static str),
    /// The server's own times.
    Took(ServerTime, TimeUnit),
    /// There is an error: a text or the like, and an object.
    Error,
    ErrorObject,
    ErrorType,
    ErrorCode,
    /// The same words beside `error`, not in it; they mean an error only where there is one.
    OuterType,
    OuterCode,
    /// How long to wait, as Google writes it in an error's details (`34s`).
    RetryDelay,
    /// Which quota ran out.
    QuotaId,
}

/// A token count, as the API means it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenCount {
    Input,
    Output,
    Cached,
    CacheWrite,
    Reasoning,
    AudioInput,
    AudioOutput,
    /// More tokens of input, reported apart from it.
    MoreInput,
    /// Everything together.
    Total,
}

/// Which of a server's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerTime {
    Queue,
    Prompt,
    Generation,
    First,
    Total,
}

/// What a time is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeUnit {
    Seconds,
    Millis,
    Nanos,
}

/// How an API's token counts become ours, in which input includes cached tokens and output includes reasoning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenCounting {
    /// Input is reported without what was read from or written to a cache.
    pub cache_apart: bool,
    /// Output is reported without reasoning.
    pub reasoning_apart: bool,
    /// Some servers of this API report output without reasoning: those whose total says so.
    pub by_total: bool,
}

impl TokenCounting {
    /// As ours.
    pub(crate) const INCLUSIVE: TokenCounting =
        TokenCounting { cache_apart: false, reasoning_apart: false, by_total: false };

    /// Ours. `total`: everything together, where it was told.
    #[must_use]
    pub(crate) fn normal(self, usage: TokenUsage, total: Option<u64>) -> TokenUsage {
        let mut usage = if self.cache_apart { usage.with_cache() } else { usage };
        let reasoning = usage.reasoning.unwrap_or(0);
        let sum = |more: u64| {
            usage.input.zip(usage.output).map(|(input, output)| input.saturating_add(output).saturating_add(more))
        };
        let apart = self.by_total && total.is_some() && reasoning > 0 && sum(reasoning) == total;
        if self.reasoning_apart || apart {
            // Proto JSON leaves zeros out: an answer of thoughts alone has no count of its own.
            usage.output = match (usage.output, usage.reasoning) {
                (None, None) => None,
                (output, reasoning) => Some(output.unwrap_or(0).saturating_add(reasoning.unwrap_or(0))),
            };
        }
        usage
    }
}

/// A table of paths.
pub(crate) type AnswerParts = &'static [JsonQuery<AnswerPart>];

/// A row of such a table.
#[must_use]
pub(crate) const fn at(path: &'static [&'static str], what: AnswerPart) -> JsonQuery<AnswerPart> {
    let take = match what {
        AnswerPart::Text(_) | AnswerPart::BlockText | AnswerPart::Sealed(_) => JsonExtract::Chars,
        AnswerPart::Block | AnswerPart::ErrorObject => JsonExtract::Close,
        _ => JsonExtract::Value,
    };
    JsonQuery { path, take, what }
}

/// Error bodies of every API (status 4xx, 5xx).
static ERRORS: AnswerParts = &[
    at(&["error", "type"], AnswerPart::ErrorType),
    at(&["error", "code"], AnswerPart::ErrorCode),
    at(&["error", "metadata", "error_type"], AnswerPart::OuterType),
    at(&["type"], AnswerPart::OuterType),
    at(&["error_type"], AnswerPart::OuterType),
    at(&["code"], AnswerPart::OuterCode),
    // Google; where a stream was asked for, inside an array.
    at(&["error", "status"], AnswerPart::OuterType),
    at(&["[]", "error", "status"], AnswerPart::OuterType),
    at(&["[]", "error", "code"], AnswerPart::ErrorCode),
    at(&["error", "details", "[]", "retryDelay"], AnswerPart::RetryDelay),
    at(&["[]", "error", "details", "[]", "retryDelay"], AnswerPart::RetryDelay),
    at(&["error", "details", "[]", "violations", "[]", "quotaId"], AnswerPart::QuotaId),
    at(&["[]", "error", "details", "[]", "violations", "[]", "quotaId"], AnswerPart::QuotaId),
    // AWS, ElevenLabs, Deepgram.
    at(&["__type"], AnswerPart::OuterType),
    at(&["detail", "status"], AnswerPart::OuterType),
    at(&["err_code"], AnswerPart::OuterType),
];

/// One answer, as far as it came.
pub(crate) struct AnswerSoFar {
    parts: AnswerParts,
    counting: TokenCounting,
    scanner: Option<Box<JsonScanner<AnswerPart>>>,
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
    named: StartReporter,
    block_type: Option<DeltaKind>,
    block_chars: Option<u64>,
    usage: TokenUsage,
    more_input: Option<u64>,
    total: Option<u64>,
    times: ServerTimes,
    finished: bool,
    status: Option<String>,
    error: bool,
    error_type: Option<String>,
    error_code: Option<String>,
    outer_type: Option<String>,
    outer_code: Option<String>,
}

impl AnswerSoFar {
    #[must_use]
    pub(crate) fn new(parts: AnswerParts, counting: TokenCounting) -> Self {
        Self {
            parts,
            counting,
            scanner: None,
            status: None,
            json: false,
            media: false,
            lost: false,
            facts: Facts::default(),
        }
    }

    pub(crate) fn response(&mut self, head: &ResponseHead) {
        self.status = (head.status > 0).then_some(head.status);
        self.media = !self.failed() && head.content_type.as_deref().is_some_and(is_media);
        // `ThrottlingException:http://…`
        let word = head.header("x-amzn-errortype").and_then(|word| word.split(':').next());
        self.facts.outer_type = word.map(str::to_owned);
        self.json = head.content_type.as_deref().is_some_and(|t| t.ends_with("/json") || t.ends_with("+json"));
    }

    /// A piece of the body.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(Utterance<'_>)) {
        if self.media {
            return out(Utterance::Media { bytes: bytes.len() as u64 });
        }
        if self.lost {
            return;
        }
        let parts = if self.failed() { ERRORS } else { self.parts };
        let facts = &mut self.facts;
        let scanner = self.scanner.get_or_insert_with(|| Box::new(JsonScanner::new(parts)));
        scanner.push(bytes, &mut |part, found| facts.note(part, found, out));
    }

    /// Bytes are missing: what follows cannot be placed.
    pub(crate) fn gap(&mut self) {
        self.lost = true;
    }

    /// The exchange ended. `error_said`: the stream has told of an error already.
    pub(crate) fn end(&mut self, error_said: bool, out: &mut dyn FnMut(Utterance<'_>)) {
        let scanner = self.scanner.take();
        if let Some(reason) = scanner.as_ref().and_then(|s| s.bad()).filter(|_| self.json) {
            out(Utterance::Malformed(reason));
        }
        if (self.failed() || self.facts.error) && !error_said {
            out(Utterance::Error { kind: self.facts.error_kind().map(Cow::Borrowed) });
            return;
        }
        let complete = scanner.is_some_and(|s| s.complete()) && !self.lost;
        self.facts.settle(self.counting, out);
        if complete && self.status.is_none_or(|status| (200..300).contains(&status)) {
            out(Utterance::End);
        }
    }

    #[must_use]
    pub(crate) fn held(&self) -> usize {
        self.scanner.as_ref().map_or(0, |s| size_of_val(&**s) + s.held())
    }

    fn failed(&self) -> bool {
        self.status.is_some_and(|status| status >= 400)
    }
}

impl Facts {
    fn note(&mut self, part: AnswerPart, found: JsonMatch<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        match (part, found) {
            (AnswerPart::Id, JsonMatch::Text(id)) => self.named.emit(Some(id), None, out),
            (AnswerPart::Model, JsonMatch::Text(model)) => self.named.emit(None, Some(model), out),
            (AnswerPart::Text(kind), JsonMatch::Chars(chars)) => out(Utterance::Whole { kind, chars }),
            (AnswerPart::BlockText, JsonMatch::Chars(chars)) => self.block_chars = Some(chars),
            (AnswerPart::BlockType, JsonMatch::Text(word)) => {
                let reasons = word.starts_with("reasoning") || word == "thinking";
                self.block_type = reasons.then_some(DeltaKind::Reasoning);
            }
            (AnswerPart::BlockThought, JsonMatch::Bool(true)) => self.block_type = Some(DeltaKind::Reasoning),
            (AnswerPart::Block, JsonMatch::Close) => self.block(out),
            (AnswerPart::Finish, JsonMatch::Text(reason)) => self.finish(reason, out),
            (AnswerPart::Status, JsonMatch::Text(status)) => self.status = Some(status.to_owned()),
            (AnswerPart::Tokens(which), JsonMatch::Number(number)) => self.count(which, number.count()),
            (AnswerPart::Mark(what), JsonMatch::Text(value)) => self.named.mark(what, Some(value), out),
            (AnswerPart::Sealed(field), JsonMatch::Chars(1..)) => {
                self.named.mark(ProviderMark::Sealed, Some(field), out);
            }
            (AnswerPart::Took(which, unit), JsonMatch::Number(number)) => {
                self.times.took(which, unit, number.0.parse().ok());
            }
            (AnswerPart::RetryDelay, JsonMatch::Text(delay)) => {
                emit_limit("retry-after", delay.strip_suffix('s').unwrap_or(delay), out);
            }
            (AnswerPart::QuotaId, JsonMatch::Text(id)) => emit_limit("quota-id", id, out),
            _ => self.note_error(part, found),
        }
    }

    fn note_error(&mut self, part: AnswerPart, found: JsonMatch<'_>) {
        let word = match found {
            JsonMatch::Text(word) => word,
            JsonMatch::Number(number) => number.0,
            JsonMatch::Close | JsonMatch::Bool(true) => "error",
            _ => "",
        };
        let slot = match part {
            AnswerPart::Error | AnswerPart::ErrorObject => {
                self.error |= !word.is_empty();
                return;
            }
            AnswerPart::ErrorType => &mut self.error_type,
            AnswerPart::ErrorCode => &mut self.error_code,
            AnswerPart::OuterType => &mut self.outer_type,
            AnswerPart::OuterCode => &mut self.outer_code,
            _ => return,
        };
        // `com.amazonaws…#ThrottlingException`
        *slot = Some(word.rsplit_once('#').map_or(word, |(_, class)| class).to_owned());
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

    fn count(&mut self, which: TokenCount, count: Option<u64>) {
        match which {
            TokenCount::MoreInput => self.more_input = count,
            TokenCount::Total => self.total = count,
            _ => {
                if let Some(slot) = self.usage.slot(which) {
                    *slot = count;
                }
            }
        }
    }

    fn settle(&mut self, counting: TokenCounting, out: &mut dyn FnMut(Utterance<'_>)) {
        if let Some(more) = self.more_input {
            self.usage.input = Some(self.usage.input.unwrap_or(0).saturating_add(more));
        }
        if self.usage != TokenUsage::default() {
            out(Utterance::Usage(counting.normal(self.usage, self.total)));
        }
        if self.times != ServerTimes::default() {
            out(Utterance::Took(self.times));
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

fn emit_limit(name: &'static str, value: &str, out: &mut dyn FnMut(Utterance<'_>)) {
    out(Utterance::Limit { name: Cow::Borrowed(name), value: Cow::Borrowed(value) });
}
