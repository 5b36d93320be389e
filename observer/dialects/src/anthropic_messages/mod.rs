//! Anthropic Messages: `message_start`, blocks with their deltas, `message_delta`, `message_stop`; `ping` anywhere.
//!
//! Endpoints: POST `…/v1/messages`, on Anthropic's own host, on clouds and on compatible servers; on Vertex POST
//! `…/publishers/anthropic/models/M:streamRawPredict` and `:rawPredict`. (On Bedrock's InvokeModel: `bedrock_invoke`.)
//! Source: the Anthropic API reference and the types of anthropic-python 2.12. Checked 2026-11.

mod types;

use std::borrow::Cow;

use self::types::{Block, Delta, StreamEvent};
use super::answer::{AnswerPart, AnswerParts, TokenCounting, at};
use super::emit::{StartReporter, emit_text};
use super::exchange::{DialectExchange, DialectRules};
use super::json::loose::{self, LooseText};
use super::path::{self, PathPreset};
use super::{DeltaKind, DialectRow, ProviderMark, TokenUsage, Utterance, answer, cap, path_ends, provider};
use capture::proto::{ExchangeEnd, RequestHead};

pub(super) static ROW: DialectRow = DialectRow {
    api: "anthropic.messages",
    operation: "chat",
    matches: |head| path_ends(head, &["/v1/messages"]) || on_vertex(head).is_some(),
    provider: |head| provider::name(head, "anthropic"),
    make: |head| Box::new(DialectExchange::<AnthropicMessages>::new(head)),
};

/// On Vertex: the model, and whether the method streams.
fn on_vertex(head: &RequestHead) -> Option<(String, bool)> {
    let (model, verb) = path::method(&head.path).filter(|_| head.path.contains("/publishers/anthropic/"))?;
    match verb.as_str() {
        "streamRawPredict" => Some((model, true)),
        "rawPredict" => Some((model, false)),
        _ => None,
    }
}

/// A stream of typed events.
#[derive(Debug, Default)]
pub struct AnthropicMessages {
    named: StartReporter,
    /// As reported so far, input without cache: later events override field by field.
    usage: TokenUsage,
    /// It said why it ended: some servers send no `message_stop` behind that.
    stopped: bool,
}

impl DialectRules for AnthropicMessages {
    const ANSWER: AnswerParts = ANSWER;
    const COUNTS: TokenCounting = TokenCounting { cache_apart: true, ..TokenCounting::INCLUSIVE };

