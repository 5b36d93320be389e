//! Bedrock's InvokeModel: each vendor's own events, base64 inside AWS's event stream; whole as the vendor's own JSON.
//!
//! Endpoints: POST `…/model/MODEL/invoke-with-response-stream`, `…/model/MODEL/invoke`. Which vendor speaks is told by what
//! comes, not by the model: profiles and ARNs do not name it.
//! Source: the `bedrock-runtime` service model of botocore 1.44, AWS's descriptions of the models' bodies. Checked 2026-11.

mod base64;
mod vendors;

use serde::Deserialize;

use self::vendors::Vendor;
use super::answer::{Counting, Part, Parts, Time, Tokens, Unit, at};
use super::exchange::{Exchange, Speech};
use super::json::loose::{self, Object, Text};
use super::path::{self, Preset};
use super::{DeltaKind, Row, Utterance, provider};
use crate::limits;
use crate::proto::{End, RequestHead};

pub(super) static ROW: Row = Row {
    api: "bedrock.invoke_model",
    operation: "chat",
    matches: |head| shape(head).is_some(),
    provider: |head| provider::name(head, "aws.bedrock"),
    make: |head| Box::new(Exchange::<Invoke>::new(head)),
};

/// Model and whether the answer streams.
fn shape(head: &RequestHead) -> Option<(String, bool)> {
    match path::invocation(&head.path)? {
        (model, "invoke-with-response-stream") => Some((model, true)),
        (model, "invoke") => Some((model, false)),
        _ => None,
    }
}

/// A stream of a vendor's events.
#[derive(Default)]
pub struct Invoke {
    vendor: Vendor,
    /// Holds one event, unpacked; the same buffer for each.
    native: Vec<u8>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Chunk<'a> {
    #[serde(borrow)]
    bytes: Text<'a>,
}

impl Speech for Invoke {
    const ANSWER: Parts = ANSWER;
    const COUNTS: Counting = Counting { cache_apart: true, ..Counting::INCLUSIVE };

    fn preset(head: &RequestHead) -> Preset {
        let shape = shape(head);
        Preset {
            stream: shape.as_ref().map(|(_, stream)| *stream),
            model: shape.map(|(model, _)| model),
            ..Preset::default()
        }
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let chunk = loose::read::<Object<Chunk<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        let Some(packed) = chunk.bytes.word() else { return Ok(()) };
        self.native.clear();
        let said = base64::decode(packed.as_bytes(), &mut self.native)
            .ok_or("base64")
            .and_then(|()| loose::text(&self.native))
            .and_then(|data| self.vendor.event(data, out));
        self.native.clear();
        self.native.shrink_to(limits::SSE_IDLE);
        said
    }

    fn end(&mut self, how: End, out: &mut dyn FnMut(Utterance<'_>)) {
        self.vendor.end(how, out);
    }

    fn held(&self) -> usize {
        self.native.capacity() + self.vendor.held()
    }
}

static ANSWER: Parts = &[
    // Anthropic.
    at(&["id"], Part::Id),
    at(&["model"], Part::Model),
    at(&["content", "[]", "text"], Part::Text(DeltaKind::Visible)),
    at(&["content", "[]", "thinking"], Part::Text(DeltaKind::Reasoning)),
    at(&["content", "[]", "name"], Part::Text(DeltaKind::Tool)),
    at(&["stop_reason"], Part::Finish),
    at(&["usage", "input_tokens"], Part::Tokens(Tokens::Input)),
    at(&["usage", "output_tokens"], Part::Tokens(Tokens::Output)),
    at(&["usage", "output_tokens_details", "thinking_tokens"], Part::Tokens(Tokens::Reasoning)),
    at(&["usage", "cache_read_input_tokens"], Part::Tokens(Tokens::Cached)),
    at(&["usage", "cache_creation_input_tokens"], Part::Tokens(Tokens::CacheWrite)),
    // OpenAI, Mistral, DeepSeek, Qwen.
    at(&["choices", "[]", "message", "content"], Part::Text(DeltaKind::Visible)),
    at(&["choices", "[]", "message", "reasoning_content"], Part::Text(DeltaKind::Reasoning)),
    at(&["choices", "[]", "message", "reasoning"], Part::Text(DeltaKind::Reasoning)),
    at(&["choices", "[]", "message", "tool_calls", "[]", "function", "name"], Part::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "message", "tool_calls", "[]", "function", "arguments"], Part::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "text"], Part::Text(DeltaKind::Visible)),
    at(&["choices", "[]", "finish_reason"], Part::Finish),
    at(&["choices", "[]", "stop_reason"], Part::Finish),
    at(&["usage", "prompt_tokens"], Part::Tokens(Tokens::Input)),
    at(&["usage", "completion_tokens"], Part::Tokens(Tokens::Output)),
    at(&["outputs", "[]", "text"], Part::Text(DeltaKind::Visible)),
    at(&["outputs", "[]", "stop_reason"], Part::Finish),
    // Llama.
    at(&["generation"], Part::Text(DeltaKind::Visible)),
    at(&["prompt_token_count"], Part::Tokens(Tokens::Input)),
    at(&["generation_token_count"], Part::Tokens(Tokens::Output)),
    // Titan.
    at(&["results", "[]", "outputText"], Part::Text(DeltaKind::Visible)),
    at(&["results", "[]", "completionReason"], Part::Finish),
    at(&["results", "[]", "tokenCount"], Part::Tokens(Tokens::Output)),
    at(&["inputTextTokenCount"], Part::Tokens(Tokens::Input)),
    // Nova.
    at(&["output", "message", "content", "[]", "text"], Part::Text(DeltaKind::Visible)),
    at(&["output", "message", "content", "[]", "toolUse", "name"], Part::Text(DeltaKind::Tool)),
    at(&["stopReason"], Part::Finish),
    at(&["usage", "inputTokens"], Part::Tokens(Tokens::Input)),
    at(&["usage", "outputTokens"], Part::Tokens(Tokens::Output)),
    at(&["usage", "cacheReadInputTokenCount"], Part::Tokens(Tokens::Cached)),
    at(&["usage", "cacheWriteInputTokenCount"], Part::Tokens(Tokens::CacheWrite)),
    // Cohere.
    at(&["text"], Part::Text(DeltaKind::Visible)),
    at(&["finish_reason"], Part::Finish),
    at(&["message", "content", "[]", "text"], Part::Text(DeltaKind::Visible)),
    at(&["metrics", "latencyMs"], Part::Took(Time::Total, Unit::Millis)),
    at(&["error"], Part::Error),
    at(&["error"], Part::ErrorObject),
    at(&["error", "type"], Part::ErrorType),
    at(&["error", "code"], Part::ErrorCode),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<Invoke>(data);
}
