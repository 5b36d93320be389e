//! Events, borrowed. Every field is a type of `json::loose`, so that an odd field never costs the others; what is not named
//! here is skipped without a copy.

use serde::Deserialize;

use crate::dialect::error::Failure;
use crate::dialect::json::loose::{Count, Json, List, Object, Text};
use crate::dialect::{Counting, Usage};

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    pub class: Text<'a>,
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow)]
    pub model: Text<'a>,
    #[serde(borrow)]
    pub fingerprint: Text<'a>,
    #[serde(borrow)]
    pub delta: Object<Delta<'a>>,
    #[serde(borrow)]
    pub reason: Text<'a>,
    pub usage: Object<Tokens>,
    #[serde(borrow)]
    pub error: Failure<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Delta<'a> {
    #[serde(borrow)]
    pub text: Text<'a>,
    #[serde(borrow)]
    pub thought: Text<'a>,
    #[serde(borrow)]
    pub refusal: Text<'a>,
    /// Base64.
    #[serde(borrow)]
    pub audio: Text<'a>,
    #[serde(borrow)]
    pub tools: List<Object<ToolCall<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ToolCall<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    /// A piece of text, or an object.
    #[serde(borrow)]
    pub arguments: Json<'a>,
}

/// As the API counts.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Tokens {
    input: Count,
    output: Count,
    cached: Count,
    reasoning: Count,
}

impl Tokens {
    /// What is missing is `None`, never 0.
    pub fn usage(&self, counting: Counting) -> Usage {
        let usage = Usage {
            input: self.input.0,
            output: self.output.0,
            cached: self.cached.0,
            reasoning: self.reasoning.0,
            ..Usage::default()
        };
        counting.normal(usage, None)
    }
}
