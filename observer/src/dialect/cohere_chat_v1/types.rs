//! Lines of Cohere's v1 chat, borrowed.

use serde::Deserialize;

use crate::dialect::Usage;
use crate::dialect::json::loose::{Count, Json, List, Object, Text};

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct StreamEvent<'a> {
    #[serde(borrow)]
    pub event_type: Text<'a>,
    #[serde(borrow)]
    pub generation_id: Text<'a>,
    #[serde(borrow)]
    pub text: Text<'a>,
    #[serde(borrow)]
    pub tool_calls: List<Object<ToolCall<'a>>>,
    #[serde(borrow)]
    pub tool_call_delta: Object<ToolCall<'a>>,
    #[serde(borrow)]
    pub finish_reason: Text<'a>,
    #[serde(borrow)]
    pub response: Object<Response<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ToolCall<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    /// An object, or pieces of its text.
    #[serde(borrow)]
    pub parameters: Json<'a>,
    /// What the model means to do.
    #[serde(borrow)]
    pub text: Text<'a>,
}

/// The whole answer, repeated at the end: only what is new in it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Response<'a> {
    #[serde(borrow)]
    pub generation_id: Text<'a>,
    pub meta: Object<Meta>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Meta {
    tokens: Object<Counts>,
    cached_tokens: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: Count,
    output_tokens: Count,
}

impl Meta {
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
