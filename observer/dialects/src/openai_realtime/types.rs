//! Events of a realtime session, borrowed: only those of its responses.

use serde::Deserialize;

use crate::TokenUsage;
use crate::error::ErrorMember;
use crate::json::loose::{BoxedObject, LooseCount, LooseList, LooseNumber, LooseText};

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
    pub response: BoxedObject<Response<'a>>,
    #[serde(borrow)]
    pub rate_limits: LooseList<BoxedObject<RateLimit<'a>>>,
    #[serde(borrow)]
    pub error: ErrorMember<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Item<'a> {
    #[serde(borrow, rename = "type")]
    pub class: LooseText<'a>,
    #[serde(borrow)]
    pub name: LooseText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Response<'a> {
    #[serde(borrow)]
    pub id: LooseText<'a>,
    #[serde(borrow)]
    pub status: LooseText<'a>,
    #[serde(borrow)]
    pub status_details: BoxedObject<Details<'a>>,
    pub usage: BoxedObject<Tokens>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Details<'a> {
    #[serde(borrow)]
    pub reason: LooseText<'a>,
    #[serde(borrow)]
    pub error: ErrorMember<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RateLimit<'a> {
    #[serde(borrow)]
    pub name: LooseText<'a>,
    pub limit: LooseCount,
    pub remaining: LooseCount,
    pub reset_seconds: LooseNumber,
}

/// Cached and audio tokens are part of the input's and output's.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Tokens {
    input_tokens: LooseCount,
    output_tokens: LooseCount,
    input_token_details: BoxedObject<Modalities>,
    output_token_details: BoxedObject<Modalities>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Modalities {
    cached_tokens: LooseCount,
    audio_tokens: LooseCount,
}

impl Tokens {
    pub(super) fn usage(&self) -> TokenUsage {
        let input = self.input_token_details.0.as_deref();
        TokenUsage {
            input: self.input_tokens.0,
            output: self.output_tokens.0,
            cached: input.and_then(|details| details.cached_tokens.0),
            audio_input: input.and_then(|details| details.audio_tokens.0),
            audio_output: self.output_token_details.0.as_deref().and_then(|details| details.audio_tokens.0),
            ..TokenUsage::default()
        }
    }
}
