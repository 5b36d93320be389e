//! Cohere's chat, version 1: JSON lines from `stream-start` to `stream-end`, which repeats everything.
//!
//! Endpoint: POST `…/v1/chat`.
//! Source: the Cohere API reference and the types of cohere 7.3 (Python). Checked 2026-11.

mod types;

use std::borrow::Cow;

use self::types::{StreamEvent, ToolCall};
use super::answer::{AnswerPart, AnswerParts, TokenCount, at};
use super::emit::{StartReporter, emit_call, emit_finish, emit_text, emit_usage};
use super::exchange::{DialectExchange, DialectRules};
use super::json::loose;
use super::{DeltaKind, DialectRow, RequestFacts, Utterance, path_ends, provider};

pub(super) static ROW: DialectRow = DialectRow {
    api: "cohere.chat_v1",
    operation: "chat",
    matches: |head| path_ends(head, &["/v1/chat"]),
    provider: |head| provider::name(head, "cohere"),
    make: |head| Box::new(DialectExchange::<CohereChatV1>::new(head)),
};

/// A stream of typed lines.
#[derive(Debug, Default)]
pub struct CohereChatV1 {
    named: StartReporter,
    /// Tool calls came in pieces: whole ones that follow repeat them.
    pieces: bool,
}

impl DialectRules for CohereChatV1 {
    const ANSWER: AnswerParts = ANSWER;

    fn streams_json(&self, asked: &RequestFacts) -> bool {
        asked.stream == Some(true)
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let event = loose::read::<loose::BoxedObject<StreamEvent<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        match event.event_type.word().unwrap_or("") {
            "stream-start" => self.named.emit(event.generation_id.word(), None, out),
            "text-generation" => emit_text(DeltaKind::Visible, &event.text, out),
            "tool-calls-chunk" => {
                self.pieces = true;
                emit_text(DeltaKind::Reasoning, &event.text, out);
                emit_tool(event.tool_call_delta.0.as_deref(), out);
            }
            "tool-calls-generation" if !self.pieces => {
                emit_text(DeltaKind::Reasoning, &event.text, out);
                event.tool_calls.items.iter().for_each(|call| emit_tool(call.0.as_deref(), out));
            }
            "stream-end" => self.emit_end(&event, out),
            _ => {}
        }
        Ok(())
    }
}

impl CohereChatV1 {
    fn emit_end(&mut self, event: &StreamEvent<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        let response = event.response.0.as_deref();
        self.named.emit(response.and_then(|response| response.generation_id.word()), None, out);
        emit_usage(response.and_then(|r| r.meta.0.as_deref()).map(types::Meta::usage).unwrap_or_default(), out);
        let reason = event.finish_reason.word();
        if let Some(reason) = reason {
            emit_finish(reason, out);
        }
        if let Some(reason @ ("ERROR" | "ERROR_TOXIC" | "ERROR_LIMIT")) = reason {
            out(Utterance::Error { kind: Some(Cow::Borrowed(reason)) });
        }
        out(Utterance::End);
    }
}

fn emit_tool(call: Option<&ToolCall<'_>>, out: &mut dyn FnMut(Utterance<'_>)) {
    if let Some(call) = call {
        emit_text(DeltaKind::Reasoning, &call.text, out);
        emit_call(&call.name, &call.parameters, out);
    }
}

static ANSWER: AnswerParts = &[
    at(&["generation_id"], AnswerPart::Id),
    at(&["text"], AnswerPart::Text(DeltaKind::Visible)),
    // Parameters are an object here, so their text has no length of its own.
    at(&["tool_calls", "[]", "name"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["finish_reason"], AnswerPart::Finish),
    at(&["meta", "tokens", "input_tokens"], AnswerPart::Tokens(TokenCount::Input)),
    at(&["meta", "tokens", "output_tokens"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["meta", "cached_tokens"], AnswerPart::Tokens(TokenCount::Cached)),
    at(&["error"], AnswerPart::Error),
    at(&["error"], AnswerPart::ErrorObject),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<CohereChatV1>(data);
}
