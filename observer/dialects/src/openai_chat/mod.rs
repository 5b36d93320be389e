//! OpenAI Chat Completions, and everything that speaks like it: data-only events, `[DONE]` at the end.
//!
//! Endpoints: POST `…/chat/completions`, Mistral's `…/fim/completions` and `…/agents/completions`
//! (also on Vertex); POST `…/v1/completions` (older: text at `choices[].text`). Servers differ in
//! names, not in shape: what each adds is read where it stands, whoever sends it, because gateways
//! mix them. Source: the OpenAI API reference and the types of openai-python 2.54; deltas of
//! compatible servers from their own sources (vLLM, SGLang, TGI, llama.cpp, Groq, DeepSeek,
//! OpenRouter). Checked 2026-11.

mod quick;
mod types;

use std::borrow::Cow;

use self::quick::QuickChunk;
use self::types::{Choice, Chunk, Delta, Function};
use super::answer::{AnswerPart, AnswerParts, ServerTime, TimeUnit, TokenCount, TokenCounting, at};
use super::emit::{StartReporter, emit_text};
use super::exchange::{DialectExchange, DialectRules};
use super::json::loose;
use super::path::{self, PathPreset};
use super::think::ThinkTags;
use super::{DeltaKind, DialectRow, ProviderMark, ServerTimes, TokenUsage, Utterance, path_ends, provider};
use capture::proto::{ExchangeEnd, RequestHead};

pub(super) static ROW: DialectRow = DialectRow {
    api: "openai.chat",
    operation: "chat",
    matches: |head| {
        path_ends(head, &["/chat/completions", "/fim/completions", "/agents/completions"]) || on_vertex(head)
    },
    provider: |head| provider::name(head, "openai"),
    make: |head| Box::new(DialectExchange::<OpenAiChat>::new(head)),
};

/// Mistral's models on Vertex: its own API behind Google's address.
fn on_vertex(head: &RequestHead) -> bool {
    let raw =
        path::method(&head.path).is_some_and(|(_, verb)| matches!(verb.as_str(), "rawPredict" | "streamRawPredict"));
    raw && head.path.contains("/publishers/mistralai/")
}

/// The older endpoint: the same stream, with `text` for `delta.content`.
pub(super) static COMPLETIONS: DialectRow = DialectRow {
    api: "openai.completions",
    operation: "text_completion",
    matches: |head| {
        path_ends(head, &["/v1/completions", "/beta/completions"])
            || (path_ends(head, &["/completions"]) && head.path.contains("/deployments/"))
    },
    provider: |head| provider::name(head, "openai"),
    make: |head| Box::new(DialectExchange::<OpenAiChat>::new(head)),
};

/// Hosts whose content never holds reasoning between tags; any other server may run without a reasoning parser.
const TAGLESS: &[&str] = &["openai", "azure.ai.openai", "anthropic", "gcp.gemini", "gcp.vertex_ai", "x_ai", "cohere"];

/// A stream of chunks.
#[derive(Debug, Default)]
pub struct OpenAiChat {
    named: StartReporter,
    tags: ThinkTags,
    choices: ChoicesSeen,
    /// Reasoning came in a field of its own: what stands between tags is the same text once more.
    reasons: bool,
    /// Bytes are missing, an opening tag among them perhaps.
    holed: bool,
}

/// Choices of the stream and those that said why they ended, a bit each; beyond 64 the last bit stands for all.
#[derive(Debug, Default)]
struct ChoicesSeen {
    begun: u64,
    finished: u64,
}

impl ChoicesSeen {
    fn bit(index: u64) -> u64 {
        1 << index.min(63)
    }

    /// Every choice that began has said why it ended: many servers send no `[DONE]` behind that.
    fn all_finished(&self) -> bool {
        self.begun != 0 && self.begun == self.finished
    }
}

impl DialectRules for OpenAiChat {
    const ANSWER: AnswerParts = ANSWER;
    const COUNTS: TokenCounting = COUNTS;

