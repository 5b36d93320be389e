//! Events of Cohere's v2 chat, borrowed.

use serde::Deserialize;

use crate::TokenUsage;
use crate::content::LooseContent;
use crate::error::ErrorMember;
use crate::json::loose::{BoxedObject, LooseCount, LooseText, RawJson};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    pub class: LooseText<'a>,
    #[serde(borrow)]
    pub id: LooseText<'a>,
    #[serde(borrow)]
    pub delta: BoxedObject<Delta<'a>>,
    /// Of an event that is an error and nothing else.
    #[serde(borrow)]
    pub error: ErrorMember<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub message: BoxedObject<Message<'a>>,
    #[serde(borrow)]
    pub finish_reason: LooseText<'a>,
    pub usage: BoxedObject<Tokens>,
    #[serde(borrow)]
    pub error: ErrorMember<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub content: BoxedObject<Piece<'a>>,
    #[serde(borrow)]
    pub tool_plan: LooseText<'a>,
    #[serde(borrow)]
    pub tool_calls: BoxedObject<ToolCall<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Piece<'a> {
    #[serde(borrow)]
    pub text: LooseText<'a>,
    #[serde(borrow)]
    pub thinking: LooseContent<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    pub function: BoxedObject<Function<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub name: LooseText<'a>,
    #[serde(borrow)]
    pub arguments: RawJson<'a>,
}

/// `tokens` is what was used; `billed_units` leaves out what Cohere adds itself. Cached tokens are part of the input's.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Tokens {
    tokens: BoxedObject<Counts>,
    cached_tokens: LooseCount,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: LooseCount,
    output_tokens: LooseCount,
}

impl Tokens {
    pub(super) fn usage(&self) -> TokenUsage {
        let counts = self.tokens.0.as_deref();
        TokenUsage {
            input: counts.and_then(|counts| counts.input_tokens.0),
            output: counts.and_then(|counts| counts.output_tokens.0),
            cached: self.cached_tokens.0,
            ..TokenUsage::default()
        }
    }
}
