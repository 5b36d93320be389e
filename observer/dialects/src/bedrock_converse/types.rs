//! Events of ConverseStream, borrowed. One struct for all: the name of the event says which of them it is.

use serde::Deserialize;

use crate::TokenUsage;
use crate::answer::TokenCounting;
use crate::error::ErrorMember;
use crate::json::loose::{BoxedObject, InlineObject, LooseCount, LooseNumber, LooseText, RawJson};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Payload<'a> {
    #[serde(borrow)]
    pub start: BoxedObject<Start<'a>>,
    #[serde(borrow)]
    pub delta: InlineObject<Delta<'a>>,
    #[serde(borrow)]
    pub stop_reason: LooseText<'a>,
    pub usage: BoxedObject<Tokens>,
    pub metrics: BoxedObject<Metrics>,
    #[serde(borrow)]
    pub service_tier: BoxedObject<Tier<'a>>,
    #[serde(borrow)]
    pub error: ErrorMember<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Start<'a> {
    #[serde(borrow)]
    pub tool_use: BoxedObject<ToolUse<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Delta<'a> {
    #[serde(borrow)]
    pub text: LooseText<'a>,
    #[serde(borrow)]
    pub tool_use: BoxedObject<ToolUse<'a>>,
    #[serde(borrow)]
    pub reasoning_content: BoxedObject<Reasoning<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ToolUse<'a> {
    #[serde(borrow)]
    pub name: LooseText<'a>,
    #[serde(borrow)]
    pub input: RawJson<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Reasoning<'a> {
    #[serde(borrow)]
    pub text: LooseText<'a>,
    #[serde(borrow)]
    pub signature: LooseText<'a>,
    #[serde(borrow)]
    pub redacted_content: LooseText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Metrics {
    pub latency_ms: LooseNumber,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Tier<'a> {
    #[serde(borrow, rename = "type")]
    pub class: LooseText<'a>,
}

/// Input leaves out what was read from or written to a cache.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Tokens {
    input_tokens: LooseCount,
    output_tokens: LooseCount,
    cache_read_input_tokens: LooseCount,
    cache_write_input_tokens: LooseCount,
    /// As Nova writes the two.
    cache_read_input_token_count: LooseCount,
    cache_write_input_token_count: LooseCount,
}

impl Tokens {
    pub(crate) fn usage(&self, counting: TokenCounting) -> TokenUsage {
        let usage = TokenUsage {
            input: self.input_tokens.0,
            output: self.output_tokens.0,
            cached: self.cache_read_input_tokens.0.or(self.cache_read_input_token_count.0),
            cache_write: self.cache_write_input_tokens.0.or(self.cache_write_input_token_count.0),
            ..TokenUsage::default()
        };
        counting.normal(usage, None)
    }
}
