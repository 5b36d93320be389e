//! Chunks of `GenerateContentResponse`, borrowed. Google's servers write camelCase; proto JSON leaves out what is zero.

use serde::Deserialize;

use crate::dialect::error::Failure;
use crate::dialect::json::loose::{Count, Few, Flag, Inline, Json, List, Object, Text};
use crate::dialect::{Counting, Usage};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Chunk<'a> {
    #[serde(borrow)]
    pub response_id: Text<'a>,
    #[serde(borrow)]
    pub model_version: Text<'a>,
    #[serde(borrow)]
    pub candidates: Few<Inline<Candidate<'a>>>,
    #[serde(borrow)]
    pub prompt_feedback: Object<Feedback<'a>>,
    #[serde(borrow)]
    pub usage_metadata: Inline<Tokens<'a>>,
    #[serde(borrow)]
    pub error: Failure<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Candidate<'a> {
    #[serde(borrow)]
    pub content: Inline<Content<'a>>,
    #[serde(borrow)]
    pub finish_reason: Text<'a>,
    #[serde(borrow)]
    pub continuation_token: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Content<'a> {
    #[serde(borrow)]
    pub parts: Few<Inline<Part<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Part<'a> {
    #[serde(borrow)]
    pub text: Text<'a>,
    pub thought: Flag,
    #[serde(borrow)]
    pub thought_signature: Text<'a>,
    #[serde(borrow)]
    pub function_call: Object<FunctionCall<'a>>,
    /// A tool that Google runs itself: the code it is given.
    #[serde(borrow)]
    pub executable_code: Object<Code<'a>>,
    #[serde(borrow)]
    pub inline_data: Object<Blob<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FunctionCall<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    /// Whole, as an object.
    #[serde(borrow)]
    pub args: Json<'a>,
    /// Pieces of arguments, where the request asked for them.
    #[serde(borrow)]
    pub partial_args: List<Object<PartialArg<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PartialArg<'a> {
    #[serde(borrow)]
    pub string_value: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Code<'a> {
    #[serde(borrow)]
    pub code: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Blob<'a> {
    #[serde(borrow)]
    pub mime_type: Text<'a>,
    #[serde(borrow)]
    pub data: Text<'a>,
}

/// Of a prompt that was not let through: there are no candidates then.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Feedback<'a> {
    #[serde(borrow)]
    pub block_reason: Text<'a>,
}

/// Cumulative. Cached tokens are part of the prompt's; those of tool results and of thoughts are counted apart.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Tokens<'a> {
    prompt_token_count: Count,
    tool_use_prompt_token_count: Count,
    candidates_token_count: Count,
    cached_content_token_count: Count,
    thoughts_token_count: Count,
    total_token_count: Count,
    #[serde(borrow)]
    prompt_tokens_details: List<Object<Modality<'a>>>,
    #[serde(borrow)]
    candidates_tokens_details: List<Object<Modality<'a>>>,
    #[serde(borrow)]
    pub traffic_type: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Modality<'a> {
    #[serde(borrow)]
    modality: Text<'a>,
    token_count: Count,
}

impl Tokens<'_> {
    pub fn usage(&self, counting: Counting) -> Usage {
        let more = self.tool_use_prompt_token_count.0;
        let usage = Usage {
            input: self.prompt_token_count.0.map(|input| input.saturating_add(more.unwrap_or(0))).or(more),
            output: self.candidates_token_count.0,
            cached: self.cached_content_token_count.0,
            cache_write: None,
            reasoning: self.thoughts_token_count.0,
            audio_input: audio(&self.prompt_tokens_details),
            audio_output: audio(&self.candidates_tokens_details),
        };
        counting.normal(usage, self.total_token_count.0)
    }
}

fn audio(details: &List<Object<Modality<'_>>>) -> Option<u64> {
    let mut details = details.items.iter().filter_map(|detail| detail.0.as_deref());
    details.find(|detail| detail.modality.word() == Some("AUDIO"))?.token_count.0
}
