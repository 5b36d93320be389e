//! Chunks of a chat completion, borrowed: `object: "chat.completion.chunk"`, and `text_completion` of the older endpoint.

use serde::Deserialize;

use crate::dialect::Usage;
use crate::dialect::error::Failure;
use crate::dialect::json::loose::{Count, List, Object, Text};

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Chunk<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow)]
    pub model: Text<'a>,
    #[serde(borrow)]
    pub choices: List<Object<Choice<'a>>>,
    pub usage: Object<Tokens>,
    #[serde(borrow)]
    pub error: Failure<'a>,
    /// Groq's, which has usage and errors of its own.
    #[serde(borrow)]
    pub x_groq: Object<Groq<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Choice<'a> {
    #[serde(borrow)]
    pub delta: Object<Delta<'a>>,
    /// `/v1/completions`.
    #[serde(borrow)]
    pub text: Text<'a>,
    #[serde(borrow)]
    pub finish_reason: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Delta<'a> {
    #[serde(borrow)]
    pub content: Text<'a>,
    /// DeepSeek, xAI, Fireworks, older vLLM.
    #[serde(borrow)]
    pub reasoning_content: Text<'a>,
    /// Groq, OpenRouter, Together, newer vLLM.
    #[serde(borrow)]
    pub reasoning: Text<'a>,
    #[serde(borrow)]
    pub refusal: Text<'a>,
    #[serde(borrow)]
    pub tool_calls: List<Object<ToolCall<'a>>>,
    /// Before there were `tool_calls`.
    #[serde(borrow)]
    pub function_call: Object<Function<'a>>,
    #[serde(borrow)]
    pub audio: Object<Audio<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ToolCall<'a> {
    #[serde(borrow)]
    pub function: Object<Function<'a>>,
    /// Tools with free-form input.
    #[serde(borrow)]
    pub custom: Object<Function<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Function<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub arguments: Text<'a>,
    /// What a custom tool has for arguments.
    #[serde(borrow)]
    pub input: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Audio<'a> {
    #[serde(borrow)]
    pub data: Text<'a>,
    #[serde(borrow)]
    pub transcript: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Groq<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    pub usage: Object<Tokens>,
    #[serde(borrow)]
    pub error: Failure<'a>,
}

/// Cached tokens are part of the prompt's, reasoning tokens of the completion's.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Tokens {
    prompt_tokens: Count,
    completion_tokens: Count,
    prompt_tokens_details: Object<Details>,
    completion_tokens_details: Object<Details>,
    /// DeepSeek's name for cached tokens.
    prompt_cache_hit_tokens: Count,
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
        let prompt = self.prompt_tokens_details.0.as_deref();
        let completion = self.completion_tokens_details.0.as_deref();
        Usage {
            input: self.prompt_tokens.0,
            output: self.completion_tokens.0,
            cached: prompt.and_then(|d| d.cached_tokens.0).or(self.prompt_cache_hit_tokens.0),
            cache_write: prompt.and_then(|d| d.cache_write_tokens.0),
            reasoning: completion.and_then(|d| d.reasoning_tokens.0),
        }
    }
}
