//! Ollama's own endpoints: JSON lines, the last with `done: true`, its counts and its times. Streaming is the default.
//!
//! Endpoints: POST `…/api/chat`, `…/api/generate`. (Its OpenAI, Responses and Anthropic endpoints are those dialects.)
//! Source: Ollama's API description and `api/types.go`. Checked 2026-11.

use serde::Deserialize;

use super::answer::{Part, Parts, Time, Tokens, Unit, at};
use super::error::Failure;
use super::exchange::{Exchange, Named, Speech, say, say_call, say_error, say_finish, say_usage};
use super::json::loose::{self, Count, Flag, Inline, Json, List, Object, Real, Text};
use super::path::Preset;
use super::think::Tags;
use super::{DeltaKind, Mark, RequestFacts, Row, ServerTimes, Usage, Utterance, path_ends, provider};
use crate::proto::{End, RequestHead};

pub(super) static CHAT: Row = Row {
    api: "ollama.chat",
    operation: "chat",
    matches: |head| path_ends(head, &["/api/chat"]),
    provider: |head| provider::name(head, "ollama"),
    make: |head| Box::new(Exchange::<Ollama>::new(head)),
};

pub(super) static GENERATE: Row = Row {
    api: "ollama.generate",
    operation: "text_completion",
    matches: |head| path_ends(head, &["/api/generate"]),
    provider: |head| provider::name(head, "ollama"),
    make: |head| Box::new(Exchange::<Ollama>::new(head)),
};

/// A stream of lines.
#[derive(Debug, Default)]
pub struct Ollama {
    named: Named,
    /// Builds and models without `think` send thoughts between tags.
    tags: Tags,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Line<'a> {
    #[serde(borrow)]
    model: Text<'a>,
    /// The host that really answers, of a model in the cloud.
    #[serde(borrow)]
    remote_host: Text<'a>,
    #[serde(borrow)]
    message: Inline<Message<'a>>,
    /// Of `/api/generate`, as are the thoughts beside it.
    #[serde(borrow)]
    response: Text<'a>,
    #[serde(borrow)]
    thinking: Text<'a>,
    done: Flag,
    #[serde(borrow)]
    done_reason: Text<'a>,
    prompt_eval_count: Count,
    eval_count: Count,
    total_duration: Real,
    load_duration: Real,
    prompt_eval_duration: Real,
    eval_duration: Real,
    #[serde(borrow)]
    error: Failure<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    content: Text<'a>,
    #[serde(borrow)]
    thinking: Text<'a>,
    #[serde(borrow)]
    tool_calls: List<Object<ToolCall<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ToolCall<'a> {
    #[serde(borrow)]
    function: Object<Function<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Function<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    /// Whole, as an object.
    #[serde(borrow)]
    arguments: Json<'a>,
}

impl Speech for Ollama {
    const ANSWER: Parts = ANSWER;

    fn preset(_: &RequestHead) -> Preset {
        Preset { stream_default: Some(true), ..Preset::default() }
    }

    /// Proxies relabel the lines as JSON.
    fn streams_json(&self, asked: &RequestFacts) -> bool {
        asked.stream == Some(true)
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let line = loose::read::<Inline<Line<'_>>>(data, &mut spare)?.0.unwrap_or_default().into_inner();
        self.named.say(None, line.model.word(), out);
        self.named.mark(Mark::Upstream, line.remote_host.word(), out);
        say(DeltaKind::Reasoning, &line.thinking, out);
        if let Some(text) = &line.response.0 {
            self.tags.say(0, text, out);
        }
        if let Some(message) = &line.message.0 {
            self.say_message(message, out);
        }
        if line.done.0 {
            self.say_last(&line, out);
        }
        say_error(&line.error, out);
        Ok(())
    }

    fn end(&mut self, _: End, out: &mut dyn FnMut(Utterance<'_>)) {
        self.tags.end(out);
    }

    fn gap(&mut self) {
        self.tags.gap();
    }
}

impl Ollama {
    fn say_message(&mut self, message: &Message<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        say(DeltaKind::Reasoning, &message.thinking, out);
        if let Some(text) = &message.content.0 {
            self.tags.say(0, text, out);
        }
        let calls = message.tool_calls.items.iter().filter_map(|call| call.0.as_deref()?.function.0.as_deref());
        calls.for_each(|function| say_call(&function.name, &function.arguments, out));
        if message.tool_calls.cut {
            out(Utterance::Malformed("items_cap"));
        }
    }

    fn say_last(&mut self, line: &Line<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        self.tags.finish(0, out);
        say_usage(Usage { input: line.prompt_eval_count.0, output: line.eval_count.0, ..Usage::default() }, out);
        let mut times = ServerTimes::default();
        times.took(Time::Queue, Unit::Nanos, line.load_duration.0);
        times.took(Time::Prompt, Unit::Nanos, line.prompt_eval_duration.0);
        times.took(Time::Generation, Unit::Nanos, line.eval_duration.0);
        times.took(Time::Total, Unit::Nanos, line.total_duration.0);
        if times != ServerTimes::default() {
            out(Utterance::Took(times));
        }
        if let Some(reason) = line.done_reason.word() {
            say_finish(reason, out);
        }
        out(Utterance::End);
    }
}

static ANSWER: Parts = &[
    at(&["model"], Part::Model),
    at(&["remote_host"], Part::Mark(Mark::Upstream)),
    at(&["message", "content"], Part::Text(DeltaKind::Visible)),
    at(&["message", "thinking"], Part::Text(DeltaKind::Reasoning)),
    // Arguments are an object here, so their text has no length of its own.
    at(&["message", "tool_calls", "[]", "function", "name"], Part::Text(DeltaKind::Tool)),
    at(&["response"], Part::Text(DeltaKind::Visible)),
    at(&["thinking"], Part::Text(DeltaKind::Reasoning)),
    at(&["done_reason"], Part::Finish),
    at(&["prompt_eval_count"], Part::Tokens(Tokens::Input)),
    at(&["eval_count"], Part::Tokens(Tokens::Output)),
    at(&["load_duration"], Part::Took(Time::Queue, Unit::Nanos)),
    at(&["prompt_eval_duration"], Part::Took(Time::Prompt, Unit::Nanos)),
    at(&["eval_duration"], Part::Took(Time::Generation, Unit::Nanos)),
    at(&["total_duration"], Part::Took(Time::Total, Unit::Nanos)),
    at(&["error"], Part::Error),
    at(&["error"], Part::ErrorObject),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<Ollama>(data);
}
