//! Chunks of `GenerateContentResponse`, borrowed. Google's servers write camelCase; proto JSON leaves out what is zero.

use serde::Deserialize;

use crate::error::ErrorMember;
use crate::json::loose::{BoxedObject, InlineObject, LooseCount, LooseFlag, LooseList, LooseText, RawJson, ShortList};
use crate::{TokenCounting, TokenUsage};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Chunk<'a> {
    #[serde(borrow)]
    pub response_id: LooseText<'a>,
    #[serde(borrow)]
    pub model_version: LooseText<'a>,
    #[serde(borrow)]
    pub candidates: ShortList<InlineObject<Candidate<'a>>>,
    #[serde(borrow)]
    pub prompt_feedback: BoxedObject<Feedback<'a>>,
    #[serde(borrow)]
    pub usage_metadata: InlineObject<Tokens<'a>>,
    #[serde(borrow)]
    pub error: ErrorMember<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    #[serde(borrow)]
    pub content: InlineObject<Content<'a>>,
    #[serde(borrow)]
    pub finish_reason: LooseText<'a>,
    #[serde(borrow)]
    pub continuation_token: LooseText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Content<'a> {
    #[serde(borrow)]
    pub parts: ShortList<InlineObject<Part<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(borrow)]
    pub text: LooseText<'a>,
    pub thought: LooseFlag,
    #[serde(borrow)]
    pub thought_signature: LooseText<'a>,
    #[serde(borrow)]
    pub function_call: BoxedObject<FunctionCall<'a>>,
    /// A tool that Google runs itself: the code it is given.
    #[serde(borrow)]
    pub executable_code: BoxedObject<Code<'a>>,
    #[serde(borrow)]
    pub inline_data: BoxedObject<Blob<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct FunctionCall<'a> {
    #[serde(borrow)]
    pub name: LooseText<'a>,
    /// Whole, as an object.
    #[serde(borrow)]
    pub args: RawJson<'a>,
    /// Pieces of arguments, where the request asked for them.
    #[serde(borrow)]
    pub partial_args: LooseList<BoxedObject<PartialArg<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PartialArg<'a> {
    #[serde(borrow)]
    pub string_value: LooseText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Code<'a> {
    #[serde(borrow)]
    pub code: LooseText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Blob<'a> {
    #[serde(borrow)]
    pub mime_type: LooseText<'a>,
    #[serde(borrow)]
    pub data: LooseText<'a>,
}

/// Of a prompt that was not let through: there are no candidates then.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Feedback<'a> {
    #[serde(borrow)]
    pub block_reason: LooseText<'a>,
}

/// Cumulative. Cached tokens are part of the prompt's; those of tool results and of thoughts are counted apart.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Tokens<'a> {
    prompt_token_count: LooseCount,
    tool_use_prompt_token_count: LooseCount,
    candidates_token_count: LooseCount,
    cached_content_token_count: LooseCount,
    thoughts_token_count: LooseCount,
    total_token_count: LooseCount,
    #[serde(borrow)]
    prompt_tokens_details: LooseList<BoxedObject<Modality<'a>>>,
    #[serde(borrow)]
    candidates_tokens_details: LooseList<BoxedObject<Modality<'a>>>,
    #[serde(borrow)]
    pub traffic_type: LooseText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Modality<'a> {
    #[serde(borrow)]
    modality: LooseText<'a>,
    token_count: LooseCount,
}

impl Tokens<'_> {
    pub(super) fn usage(&self, counting: TokenCounting) -> TokenUsage {
        let more = self.tool_use_prompt_token_count.0;
        let usage = TokenUsage {
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

fn audio(details: &LooseList<BoxedObject<Modality<'_>>>) -> Option<u64> {
    let mut details = details.items.iter().filter_map(|detail| detail.0.as_deref());
    details.find(|detail| detail.modality.word() == Some("AUDIO"))?.token_count.0
}