    /// The body has its say: with `rawPredict` it may ask for a stream.
    fn preset(head: &RequestHead) -> PathPreset {
        let vertex = on_vertex(head);
        PathPreset {
            stream: vertex.as_ref().and_then(|(_, stream)| stream.then_some(true)),
            model: vertex.map(|(model, _)| model),
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
        let event =
            loose::read::<loose::InlineObject<StreamEvent<'_>>>(data, &mut spare)?.0.unwrap_or_default().into_inner();
        let class = event.class.word().or(name).unwrap_or("");
        match (class, event.delta.0, event.content_block.0) {
            ("content_block_delta", Some(delta), _) => {
                self.emit_sealed(delta.class.word(), &delta.signature, out);
                emit_delta(&delta, out);
            }
            ("content_block_start", _, Some(block)) => {
                self.emit_sealed(block.class.word(), &block.data, out);
                emit_block(&block, out);
                // Another model goes on with the answer.
                let taken = block.to.0.as_deref().and_then(|to| to.model.word());
                self.named.mark(ProviderMark::Fallback, taken.filter(|_| block.class.word() == Some("fallback")), out);
            }
            ("ping", ..) => out(Utterance::KeepAlive),
            ("message_start", ..) => {
                let message = event.message.0.unwrap_or_default();
                self.named.emit(message.id.word(), message.model.word(), out);
                // The output count is a placeholder here: a stream that breaks would seem to have cost one token.
                let tokens = message.usage.0.unwrap_or_default();
                self.named.mark(ProviderMark::Tier, tokens.service_tier.word(), out);
                self.count(&types::Tokens { output_tokens: loose::LooseCount::default(), ..*tokens }, out);
            }
            ("message_delta", delta, _) => {
                self.count(&event.usage.0.unwrap_or_default(), out);
                let details = delta.as_ref().and_then(|delta| delta.stop_details.0.as_deref());
                self.named.mark(ProviderMark::Blocked, details.and_then(|details| details.category.word()), out);
                if let Some(reason) = delta.as_ref().and_then(|delta| delta.stop_reason.word()) {
                    self.stopped = true;
                    out(Utterance::Finish { reason: Cow::Borrowed(cap(reason)) });
                }
            }
            ("message_stop", ..) => out(Utterance::End),
            ("error", ..) => out(Utterance::Error { kind: event.error.kind().map(Cow::Borrowed) }),
            _ if event.error.present => out(Utterance::Error { kind: event.error.kind().map(Cow::Borrowed) }),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, how: ExchangeEnd, out: &mut dyn FnMut(Utterance<'_>)) {
        if how == ExchangeEnd::Complete && self.stopped {
            out(Utterance::End);
        }
    }
}

impl AnthropicMessages {
    /// Thinking that nobody here can read: redacted, or omitted but for the signature that the
    /// provider checks it by (behind thinking that did come along there is one too).
    fn emit_sealed(&mut self, class: Option<&str>, sealed: &LooseText<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        let field = match class {
            Some("redacted_thinking") => "redacted_thinking",
            Some("signature_delta") => "signature",
            _ => return,
        };
        self.named.mark(ProviderMark::Sealed, sealed.word().map(|_| field), out);
    }

    /// Takes over the counts that are there and tells the sums.
    fn count(&mut self, new: &types::Tokens<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        let old = self.usage;
        self.usage = TokenUsage {
            input: new.input_tokens.0.or(old.input),
            output: new.output_tokens.0.or(old.output),
            cached: new.cache_read_input_tokens.0.or(old.cached),
            cache_write: new.cache_creation_input_tokens.0.or(old.cache_write),
            reasoning: new.output_tokens_details.0.as_deref().and_then(|d| d.thinking_tokens.0).or(old.reasoning),
            ..TokenUsage::default()
        };
        if self.usage != old {
            out(Utterance::Usage(self.usage.with_cache()));
        }
    }
}

fn emit_delta(delta: &Delta<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    match delta.class.word() {
        Some("text_delta") => emit_text(DeltaKind::Visible, &delta.text, out),
        Some("thinking_delta") => emit_text(DeltaKind::Reasoning, &delta.thinking, out),
        Some("input_json_delta") => emit_text(DeltaKind::Tool, &delta.partial_json, out),
        // Signatures and citations are no output.
        _ => {}
    }
}

/// A block begins: a tool's with its name; texts are empty here, but clients would count one that is not.
fn emit_block(block: &Block<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    let (kind, text) = match block.class.word() {
        Some(class) if class.ends_with("tool_use") => (DeltaKind::Tool, &block.name),
        Some("text") => (DeltaKind::Visible, &block.text),
        Some("thinking") => (DeltaKind::Reasoning, &block.thinking),
        _ => return,
    };
    if text.word().is_some() {
        emit_text(kind, text, out);
    }
}

static ANSWER: AnswerParts = &[
    at(&["id"], AnswerPart::Id),
    at(&["model"], AnswerPart::Model),
    at(&["content", "[]", "text"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["content", "[]", "thinking"], AnswerPart::Text(DeltaKind::Reasoning)),
    at(&["content", "[]", "data"], AnswerPart::Sealed("redacted_thinking")),
    at(&["content", "[]", "signature"], AnswerPart::Sealed("signature")),
    // Arguments (`input`) are an object here, so their text has no length of its own.
    at(&["content", "[]", "name"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["stop_reason"], AnswerPart::Finish),
    at(&["usage", "input_tokens"], AnswerPart::Tokens(answer::TokenCount::Input)),
    at(&["usage", "output_tokens"], AnswerPart::Tokens(answer::TokenCount::Output)),
    at(&["usage", "cache_read_input_tokens"], AnswerPart::Tokens(answer::TokenCount::Cached)),
    at(&["usage", "cache_creation_input_tokens"], AnswerPart::Tokens(answer::TokenCount::CacheWrite)),
    at(&["usage", "output_tokens_details", "thinking_tokens"], AnswerPart::Tokens(answer::TokenCount::Reasoning)),
    at(&["usage", "service_tier"], AnswerPart::Mark(ProviderMark::Tier)),
    at(&["stop_details", "category"], AnswerPart::Mark(ProviderMark::Blocked)),
    at(&["error"], AnswerPart::Error),
    at(&["error"], AnswerPart::ErrorObject),
    at(&["error", "type"], AnswerPart::ErrorType),
    at(&["error", "code"], AnswerPart::ErrorCode),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<AnthropicMessages>(data);
}

#[cfg(test)]
mod tests;
