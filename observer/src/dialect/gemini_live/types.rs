//! Messages of a live session, borrowed.

use serde::Deserialize;

use crate::dialect::error::Failure;
use crate::dialect::gemini::{Blob, FunctionCall};
use crate::dialect::json::loose::{Count, Flag, List, Object, Text};
use crate::dialect::{Counting, Usage};

/// Of the client.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Asked<'a> {
    #[serde(borrow)]
    pub setup: Object<Setup<'a>>,
    #[serde(alias = "client_content")]
    pub client_content: Object<ClientContent>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Setup<'a> {
    #[serde(borrow)]
    pub model: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientContent {
    #[serde(alias = "turn_complete")]
    pub turn_complete: Flag,
}

/// Of the server.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Message<'a> {
    #[serde(borrow)]
    pub server_content: Object<Content<'a>>,
    #[serde(borrow)]
    pub tool_call: Object<ToolCall<'a>>,
    #[serde(borrow)]
    pub usage_metadata: Object<Tokens<'a>>,
    #[serde(borrow)]
    pub error: Failure<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Content<'a> {
    #[serde(borrow)]
    pub model_turn: Object<ModelTurn<'a>>,
    pub turn_complete: Flag,
    pub interrupted: Flag,
    #[serde(borrow)]
    pub output_transcription: Object<Transcription<'a>>,
    #[serde(borrow)]
    pub turn_complete_reason: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ModelTurn<'a> {
    #[serde(borrow)]
    pub parts: List<Object<Part<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Part<'a> {
    #[serde(borrow)]
    pub text: Text<'a>,
    pub thought: Flag,
    #[serde(borrow)]
    pub inline_data: Object<Blob<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Transcription<'a> {
    #[serde(borrow)]
    pub text: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ToolCall<'a> {
    #[serde(borrow)]
    pub function_calls: List<Object<FunctionCall<'a>>>,
}

/// Cached tokens are part of the prompt's; those of tool results and of thoughts are counted apart.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Tokens<'a> {
    prompt_token_count: Count,
    tool_use_prompt_token_count: Count,
    response_token_count: Count,
    cached_content_token_count: Count,
    thoughts_token_count: Count,
    #[serde(borrow)]
    pub traffic_type: Text<'a>,
}

impl Tokens<'_> {
    pub fn usage(&self, counting: Counting) -> Usage {
        let more = self.tool_use_prompt_token_count.0;
        let usage = Usage {
            input: self.prompt_token_count.0.map(|input| input.saturating_add(more.unwrap_or(0))).or(more),
            output: self.response_token_count.0,
            cached: self.cached_content_token_count.0,
            reasoning: self.thoughts_token_count.0,
            ..Usage::default()
        };
        counting.normal(usage, None)
    }
}
