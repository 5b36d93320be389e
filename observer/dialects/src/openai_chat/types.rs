//! Chunks of a chat completion, borrowed: `object: "chat.completion.chunk"`, and `text_completion`
//! of the older endpoint.

use serde::Deserialize;

use crate::answer::{ServerTime, TimeUnit};
use crate::content::LooseContent;
use crate::emit::emit_text;
use crate::error::ErrorMember;
use crate::json::loose::{BoxedObject, LooseCount, LooseList, LooseNumber, LooseText, RawJson};
use crate::{DeltaKind, ServerTimes, TokenCounting, TokenUsage, Utterance};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Chunk<'a> {
    #[serde(borrow)]
    pub id: LooseText<'a>,
    #[serde(borrow)]
    pub model: LooseText<'a>,
    #[serde(borrow)]
    pub choices: LooseList<BoxedObject<Choice<'a>>>,
    pub usage: BoxedObject<Tokens>,
    #[serde(borrow)]
    pub error: ErrorMember<'a>,
    /// Groq's, which has usage and errors of its own.
    #[serde(borrow)]
    pub x_groq: BoxedObject<Groq<'a>>,
    #[serde(borrow)]
    pub system_fingerprint: LooseText<'a>,
    #[serde(borrow)]
    pub service_tier: LooseText<'a>,
    /// OpenRouter's: who really answers.
    #[serde(borrow)]
    pub provider: LooseText<'a>,
    /// LiteLLM's: another model takes over.
    #[serde(borrow)]
    pub litellm_fallback: BoxedObject<Fallback<'a>>,
    /// Cerebras, in seconds.
    pub time_info: BoxedObject<Times>,
    /// llama.cpp, in milliseconds.
    pub timings: BoxedObject<Timings>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Fallback<'a> {
    #[serde(borrow)]
    pub fallback_model: LooseText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice<'a> {
    pub index: LooseCount,
    #[serde(borrow)]
    pub delta: BoxedObject<Delta<'a>>,
    /// `/v1/completions`.
    #[serde(borrow)]
    pub text: LooseText<'a>,
    #[serde(borrow)]
    pub finish_reason: LooseText<'a>,
    /// Moonshot's place for it, in the choice that ends.
    pub usage: BoxedObject<Tokens>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub content: LooseContent<'a>,
    /// DeepSeek, xAI, Fireworks, older vLLM.
    #[serde(borrow)]
    pub reasoning_content: LooseText<'a>,
    /// Groq, OpenRouter, Together, newer vLLM.
    #[serde(borrow)]
    pub reasoning: LooseText<'a>,
    /// GitHub Copilot.
    #[serde(borrow)]
    pub reasoning_text: LooseText<'a>,
    /// OpenRouter, beside `reasoning` or alone; MiniMax with `reasoning_split`.
    #[serde(borrow)]
    pub reasoning_details: LooseList<BoxedObject<ReasoningDetail<'a>>>,
    #[serde(borrow)]
    pub refusal: LooseText<'a>,
    #[serde(borrow)]
    pub tool_calls: LooseList<BoxedObject<ToolCall<'a>>>,
    /// Before there were `tool_calls`.
    #[serde(borrow)]
    pub function_call: BoxedObject<Function<'a>>,
    #[serde(borrow)]
    pub audio: BoxedObject<Audio<'a>>,
}

/// One of `reasoning.text` and `reasoning.summary`; what is `reasoning.encrypted` has neither.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ReasoningDetail<'a> {
    #[serde(borrow)]
    pub text: LooseText<'a>,
    #[serde(borrow)]
    pub summary: LooseText<'a>,
}

