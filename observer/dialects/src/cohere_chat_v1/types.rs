//! Lines of Cohere's v1 chat, borrowed.

use serde::Deserialize;

use crate::TokenUsage;
use crate::json::loose::{BoxedObject, LooseCount, LooseList, LooseText, RawJson};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamEvent<'a> {
    #[serde(borrow)]
    pub event_type: LooseText<'a>,
    #[serde(borrow)]
    pub generation_id: LooseText<'a>,
    #[serde(borrow)]
    pub text: LooseText<'a>,
    #[serde(borrow)]
    pub tool_calls: LooseList<BoxedObject<ToolCall<'a>>>,
    #[serde(borrow)]
    pub tool_call_delta: BoxedObject<ToolCall<'a>>,
    #[serde(borrow)]
    pub finish_reason: LooseText<'a>,
    #[serde(borrow)]
    pub response: BoxedObject<Response<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    pub name: LooseText<'a>,
    /// An object, or pieces of its text.
    #[serde(borrow)]
    pub parameters: RawJson<'a>,
    /// What the model means to do.
    #[serde(borrow)]
    pub text: LooseText<'a>,
}

/// The whole answer, repeated at the end: only what is new in it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Response<'a> {
    #[serde(borrow)]
    pub generation_id: LooseText<'a>,
    pub meta: BoxedObject<Meta>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    tokens: BoxedObject<Counts>,
    cached_tokens: LooseCount,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: LooseCount,
    output_tokens: LooseCount,
}

impl Meta {
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
