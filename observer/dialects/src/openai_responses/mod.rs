//! OpenAI Responses: typed events, ended by the response's own last event.
//!
//! Endpoint: POST `…/v1/responses`, `…/openai/responses` (Azure), `…/codex/responses`.
//! Source: the OpenAI API reference and the types of openai-python 2.54. Checked 2026-11.

mod twins;
mod types;

use std::borrow::Cow;

use self::twins::{ItemKey, NAME, SaidInPieces};
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

/// Event types that append output. Each has a `.done` twin that repeats the whole text, or, of servers
/// that send no pieces, is the text. The last few are names of previews, still spoken by compatible servers.
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
    ("response.apply_patch_call_operation_diff.delta", DeltaKind::Tool),
];

/// Events that end the response.
const LAST: [&str; 4] = ["response.completed", "response.incomplete", "response.failed", "response.done"];

/// … and a turn, where many share a socket.
pub(super) const TURN_ENDS: [&str; 5] = {
    let [completed, incomplete, failed, done] = LAST;
    [completed, incomplete, failed, done, "error"]
};

/// A stream of typed events.
#[derive(Debug, Default)]
pub struct OpenAiResponses {
    named: StartReporter,
    pieces: SaidInPieces,
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
                self.emit_name(&event, out);
            }
            "response.output_item.done" => {
                self.emit_sealed(event.item.0.as_deref(), out);
                self.emit_name(&event, out);
                self.emit_whole_item(&event, out);
            }
            class if LAST.contains(&class) => emit_last(class, &event.response.0.unwrap_or_default(), out),
            "error" => {
                let kind = event.error.kind().or_else(|| error::kind(event.code.0.as_deref(), None));
                out(Utterance::Error { kind: kind.map(Cow::Borrowed) });
            }
            "keepalive" | "ping" => out(Utterance::KeepAlive),
            _ => self.emit_delta(class, &event, out),
        }
        Ok(())
    }

    fn gap(&mut self) {
        self.pieces.gap();
    }

    fn held(&self) -> usize {
        self.pieces.held()
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
        if let Some(class) = class.as_deref().filter(|class| LAST.contains(class)) {
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

    /// A piece of a text, or the whole of one that did not come in pieces.
    fn emit_delta(&mut self, class: &str, event: &StreamEvent<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        let key = ItemKey::of(event, None);
        if let Some((number, kind)) = delta_of(class) {
            if let Some(text) = &event.delta.0 {
                self.pieces.note(number, key);
                out(Utterance::Delta { kind, text: Cow::Borrowed(text) });
            }
        } else if let Some((number, kind)) = class.strip_suffix(".done").and_then(twin_of) {
            if let Some(text) = event.whole().filter(|_| !self.pieces.repeats(number, key)) {
                self.pieces.note(number, key);
                out(Utterance::Delta { kind, text: Cow::Borrowed(text) });
            }
        } else if event.error.present {
            // A gateway's error without a type of its own.
            out(Utterance::Error { kind: event.error.kind().map(Cow::Borrowed) });
        }
    }

    /// A tool call begins with its item; tools that the provider runs itself have no name but their type.
    fn emit_name(&mut self, event: &StreamEvent<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        let item = event.item.0.as_deref();
        let Some((item, class)) = item.and_then(|item| Some((item, item.class.word()?))) else { return };
        let (key, first) = (ItemKey::of(event, Some(item)), event.class.word() != Some("response.output_item.done"));
        if class.ends_with("_call") && (first || !self.pieces.repeats(NAME, key)) {
            self.pieces.note(NAME, key);
            let name = item.name.word().unwrap_or(class);
            out(Utterance::Delta { kind: DeltaKind::Tool, text: Cow::Borrowed(name) });
        }
    }

    /// An item that is told whole, and of which nothing was told before.
    fn emit_whole_item(&mut self, event: &StreamEvent<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        let Some(item) = event.item.0.as_deref() else { return };
        let key = ItemKey::of(event, Some(item));
        let class = item.class.word().unwrap_or_default();
        let text = item.arguments.word().or(item.input.word());
        let what = WHOLE.iter().find(|(of, _)| *of == class).and_then(|(_, what)| twin_of(what));
        if let Some((text, (number, kind))) =
            text.zip(what).filter(|(_, (number, _))| !self.pieces.repeats(*number, key))
        {
            self.pieces.note(number, key);
            out(Utterance::Delta { kind, text: Cow::Borrowed(text) });
        }
        let said = twin_of("response.output_text").is_none_or(|(number, _)| self.pieces.repeats(number, key));
        if class == "message" && !said {
            item.content.emit(DeltaKind::Visible, &mut |kind, text| {
                out(Utterance::Delta { kind, text: Cow::Borrowed(text) });
            });
        }
    }
}

/// Items that are calls, and what their arguments are called where they come in pieces.
const WHOLE: &[(&str, &str)] = &[
    ("function_call", "response.function_call_arguments"),
    ("custom_tool_call", "response.custom_tool_call_input"),
    ("mcp_call", "response.mcp_call_arguments"),
];

/// The number and kind of an event that appends.
fn delta_of(class: &str) -> Option<(usize, DeltaKind)> {
    DELTAS.iter().enumerate().find(|(_, (name, _))| *name == class).map(|(number, (_, kind))| (number, *kind))
}

/// … of the one whose text an event of this name, without its `.done`, has whole.
fn twin_of(what: &str) -> Option<(usize, DeltaKind)> {
    let is_it = |name: &str| name.strip_suffix(".delta") == Some(what);
    DELTAS.iter().enumerate().find(|(_, (name, _))| is_it(name)).map(|(number, (_, kind))| (number, *kind))
}

/// What is read of an event's beginning.
static BEGINNING: AnswerParts = &[
    at(&["type"], AnswerPart::BlockType),
    at(&["response", "id"], AnswerPart::Id),
    at(&["response", "model"], AnswerPart::Model),
];

/// The last event: how it ended, and what it cost.
fn emit_last(class: &str, response: &Response<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    let usage = response.usage.0.as_deref().map(types::Tokens::usage).unwrap_or_default();
    if usage != TokenUsage::default() {
        out(Utterance::Usage(usage));
    }
    if class == "response.failed" || response.status.word() == Some("failed") {
        out(Utterance::Error { kind: response.error.kind().map(Cow::Borrowed) });
    } else {
        // Some servers call their last event `response.done`, whatever became of it.
        let class = if class == "response.done" { "response.completed" } else { class };
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
