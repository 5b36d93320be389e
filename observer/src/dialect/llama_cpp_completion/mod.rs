//! llama.cpp's own endpoints: an event a piece, the last with `stop: true`, its times and counts.
//!
//! Endpoints: POST `…/completion`, `…/infill`. (Its OpenAI, Responses and Anthropic endpoints are those dialects.)
//! Source: llama.cpp's server (`server-task.cpp`, its README). Checked 2026-11.

use serde::Deserialize;

use super::answer::{Part, Parts, Time, Tokens, Unit, at};
use super::error::Failure;
use super::exchange::{Exchange, Named, Speech, say_error, say_finish, say_usage};
use super::json::loose::{self, Count, Flag, Object, Real, Text};
use super::think::Tags;
use super::{DeltaKind, Row, ServerTimes, Usage, Utterance, path_ends, provider};
use crate::proto::End;

pub(super) static ROW: Row = Row {
    api: "llama_cpp.completion",
    operation: "text_completion",
    matches: |head| path_ends(head, &["/completion", "/infill"]),
    provider: |head| provider::name(head, "llama_cpp"),
    make: |head| Box::new(Exchange::<Completion>::new(head)),
};

/// A stream of pieces.
#[derive(Debug, Default)]
pub struct Completion {
    named: Named,
    tags: Tags,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamEvent<'a> {
    #[serde(borrow)]
    content: Text<'a>,
    stop: Flag,
    #[serde(borrow)]
    stop_type: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    tokens_predicted: Count,
    tokens_evaluated: Count,
    timings: Object<Timings>,
    #[serde(borrow)]
    error: Failure<'a>,
    /// Of an error that stands alone, as old builds send it (`error: {…}`).
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow, rename = "type")]
    class: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Timings {
    cache_n: Count,
    prompt_ms: Real,
    predicted_ms: Real,
}

impl Speech for Completion {
    const ANSWER: Parts = ANSWER;

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let event = loose::read::<Object<StreamEvent<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        self.named.say(None, event.model.word(), out);
        if let Some(text) = &event.content.0 {
            self.tags.say(0, text, out);
        }
        if event.stop.0 {
            self.say_last(&event, out);
        }
        say_error(&event.error, out);
        if let (false, Some(_), Some(class)) = (event.error.present, event.message.word(), event.class.word()) {
            out(Utterance::Error { kind: super::error::kind(None, Some(class)).map(Into::into) });
        }
        Ok(())
    }

    fn end(&mut self, _: End, out: &mut dyn FnMut(Utterance<'_>)) {
        self.tags.end(out);
    }

    fn gap(&mut self) {
        self.tags.gap();
    }
}

impl Completion {
    fn say_last(&mut self, event: &StreamEvent<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        self.tags.finish(0, out);
        let timings = event.timings.0.as_deref();
        let usage = Usage {
            input: event.tokens_evaluated.0,
            output: event.tokens_predicted.0,
            cached: timings.and_then(|timings| timings.cache_n.0),
            ..Usage::default()
        };
        say_usage(usage, out);
        let mut times = ServerTimes::default();
        times.took(Time::Prompt, Unit::Millis, timings.and_then(|timings| timings.prompt_ms.0));
        times.took(Time::Generation, Unit::Millis, timings.and_then(|timings| timings.predicted_ms.0));
        if times != ServerTimes::default() {
            out(Utterance::Took(times));
        }
        if let Some(reason) = event.stop_type.word() {
            say_finish(reason, out);
        }
        out(Utterance::End);
    }
}

static ANSWER: Parts = &[
    at(&["content"], Part::Text(DeltaKind::Visible)),
    at(&["model"], Part::Model),
    at(&["stop_type"], Part::Finish),
    at(&["tokens_evaluated"], Part::Tokens(Tokens::Input)),
    at(&["tokens_predicted"], Part::Tokens(Tokens::Output)),
    at(&["timings", "cache_n"], Part::Tokens(Tokens::Cached)),
    at(&["timings", "prompt_ms"], Part::Took(Time::Prompt, Unit::Millis)),
    at(&["timings", "predicted_ms"], Part::Took(Time::Generation, Unit::Millis)),
    at(&["error"], Part::Error),
    at(&["error"], Part::ErrorObject),
    at(&["error", "type"], Part::ErrorType),
    at(&["error", "code"], Part::ErrorCode),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<Completion>(data);
}
