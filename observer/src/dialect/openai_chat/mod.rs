//! OpenAI Chat Completions, and everything that speaks like it: data-only events, `[DONE]` at the end.
//!
//! Endpoints: POST `…/chat/completions`; POST `…/v1/completions` (older: text at `choices[].text`).
//! Source: the OpenAI API reference and the types of openai-python 2.54; deltas of compatible servers from their own
//! sources (vLLM, SGLang, TGI, llama.cpp, Groq, DeepSeek, OpenRouter). Checked 2026-11.

mod content;
mod think;
mod types;

use std::borrow::Cow;

use self::think::Think;
use self::types::{Choice, Chunk, Delta, Function};
use super::answer::{Counting, Part, Parts, Time, Tokens, Unit, at};
use super::exchange::{Exchange, Named, Speech};
use super::json::loose::{self, Text};
use super::{DeltaKind, Mark, Row, ServerTimes, Usage, Utterance, path_ends, provider};
use crate::limits;
use crate::proto::{End, RequestHead};

pub(super) static ROW: Row = Row {
    api: "openai.chat",
    operation: "chat",
    matches: |head| path_ends(head, &["/chat/completions"]),
    provider: |head| provider::name(head, "openai"),
    make: |head| Box::new(Exchange::<Chat>::new(head)),
};

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

/// Reasoning between tags, by choice.
#[derive(Debug, Default)]
struct Tags {
    off: bool,
    first: Think,
    /// Of the other choices.
    more: Vec<(u64, Think)>,
}

impl Speech for Chat {
    const ANSWER: Parts = ANSWER;
    const COUNTS: Counting = COUNTS;

    fn begin(&mut self, head: &RequestHead) {
        self.tags.off = provider::by_host(head).is_some_and(|host| TAGLESS.contains(&host));
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let chunk = loose::read::<loose::Object<Chunk<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        let groq = chunk.x_groq.0.as_deref();
        let groq_id = groq.and_then(|groq| groq.id.word());
        self.named.say(chunk.id.word().or(groq_id), chunk.model.word(), out);
        self.say_marks(&chunk, out);
        for choice in chunk.choices.items.iter().filter_map(|choice| choice.0.as_deref()) {
            self.tags.say_choice(choice, out);
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

    fn end(&mut self, _: End, out: &mut dyn FnMut(Utterance<'_>)) {
        let more = self.tags.more.iter_mut().map(|(_, think)| think);
        for think in std::iter::once(&mut self.tags.first).chain(more) {
            think.finish(&mut |kind, text| out(Utterance::Delta { kind, text: Cow::Borrowed(text) }));
        }
    }

    fn held(&self) -> usize {
        self.tags.more.capacity() * size_of::<(u64, Think)>()
    }
}

impl Chat {
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

impl Tags {
    fn say_choice(&mut self, choice: &Choice<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        let index = choice.index.0.unwrap_or(0);
        if let Some(text) = &choice.text.0 {
            self.visible(index, text, out);
        }
        if let Some(delta) = &choice.delta.0 {
            self.say_delta(index, delta, out);
        }
        if let Some(reason) = choice.finish_reason.word() {
            let say = &mut |kind, text: &str| out(Utterance::Delta { kind, text: Cow::Borrowed(text) });
            self.of(index).into_iter().for_each(|think| think.finish(say));
            out(Utterance::Finish { reason: Cow::Borrowed(super::cap(reason)) });
        }
    }

    fn say_delta(&mut self, index: u64, delta: &Delta<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        // Some servers send the same text under both names.
        let [one, other] = [&delta.reasoning_content, &delta.reasoning];
        say(DeltaKind::Reasoning, if one.word().is_some() || other.0.is_none() { one } else { other }, out);
        delta.content.say(DeltaKind::Visible, &mut |kind, text| match kind {
            DeltaKind::Visible => self.visible(index, text, out),
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

    /// Content of a choice. An empty one is told as it is.
    fn visible(&mut self, index: u64, text: &str, out: &mut dyn FnMut(Utterance<'_>)) {
        let think = if self.off { None } else { self.of(index) };
        match think {
            Some(think) if *think != Think::Off && !text.is_empty() => {
                think.push(text, &mut |kind, text| out(Utterance::Delta { kind, text: Cow::Borrowed(text) }));
            }
            _ => out(Utterance::Delta { kind: DeltaKind::Visible, text: Cow::Borrowed(text) }),
        }
    }

    /// The state of a choice; `None` past the cap, where content is taken as it is.
    fn of(&mut self, index: u64) -> Option<&mut Think> {
        if index == 0 {
            return Some(&mut self.first);
        }
        let at = self.more.iter().position(|(known, _)| *known == index).unwrap_or_else(|| {
            if self.more.len() < limits::EVENT_ITEMS {
                self.more.push((index, Think::default()));
            }
            self.more.len() - 1
        });
        self.more.get_mut(at).filter(|(known, _)| *known == index).map(|(_, think)| think)
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

fn say(kind: DeltaKind, text: &Text<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    if let Some(text) = &text.0 {
        out(Utterance::Delta { kind, text: Cow::Borrowed(text) });
    }
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
mod tests;
