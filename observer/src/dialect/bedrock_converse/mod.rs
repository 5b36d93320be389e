//! Bedrock's Converse: the same events for every model, in AWS's event stream; whole as JSON.
//!
//! Endpoints: POST `…/model/MODEL/converse-stream`, `…/model/MODEL/converse`.
//! Source: the `bedrock-runtime` service model of botocore 1.44. Checked 2026-11.

mod types;

pub(super) use self::types::Payload;
use super::answer::{Counting, Part, Parts, Time, Tokens, Unit, at};
use super::exchange::{Exchange, Named, Speech, say, say_call, say_error, say_finish, say_usage};
use super::finish::{self, Class};
use super::json::loose;
use super::path::{self, Preset};
use super::{DeltaKind, Mark, Row, ServerTimes, Utterance, provider};
use crate::proto::{End, RequestHead};

pub(super) static ROW: Row = Row {
    api: "bedrock.converse",
    operation: "chat",
    matches: |head| shape(head).is_some(),
    provider: |head| provider::name(head, "aws.bedrock"),
    make: |head| Box::new(Exchange::<Converse>::new(head)),
};

/// Model and whether the answer streams.
fn shape(head: &RequestHead) -> Option<(String, bool)> {
    match path::invocation(&head.path)? {
        (model, "converse-stream") => Some((model, true)),
        (model, "converse") => Some((model, false)),
        _ => None,
    }
}

/// Input is reported without the cache's.
const COUNTS: Counting = Counting { cache_apart: true, ..Counting::INCLUSIVE };

/// A stream of named events; `metadata` is the last.
#[derive(Debug, Default)]
pub struct Converse {
    named: Named,
    stopped: bool,
}

impl Speech for Converse {
    const ANSWER: Parts = ANSWER;
    const COUNTS: Counting = COUNTS;

    fn preset(head: &RequestHead) -> Preset {
        let shape = shape(head);
        Preset {
            stream: shape.as_ref().map(|(_, stream)| *stream),
            model: shape.map(|(model, _)| model),
            ..Preset::default()
        }
    }

    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        out: &mut dyn FnMut(Utterance<'_>),
    ) -> Result<(), &'static str> {
        let mut spare = String::new();
        let payload = loose::read::<loose::Inline<Payload<'_>>>(data, &mut spare)?.0.unwrap_or_default().into_inner();
        self.say(name.unwrap_or(""), &payload, out);
        Ok(())
    }

    /// Some models send no metadata.
    fn end(&mut self, how: End, out: &mut dyn FnMut(Utterance<'_>)) {
        if how == End::Complete && self.stopped {
            out(Utterance::End);
        }
    }
}

impl Converse {
    /// One event. Nova speaks the same inside InvokeModel.
    pub(super) fn say(&mut self, class: &str, payload: &Payload<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        match class {
            "contentBlockStart" => {
                if let Some(tool) = payload.start.0.as_deref().and_then(|start| start.tool_use.0.as_deref()) {
                    say_call(&tool.name, &tool.input, out);
                }
            }
            "contentBlockDelta" => {
                let Some(delta) = payload.delta.0.as_deref() else { return };
                if let Some(reasoning) = &delta.reasoning_content.0 {
                    let redacted = reasoning.redacted_content.word().map(|_| "redactedContent");
                    let sealed = redacted.or(reasoning.signature.word().map(|_| "signature"));
                    self.named.mark(Mark::Sealed, sealed, out);
                    say(DeltaKind::Reasoning, &reasoning.text, out);
                }
                say(DeltaKind::Visible, &delta.text, out);
                if let Some(tool) = &delta.tool_use.0 {
                    say_call(&tool.name, &tool.input, out);
                }
            }
            "messageStop" => self.say_stop(payload.stop_reason.word().unwrap_or(""), out),
            "metadata" => self.say_metadata(payload, out),
            _ => say_error(&payload.error, out),
        }
    }

    fn say_stop(&mut self, reason: &str, out: &mut dyn FnMut(Utterance<'_>)) {
        self.stopped = true;
        if finish::class(reason) == Class::Refusal {
            self.named.mark(Mark::Blocked, Some(reason), out);
        }
        if !reason.is_empty() {
            say_finish(reason, out);
        }
    }

    fn say_metadata(&mut self, payload: &Payload<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        say_usage(payload.usage.0.as_deref().map(|tokens| tokens.usage(COUNTS)).unwrap_or_default(), out);
        let mut times = ServerTimes::default();
        times.took(Time::Total, Unit::Millis, payload.metrics.0.as_deref().and_then(|metrics| metrics.latency_ms.0));
        if times != ServerTimes::default() {
            out(Utterance::Took(times));
        }
        self.named.mark(Mark::Tier, payload.service_tier.0.as_deref().and_then(|tier| tier.class.word()), out);
        if self.stopped {
            out(Utterance::End);
        }
    }
}

static ANSWER: Parts = &[
    at(&["output", "message", "content", "[]", "text"], Part::Text(DeltaKind::Visible)),
    at(
        &["output", "message", "content", "[]", "reasoningContent", "reasoningText", "text"],
        Part::Text(DeltaKind::Reasoning),
    ),
    at(&["output", "message", "content", "[]", "reasoningContent", "redactedContent"], Part::Sealed("redactedContent")),
    at(
        &["output", "message", "content", "[]", "reasoningContent", "reasoningText", "signature"],
        Part::Sealed("signature"),
    ),
    // Arguments (`input`) are an object here, so their text has no length of its own.
    at(&["output", "message", "content", "[]", "toolUse", "name"], Part::Text(DeltaKind::Tool)),
    at(&["stopReason"], Part::Finish),
    at(&["usage", "inputTokens"], Part::Tokens(Tokens::Input)),
    at(&["usage", "outputTokens"], Part::Tokens(Tokens::Output)),
    at(&["usage", "cacheReadInputTokens"], Part::Tokens(Tokens::Cached)),
    at(&["usage", "cacheWriteInputTokens"], Part::Tokens(Tokens::CacheWrite)),
    at(&["metrics", "latencyMs"], Part::Took(Time::Total, Unit::Millis)),
    at(&["serviceTier", "type"], Part::Mark(Mark::Tier)),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<Converse>(data);
}
