//! Events of a realtime session, borrowed: only those of its responses.

use serde::Deserialize;

use crate::dialect::Usage;
use crate::dialect::error::Failure;
use crate::dialect::json::loose::{Count, List, Object, Real, Text};

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    pub class: Text<'a>,
    #[serde(borrow)]
    pub delta: Text<'a>,
    #[serde(borrow)]
    pub item: Object<Item<'a>>,
    #[serde(borrow)]
    pub response: Object<Response<'a>>,
    #[serde(borrow)]
    pub rate_limits: List<Object<RateLimit<'a>>>,
    #[serde(borrow)]
    pub error: Failure<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Item<'a> {
    #[serde(borrow, rename = "type")]
    pub class: Text<'a>,
    #[serde(borrow)]
    pub name: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Response<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow)]
    pub status: Text<'a>,
    #[serde(borrow)]
    pub status_details: Object<Details<'a>>,
    pub usage: Object<Tokens>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Details<'a> {
    #[serde(borrow)]
    pub reason: Text<'a>,
    #[serde(borrow)]
    pub error: Failure<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct RateLimit<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    pub limit: Count,
    pub remaining: Count,
    pub reset_seconds: Real,
}

/// Cached and audio tokens are part of the input's and output's.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Tokens {
    input_tokens: Count,
    output_tokens: Count,
    input_token_details: Object<Modalities>,
    output_token_details: Object<Modalities>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Modalities {
    cached_tokens: Count,
    audio_tokens: Count,
}

impl Tokens {
    pub fn usage(&self) -> Usage {
        let input = self.input_token_details.0.as_deref();
        Usage {
            input: self.input_tokens.0,
            output: self.output_tokens.0,
            cached: input.and_then(|details| details.cached_tokens.0),
            audio_input: input.and_then(|details| details.audio_tokens.0),
            audio_output: self.output_token_details.0.as_deref().and_then(|details| details.audio_tokens.0),
            ..Usage::default()
        }
    }
}
