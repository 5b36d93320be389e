//! Mistral's conversations and agents: typed events from `conversation.response.started` to
//! `conversation.response.done`.
//!
//! Endpoints: POST `…/v1/conversations`, `…/v1/conversations/ID`, `…/v1/conversations/ID/restart`,
//! on Mistral's hosts alone: OpenAI has other things at these paths. (Mistral's chat is
//! `openai_chat`.) Source: the conversation events of mistralai 3.7 (Python). Checked 2026-11.

use std::borrow::Cow;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use serde::Deserialize;

use super::answer::{AnswerPart, AnswerParts, TokenCount, at};
use super::content::LooseContent;
use super::emit::{StartReporter, emit_error, emit_text, emit_usage};
use super::error::{self, ErrorMember};
use super::exchange::{DialectExchange, DialectRules};
use super::json::loose::{self, BoxedObject, LooseCode, LooseCount, LooseText, RawJson};
use super::{DeltaKind, DialectRow, TokenUsage, Utterance, provider};
use capture::proto::RequestHead;

pub(super) static ROW: DialectRow = DialectRow {
    api: "mistral.conversations",
    operation: "chat",
    matches: is_conversation,
    provider: |head| provider::name(head, "mistral_ai"),
    make: |head| Box::new(DialectExchange::<MistralConversation>::new(head)),
};

fn is_conversation(head: &RequestHead) -> bool {
    let Some((_, rest)) = head.path.split_once("/v1/conversations") else { return false };
    let shape = match rest.trim_matches('/').split_once('/') {
        None => rest.is_empty() || rest.starts_with('/'),
        Some((_, action)) => action == "restart",
    };
    shape && provider::by_host(head) == Some("mistral_ai")
}

/// A stream of typed events.
#[derive(Debug, Default)]
pub struct MistralConversation {
    named: StartReporter,
    /// Hash of the tool call in progress: each of its pieces repeats its name.
    call: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    class: LooseText<'a>,
    #[serde(borrow)]
    conversation_id: LooseText<'a>,
    #[serde(borrow)]
    model: LooseText<'a>,
    #[serde(borrow)]
    content: LooseContent<'a>,
    #[serde(borrow)]
    id: LooseText<'a>,
    #[serde(borrow)]
    tool_call_id: LooseText<'a>,
    #[serde(borrow)]
    name: LooseText<'a>,
    #[serde(borrow)]
    arguments: RawJson<'a>,
    usage: BoxedObject<Counts>,
    #[serde(borrow)]
    code: LooseCode<'a>,
    #[serde(borrow)]
    error: ErrorMember<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    prompt_tokens: LooseCount,
    completion_tokens: LooseCount,
    /// What tools that Mistral runs put into the prompt.
    connector_tokens: LooseCount,
}

impl DialectRules for MistralConversation {
    const ANSWER: AnswerParts = ANSWER;

    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        out: &mut dyn FnMut(Utterance<'_>),
    ) -> Result<(), &'static str> {
        let mut spare = String::new();
        let event = loose::read::<BoxedObject<StreamEvent<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        self.named.emit(event.conversation_id.word(), event.model.word(), out);
        match event.class.word().or(name).unwrap_or("") {
            "message.output.delta" => event.content.emit(DeltaKind::Visible, &mut |kind, text| {
                out(Utterance::Delta { kind, text: Cow::Borrowed(text) });
            }),
            "function.call.delta" | "tool.execution.started" | "tool.execution.delta" => self.emit_call(&event, out),
            "conversation.response.done" => {
                let counts = event.usage.0.as_deref();
                let more = counts.and_then(|counts| counts.connector_tokens.0).unwrap_or(0);
                let usage = TokenUsage {
                    input: counts.and_then(|counts| counts.prompt_tokens.0).map(|input| input.saturating_add(more)),
                    output: counts.and_then(|counts| counts.completion_tokens.0),
                    ..TokenUsage::default()
                };
                emit_usage(usage, out);
                out(Utterance::End);
            }
            "conversation.response.error" => {
                out(Utterance::Error { kind: error::kind(event.code.0.as_deref(), None).map(Cow::Borrowed) });
            }
            _ => emit_error(&event.error, out),
        }
        Ok(())
    }
}

impl MistralConversation {
    fn emit_call(&mut self, event: &StreamEvent<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        let id = event.tool_call_id.word().or(event.id.word()).unwrap_or("");
        let hash = FixedState::default().hash_one(id) | 1;
        if std::mem::replace(&mut self.call, hash) != hash {
            emit_text(DeltaKind::Tool, &event.name, out);
        }
        if let Some(text) = event.arguments.text() {
            out(Utterance::Delta { kind: DeltaKind::Tool, text });
        }
    }
}

static ANSWER: AnswerParts = &[
    at(&["conversation_id"], AnswerPart::Id),
    at(&["outputs", "[]", "model"], AnswerPart::Model),
    at(&["outputs", "[]", "content"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["outputs", "[]", "content", "[]", "text"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["outputs", "[]", "content", "[]", "thinking", "[]", "text"], AnswerPart::Text(DeltaKind::Reasoning)),
    at(&["outputs", "[]", "name"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["outputs", "[]", "arguments"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["usage", "prompt_tokens"], AnswerPart::Tokens(TokenCount::Input)),
    at(&["usage", "connector_tokens"], AnswerPart::Tokens(TokenCount::MoreInput)),
    at(&["usage", "completion_tokens"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["error"], AnswerPart::Error),
    at(&["error"], AnswerPart::ErrorObject),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<MistralConversation>(data);
}
