//! Events of the Responses API, borrowed. Lifecycle events echo the whole response: only what is
//! named here is read of it.

use serde::Deserialize;

use crate::TokenUsage;
use crate::content::LooseContent;
use crate::error::ErrorMember;
use crate::json::loose::{BoxedObject, LooseCode, LooseCount, LooseText};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    pub class: LooseText<'a>,
    #[serde(borrow)]
    pub delta: LooseText<'a>,
    #[serde(borrow)]
    pub item: BoxedObject<Item<'a>>,
    #[serde(borrow)]
    pub item_id: LooseText<'a>,
    pub output_index: LooseCount,
    /// The whole text, as the `.done` event of its kind calls it.
    #[serde(borrow)]
    pub text: LooseText<'a>,
    #[serde(borrow)]
    pub arguments: LooseText<'a>,
    #[serde(borrow)]
    pub refusal: LooseText<'a>,
    #[serde(borrow)]
    pub input: LooseText<'a>,
    #[serde(borrow)]
    pub diff: LooseText<'a>,
    #[serde(borrow)]
    pub response: BoxedObject<Response<'a>>,
    /// Of the `error` event, flat.
    #[serde(borrow)]
    pub code: LooseCode<'a>,
    /// Of the `error` event, as some gateways nest it.
    #[serde(borrow)]
    pub error: ErrorMember<'a>,
}

impl<'a> StreamEvent<'a> {
    /// The whole text that a `.done` event repeats.
    pub(super) fn whole(&self) -> Option<&str> {
        let names = [&self.text, &self.arguments, &self.refusal, &self.input, &self.diff];
        names.into_iter().find_map(LooseText::word)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Item<'a> {
    #[serde(borrow, rename = "type")]
    pub class: LooseText<'a>,
    #[serde(borrow)]
    pub id: LooseText<'a>,
    #[serde(borrow)]
    pub name: LooseText<'a>,
    /// Of a call, whole.
    #[serde(borrow)]
    pub arguments: LooseText<'a>,
    #[serde(borrow)]
    pub input: LooseText<'a>,
    /// Of a message, whole.
    #[serde(borrow)]
    pub content: LooseContent<'a>,
    /// Of `reasoning`.
    #[serde(borrow)]
    pub encrypted_content: LooseText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Response<'a> {
    #[serde(borrow)]
    pub id: LooseText<'a>,
    #[serde(borrow)]
    pub model: LooseText<'a>,
    #[serde(borrow)]
    pub service_tier: LooseText<'a>,
    #[serde(borrow)]
    pub status: LooseText<'a>,
    #[serde(borrow)]
    pub incomplete_details: BoxedObject<Incomplete<'a>>,
    pub usage: BoxedObject<Tokens>,
    #[serde(borrow)]
    pub error: ErrorMember<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Incomplete<'a> {
    #[serde(borrow)]
    pub reason: LooseText<'a>,
}

/// Cached tokens are part of the input's, reasoning tokens of the output's.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Tokens {
    input_tokens: LooseCount,
    output_tokens: LooseCount,
    input_tokens_details: BoxedObject<Details>,
    output_tokens_details: BoxedObject<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: LooseCount,
    cache_write_tokens: LooseCount,
    reasoning_tokens: LooseCount,
}

impl Tokens {
    pub(super) fn usage(&self) -> TokenUsage {
        let input = self.input_tokens_details.0.as_deref();
        let output = self.output_tokens_details.0.as_deref();
        TokenUsage {
            input: self.input_tokens.0,
            output: self.output_tokens.0,
            cached: input.and_then(|d| d.cached_tokens.0),
            cache_write: input.and_then(|d| d.cache_write_tokens.0),
            reasoning: output.and_then(|d| d.reasoning_tokens.0),
            ..TokenUsage::default()
        }
    }
}
