//! Ollama's own endpoints: JSON lines, the last with `done: true`, its counts and its times. Streaming is the default.
//!
//! Endpoints: POST `…/api/chat`, `…/api/generate`. (Its OpenAI, Responses and Anthropic endpoints are those dialects.)
//! Source: Ollama's API description and `api/types.go`. Checked 2026-11.

use serde::Deserialize;

use super::answer::{AnswerPart, AnswerParts, ServerTime, TimeUnit, TokenCount, at};
use super::emit::{StartReporter, emit_call, emit_error, emit_finish, emit_text, emit_usage};
use super::error::ErrorMember;
use super::exchange::{DialectExchange, DialectRules};
use super::json::loose::{
    self, BoxedObject, InlineObject, LooseCount, LooseFlag, LooseList, LooseNumber, LooseText, RawJson,
};
use super::path::PathPreset;
use super::think::ThinkTags;
use super::{
    DeltaKind, DialectRow, ProviderMark, RequestFacts, ServerTimes, TokenUsage, Utterance, path_ends, provider,
};
use capture::proto::{ExchangeEnd, RequestHead};

pub(super) static CHAT: DialectRow = DialectRow {
    api: "ollama.chat",
    operation: "chat",
    matches: |head| path_ends(head, &["/api/chat"]),
    provider: |head| provider::name(head, "ollama"),
    make: |head| Box::new(DialectExchange::<OllamaStream>::new(head)),
};

pub(super) static GENERATE: DialectRow = DialectRow {
    api: "ollama.generate",
    operation: "text_completion",
    matches: |head| path_ends(head, &["/api/generate"]),
    provider: |head| provider::name(head, "ollama"),
    make: |head| Box::new(DialectExchange::<OllamaStream>::new(head)),
};

/// A stream of lines.
#[derive(Debug, Default)]
pub struct OllamaStream {
    named: StartReporter,
    /// Builds and models without `think` send thoughts between tags.
    tags: ThinkTags,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Line<'a> {
    #[serde(borrow)]
    model: LooseText<'a>,
    /// The host that really answers, of a model in the cloud.
    #[serde(borrow)]
    remote_host: LooseText<'a>,
    #[serde(borrow)]
    message: InlineObject<Message<'a>>,
    /// Of `/api/generate`, as are the thoughts beside it.
    #[serde(borrow)]
    response: LooseText<'a>,
    #[serde(borrow)]
    thinking: LooseText<'a>,
    done: LooseFlag,
    #[serde(borrow)]
    done_reason: LooseText<'a>,
    prompt_eval_count: LooseCount,
    eval_count: LooseCount,
    total_duration: LooseNumber,
    load_duration: LooseNumber,
    prompt_eval_duration: LooseNumber,
    eval_duration: LooseNumber,
    #[serde(borrow)]
    error: ErrorMember<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    content: LooseText<'a>,
    #[serde(borrow)]
    thinking: LooseText<'a>,
    #[serde(borrow)]
    tool_calls: LooseList<BoxedObject<ToolCall<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ToolCall<'a> {
    #[serde(borrow)]
    function: BoxedObject<Function<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Function<'a> {
    #[serde(borrow)]
    name: LooseText<'a>,
    /// Whole, as an object.
    #[serde(borrow)]
    arguments: RawJson<'a>,
}

impl DialectRules for OllamaStream {
    const ANSWER: AnswerParts = ANSWER;

    fn preset(_: &RequestHead) -> PathPreset {
        PathPreset { stream_default: Some(true), ..PathPreset::default() }
    }

    /// Proxies relabel the lines as JSON.
    fn streams_json(&self, asked: &RequestFacts) -> bool {
        asked.stream == Some(true)
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let line = loose::read::<InlineObject<Line<'_>>>(data, &mut spare)?.0.unwrap_or_default().into_inner();
        self.named.emit(None, line.model.word(), out);
        self.named.mark(ProviderMark::Upstream, line.remote_host.word(), out);
        emit_text(DeltaKind::Reasoning, &line.thinking, out);
        if let Some(text) = &line.response.0 {
            self.tags.emit(0, text, out);
        }
        if let Some(message) = &line.message.0 {
            self.emit_message(message, out);
        }
        if line.done.0 {
            self.emit_last(&line, out);
        }
        emit_error(&line.error, out);
        Ok(())
    }

    fn end(&mut self, _: ExchangeEnd, out: &mut dyn FnMut(Utterance<'_>)) {
        self.tags.end(out);
    }

    fn gap(&mut self) {
        self.tags.gap();
    }
}

impl OllamaStream {
    fn emit_message(&mut self, message: &Message<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        emit_text(DeltaKind::Reasoning, &message.thinking, out);
        if let Some(text) = &message.content.0 {
            self.tags.emit(0, text, out);
        }
        let calls = message.tool_calls.items.iter().filter_map(|call| call.0.as_deref()?.function.0.as_deref());
        calls.for_each(|function| emit_call(&function.name, &function.arguments, out));
        if message.tool_calls.cut {
            out(Utterance::Malformed("items_cap"));
        }
    }

    fn emit_last(&mut self, line: &Line<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        self.tags.finish(0, out);
        emit_usage(
            TokenUsage { input: line.prompt_eval_count.0, output: line.eval_count.0, ..TokenUsage::default() },
            out,
        );
        let mut times = ServerTimes::default();
        times.took(ServerTime::Queue, TimeUnit::Nanos, line.load_duration.0);
        times.took(ServerTime::Prompt, TimeUnit::Nanos, line.prompt_eval_duration.0);
        times.took(ServerTime::Generation, TimeUnit::Nanos, line.eval_duration.0);
        times.took(ServerTime::Total, TimeUnit::Nanos, line.total_duration.0);
        if times != ServerTimes::default() {
            out(Utterance::Took(times));
        }
        if let Some(reason) = line.done_reason.word() {
            emit_finish(reason, out);
        }
        out(Utterance::End);
    }
}

static ANSWER: AnswerParts = &[
    at(&["model"], AnswerPart::Model),
    at(&["remote_host"], AnswerPart::Mark(ProviderMark::Upstream)),
    at(&["message", "content"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["message", "thinking"], AnswerPart::Text(DeltaKind::Reasoning)),
    // Arguments are an object here, so their text has no length of its own.
    at(&["message", "tool_calls", "[]", "function", "name"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["response"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["thinking"], AnswerPart::Text(DeltaKind::Reasoning)),
    at(&["done_reason"], AnswerPart::Finish),
    at(&["prompt_eval_count"], AnswerPart::Tokens(TokenCount::Input)),
    at(&["eval_count"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["load_duration"], AnswerPart::Took(ServerTime::Queue, TimeUnit::Nanos)),
    at(&["prompt_eval_duration"], AnswerPart::Took(ServerTime::Prompt, TimeUnit::Nanos)),
    at(&["eval_duration"], AnswerPart::Took(ServerTime::Generation, TimeUnit::Nanos)),
    at(&["total_duration"], AnswerPart::Took(ServerTime::Total, TimeUnit::Nanos)),
    at(&["error"], AnswerPart::Error),
    at(&["error"], AnswerPart::ErrorObject),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<OllamaStream>(data);
}
