//! Bedrock's InvokeModel: each vendor's own events, base64 inside AWS's event stream; whole as the vendor's own JSON.
//!
//! Endpoints: POST `…/model/MODEL/invoke-with-response-stream`, `…/model/MODEL/invoke`. Which
//! vendor speaks is told by what comes, not by the model: profiles and ARNs do not name it. Source:
//! the `bedrock-runtime` service model of botocore 1.44, AWS's descriptions of the models' bodies.
//! Checked 2026-11.

mod vendors;

use serde::Deserialize;

use self::vendors::InvokeVendor;
use super::answer::{AnswerPart, AnswerParts, ServerTime, TimeUnit, TokenCount, TokenCounting, at};
use super::exchange::{DialectExchange, DialectRules};
use super::json::loose::{self, BoxedObject, LooseText};
use super::path::{self, PathPreset};
use super::{DeltaKind, DialectRow, Utterance, provider};
use capture::base64;
use capture::limits;
use capture::proto::{ExchangeEnd, RequestHead};

pub(super) static ROW: DialectRow = DialectRow {
    api: "bedrock.invoke_model",
    operation: "chat",
    matches: |head| shape(head).is_some(),
    provider: |head| provider::name(head, "aws.bedrock"),
    make: |head| Box::new(DialectExchange::<BedrockInvoke>::new(head)),
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
pub struct BedrockInvoke {
    vendor: InvokeVendor,
    /// Holds one event, unpacked; the same buffer for each.
    native: Vec<u8>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Chunk<'a> {
    #[serde(borrow)]
    bytes: LooseText<'a>,
}

impl DialectRules for BedrockInvoke {
    const ANSWER: AnswerParts = ANSWER;
    const COUNTS: TokenCounting = TokenCounting { cache_apart: true, ..TokenCounting::INCLUSIVE };

    fn preset(head: &RequestHead) -> PathPreset {
        let shape = shape(head);
        PathPreset {
            stream: shape.as_ref().map(|(_, stream)| *stream),
            model: shape.map(|(model, _)| model),
            ..PathPreset::default()
        }
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let chunk = loose::read::<BoxedObject<Chunk<'_>>>(data, &mut spare)?.0.unwrap_or_default();
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

    fn end(&mut self, how: ExchangeEnd, out: &mut dyn FnMut(Utterance<'_>)) {
        self.vendor.end(how, out);
    }

    fn held(&self) -> usize {
        self.native.capacity() + self.vendor.held()
    }
}

static ANSWER: AnswerParts = &[
    // Anthropic.
    at(&["id"], AnswerPart::Id),
    at(&["model"], AnswerPart::Model),
    at(&["content", "[]", "text"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["content", "[]", "thinking"], AnswerPart::Text(DeltaKind::Reasoning)),
    at(&["content", "[]", "name"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["stop_reason"], AnswerPart::Finish),
    at(&["usage", "input_tokens"], AnswerPart::Tokens(TokenCount::Input)),
    at(&["usage", "output_tokens"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["usage", "output_tokens_details", "thinking_tokens"], AnswerPart::Tokens(TokenCount::Reasoning)),
    at(&["usage", "cache_read_input_tokens"], AnswerPart::Tokens(TokenCount::Cached)),
    at(&["usage", "cache_creation_input_tokens"], AnswerPart::Tokens(TokenCount::CacheWrite)),
    // OpenAI, Mistral, DeepSeek, Qwen.
    at(&["choices", "[]", "message", "content"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["choices", "[]", "message", "reasoning_content"], AnswerPart::Text(DeltaKind::Reasoning)),
    at(&["choices", "[]", "message", "reasoning"], AnswerPart::Text(DeltaKind::Reasoning)),
    at(&["choices", "[]", "message", "tool_calls", "[]", "function", "name"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "message", "tool_calls", "[]", "function", "arguments"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["choices", "[]", "text"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["choices", "[]", "finish_reason"], AnswerPart::Finish),
    at(&["choices", "[]", "stop_reason"], AnswerPart::Finish),
    at(&["usage", "prompt_tokens"], AnswerPart::Tokens(TokenCount::Input)),
    at(&["usage", "completion_tokens"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["outputs", "[]", "text"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["outputs", "[]", "stop_reason"], AnswerPart::Finish),
    // Llama.
    at(&["generation"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["prompt_token_count"], AnswerPart::Tokens(TokenCount::Input)),
    at(&["generation_token_count"], AnswerPart::Tokens(TokenCount::Output)),
    // Titan.
    at(&["results", "[]", "outputText"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["results", "[]", "completionReason"], AnswerPart::Finish),
    at(&["results", "[]", "tokenCount"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["inputTextTokenCount"], AnswerPart::Tokens(TokenCount::Input)),
    // Nova.
    at(&["output", "message", "content", "[]", "text"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["output", "message", "content", "[]", "toolUse", "name"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["stopReason"], AnswerPart::Finish),
    at(&["usage", "inputTokens"], AnswerPart::Tokens(TokenCount::Input)),
    at(&["usage", "outputTokens"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["usage", "cacheReadInputTokenCount"], AnswerPart::Tokens(TokenCount::Cached)),
    at(&["usage", "cacheWriteInputTokenCount"], AnswerPart::Tokens(TokenCount::CacheWrite)),
    // Cohere.
    at(&["text"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["finish_reason"], AnswerPart::Finish),
    at(&["message", "content", "[]", "text"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["metrics", "latencyMs"], AnswerPart::Took(ServerTime::Total, TimeUnit::Millis)),
    at(&["error"], AnswerPart::Error),
    at(&["error"], AnswerPart::ErrorObject),
    at(&["error", "type"], AnswerPart::ErrorType),
    at(&["error", "code"], AnswerPart::ErrorCode),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<BedrockInvoke>(data);
}
