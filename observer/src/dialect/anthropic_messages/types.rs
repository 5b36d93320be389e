//! Events of the Messages API, borrowed.

use serde::Deserialize;

use crate::dialect::error::Failure;
use crate::dialect::json::loose::{Count, Inline, Object, Text};

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    pub class: Text<'a>,
    #[serde(borrow)]
    pub message: Object<Message<'a>>,
    #[serde(borrow)]
    pub content_block: Object<Block<'a>>,
    #[serde(borrow)]
    pub delta: Inline<Delta<'a>>,
    #[serde(borrow)]
    pub usage: Object<Tokens<'a>>,
    #[serde(borrow)]
    pub error: Failure<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Message<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow)]
    pub model: Text<'a>,
    #[serde(borrow)]
    pub usage: Object<Tokens<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Block<'a> {
    #[serde(borrow, rename = "type")]
    pub class: Text<'a>,
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub text: Text<'a>,
    #[serde(borrow)]
    pub thinking: Text<'a>,
    /// Of `redacted_thinking`.
    #[serde(borrow)]
    pub data: Text<'a>,
    /// Of a `fallback`.
    #[serde(borrow)]
    pub to: Object<Message<'a>>,
}

/// Of a block (`type` and a text), or of the message (`stop_reason`).
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    pub class: Text<'a>,
    #[serde(borrow)]
    pub text: Text<'a>,
    #[serde(borrow)]
    pub partial_json: Text<'a>,
    #[serde(borrow)]
    pub thinking: Text<'a>,
    #[serde(borrow)]
    pub signature: Text<'a>,
    #[serde(borrow)]
    pub stop_reason: Text<'a>,
    #[serde(borrow)]
    pub stop_details: Object<StopDetails<'a>>,
}

/// Of a refusal.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct StopDetails<'a> {
    #[serde(borrow)]
    pub category: Text<'a>,
}

/// `input_tokens` leaves out both kinds of cached tokens; thinking tokens are part of the output's. All cumulative.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Tokens<'a> {
    #[serde(borrow)]
    pub service_tier: Text<'a>,
    pub input_tokens: Count,
    pub output_tokens: Count,
    pub cache_read_input_tokens: Count,
    pub cache_creation_input_tokens: Count,
    pub output_tokens_details: Object<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Details {
    pub thinking_tokens: Count,
}
