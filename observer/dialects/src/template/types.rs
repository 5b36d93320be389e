//! Events, borrowed. Every field is a type of `json::loose`, so that an odd field never costs the
//! others; what is not named here is skipped without a copy.

use serde::Deserialize;

use crate::error::ErrorMember;
use crate::json::loose::{BoxedObject, LooseCount, LooseList, LooseText, RawJson};
use crate::{TokenCounting, TokenUsage};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    pub class: LooseText<'a>,
    #[serde(borrow)]
    pub id: LooseText<'a>,
    #[serde(borrow)]
    pub model: LooseText<'a>,
    #[serde(borrow)]
    pub fingerprint: LooseText<'a>,
    #[serde(borrow)]
    pub delta: BoxedObject<Delta<'a>>,
    #[serde(borrow)]
    pub reason: LooseText<'a>,
    pub usage: BoxedObject<Tokens>,
    #[serde(borrow)]
    pub error: ErrorMember<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub text: LooseText<'a>,
    #[serde(borrow)]
    pub thought: LooseText<'a>,
    #[serde(borrow)]
    pub refusal: LooseText<'a>,
    /// Base64.
    #[serde(borrow)]
    pub audio: LooseText<'a>,
    #[serde(borrow)]
    pub tools: LooseList<BoxedObject<ToolCall<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    pub name: LooseText<'a>,
    /// A piece of text, or an object.
    #[serde(borrow)]
    pub arguments: RawJson<'a>,
}

/// As the API counts.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Tokens {
    input: LooseCount,
    output: LooseCount,
    cached: LooseCount,
    reasoning: LooseCount,
}

impl Tokens {
    /// What is missing is `None`, never 0.
    pub(super) fn usage(&self, counting: TokenCounting) -> TokenUsage {
        let usage = TokenUsage {
            input: self.input.0,
            output: self.output.0,
            cached: self.cached.0,
            reasoning: self.reasoning.0,
            ..TokenUsage::default()
        };
        counting.normal(usage, None)
    }
}
