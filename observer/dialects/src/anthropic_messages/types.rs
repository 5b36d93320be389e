//! Events of the Messages API, borrowed.

use serde::Deserialize;

use crate::error::ErrorMember;
use crate::json::loose::{BoxedObject, InlineObject, LooseCount, LooseText};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    pub class: LooseText<'a>,
    #[serde(borrow)]
    pub message: BoxedObject<Message<'a>>,
    #[serde(borrow)]
    pub content_block: BoxedObject<Block<'a>>,
    #[serde(borrow)]
    pub delta: InlineObject<Delta<'a>>,
    #[serde(borrow)]
    pub usage: BoxedObject<Tokens<'a>>,
    #[serde(borrow)]
    pub error: ErrorMember<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub id: LooseText<'a>,
    #[serde(borrow)]
    pub model: LooseText<'a>,
    #[serde(borrow)]
    pub usage: BoxedObject<Tokens<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Block<'a> {
    #[serde(borrow, rename = "type")]
    pub class: LooseText<'a>,
    #[serde(borrow)]
    pub name: LooseText<'a>,
    #[serde(borrow)]
    pub text: LooseText<'a>,
    #[serde(borrow)]
    pub thinking: LooseText<'a>,
    /// Of `redacted_thinking`.
    #[serde(borrow)]
    pub data: LooseText<'a>,
    /// Of a `fallback`.
    #[serde(borrow)]
    pub to: BoxedObject<Message<'a>>,
}

/// Of a block (`type` and a text), or of the message (`stop_reason`).
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    pub class: LooseText<'a>,
    #[serde(borrow)]
    pub text: LooseText<'a>,
    #[serde(borrow)]
    pub partial_json: LooseText<'a>,
    #[serde(borrow)]
    pub thinking: LooseText<'a>,
    #[serde(borrow)]
    pub signature: LooseText<'a>,
    #[serde(borrow)]
    pub stop_reason: LooseText<'a>,
    #[serde(borrow)]
    pub stop_details: BoxedObject<StopDetails<'a>>,
}

/// Of a refusal.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct StopDetails<'a> {
    #[serde(borrow)]
    pub category: LooseText<'a>,
}

/// `input_tokens` leaves out both kinds of cached tokens; thinking tokens are part of the output's. All cumulative.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Tokens<'a> {
    #[serde(borrow)]
    pub service_tier: LooseText<'a>,
    pub input_tokens: LooseCount,
    pub output_tokens: LooseCount,
    pub cache_read_input_tokens: LooseCount,
    pub cache_creation_input_tokens: LooseCount,
    pub output_tokens_details: BoxedObject<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Details {
    pub thinking_tokens: LooseCount,
}
