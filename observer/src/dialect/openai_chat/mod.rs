//! OpenAI Chat Completions, and everything that speaks like it: data-only events, `[DONE]` at the end.
//!
//! Endpoints: POST `…/chat/completions`, Mistral's `…/fim/completions` and `…/agents/completions` (also on Vertex); POST
//! `…/v1/completions` (older: text at `choices[].text`). Servers differ in names, not in shape: what each adds is read where
//! it stands, whoever sends it, because gateways mix them.
//! Source: the OpenAI API reference and the types of openai-python 2.54; deltas of compatible servers from their own
//! sources (vLLM, SGLang, TGI, llama.cpp, Groq, DeepSeek, OpenRouter). Checked 2026-11.

mod quick;
mod types;

use std::borrow::Cow;

use self::quick::Quick;
use self::types::{Choice, Chunk, Delta, Function};
use super::answer::{Counting, Part, Parts, Time, Tokens, Unit, at};
use super::exchange::{Exchange, Named, Speech, say};
use super::json::loose;
use super::path::{self, Preset};
use super::think::Tags;
use super::{DeltaKind, Mark, Row, ServerTimes, Usage, Utterance, path_ends, provider};
use crate::proto::{End, RequestHead};

pub(super) static ROW: Row = Row {
    api: "openai.chat",
    operation: "chat",
    matches: |head| {
        path_ends(head, &["/chat/completions", "/fim/completions", "/agents/completions"]) || on_vertex(head)
    },
    provider: |head| provider::name(head, "openai"),
    make: |head| Box::new(Exchange::<Chat>::new(head)),
};

/// Mistral's models on Vertex: its own API behind Google's address.
fn on_vertex(head: &RequestHead) -> bool {
    let raw =
        path::method(&head.path).is_some_and(|(_, verb)| matches!(verb.as_str(), "rawPredict" | "streamRawPredict"));
    raw && head.path.contains("/publishers/mistralai/")
}

/// The older endpoint: the same stream, with `text` for `delta.content`.
pub(super) static COMPLETIONS: Row = Row {
    api: "openai.completions",
    operation: "text_completion",
    matches: |head| {
        path_ends(head, &["/v1/completions", "/beta/completions"])
            || (path_ends(head, &["/completions"]) && head.path.contains("/deployments/"))
    },
    provider: |head| provider::name(head, "openai"),
    make: |head| Box::new(Exchange::<Chat>::new(head)),
};

/// Hosts whose content never holds reasoning between tags; any other server may run without a reasoning parser.
const TAGLESS: &[&str] = &["openai", "azure.ai.openai", "anthropic", "gcp.gemini", "gcp.vertex_ai", "x_ai", "cohere"];

/// A stream of chunks.
#[derive(Debug, Default)]
pub struct Chat {
    named: Named,
    tags: Tags,
}

impl Speech for Chat {
    const ANSWER: Parts = ANSWER;
    const COUNTS: Counting = COUNTS;

    fn preset(head: &RequestHead) -> Preset {
        let model = if on_vertex(head) { path::method(&head.path).map(|(model, _)| model) } else { None };
        Preset { model, ..Preset::default() }
    }

    fn begin(&mut self, head: &RequestHead) {
        if provider::by_host(head).is_some_and(|host| TAGLESS.contains(&host)) {
            self.tags.disregard();
        }
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        if let Some(quick) = Quick::read(data) {
            self.say_quick(&quick, out);
            return Ok(());
        }
        self.read(data, out)
    }

    fn end(&mut self, _: End, out: &mut dyn FnMut(Utterance<'_>)) {
        self.tags.end(out);
    }

    fn gap(&mut self) {
        self.tags.gap();
    }

    fn held(&self) -> usize {
        self.tags.held()
    }
}

impl Chat {
    /// A chunk as nearly all are.
    fn say_quick(&mut self, quick: &Quick<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        let named = &mut self.named;
        named.say(
            quick.id.flatten().filter(|id| !id.is_empty()),
            quick.model.flatten().filter(|name| !name.is_empty()),
            out,
        );
        for (mark, said) in
            [(Mark::Fingerprint, quick.fingerprint), (Mark::Tier, quick.tier), (Mark::Upstream, quick.provider)]
        {
            named.mark(mark, said.flatten().filter(|word| !word.is_empty()), out);
        }
        if let Some(text) = quick.content {
            self.tags.say(quick.index.unwrap_or(0), text, out);
        }
    }

