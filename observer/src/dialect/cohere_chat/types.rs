//! Events of Cohere's v2 chat, borrowed.

use serde::Deserialize;

use crate::dialect::Usage;
use crate::dialect::content::Content;
use crate::dialect::error::Failure;
use crate::dialect::json::loose::{Count, Json, Object, Text};

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    pub class: Text<'a>,
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow)]
    pub delta: Object<Delta<'a>>,
    /// Of an event that is an error and nothing else.
    #[serde(borrow)]
    pub error: Failure<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Delta<'a> {
    #[serde(borrow)]
    pub message: Object<Message<'a>>,
    #[serde(borrow)]
    pub finish_reason: Text<'a>,
    pub usage: Object<Tokens>,
    #[serde(borrow)]
    pub error: Failure<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Message<'a> {
    #[serde(borrow)]
    pub content: Object<Piece<'a>>,
    #[serde(borrow)]
    pub tool_plan: Text<'a>,
    #[serde(borrow)]
    pub tool_calls: Object<ToolCall<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Piece<'a> {
    #[serde(borrow)]
    pub text: Text<'a>,
    #[serde(borrow)]
    pub thinking: Content<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ToolCall<'a> {
    #[serde(borrow)]
    pub function: Object<Function<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Function<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub arguments: Json<'a>,
}

/// `tokens` is what was used; `billed_units` leaves out what Cohere adds itself. Cached tokens are part of the input's.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Tokens {
    tokens: Object<Counts>,
    cached_tokens: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: Count,
    output_tokens: Count,
}

impl Tokens {
    pub fn usage(&self) -> Usage {
        let counts = self.tokens.0.as_deref();
        Usage {
            input: counts.and_then(|counts| counts.input_tokens.0),
            output: counts.and_then(|counts| counts.output_tokens.0),
            cached: self.cached_tokens.0,
            ..Usage::default()
        }
    }
}
