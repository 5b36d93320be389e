//! Events of the Responses API, borrowed. Lifecycle events echo the whole response: only what is named here is read of it.

use serde::Deserialize;

use crate::dialect::Usage;
use crate::dialect::error::Failure;
use crate::dialect::json::loose::{Code, Count, Object, Text};

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
    /// Of the `error` event, flat.
    #[serde(borrow)]
    pub code: Code<'a>,
    /// Of the `error` event, as some gateways nest it.
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
    /// Of `reasoning`.
    #[serde(borrow)]
    pub encrypted_content: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Response<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow)]
    pub model: Text<'a>,
    #[serde(borrow)]
    pub service_tier: Text<'a>,
    #[serde(borrow)]
    pub status: Text<'a>,
    #[serde(borrow)]
    pub incomplete_details: Object<Incomplete<'a>>,
    pub usage: Object<Tokens>,
    #[serde(borrow)]
    pub error: Failure<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Incomplete<'a> {
    #[serde(borrow)]
    pub reason: Text<'a>,
}

/// Cached tokens are part of the input's, reasoning tokens of the output's.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Tokens {
    input_tokens: Count,
    output_tokens: Count,
    input_tokens_details: Object<Details>,
    output_tokens_details: Object<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Count,
    cache_write_tokens: Count,
    reasoning_tokens: Count,
}

impl Tokens {
    pub fn usage(&self) -> Usage {
        let input = self.input_tokens_details.0.as_deref();
        let output = self.output_tokens_details.0.as_deref();
        Usage {
            input: self.input_tokens.0,
            output: self.output_tokens.0,
            cached: input.and_then(|d| d.cached_tokens.0),
            cache_write: input.and_then(|d| d.cache_write_tokens.0),
            reasoning: output.and_then(|d| d.reasoning_tokens.0),
            ..Usage::default()
        }
    }
}