impl Delta<'_> {
    /// The fields for reasoning alone. Some servers send the same text under several of these names.
    fn reasoning_fields(&self) -> [&LooseText<'_>; 3] {
        [&self.reasoning_content, &self.reasoning, &self.reasoning_text]
    }

    /// What stands in such a field; empty: nothing.
    pub(super) fn reasoning_text(&self) -> &str {
        self.reasoning_fields().into_iter().find_map(LooseText::word).unwrap_or_default()
    }

    /// Emits what stands in a field for reasoning; whether there was any: of the first name that holds a word, else of
    /// the details, else an empty piece as it is.
    pub(super) fn emit_reasoning(&self, out: &mut dyn FnMut(Utterance<'_>)) -> bool {
        let fields = self.reasoning_fields();
        if let Some(text) = fields.into_iter().find(|text| text.word().is_some()) {
            emit_text(DeltaKind::Reasoning, text, out);
            return true;
        }
        let details = self.reasoning_details.items.iter().filter_map(|detail| detail.0.as_deref());
        let mut said = false;
        for text in details.flat_map(|detail| [&detail.text, &detail.summary]).filter(|text| text.word().is_some()) {
            emit_text(DeltaKind::Reasoning, text, out);
            said = true;
        }
        if let Some(empty) = fields.into_iter().find(|text| text.0.is_some()).filter(|_| !said) {
            emit_text(DeltaKind::Reasoning, empty, out);
        }
        said
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    pub function: BoxedObject<Function<'a>>,
    /// Tools with free-form input.
    #[serde(borrow)]
    pub custom: BoxedObject<Function<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub name: LooseText<'a>,
    /// A text, or (Mistral) an object.
    #[serde(borrow)]
    pub arguments: RawJson<'a>,
    /// What a custom tool has for arguments.
    #[serde(borrow)]
    pub input: LooseText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Audio<'a> {
    #[serde(borrow)]
    pub data: LooseText<'a>,
    #[serde(borrow)]
    pub transcript: LooseText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Groq<'a> {
    #[serde(borrow)]
    pub id: LooseText<'a>,
    pub usage: BoxedObject<Tokens>,
    #[serde(borrow)]
    pub error: ErrorMember<'a>,
}

/// Cached tokens are part of the prompt's, reasoning tokens of the completion's (but see `TokenCounting::by_total`).
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Tokens {
    prompt_tokens: LooseCount,
    completion_tokens: LooseCount,
    total_tokens: LooseCount,
    prompt_tokens_details: BoxedObject<Details>,
    completion_tokens_details: BoxedObject<Details>,
    /// DeepSeek's name for cached tokens, and Moonshot's.
    prompt_cache_hit_tokens: LooseCount,
    cached_tokens: LooseCount,
    /// Perplexity's.
    reasoning_tokens: LooseCount,
    /// Groq's times stand among its tokens, in seconds.
    queue_time: LooseNumber,
    prompt_time: LooseNumber,
    completion_time: LooseNumber,
    total_time: LooseNumber,
}
#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: LooseCount,
    cache_write_tokens: LooseCount,
    reasoning_tokens: LooseCount,
    audio_tokens: LooseCount,
}

/// Seconds.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Times {
    queue_time: LooseNumber,
    prompt_time: LooseNumber,
    completion_time: LooseNumber,
    total_time: LooseNumber,
}

/// Milliseconds.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Timings {
    prompt_ms: LooseNumber,
    predicted_ms: LooseNumber,
}

impl Times {
    pub(super) fn server(&self) -> ServerTimes {
        let mut times = ServerTimes::default();
        times.took(ServerTime::Queue, TimeUnit::Seconds, self.queue_time.0);
        times.took(ServerTime::Prompt, TimeUnit::Seconds, self.prompt_time.0);
        times.took(ServerTime::Generation, TimeUnit::Seconds, self.completion_time.0);
        times.took(ServerTime::Total, TimeUnit::Seconds, self.total_time.0);
        times
    }
}

impl Timings {
    pub(super) fn server(&self) -> ServerTimes {
        let mut times = ServerTimes::default();
        times.took(ServerTime::Prompt, TimeUnit::Millis, self.prompt_ms.0);
        times.took(ServerTime::Generation, TimeUnit::Millis, self.predicted_ms.0);
        times
    }
}

impl Tokens {
    pub(super) fn times(&self) -> ServerTimes {
        let Self { queue_time, prompt_time, completion_time, total_time, .. } = self;
        let (queue_time, prompt_time, completion_time, total_time) =
            (*queue_time, *prompt_time, *completion_time, *total_time);
        Times { queue_time, prompt_time, completion_time, total_time }.server()
    }

    /// Nothing of the prompt and nothing of the answer is a placeholder of a gateway, no count.
    pub(super) fn usage(&self, counting: TokenCounting) -> TokenUsage {
        if self.prompt_tokens.0 == Some(0) && self.completion_tokens.0 == Some(0) {
            return TokenUsage::default();
        }
        let prompt = self.prompt_tokens_details.0.as_deref();
        let completion = self.completion_tokens_details.0.as_deref();
        let usage = TokenUsage {
            input: self.prompt_tokens.0,
            output: self.completion_tokens.0,
            cached: prompt.and_then(|d| d.cached_tokens.0).or(self.prompt_cache_hit_tokens.0).or(self.cached_tokens.0),
            cache_write: prompt.and_then(|d| d.cache_write_tokens.0),
            reasoning: completion.and_then(|d| d.reasoning_tokens.0).or(self.reasoning_tokens.0),
            audio_input: prompt.and_then(|d| d.audio_tokens.0),
            audio_output: completion.and_then(|d| d.audio_tokens.0),
        };
        counting.normal(usage, self.total_tokens.0)
    }
}
