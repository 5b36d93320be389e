//! Mistral's conversations and agents: typed events from `conversation.response.started` to `conversation.response.done`.
//!
//! Endpoints: POST `…/v1/conversations`, `…/v1/conversations/ID`, `…/v1/conversations/ID/restart`, on Mistral's hosts alone:
//! OpenAI has other things at these paths. (Mistral's chat is `openai_chat`.)
//! Source: the conversation events of mistralai 3.7 (Python). Checked 2026-11.

use std::borrow::Cow;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use serde::Deserialize;

use super::answer::{Part, Parts, Tokens, at};
use super::content::Content;
use super::error::{self, Failure};
use super::exchange::{Exchange, Named, Speech, say, say_error, say_usage};
use super::json::loose::{self, Code, Count, Json, Object, Text};
use super::{DeltaKind, Row, Usage, Utterance, provider};
use crate::proto::RequestHead;

pub(super) static ROW: Row = Row {
    api: "mistral.conversations",
    operation: "chat",
    matches: is_conversation,
    provider: |head| provider::name(head, "mistral_ai"),
    make: |head| Box::new(Exchange::<Conversation>::new(head)),
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
pub struct Conversation {
    named: Named,
    /// Hash of the tool call in progress: each of its pieces repeats its name.
    call: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    class: Text<'a>,
    #[serde(borrow)]
    conversation_id: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    content: Content<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    tool_call_id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    arguments: Json<'a>,
    usage: Object<Counts>,
    #[serde(borrow)]
    code: Code<'a>,
    #[serde(borrow)]
    error: Failure<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    prompt_tokens: Count,
    completion_tokens: Count,
    /// What tools that Mistral runs put into the prompt.
    connector_tokens: Count,
}

impl Speech for Conversation {
    const ANSWER: Parts = ANSWER;

    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        out: &mut dyn FnMut(Utterance<'_>),
    ) -> Result<(), &'static str> {
        let mut spare = String::new();
        let event = loose::read::<Object<StreamEvent<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        self.named.say(event.conversation_id.word(), event.model.word(), out);
        match event.class.word().or(name).unwrap_or("") {
            "message.output.delta" => event.content.say(DeltaKind::Visible, &mut |kind, text| {
                out(Utterance::Delta { kind, text: Cow::Borrowed(text) });
            }),
            "function.call.delta" | "tool.execution.started" | "tool.execution.delta" => self.say_call(&event, out),
            "conversation.response.done" => {
                let counts = event.usage.0.as_deref();
                let more = counts.and_then(|counts| counts.connector_tokens.0).unwrap_or(0);
                let usage = Usage {
                    input: counts.and_then(|counts| counts.prompt_tokens.0).map(|input| input.saturating_add(more)),
                    output: counts.and_then(|counts| counts.completion_tokens.0),
                    ..Usage::default()
                };
                say_usage(usage, out);
                out(Utterance::End);
            }
            "conversation.response.error" => {
                out(Utterance::Error { kind: error::kind(event.code.0.as_deref(), None).map(Cow::Borrowed) });
            }
            _ => say_error(&event.error, out),
        }
        Ok(())
    }
}

impl Conversation {
    fn say_call(&mut self, event: &StreamEvent<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        let id = event.tool_call_id.word().or(event.id.word()).unwrap_or("");
        let hash = FixedState::default().hash_one(id) | 1;
        if std::mem::replace(&mut self.call, hash) != hash {
            say(DeltaKind::Tool, &event.name, out);
        }
        if let Some(text) = event.arguments.text() {
            out(Utterance::Delta { kind: DeltaKind::Tool, text });
        }
    }
}

static ANSWER: Parts = &[
    at(&["conversation_id"], Part::Id),
    at(&["outputs", "[]", "model"], Part::Model),
    at(&["outputs", "[]", "content"], Part::Text(DeltaKind::Visible)),
    at(&["outputs", "[]", "content", "[]", "text"], Part::Text(DeltaKind::Visible)),
    at(&["outputs", "[]", "content", "[]", "thinking", "[]", "text"], Part::Text(DeltaKind::Reasoning)),
    at(&["outputs", "[]", "name"], Part::Text(DeltaKind::Tool)),
    at(&["outputs", "[]", "arguments"], Part::Text(DeltaKind::Tool)),
    at(&["usage", "prompt_tokens"], Part::Tokens(Tokens::Input)),
    at(&["usage", "connector_tokens"], Part::Tokens(Tokens::MoreInput)),
    at(&["usage", "completion_tokens"], Part::Tokens(Tokens::Output)),
    at(&["error"], Part::Error),
    at(&["error"], Part::ErrorObject),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<Conversation>(data);
}
