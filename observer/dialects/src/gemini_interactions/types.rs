//! Events of an interaction, borrowed.

use serde::Deserialize;

use crate::content::LooseContent;
use crate::error::ErrorMember;
use crate::json::loose::{BoxedObject, LooseCount, LooseText, RawJson};
use crate::{TokenCounting, TokenUsage};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamEvent<'a> {
    #[serde(borrow)]
    pub event_type: LooseText<'a>,
    #[serde(borrow)]
    pub interaction: BoxedObject<Interaction<'a>>,
    #[serde(borrow)]
    pub status: LooseText<'a>,
    #[serde(borrow)]
    pub step: BoxedObject<Step<'a>>,
    #[serde(borrow)]
    pub delta: BoxedObject<Delta<'a>>,
    #[serde(borrow)]
    pub error: ErrorMember<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Interaction<'a> {
    #[serde(borrow)]
    pub id: LooseText<'a>,
    #[serde(borrow)]
    pub model: LooseText<'a>,
    #[serde(borrow)]
    pub status: LooseText<'a>,
    pub usage: BoxedObject<Tokens>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Step<'a> {
    #[serde(borrow, rename = "type")]
    pub class: LooseText<'a>,
    #[serde(borrow)]
    pub name: LooseText<'a>,
    #[serde(borrow)]
    pub arguments: RawJson<'a>,
    #[serde(borrow)]
    pub content: LooseContent<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    pub class: LooseText<'a>,
    #[serde(borrow)]
    pub text: LooseText<'a>,
    /// Of a thought.
    #[serde(borrow)]
    pub content: LooseContent<'a>,
    #[serde(borrow)]
    pub name: LooseText<'a>,
    #[serde(borrow)]
    pub arguments: RawJson<'a>,
    /// Audio, base64.
    #[serde(borrow)]
    pub data: LooseText<'a>,
}

/// Cached tokens are part of the input's; those of tool results and of thoughts are counted apart.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Tokens {
    total_input_tokens: LooseCount,
    total_tool_use_tokens: LooseCount,
    total_output_tokens: LooseCount,
    total_cached_tokens: LooseCount,
    total_thought_tokens: LooseCount,
    total_tokens: LooseCount,
}

impl Tokens {
    pub(super) fn usage(&self, counting: TokenCounting) -> TokenUsage {
        let more = self.total_tool_use_tokens.0;
        let usage = TokenUsage {
            input: self.total_input_tokens.0.map(|input| input.saturating_add(more.unwrap_or(0))).or(more),
            output: self.total_output_tokens.0,
            cached: self.total_cached_tokens.0,
            reasoning: self.total_thought_tokens.0,
            ..TokenUsage::default()
        };
        counting.normal(usage, self.total_tokens.0)
    }
}