    fn preset(head: &RequestHead) -> PathPreset {
        let model = if on_vertex(head) { path::method(&head.path).map(|(model, _)| model) } else { None };
        PathPreset { model, ..PathPreset::default() }
    }

    fn begin(&mut self, head: &RequestHead) {
        if provider::by_host(head).is_some_and(|host| TAGLESS.contains(&host)) {
            self.tags.disregard();
        }
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        if let Some(quick) = QuickChunk::read(data) {
            self.emit_quick(&quick, out);
            return Ok(());
        }
        self.read(data, out)
    }

    fn end(&mut self, how: ExchangeEnd, out: &mut dyn FnMut(Utterance<'_>)) {
        let again = self.reasons;
        self.tags.end(&mut |said| emit_unless_again(again, said, out));
        if how == ExchangeEnd::Complete && self.choices.all_finished() {
            out(Utterance::End);
        }
    }

    fn gap(&mut self) {
        self.tags.gap();
        self.holed = true;
    }

    fn held(&self) -> usize {
        self.tags.held()
    }
}

impl OpenAiChat {
    /// A chunk as nearly all are.
    fn emit_quick(&mut self, quick: &QuickChunk<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        let named = &mut self.named;
        named.emit(
            quick.id.flatten().filter(|id| !id.is_empty()),
            quick.model.flatten().filter(|name| !name.is_empty()),
            out,
        );
        for (mark, said) in [
            (ProviderMark::Fingerprint, quick.fingerprint),
            (ProviderMark::Tier, quick.tier),
            (ProviderMark::Upstream, quick.provider),
        ] {
            named.mark(mark, said.flatten().filter(|word| !word.is_empty()), out);
        }
        let index = quick.index.unwrap_or(0);
        self.choices.begun |= ChoicesSeen::bit(index);
        if let Some(text) = quick.content {
            self.emit_content(index, text, out);
        }
    }

    /// Any chunk.
    fn read(&mut self, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let chunk = loose::read::<loose::BoxedObject<Chunk<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        let groq = chunk.x_groq.0.as_deref();
        let groq_id = groq.and_then(|groq| groq.id.word());
        self.named.emit(chunk.id.word().or(groq_id), chunk.model.word(), out);
        self.emit_marks(&chunk, out);
        for choice in chunk.choices.items.iter().filter_map(|choice| choice.0.as_deref()) {
            self.emit_choice(choice, out);
        }
        emit_usage(&chunk, out);
        let errors = [Some(&chunk.error), groq.map(|groq| &groq.error)];
        for error in errors.into_iter().flatten().filter(|error| error.present).take(1) {
            out(Utterance::Error { kind: error.kind().map(Cow::Borrowed) });
        }
        if chunk.choices.cut {
            out(Utterance::Malformed("items_cap"));
        }
        Ok(())
    }

    fn emit_marks(&mut self, chunk: &Chunk<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        self.named.mark(ProviderMark::Fingerprint, chunk.system_fingerprint.word(), out);
        self.named.mark(ProviderMark::Tier, chunk.service_tier.word(), out);
        self.named.mark(ProviderMark::Upstream, chunk.provider.word(), out);
        if let Some(fallback) = &chunk.litellm_fallback.0 {
            self.named.mark(ProviderMark::Fallback, fallback.fallback_model.word(), out);
        }
    }

    fn emit_choice(&mut self, choice: &Choice<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        let index = choice.index.0.unwrap_or(0);
        self.choices.begun |= ChoicesSeen::bit(index);
        let delta = choice.delta.0.as_deref();
        // Together sends the same text under both names; SDKs show the delta's.
        let twice = delta.is_some_and(|delta| delta.content.says_something());
        if let Some(text) = choice.text.0.as_ref().filter(|_| !twice) {
            self.emit_content(index, text, out);
        }
        if let Some(delta) = delta {
            self.emit_delta(index, delta, out);
        }
        if let Some(reason) = choice.finish_reason.word() {
            self.choices.finished |= ChoicesSeen::bit(index);
            self.tags.finish(index, &mut |said| emit_unless_again(self.reasons, said, out));
            out(Utterance::Finish { reason: Cow::Borrowed(super::cap(reason)) });
        }
    }

