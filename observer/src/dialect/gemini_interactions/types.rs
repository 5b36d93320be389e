//! Events of an interaction, borrowed.

use serde::Deserialize;

use crate::dialect::content::Content;
use crate::dialect::error::Failure;
use crate::dialect::json::loose::{Count, Json, Object, Text};
use crate::dialect::{Counting, Usage};

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct StreamEvent<'a> {
    #[serde(borrow)]
    pub event_type: Text<'a>,
    #[serde(borrow)]
    pub interaction: Object<Interaction<'a>>,
    #[serde(borrow)]
    pub status: Text<'a>,
    #[serde(borrow)]
    pub step: Object<Step<'a>>,
    #[serde(borrow)]
    pub delta: Object<Delta<'a>>,
    #[serde(borrow)]
    pub error: Failure<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Interaction<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow)]
    pub model: Text<'a>,
    #[serde(borrow)]
    pub status: Text<'a>,
    pub usage: Object<Tokens>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Step<'a> {
    #[serde(borrow, rename = "type")]
    pub class: Text<'a>,
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub arguments: Json<'a>,
    #[serde(borrow)]
    pub content: Content<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    pub class: Text<'a>,
    #[serde(borrow)]
    pub text: Text<'a>,
    /// Of a thought.
    #[serde(borrow)]
    pub content: Content<'a>,
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub arguments: Json<'a>,
    /// Audio, base64.
    #[serde(borrow)]
    pub data: Text<'a>,
}

/// Cached tokens are part of the input's; those of tool results and of thoughts are counted apart.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Tokens {
    total_input_tokens: Count,
    total_tool_use_tokens: Count,
    total_output_tokens: Count,
    total_cached_tokens: Count,
    total_thought_tokens: Count,
    total_tokens: Count,
}

impl Tokens {
    pub fn usage(&self, counting: Counting) -> Usage {
        let more = self.total_tool_use_tokens.0;
        let usage = Usage {
            input: self.total_input_tokens.0.map(|input| input.saturating_add(more.unwrap_or(0))).or(more),
            output: self.total_output_tokens.0,
            cached: self.total_cached_tokens.0,
            reasoning: self.total_thought_tokens.0,
            ..Usage::default()
        };
        counting.normal(usage, self.total_tokens.0)
    }
}
