//! Events of ConverseStream, borrowed. One struct for all: the name of the event says which of them it is.

use serde::Deserialize;

use crate::dialect::Usage;
use crate::dialect::answer::Counting;
use crate::dialect::error::Failure;
use crate::dialect::json::loose::{Count, Inline, Json, Object, Real, Text};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Payload<'a> {
    #[serde(borrow)]
    pub start: Object<Start<'a>>,
    #[serde(borrow)]
    pub delta: Inline<Delta<'a>>,
    #[serde(borrow)]
    pub stop_reason: Text<'a>,
    pub usage: Object<Tokens>,
    pub metrics: Object<Metrics>,
    #[serde(borrow)]
    pub service_tier: Object<Tier<'a>>,
    #[serde(borrow)]
    pub error: Failure<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Start<'a> {
    #[serde(borrow)]
    pub tool_use: Object<ToolUse<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Delta<'a> {
    #[serde(borrow)]
    pub text: Text<'a>,
    #[serde(borrow)]
    pub tool_use: Object<ToolUse<'a>>,
    #[serde(borrow)]
    pub reasoning_content: Object<Reasoning<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ToolUse<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub input: Json<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Reasoning<'a> {
    #[serde(borrow)]
    pub text: Text<'a>,
    #[serde(borrow)]
    pub signature: Text<'a>,
    #[serde(borrow)]
    pub redacted_content: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metrics {
    pub latency_ms: Real,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Tier<'a> {
    #[serde(borrow, rename = "type")]
    pub class: Text<'a>,
}

/// Input leaves out what was read from or written to a cache.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Tokens {
    input_tokens: Count,
    output_tokens: Count,
    cache_read_input_tokens: Count,
    cache_write_input_tokens: Count,
    /// As Nova writes the two.
    cache_read_input_token_count: Count,
    cache_write_input_token_count: Count,
}

impl Tokens {
    pub fn usage(&self, counting: Counting) -> Usage {
        let usage = Usage {
            input: self.input_tokens.0,
            output: self.output_tokens.0,
            cached: self.cache_read_input_tokens.0.or(self.cache_read_input_token_count.0),
            cache_write: self.cache_write_input_tokens.0.or(self.cache_write_input_token_count.0),
            ..Usage::default()
        };
        counting.normal(usage, None)
    }
}
