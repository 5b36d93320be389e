//! OpenAI Chat Completions, and everything that speaks like it: data-only events, `[DONE]` at the end.
//!
//! Endpoints: POST `…/chat/completions`; POST `…/v1/completions` (older: text at `choices[].text`).
//! Source: the OpenAI API reference and the types of openai-python 2.54; deltas of compatible servers from their own
//! sources (vLLM, SGLang, TGI, llama.cpp, Groq, DeepSeek, OpenRouter). Checked 2026-11.

mod types;

use std::borrow::Cow;

use self::types::{Choice, Chunk, Delta, Function};
use super::answer::{Part, Parts, Tokens, at};
use super::exchange::{Exchange, Named, Speech};
use super::json::loose::{self, Text};
use super::{DeltaKind, Row, Usage, Utterance, path_ends, provider};

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

/// A stream of chunks; each stands for itself.
#[derive(Debug, Default)]
pub struct Chat {
    named: Named,
}

impl Speech for Chat {
    const ANSWER: Parts = ANSWER;

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let chunk = loose::read::<loose::Object<Chunk<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        let groq = chunk.x_groq.0.unwrap_or_default();
        self.named.say(chunk.id.word().or(groq.id.word()), chunk.model.word(), out);
        for choice in chunk.choices.items.iter().filter_map(|choice| choice.0.as_deref()) {
            say_choice(choice, out);
        }
        let usage = chunk.usage.0.or(groq.usage.0).map(|tokens| tokens.usage()).unwrap_or_default();
        if usage != Usage::default() {
            out(Utterance::Usage(usage));
        }
        for error in [&chunk.error, &groq.error].into_iter().filter(|error| error.present).take(1) {
            out(Utterance::Error { kind: error.kind().map(Cow::Borrowed) });
        }
        if chunk.choices.cut {
            out(Utterance::Malformed("items_cap"));
        }
        Ok(())
    }
}

fn say_choice(choice: &Choice<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    say(DeltaKind::Visible, &choice.text, out);
    if let Some(delta) = &choice.delta.0 {
        say_delta(delta, out);
    }
    if let Some(reason) = choice.finish_reason.word() {
        out(Utterance::Finish { reason: Cow::Borrowed(super::cap(reason)) });
    }
}

fn say_delta(delta: &Delta<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    // Some servers send the same text under both names.
    let [one, other] = [&delta.reasoning_content, &delta.reasoning];
    say(DeltaKind::Reasoning, if one.word().is_some() || other.0.is_none() { one } else { other }, out);
    say(DeltaKind::Visible, &delta.content, out);
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

/// The name comes once per call, with empty arguments or the first of them.
fn say_call(function: &Function<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    if function.name.word().is_some() {
        say(DeltaKind::Tool, &function.name, out);
    }
    say(DeltaKind::Tool, &function.arguments, out);
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
    at(&["choices", "[]", "message", "reasoning_content"], Part::Text(DeltaKind::Reasoning)),
    at(&["choices", "[]", "message", "reasoning"], Part::Text(DeltaKind::Reasoning)),
    at(&["choices", "[]", "message", "refusal"], Part::Text(DeltaKind::Refusal)),
    at(&["choices", "[]", "message", "tool_calls", "[]", "function", "name"], Part::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "message", "tool_calls", "[]", "function", "arguments"], Part::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "message", "function_call", "name"], Part::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "message", "function_call", "arguments"], Part::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "finish_reason"], Part::Finish),
    at(&["usage", "prompt_tokens"], Part::Tokens(Tokens::Input)),
    at(&["usage", "completion_tokens"], Part::Tokens(Tokens::Output)),
    at(&["usage", "prompt_tokens_details", "cached_tokens"], Part::Tokens(Tokens::Cached)),
    at(&["usage", "prompt_tokens_details", "cache_write_tokens"], Part::Tokens(Tokens::CacheWrite)),
    at(&["usage", "completion_tokens_details", "reasoning_tokens"], Part::Tokens(Tokens::Reasoning)),
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
