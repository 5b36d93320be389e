//! Bedrock's Converse: the same events for every model, in AWS's event stream; whole as JSON.
//!
//! Endpoints: POST `…/model/MODEL/converse-stream`, `…/model/MODEL/converse`.
//! Source: the `bedrock-runtime` service model of botocore 1.44. Checked 2026-11.

mod types;

pub(super) use self::types::Payload;
use super::answer::{AnswerPart, AnswerParts, ServerTime, TimeUnit, TokenCount, TokenCounting, at};
use super::emit::{StartReporter, emit_call, emit_error, emit_finish, emit_text, emit_usage};
use super::exchange::{DialectExchange, DialectRules};
use super::finish::{self, FinishClass};
use super::json::loose;
use super::path::{self, PathPreset};
use super::{DeltaKind, DialectRow, ProviderMark, ServerTimes, Utterance, provider};
use capture::proto::{ExchangeEnd, RequestHead};

pub(super) static ROW: DialectRow = DialectRow {
    api: "bedrock.converse",
    operation: "chat",
    matches: |head| shape(head).is_some(),
    provider: |head| provider::name(head, "aws.bedrock"),
    make: |head| Box::new(DialectExchange::<BedrockConverse>::new(head)),
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
const COUNTS: TokenCounting = TokenCounting { cache_apart: true, ..TokenCounting::INCLUSIVE };

/// A stream of named events; `metadata` is the last.
#[derive(Debug, Default)]
pub struct BedrockConverse {
    named: StartReporter,
    stopped: bool,
}

impl DialectRules for BedrockConverse {
    const ANSWER: AnswerParts = ANSWER;
    const COUNTS: TokenCounting = COUNTS;

    fn preset(head: &RequestHead) -> PathPreset {
        let shape = shape(head);
        PathPreset {
            stream: shape.as_ref().map(|(_, stream)| *stream),
            model: shape.map(|(model, _)| model),
            ..PathPreset::default()
        }
    }

    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        out: &mut dyn FnMut(Utterance<'_>),
    ) -> Result<(), &'static str> {
        let mut spare = String::new();
        let payload =
            loose::read::<loose::InlineObject<Payload<'_>>>(data, &mut spare)?.0.unwrap_or_default().into_inner();
        self.emit(name.unwrap_or(""), &payload, out);
        Ok(())
    }

    /// Some models send no metadata.
    fn end(&mut self, how: ExchangeEnd, out: &mut dyn FnMut(Utterance<'_>)) {
        if how == ExchangeEnd::Complete && self.stopped {
            out(Utterance::End);
        }
    }
}

impl BedrockConverse {
    /// One event. Nova speaks the same inside InvokeModel.
    pub(super) fn emit(&mut self, class: &str, payload: &Payload<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        match class {
            "contentBlockStart" => {
                if let Some(tool) = payload.start.0.as_deref().and_then(|start| start.tool_use.0.as_deref()) {
                    emit_call(&tool.name, &tool.input, out);
                }
            }
            "contentBlockDelta" => {
                let Some(delta) = payload.delta.0.as_deref() else { return };
                if let Some(reasoning) = &delta.reasoning_content.0 {
                    let redacted = reasoning.redacted_content.word().map(|_| "redactedContent");
                    let sealed = redacted.or(reasoning.signature.word().map(|_| "signature"));
                    self.named.mark(ProviderMark::Sealed, sealed, out);
                    emit_text(DeltaKind::Reasoning, &reasoning.text, out);
                }
                emit_text(DeltaKind::Visible, &delta.text, out);
                if let Some(tool) = &delta.tool_use.0 {
                    emit_call(&tool.name, &tool.input, out);
                }
            }
            "messageStop" => self.emit_stop(payload.stop_reason.word().unwrap_or(""), out),
            "metadata" => self.emit_metadata(payload, out),
            _ => emit_error(&payload.error, out),
        }
    }

    fn emit_stop(&mut self, reason: &str, out: &mut dyn FnMut(Utterance<'_>)) {
        self.stopped = true;
        if finish::class(reason) == FinishClass::Refusal {
            self.named.mark(ProviderMark::Blocked, Some(reason), out);
        }
        if !reason.is_empty() {
            emit_finish(reason, out);
        }
    }

    fn emit_metadata(&mut self, payload: &Payload<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        emit_usage(payload.usage.0.as_deref().map(|tokens| tokens.usage(COUNTS)).unwrap_or_default(), out);
        let mut times = ServerTimes::default();
        times.took(
            ServerTime::Total,
            TimeUnit::Millis,
            payload.metrics.0.as_deref().and_then(|metrics| metrics.latency_ms.0),
        );
        if times != ServerTimes::default() {
            out(Utterance::Took(times));
        }
        self.named.mark(ProviderMark::Tier, payload.service_tier.0.as_deref().and_then(|tier| tier.class.word()), out);
        if self.stopped {
            out(Utterance::End);
        }
    }
}

static ANSWER: AnswerParts = &[
    at(&["output", "message", "content", "[]", "text"], AnswerPart::Text(DeltaKind::Visible)),
    at(
        &["output", "message", "content", "[]", "reasoningContent", "reasoningText", "text"],
        AnswerPart::Text(DeltaKind::Reasoning),
    ),
    at(
        &["output", "message", "content", "[]", "reasoningContent", "redactedContent"],
        AnswerPart::Sealed("redactedContent"),
    ),
    at(
        &["output", "message", "content", "[]", "reasoningContent", "reasoningText", "signature"],
        AnswerPart::Sealed("signature"),
    ),
    // Arguments (`input`) are an object here, so their text has no length of its own.
    at(&["output", "message", "content", "[]", "toolUse", "name"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["stopReason"], AnswerPart::Finish),
    at(&["usage", "inputTokens"], AnswerPart::Tokens(TokenCount::Input)),
    at(&["usage", "outputTokens"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["usage", "cacheReadInputTokens"], AnswerPart::Tokens(TokenCount::Cached)),
    at(&["usage", "cacheWriteInputTokens"], AnswerPart::Tokens(TokenCount::CacheWrite)),
    at(&["metrics", "latencyMs"], AnswerPart::Took(ServerTime::Total, TimeUnit::Millis)),
    at(&["serviceTier", "type"], AnswerPart::Mark(ProviderMark::Tier)),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<BedrockConverse>(data);
}
