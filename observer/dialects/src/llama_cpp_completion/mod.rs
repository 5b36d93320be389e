//! llama.cpp's own endpoints: an event a piece, the last with `stop: true`, its times and counts.
//!
//! Endpoints: POST `…/completion`, `…/infill`. (Its OpenAI, Responses and Anthropic endpoints are those dialects.)
//! Source: llama.cpp's server (`server-task.cpp`, its README). Checked 2026-11.

use serde::Deserialize;

use super::answer::{AnswerPart, AnswerParts, ServerTime, TimeUnit, TokenCount, at};
use super::emit::{StartReporter, emit_error, emit_finish, emit_usage};
use super::error::ErrorMember;
use super::exchange::{DialectExchange, DialectRules};
use super::json::loose::{self, BoxedObject, LooseCount, LooseFlag, LooseNumber, LooseText};
use super::think::ThinkTags;
use super::{DeltaKind, DialectRow, ServerTimes, TokenUsage, Utterance, path_ends, provider};
use capture::proto::ExchangeEnd;

pub(super) static ROW: DialectRow = DialectRow {
    api: "llama_cpp.completion",
    operation: "text_completion",
    matches: |head| path_ends(head, &["/completion", "/infill"]),
    provider: |head| provider::name(head, "llama_cpp"),
    make: |head| Box::new(DialectExchange::<LlamaCppCompletion>::new(head)),
};

/// A stream of pieces.
#[derive(Debug, Default)]
pub struct LlamaCppCompletion {
    named: StartReporter,
    tags: ThinkTags,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamEvent<'a> {
    #[serde(borrow)]
    content: LooseText<'a>,
    stop: LooseFlag,
    #[serde(borrow)]
    stop_type: LooseText<'a>,
    #[serde(borrow)]
    model: LooseText<'a>,
    tokens_predicted: LooseCount,
    tokens_evaluated: LooseCount,
    timings: BoxedObject<Timings>,
    #[serde(borrow)]
    error: ErrorMember<'a>,
    /// Of an error that stands alone, as old builds send it (`error: {…}`).
    #[serde(borrow)]
    message: LooseText<'a>,
    #[serde(borrow, rename = "type")]
    class: LooseText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Timings {
    cache_n: LooseCount,
    prompt_ms: LooseNumber,
    predicted_ms: LooseNumber,
}

impl DialectRules for LlamaCppCompletion {
    const ANSWER: AnswerParts = ANSWER;

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let event = loose::read::<BoxedObject<StreamEvent<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        self.named.emit(None, event.model.word(), out);
        if let Some(text) = &event.content.0 {
            self.tags.emit(0, text, out);
        }
        if event.stop.0 {
            self.emit_last(&event, out);
        }
        emit_error(&event.error, out);
        if let (false, Some(_), Some(class)) = (event.error.present, event.message.word(), event.class.word()) {
            out(Utterance::Error { kind: super::error::kind(None, Some(class)).map(Into::into) });
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

impl LlamaCppCompletion {
    fn emit_last(&mut self, event: &StreamEvent<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        self.tags.finish(0, out);
        let timings = event.timings.0.as_deref();
        let usage = TokenUsage {
            input: event.tokens_evaluated.0,
            output: event.tokens_predicted.0,
            cached: timings.and_then(|timings| timings.cache_n.0),
            ..TokenUsage::default()
        };
        emit_usage(usage, out);
        let mut times = ServerTimes::default();
        times.took(ServerTime::Prompt, TimeUnit::Millis, timings.and_then(|timings| timings.prompt_ms.0));
        times.took(ServerTime::Generation, TimeUnit::Millis, timings.and_then(|timings| timings.predicted_ms.0));
        if times != ServerTimes::default() {
            out(Utterance::Took(times));
        }
        if let Some(reason) = event.stop_type.word() {
            emit_finish(reason, out);
        }
        out(Utterance::End);
    }
}

static ANSWER: AnswerParts = &[
    at(&["content"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["model"], AnswerPart::Model),
    at(&["stop_type"], AnswerPart::Finish),
    at(&["tokens_evaluated"], AnswerPart::Tokens(TokenCount::Input)),
    at(&["tokens_predicted"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["timings", "cache_n"], AnswerPart::Tokens(TokenCount::Cached)),
    at(&["timings", "prompt_ms"], AnswerPart::Took(ServerTime::Prompt, TimeUnit::Millis)),
    at(&["timings", "predicted_ms"], AnswerPart::Took(ServerTime::Generation, TimeUnit::Millis)),
    at(&["error"], AnswerPart::Error),
    at(&["error"], AnswerPart::ErrorObject),
    at(&["error", "type"], AnswerPart::ErrorType),
    at(&["error", "code"], AnswerPart::ErrorCode),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<LlamaCppCompletion>(data);
}
