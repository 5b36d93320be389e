//! Messages of a live session, borrowed.

use serde::Deserialize;

use crate::error::ErrorMember;
use crate::gemini::{Blob, FunctionCall};
use crate::json::loose::{BoxedObject, LooseCount, LooseFlag, LooseList, LooseText};
use crate::{TokenCounting, TokenUsage};

/// Of the client.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Asked<'a> {
    #[serde(borrow)]
    pub setup: BoxedObject<Setup<'a>>,
    #[serde(alias = "client_content")]
    pub client_content: BoxedObject<ClientContent>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Setup<'a> {
    #[serde(borrow)]
    pub model: LooseText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ClientContent {
    #[serde(alias = "turn_complete")]
    pub turn_complete: LooseFlag,
}

/// Of the server.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub server_content: BoxedObject<Content<'a>>,
    #[serde(borrow)]
    pub tool_call: BoxedObject<ToolCall<'a>>,
    #[serde(borrow)]
    pub usage_metadata: BoxedObject<Tokens<'a>>,
    #[serde(borrow)]
    pub error: ErrorMember<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Content<'a> {
    #[serde(borrow)]
    pub model_turn: BoxedObject<ModelTurn<'a>>,
    pub turn_complete: LooseFlag,
    pub interrupted: LooseFlag,
    #[serde(borrow)]
    pub output_transcription: BoxedObject<Transcription<'a>>,
    #[serde(borrow)]
    pub turn_complete_reason: LooseText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ModelTurn<'a> {
    #[serde(borrow)]
    pub parts: LooseList<BoxedObject<Part<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(borrow)]
    pub text: LooseText<'a>,
    pub thought: LooseFlag,
    #[serde(borrow)]
    pub inline_data: BoxedObject<Blob<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Transcription<'a> {
    #[serde(borrow)]
    pub text: LooseText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    pub function_calls: LooseList<BoxedObject<FunctionCall<'a>>>,
}

/// Cached tokens are part of the prompt's; those of tool results and of thoughts are counted apart.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Tokens<'a> {
    prompt_token_count: LooseCount,
    tool_use_prompt_token_count: LooseCount,
    response_token_count: LooseCount,
    cached_content_token_count: LooseCount,
    thoughts_token_count: LooseCount,
    #[serde(borrow)]
    pub traffic_type: LooseText<'a>,
}

impl Tokens<'_> {
    pub(super) fn usage(&self, counting: TokenCounting) -> TokenUsage {
        let more = self.tool_use_prompt_token_count.0;
        let usage = TokenUsage {
            input: self.prompt_token_count.0.map(|input| input.saturating_add(more.unwrap_or(0))).or(more),
            output: self.response_token_count.0,
            cached: self.cached_content_token_count.0,
            reasoning: self.thoughts_token_count.0,
            ..TokenUsage::default()
        };
        counting.normal(usage, None)
    }
}
