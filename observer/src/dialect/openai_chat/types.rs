//! Chunks of a chat completion, borrowed: `object: "chat.completion.chunk"`, and `text_completion` of the older endpoint.

use serde::Deserialize;

use crate::dialect::answer::{Time, Unit};
use crate::dialect::content::Content;
use crate::dialect::error::Failure;
use crate::dialect::json::loose::{Count, Json, List, Object, Real, Text};
use crate::dialect::{Counting, ServerTimes, Usage};

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
    #[serde(borrow)]
    pub system_fingerprint: Text<'a>,
    #[serde(borrow)]
    pub service_tier: Text<'a>,
    /// OpenRouter's: who really answers.
    #[serde(borrow)]
    pub provider: Text<'a>,
    /// LiteLLM's: another model takes over.
    #[serde(borrow)]
    pub litellm_fallback: Object<Fallback<'a>>,
    /// Cerebras, in seconds.
    pub time_info: Object<Times>,
    /// llama.cpp, in milliseconds.
    pub timings: Object<Timings>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fallback<'a> {
    #[serde(borrow)]
    pub fallback_model: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Choice<'a> {
    pub index: Count,
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
    pub content: Content<'a>,
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
    /// A text, or (Mistral) an object.
    #[serde(borrow)]
    pub arguments: Json<'a>,
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

/// Cached tokens are part of the prompt's, reasoning tokens of the completion's (but see `Counting::by_total`).
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Tokens {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
    prompt_tokens_details: Object<Details>,
    completion_tokens_details: Object<Details>,
    /// DeepSeek's name for cached tokens.
    prompt_cache_hit_tokens: Count,
    /// Groq's times stand among its tokens, in seconds.
    queue_time: Real,
    prompt_time: Real,
    completion_time: Real,
    total_time: Real,
}
#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Count,
    cache_write_tokens: Count,
    reasoning_tokens: Count,
    audio_tokens: Count,
}

/// Seconds.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Times {
    queue_time: Real,
    prompt_time: Real,
    completion_time: Real,
    total_time: Real,
}

/// Milliseconds.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Timings {
    prompt_ms: Real,
    predicted_ms: Real,
}

impl Times {
    pub fn server(&self) -> ServerTimes {
        let mut times = ServerTimes::default();
        times.took(Time::Queue, Unit::Seconds, self.queue_time.0);
        times.took(Time::Prompt, Unit::Seconds, self.prompt_time.0);
        times.took(Time::Generation, Unit::Seconds, self.completion_time.0);
        times.took(Time::Total, Unit::Seconds, self.total_time.0);
        times
    }
}

impl Timings {
    pub fn server(&self) -> ServerTimes {
        let mut times = ServerTimes::default();
        times.took(Time::Prompt, Unit::Millis, self.prompt_ms.0);
        times.took(Time::Generation, Unit::Millis, self.predicted_ms.0);
        times
    }
}

impl Tokens {
    pub fn times(&self) -> ServerTimes {
        let Self { queue_time, prompt_time, completion_time, total_time, .. } = self;
        let (queue_time, prompt_time, completion_time, total_time) =
            (*queue_time, *prompt_time, *completion_time, *total_time);
        Times { queue_time, prompt_time, completion_time, total_time }.server()
    }

    pub fn usage(&self, counting: Counting) -> Usage {
        let prompt = self.prompt_tokens_details.0.as_deref();
        let completion = self.completion_tokens_details.0.as_deref();
        let usage = Usage {
            input: self.prompt_tokens.0,
            output: self.completion_tokens.0,
            cached: prompt.and_then(|d| d.cached_tokens.0).or(self.prompt_cache_hit_tokens.0),
            cache_write: prompt.and_then(|d| d.cache_write_tokens.0),
            reasoning: completion.and_then(|d| d.reasoning_tokens.0),
            audio_input: prompt.and_then(|d| d.audio_tokens.0),
            audio_output: completion.and_then(|d| d.audio_tokens.0),
        };
        counting.normal(usage, self.total_tokens.0)
    }
}