    fn emit_delta(&mut self, index: u64, delta: &Delta<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        self.reasons |= delta.emit_reasoning(out);
        if self.holed && delta.content.begins_with(delta.reasoning_text()) {
            self.tags.opened(index);
        }
        delta.content.emit(DeltaKind::Visible, &mut |kind, text| match kind {
            DeltaKind::Visible => self.emit_content(index, text, out),
            kind => out(Utterance::Delta { kind, text: Cow::Borrowed(text) }),
        });
        emit_text(DeltaKind::Refusal, &delta.refusal, out);
        for call in delta.tool_calls.items.iter().filter_map(|call| call.0.as_deref()) {
            for function in [&call.function.0, &call.custom.0].into_iter().flatten() {
                emit_call(function, out);
            }
        }
        if let Some(function) = &delta.function_call.0 {
            emit_call(function, out);
        }
        if let Some(audio) = &delta.audio.0 {
            emit_text(DeltaKind::Audio, if audio.data.0.is_some() { &audio.data } else { &audio.transcript }, out);
        }
        if delta.tool_calls.cut {
            out(Utterance::Malformed("items_cap"));
        }
    }

    fn emit_content(&mut self, index: u64, text: &str, out: &mut dyn FnMut(Utterance<'_>)) {
        let again = self.reasons;
        self.tags.emit(index, text, &mut |said| emit_unless_again(again, said, out));
    }
}

/// MiniMax streams its reasoning between tags of the content and in a field, in the same chunks: it counts once.
fn emit_unless_again(again: bool, said: Utterance<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    if !(again && matches!(said, Utterance::Delta { kind: DeltaKind::Reasoning, .. })) {
        out(said);
    }
}

fn emit_usage(chunk: &Chunk<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    let groq = || chunk.x_groq.0.as_deref()?.usage.0.as_deref();
    // Moonshot's stand in the choice that ends.
    let moonshot = || chunk.choices.items.iter().find_map(|choice| choice.0.as_deref()?.usage.0.as_deref());
    let tokens = chunk.usage.0.as_deref().or_else(groq).or_else(moonshot);
    let usage = tokens.map(|tokens| tokens.usage(COUNTS)).unwrap_or_default();
    if usage != TokenUsage::default() {
        out(Utterance::Usage(usage));
    }
    let mut times = tokens.map(types::Tokens::times).unwrap_or_default();
    times.merge(&chunk.time_info.0.as_deref().map(types::Times::server).unwrap_or_default());
    times.merge(&chunk.timings.0.as_deref().map(types::Timings::server).unwrap_or_default());
    if times != ServerTimes::default() {
        out(Utterance::Took(times));
    }
}

/// Some servers (xAI, Gemini) report output without reasoning; their total tells.
const COUNTS: TokenCounting = TokenCounting { by_total: true, ..TokenCounting::INCLUSIVE };

/// The name comes once per call, with empty arguments or the first of them.
fn emit_call(function: &Function<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    if function.name.word().is_some() {
        emit_text(DeltaKind::Tool, &function.name, out);
    }
    if let Some(text) = function.arguments.text() {
        out(Utterance::Delta { kind: DeltaKind::Tool, text });
    }
    emit_text(DeltaKind::Tool, &function.input, out);
}

static ANSWER: AnswerParts = &[
    at(&["id"], AnswerPart::Id),
    at(&["model"], AnswerPart::Model),
    at(&["choices", "[]", "text"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["choices", "[]", "message", "content"], AnswerPart::Text(DeltaKind::Visible)),
    // Mistral's list of parts.
    at(&["choices", "[]", "message", "content", "[]", "text"], AnswerPart::Text(DeltaKind::Visible)),
    at(
        &["choices", "[]", "message", "content", "[]", "thinking", "[]", "text"],
        AnswerPart::Text(DeltaKind::Reasoning),
    ),
    at(&["choices", "[]", "message", "reasoning_content"], AnswerPart::Text(DeltaKind::Reasoning)),
    at(&["choices", "[]", "message", "reasoning"], AnswerPart::Text(DeltaKind::Reasoning)),
    // GitHub Copilot's name for it.
    at(&["choices", "[]", "message", "reasoning_text"], AnswerPart::Text(DeltaKind::Reasoning)),
    // Databricks' list of parts.
    at(&["choices", "[]", "message", "content", "[]", "summary", "[]", "text"], AnswerPart::Text(DeltaKind::Reasoning)),
    at(&["choices", "[]", "message", "refusal"], AnswerPart::Text(DeltaKind::Refusal)),
    at(&["choices", "[]", "message", "tool_calls", "[]", "function", "name"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "message", "tool_calls", "[]", "function", "arguments"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "message", "tool_calls", "[]", "custom", "name"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "message", "tool_calls", "[]", "custom", "input"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "message", "function_call", "name"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "message", "function_call", "arguments"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "finish_reason"], AnswerPart::Finish),
    at(&["usage", "prompt_tokens"], AnswerPart::Tokens(TokenCount::Input)),
    at(&["usage", "completion_tokens"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["usage", "prompt_tokens_details", "cached_tokens"], AnswerPart::Tokens(TokenCount::Cached)),
    at(&["usage", "prompt_tokens_details", "cache_write_tokens"], AnswerPart::Tokens(TokenCount::CacheWrite)),
    at(&["usage", "completion_tokens_details", "reasoning_tokens"], AnswerPart::Tokens(TokenCount::Reasoning)),
    at(&["usage", "prompt_tokens_details", "audio_tokens"], AnswerPart::Tokens(TokenCount::AudioInput)),
    at(&["usage", "completion_tokens_details", "audio_tokens"], AnswerPart::Tokens(TokenCount::AudioOutput)),
    at(&["usage", "prompt_cache_hit_tokens"], AnswerPart::Tokens(TokenCount::Cached)),
    // Moonshot's and Perplexity's, beside the sums.
    at(&["usage", "cached_tokens"], AnswerPart::Tokens(TokenCount::Cached)),
    at(&["usage", "reasoning_tokens"], AnswerPart::Tokens(TokenCount::Reasoning)),
    at(&["usage", "total_tokens"], AnswerPart::Tokens(TokenCount::Total)),
    at(&["usage", "queue_time"], AnswerPart::Took(ServerTime::Queue, TimeUnit::Seconds)),
    at(&["usage", "prompt_time"], AnswerPart::Took(ServerTime::Prompt, TimeUnit::Seconds)),
    at(&["usage", "completion_time"], AnswerPart::Took(ServerTime::Generation, TimeUnit::Seconds)),
    at(&["usage", "total_time"], AnswerPart::Took(ServerTime::Total, TimeUnit::Seconds)),
    at(&["time_info", "queue_time"], AnswerPart::Took(ServerTime::Queue, TimeUnit::Seconds)),
    at(&["time_info", "prompt_time"], AnswerPart::Took(ServerTime::Prompt, TimeUnit::Seconds)),
    at(&["time_info", "completion_time"], AnswerPart::Took(ServerTime::Generation, TimeUnit::Seconds)),
    at(&["time_info", "total_time"], AnswerPart::Took(ServerTime::Total, TimeUnit::Seconds)),
    at(&["timings", "prompt_ms"], AnswerPart::Took(ServerTime::Prompt, TimeUnit::Millis)),
    at(&["timings", "predicted_ms"], AnswerPart::Took(ServerTime::Generation, TimeUnit::Millis)),
    at(&["system_fingerprint"], AnswerPart::Mark(ProviderMark::Fingerprint)),
    at(&["service_tier"], AnswerPart::Mark(ProviderMark::Tier)),
    at(&["provider"], AnswerPart::Mark(ProviderMark::Upstream)),
    at(&["error"], AnswerPart::Error),
    at(&["error"], AnswerPart::ErrorObject),
    at(&["error", "type"], AnswerPart::ErrorType),
    at(&["error", "code"], AnswerPart::ErrorCode),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<OpenAiChat>(data);
}

#[cfg(test)]
mod quick_tests;
#[cfg(test)]
mod tests;