    /// Any chunk.
    fn read(&mut self, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let chunk = loose::read::<loose::Object<Chunk<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        let groq = chunk.x_groq.0.as_deref();
        let groq_id = groq.and_then(|groq| groq.id.word());
        self.named.say(chunk.id.word().or(groq_id), chunk.model.word(), out);
        self.say_marks(&chunk, out);
        for choice in chunk.choices.items.iter().filter_map(|choice| choice.0.as_deref()) {
            say_choice(&mut self.tags, choice, out);
        }
        say_usage(&chunk, out);
        let errors = [Some(&chunk.error), groq.map(|groq| &groq.error)];
        for error in errors.into_iter().flatten().filter(|error| error.present).take(1) {
            out(Utterance::Error { kind: error.kind().map(Cow::Borrowed) });
        }
        if chunk.choices.cut {
            out(Utterance::Malformed("items_cap"));
        }
        Ok(())
    }

    fn say_marks(&mut self, chunk: &Chunk<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        self.named.mark(Mark::Fingerprint, chunk.system_fingerprint.word(), out);
        self.named.mark(Mark::Tier, chunk.service_tier.word(), out);
        self.named.mark(Mark::Upstream, chunk.provider.word(), out);
        if let Some(fallback) = &chunk.litellm_fallback.0 {
            self.named.mark(Mark::Fallback, fallback.fallback_model.word(), out);
        }
    }
}

fn say_usage(chunk: &Chunk<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    let groq = || chunk.x_groq.0.as_deref()?.usage.0.as_deref();
    let tokens = chunk.usage.0.as_deref().or_else(groq);
    let usage = tokens.map(|tokens| tokens.usage(COUNTS)).unwrap_or_default();
    if usage != Usage::default() {
        out(Utterance::Usage(usage));
    }
    let mut times = tokens.map(types::Tokens::times).unwrap_or_default();
    times.merge(&chunk.time_info.0.as_deref().map(types::Times::server).unwrap_or_default());
    times.merge(&chunk.timings.0.as_deref().map(types::Timings::server).unwrap_or_default());
    if times != ServerTimes::default() {
        out(Utterance::Took(times));
    }
}

fn say_choice(tags: &mut Tags, choice: &Choice<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    let index = choice.index.0.unwrap_or(0);
    if let Some(text) = &choice.text.0 {
        tags.say(index, text, out);
    }
    if let Some(delta) = &choice.delta.0 {
        say_delta(tags, index, delta, out);
    }
    if let Some(reason) = choice.finish_reason.word() {
        tags.finish(index, out);
        out(Utterance::Finish { reason: Cow::Borrowed(super::cap(reason)) });
    }
}

fn say_delta(tags: &mut Tags, index: u64, delta: &Delta<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    // Some servers send the same text under both names.
    let [one, other] = [&delta.reasoning_content, &delta.reasoning];
    say(DeltaKind::Reasoning, if one.word().is_some() || other.0.is_none() { one } else { other }, out);
    delta.content.say(DeltaKind::Visible, &mut |kind, text| match kind {
        DeltaKind::Visible => tags.say(index, text, out),
        kind => out(Utterance::Delta { kind, text: Cow::Borrowed(text) }),
    });
    say(DeltaKind::Refusal, &delta.refusal, out);
    for call in delta.tool_calls.items.iter().filter_map(|call| call.0.as_deref()) {
        for function in [&call.function.0, &call.custom.0].into_iter().flatten() {
            say_call(function, out);
        }
    }
    if let Some(function) = &delta.function_call.0 {
        say_call(function, out);
    }
    if let Some(audio) = &delta.audio.0 {
        say(DeltaKind::Audio, if audio.data.0.is_some() { &audio.data } else { &audio.transcript }, out);
    }
    if delta.tool_calls.cut {
        out(Utterance::Malformed("items_cap"));
    }
}

/// Some servers (xAI, Gemini) report output without reasoning; their total tells.
const COUNTS: Counting = Counting { by_total: true, ..Counting::INCLUSIVE };

/// The name comes once per call, with empty arguments or the first of them.
fn say_call(function: &Function<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    if function.name.word().is_some() {
        say(DeltaKind::Tool, &function.name, out);
    }
    if let Some(text) = function.arguments.text() {
        out(Utterance::Delta { kind: DeltaKind::Tool, text });
    }
    say(DeltaKind::Tool, &function.input, out);
}

static ANSWER: Parts = &[
    at(&["id"], Part::Id),
    at(&["model"], Part::Model),
    at(&["choices", "[]", "text"], Part::Text(DeltaKind::Visible)),
    at(&["choices", "[]", "message", "content"], Part::Text(DeltaKind::Visible)),
    // Mistral's list of parts.
    at(&["choices", "[]", "message", "content", "[]", "text"], Part::Text(DeltaKind::Visible)),
    at(&["choices", "[]", "message", "content", "[]", "thinking", "[]", "text"], Part::Text(DeltaKind::Reasoning)),
    at(&["choices", "[]", "message", "reasoning_content"], Part::Text(DeltaKind::Reasoning)),
    at(&["choices", "[]", "message", "reasoning"], Part::Text(DeltaKind::Reasoning)),
    at(&["choices", "[]", "message", "refusal"], Part::Text(DeltaKind::Refusal)),
    at(&["choices", "[]", "message", "tool_calls", "[]", "function", "name"], Part::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "message", "tool_calls", "[]", "function", "arguments"], Part::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "message", "tool_calls", "[]", "custom", "name"], Part::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "message", "tool_calls", "[]", "custom", "input"], Part::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "message", "function_call", "name"], Part::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "message", "function_call", "arguments"], Part::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "finish_reason"], Part::Finish),
    at(&["usage", "prompt_tokens"], Part::Tokens(Tokens::Input)),
    at(&["usage", "completion_tokens"], Part::Tokens(Tokens::Output)),
    at(&["usage", "prompt_tokens_details", "cached_tokens"], Part::Tokens(Tokens::Cached)),
    at(&["usage", "prompt_tokens_details", "cache_write_tokens"], Part::Tokens(Tokens::CacheWrite)),
    at(&["usage", "completion_tokens_details", "reasoning_tokens"], Part::Tokens(Tokens::Reasoning)),
    at(&["usage", "prompt_tokens_details", "audio_tokens"], Part::Tokens(Tokens::AudioInput)),
    at(&["usage", "completion_tokens_details", "audio_tokens"], Part::Tokens(Tokens::AudioOutput)),
    at(&["usage", "prompt_cache_hit_tokens"], Part::Tokens(Tokens::Cached)),
    at(&["usage", "total_tokens"], Part::Tokens(Tokens::Total)),
    at(&["usage", "queue_time"], Part::Took(Time::Queue, Unit::Seconds)),
    at(&["usage", "prompt_time"], Part::Took(Time::Prompt, Unit::Seconds)),
    at(&["usage", "completion_time"], Part::Took(Time::Generation, Unit::Seconds)),
    at(&["usage", "total_time"], Part::Took(Time::Total, Unit::Seconds)),
    at(&["time_info", "queue_time"], Part::Took(Time::Queue, Unit::Seconds)),
    at(&["time_info", "prompt_time"], Part::Took(Time::Prompt, Unit::Seconds)),
    at(&["time_info", "completion_time"], Part::Took(Time::Generation, Unit::Seconds)),
    at(&["time_info", "total_time"], Part::Took(Time::Total, Unit::Seconds)),
    at(&["timings", "prompt_ms"], Part::Took(Time::Prompt, Unit::Millis)),
    at(&["timings", "predicted_ms"], Part::Took(Time::Generation, Unit::Millis)),
    at(&["system_fingerprint"], Part::Mark(Mark::Fingerprint)),
    at(&["service_tier"], Part::Mark(Mark::Tier)),
    at(&["provider"], Part::Mark(Mark::Upstream)),
    at(&["error"], Part::Error),
    at(&["error"], Part::ErrorObject),
    at(&["error", "type"], Part::ErrorType),
    at(&["error", "code"], Part::ErrorCode),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<Chat>(data);
}

#[cfg(test)]
mod quick_tests;
#[cfg(test)]
mod tests;
