//! Cohere's chat, version 2: typed events from `message-start` to `message-end`, then `[DONE]`.
//!
//! Endpoint: POST `…/v2/chat`.
//! Source: the Cohere API reference and the types of cohere 7.3 (Python). Checked 2026-11.

mod types;

use std::borrow::Cow;

use self::types::{Delta, Message, StreamEvent};
use super::answer::{AnswerPart, AnswerParts, TokenCount, at};
use super::emit::{StartReporter, emit_call, emit_error, emit_finish, emit_text, emit_usage};
use super::exchange::{DialectExchange, DialectRules};
use super::json::loose;
use super::{DeltaKind, DialectRow, Utterance, path_ends, provider};
use capture::proto::ExchangeEnd;

pub(super) static ROW: DialectRow = DialectRow {
    api: "cohere.chat",
    operation: "chat",
    matches: |head| path_ends(head, &["/v2/chat"]),
    provider: |head| provider::name(head, "cohere"),
    make: |head| Box::new(DialectExchange::<CohereChat>::new(head)),
};

/// A stream of typed events.
#[derive(Debug, Default)]
pub struct CohereChat {
    named: StartReporter,
    finished: bool,
}

impl DialectRules for CohereChat {
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
        self.named.emit(event.id.word(), None, out);
        if let Some(delta) = &event.delta.0 {
            if let Some(message) = &delta.message.0 {
                emit_message(message, out);
            }
            if class == "message-end" {
                self.emit_end(delta, out);
            }
        }
        emit_error(&event.error, out);
        Ok(())
    }

    /// The marker is `[DONE]`; a stream without it is complete if it said that it is over.
    fn end(&mut self, how: ExchangeEnd, out: &mut dyn FnMut(Utterance<'_>)) {
        if how == ExchangeEnd::Complete && self.finished {
            out(Utterance::End);
        }
    }
}

impl CohereChat {
    fn emit_end(&mut self, delta: &Delta<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        self.finished = true;
        emit_usage(delta.usage.0.as_deref().map(types::Tokens::usage).unwrap_or_default(), out);
        let reason = delta.finish_reason.word();
        if let Some(reason) = reason {
            emit_finish(reason, out);
        }
        // Its texts are no words, so that the reason stands for them.
        if delta.error.present || matches!(reason, Some("ERROR" | "TIMEOUT")) {
            out(Utterance::Error { kind: delta.error.kind().or(reason).map(Cow::Borrowed) });
        }
    }
}

fn emit_message(message: &Message<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    // What the model means to do with its tools is no answer.
    emit_text(DeltaKind::Reasoning, &message.tool_plan, out);
    if let Some(piece) = &message.content.0 {
        let thought = &mut |kind, text: &str| out(Utterance::Delta { kind, text: Cow::Borrowed(text) });
        piece.thinking.emit(DeltaKind::Reasoning, thought);
        emit_text(DeltaKind::Visible, &piece.text, out);
    }
    if let Some(function) = message.tool_calls.0.as_deref().and_then(|call| call.function.0.as_deref()) {
        emit_call(&function.name, &function.arguments, out);
    }
}

static ANSWER: AnswerParts = &[
    at(&["id"], AnswerPart::Id),
    at(&["message", "content", "[]", "text"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["message", "content", "[]", "thinking"], AnswerPart::Text(DeltaKind::Reasoning)),
    at(&["message", "tool_plan"], AnswerPart::Text(DeltaKind::Reasoning)),
    at(&["message", "tool_calls", "[]", "function", "name"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["message", "tool_calls", "[]", "function", "arguments"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["finish_reason"], AnswerPart::Finish),
    at(&["usage", "tokens", "input_tokens"], AnswerPart::Tokens(TokenCount::Input)),
    at(&["usage", "tokens", "output_tokens"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["usage", "cached_tokens"], AnswerPart::Tokens(TokenCount::Cached)),
    at(&["error"], AnswerPart::Error),
    at(&["error"], AnswerPart::ErrorObject),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<CohereChat>(data);
}
