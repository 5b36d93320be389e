//! OpenAI Responses: typed events, ended by the response's own last event.
//!
//! Endpoint: POST `…/v1/responses`, `…/openai/responses` (Azure), `…/codex/responses`.
//! Source: the OpenAI API reference and the types of openai-python 2.54. Checked 2026-11.

mod types;

use std::borrow::Cow;

use self::types::{Item, Response, StreamEvent};
use super::answer::{AnswerPart, AnswerParts, TokenCount, at};
use super::emit::StartReporter;
use super::exchange::{DialectExchange, DialectRules};
use super::json::loose;
use super::json::scan::JsonScanner;
use super::json::want::JsonMatch;
use super::{DeltaKind, DialectRow, ProviderMark, TokenUsage, Utterance, cap, error, path_ends, provider};

pub(super) static ROW: DialectRow = DialectRow {
    api: "openai.responses",
    operation: "chat",
    matches: |head| path_ends(head, &["/v1/responses", "/openai/responses", "/codex/responses"]),
    provider: |head| provider::name(head, "openai"),
    make: |head| Box::new(DialectExchange::<OpenAiResponses>::new(head)),
};

/// Event types that append output. Each has a `.done` twin that repeats the whole text: not listed,
/// so not counted twice. The last few are names of previews, still spoken by compatible servers.
const DELTAS: &[(&str, DeltaKind)] = &[
    ("response.output_text.delta", DeltaKind::Visible),
    ("response.function_call_arguments.delta", DeltaKind::Tool),
    ("response.reasoning_summary_text.delta", DeltaKind::Reasoning),
    ("response.reasoning_text.delta", DeltaKind::Reasoning),
    ("response.refusal.delta", DeltaKind::Refusal),
    ("response.custom_tool_call_input.delta", DeltaKind::Tool),
    ("response.mcp_call_arguments.delta", DeltaKind::Tool),
    ("response.code_interpreter_call_code.delta", DeltaKind::Tool),
    ("response.audio.delta", DeltaKind::Audio),
    ("response.audio.transcript.delta", DeltaKind::Audio),
    ("response.reasoning_summary.delta", DeltaKind::Reasoning),
    ("response.reasoning.delta", DeltaKind::Reasoning),
    ("response.mcp_call.arguments.delta", DeltaKind::Tool),
    ("response.code_interpreter_call.code.delta", DeltaKind::Tool),
];

/// A stream of typed events; each stands for itself.
#[derive(Debug, Default)]
pub struct OpenAiResponses {
    named: StartReporter,
}

impl DialectRules for OpenAiResponses {
    const ANSWER: AnswerParts = ANSWER;

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
        if let Some(response) = &event.response.0 {
            self.named.emit(response.id.word(), response.model.word(), out);
            self.named.mark(ProviderMark::Tier, response.service_tier.word(), out);
        }
        match class {
            "response.output_item.added" => {
                self.emit_sealed(event.item.0.as_deref(), out);
                emit_item(event.item.0.as_deref(), out);
            }
            "response.output_item.done" => self.emit_sealed(event.item.0.as_deref(), out),
            "response.completed" | "response.incomplete" | "response.failed" => {
                emit_last(class, &event.response.0.unwrap_or_default(), out);
            }
            "error" => {
                let kind = event.error.kind().or_else(|| error::kind(event.code.0.as_deref(), None));
                out(Utterance::Error { kind: kind.map(Cow::Borrowed) });
            }
            "keepalive" | "ping" => out(Utterance::KeepAlive),
            _ => emit_delta(class, &event, out),
        }
        Ok(())
    }

    /// The first and the last event echo instructions, tools and output, so they alone grow past any limit; what names
    /// them stands at their beginning. What they cost stands at their end, and stays unknown.
    fn beginning(&mut self, name: Option<&str>, data: &[u8], out: &mut dyn FnMut(Utterance<'_>)) {
        let mut class = name.map(|name| cap(name).to_owned());
        let named = &mut self.named;
        JsonScanner::new(BEGINNING).push(data, &mut |part, found| match (part, found) {
            (AnswerPart::Id, JsonMatch::Text(id)) => named.emit(Some(id), None, out),
            (AnswerPart::Model, JsonMatch::Text(model)) => named.emit(None, Some(model), out),
            (_, JsonMatch::Text(word)) => class = Some(word.to_owned()),
            _ => {}
        });
        if let Some(class @ ("response.completed" | "response.incomplete" | "response.failed")) = class.as_deref() {
            emit_last(class, &Response::default(), out);
        }
    }
}

impl OpenAiResponses {
    /// Reasoning for nobody but the provider, who gets it back with the next request.
    fn emit_sealed(&mut self, item: Option<&Item<'_>>, out: &mut dyn FnMut(Utterance<'_>)) {
        let sealed = item.and_then(|item| item.encrypted_content.word());
        self.named.mark(ProviderMark::Sealed, sealed.map(|_| "encrypted_content"), out);
    }
}

/// What is read of an event's beginning.
static BEGINNING: AnswerParts = &[
    at(&["type"], AnswerPart::BlockType),
    at(&["response", "id"], AnswerPart::Id),
    at(&["response", "model"], AnswerPart::Model),
];

fn emit_delta(class: &str, event: &StreamEvent<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    let kind = DELTAS.iter().find(|(name, _)| *name == class).map(|&(_, kind)| kind);
    match (kind, &event.delta.0) {
        (Some(kind), Some(text)) => out(Utterance::Delta { kind, text: Cow::Borrowed(text) }),
        // A gateway's error without a type of its own.
        (None, _) if event.error.present => out(Utterance::Error { kind: event.error.kind().map(Cow::Borrowed) }),
        _ => {}
    }
}

/// A tool call begins with its item; tools that the provider runs itself have no name but their type.
fn emit_item(item: Option<&Item<'_>>, out: &mut dyn FnMut(Utterance<'_>)) {
    let Some((item, class)) = item.and_then(|item| Some((item, item.class.word()?))) else { return };
    if class.ends_with("_call") {
        let name = item.name.word().unwrap_or(class);
        out(Utterance::Delta { kind: DeltaKind::Tool, text: Cow::Borrowed(name) });
    }
}

/// The last event: how it ended, and what it cost.
fn emit_last(class: &str, response: &Response<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    let usage = response.usage.0.as_deref().map(types::Tokens::usage).unwrap_or_default();
    if usage != TokenUsage::default() {
        out(Utterance::Usage(usage));
    }
    if class == "response.failed" {
        out(Utterance::Error { kind: response.error.kind().map(Cow::Borrowed) });
    } else {
        let status = response.status.word().or(class.strip_prefix("response.")).unwrap_or(class);
        let reason =
            response.incomplete_details.0.as_deref().and_then(|details| details.reason.word()).unwrap_or(status);
        out(Utterance::Finish { reason: Cow::Borrowed(cap(reason)) });
    }
    out(Utterance::End);
}

static ANSWER: AnswerParts = &[
    at(&["id"], AnswerPart::Id),
    at(&["model"], AnswerPart::Model),
    at(&["output", "[]", "content", "[]", "text"], AnswerPart::BlockText),
    at(&["output", "[]", "content", "[]", "type"], AnswerPart::BlockType),
    at(&["output", "[]", "content", "[]"], AnswerPart::Block),
    at(&["output", "[]", "content", "[]", "refusal"], AnswerPart::Text(DeltaKind::Refusal)),
    at(&["output", "[]", "summary", "[]", "text"], AnswerPart::Text(DeltaKind::Reasoning)),
    at(&["output", "[]", "encrypted_content"], AnswerPart::Sealed("encrypted_content")),
    at(&["output", "[]", "name"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["output", "[]", "arguments"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["output", "[]", "input"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["incomplete_details", "reason"], AnswerPart::Finish),
    at(&["status"], AnswerPart::Status),
    at(&["usage", "input_tokens"], AnswerPart::Tokens(TokenCount::Input)),
    at(&["usage", "output_tokens"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["usage", "input_tokens_details", "cached_tokens"], AnswerPart::Tokens(TokenCount::Cached)),
    at(&["usage", "input_tokens_details", "cache_write_tokens"], AnswerPart::Tokens(TokenCount::CacheWrite)),
    at(&["usage", "output_tokens_details", "reasoning_tokens"], AnswerPart::Tokens(TokenCount::Reasoning)),
    at(&["service_tier"], AnswerPart::Mark(ProviderMark::Tier)),
    at(&["error"], AnswerPart::Error),
    at(&["error"], AnswerPart::ErrorObject),
    at(&["error", "type"], AnswerPart::ErrorType),
    at(&["error", "code"], AnswerPart::ErrorCode),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<OpenAiResponses>(data);
}

#[cfg(test)]
mod tests;
