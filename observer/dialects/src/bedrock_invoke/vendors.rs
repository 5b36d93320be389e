//! Who speaks inside InvokeModel, told by the shape of the events.

use serde::Deserialize;

use crate::answer::{ServerTime, TimeUnit};
use crate::anthropic_messages::AnthropicMessages;
use crate::bedrock_converse::{BedrockConverse, Payload};
use crate::cohere_chat::CohereChat as Cohere;
use crate::emit::{emit_error, emit_finish, emit_text, emit_usage};
use crate::error::ErrorMember;
use crate::exchange::DialectRules;
use crate::json::loose::{self, BoxedObject, LooseCount, LooseNumber, LooseText};
use crate::openai_chat::OpenAiChat;
use crate::{DeltaKind, ServerTimes, TokenUsage, Utterance};
use capture::proto::ExchangeEnd;

/// The vendor, once it spoke.
#[derive(Default)]
pub(super) struct InvokeVendor {
    speaker: Option<Speaker>,
    /// Token counts were told by the vendor itself.
    counted: bool,
    finished: bool,
}

enum Speaker {
    Anthropic(AnthropicMessages),
    /// OpenAI, Mistral, DeepSeek, Qwen, AI21.
    Chat(Box<OpenAiChat>),
    Cohere(Cohere),
    Nova(BedrockConverse),
    /// Llama, Titan: one flat object an event.
    Flat,
}

/// What tells the vendors apart, and all of a flat event.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Native<'a> {
    #[serde(borrow, rename = "type")]
    class: LooseText<'a>,
    choices: Seen,
    /// Llama.
    #[serde(borrow)]
    generation: LooseText<'a>,
    prompt_token_count: LooseCount,
    generation_token_count: LooseCount,
    #[serde(borrow)]
    stop_reason: LooseText<'a>,
    /// Titan.
    #[serde(borrow, rename = "outputText")]
    output_text: LooseText<'a>,
    #[serde(borrow, rename = "completionReason")]
    completion_reason: LooseText<'a>,
    #[serde(rename = "inputTextTokenCount")]
    input_text_token_count: LooseCount,
    #[serde(rename = "totalOutputTextTokenCount")]
    total_output_text_token_count: LooseCount,
    /// Nova: an event is an object with one member, named like those of Converse.
    #[serde(borrow, rename = "messageStart")]
    message_start: BoxedObject<Payload<'a>>,
    #[serde(borrow, rename = "contentBlockStart")]
    content_block_start: BoxedObject<Payload<'a>>,
    #[serde(borrow, rename = "contentBlockDelta")]
    content_block_delta: BoxedObject<Payload<'a>>,
    #[serde(borrow, rename = "messageStop")]
    message_stop: BoxedObject<Payload<'a>>,
    #[serde(borrow)]
    metadata: BoxedObject<Payload<'a>>,
    #[serde(borrow)]
    error: ErrorMember<'a>,
    /// Bedrock's own, on the last event of any vendor.
    #[serde(rename = "amazon-bedrock-invocationMetrics")]
    metrics: BoxedObject<Metrics>,
}

/// Whether there is a list.
#[derive(Default)]
struct Seen(bool);

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(from).map(|_| Self(true))
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metrics {
    input_token_count: LooseCount,
    output_token_count: LooseCount,
    cache_read_input_token_count: LooseCount,
    cache_write_input_token_count: LooseCount,
    invocation_latency: LooseNumber,
    first_byte_latency: LooseNumber,
}

impl InvokeVendor {
    /// One event as the vendor wrote it.
    pub(super) fn event(&mut self, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let native = loose::read::<BoxedObject<Native<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        let (counted, finished) = (&mut self.counted, &mut self.finished);
        let mut emit = |utterance: Utterance<'_>| {
            *counted |= matches!(utterance, Utterance::Usage(_));
            *finished |= matches!(utterance, Utterance::Finish { .. });
            out(utterance);
        };
        if self.speaker.is_none() {
            self.speaker = native.speaker();
        }
        match &mut self.speaker {
            Some(Speaker::Anthropic(messages)) => messages.event(None, data, &mut emit)?,
            Some(Speaker::Chat(chat)) => chat.event(None, data, &mut emit)?,
            Some(Speaker::Cohere(chat)) => chat.event(None, data, &mut emit)?,
            Some(Speaker::Nova(converse)) => native.emit_nova(converse, &mut emit),
            Some(Speaker::Flat) => native.emit_flat(&mut emit),
            None => emit_error(&native.error, &mut emit),
        }
        if let Some(metrics) = &native.metrics.0 {
            metrics.emit(self.counted, out);
        }
        Ok(())
    }

    /// The framing is AWS's: vendors without an end marker are complete if they finished and it is.
    pub(super) fn end(&mut self, how: ExchangeEnd, out: &mut dyn FnMut(Utterance<'_>)) {
        match &mut self.speaker {
            Some(Speaker::Chat(chat)) => chat.end(how, out),
            Some(Speaker::Nova(converse)) => converse.end(how, out),
            _ => {}
        }
        if how == ExchangeEnd::Complete && self.finished {
            out(Utterance::End);
        }
    }

    #[must_use]
    pub(super) fn held(&self) -> usize {
        if let Some(Speaker::Chat(chat)) = &self.speaker { size_of_val(&**chat) + chat.held() } else { 0 }
    }
}

impl Native<'_> {
    fn speaker(&self) -> Option<Speaker> {
        let nova = [&self.message_start, &self.content_block_start, &self.content_block_delta, &self.message_stop];
        if nova.iter().any(|event| event.0.is_some()) {
            return Some(Speaker::Nova(BedrockConverse::default()));
        }
        if self.choices.0 {
            return Some(Speaker::Chat(Box::default()));
        }
        match self.class.word() {
            // Cohere's types are written with a hyphen, Anthropic's with an underscore.
            Some(class) if class.contains('-') => Some(Speaker::Cohere(Cohere::default())),
            Some(_) => Some(Speaker::Anthropic(AnthropicMessages::default())),
            None if self.generation.0.is_some() || self.output_text.0.is_some() => Some(Speaker::Flat),
            None => None,
        }
    }

    fn emit_nova(&self, converse: &mut BedrockConverse, out: &mut dyn FnMut(Utterance<'_>)) {
        let events = [
            ("contentBlockStart", &self.content_block_start),
            ("contentBlockDelta", &self.content_block_delta),
            ("messageStop", &self.message_stop),
            ("metadata", &self.metadata),
        ];
        for (class, payload) in events {
            if let Some(payload) = &payload.0 {
                converse.emit(class, payload, out);
            }
        }
    }

    fn emit_flat(&self, out: &mut dyn FnMut(Utterance<'_>)) {
        emit_text(DeltaKind::Visible, &self.generation, out);
        emit_text(DeltaKind::Visible, &self.output_text, out);
        let usage = TokenUsage {
            input: self.prompt_token_count.0.or(self.input_text_token_count.0),
            output: self.generation_token_count.0.or(self.total_output_text_token_count.0),
            ..TokenUsage::default()
        };
        emit_usage(usage, out);
        if let Some(reason) = self.stop_reason.word().or(self.completion_reason.word()) {
            emit_finish(reason, out);
        }
    }
}

impl Metrics {
    /// The times are Bedrock's own; its counts stand in where the vendor gave none.
    fn emit(&self, counted: bool, out: &mut dyn FnMut(Utterance<'_>)) {
        if !counted {
            let usage = TokenUsage {
                input: self.input_token_count.0,
                output: self.output_token_count.0,
                cached: self.cache_read_input_token_count.0,
                cache_write: self.cache_write_input_token_count.0,
                ..TokenUsage::default()
            };
            emit_usage(usage.with_cache(), out);
        }
        let mut times = ServerTimes::default();
        times.took(ServerTime::First, TimeUnit::Millis, self.first_byte_latency.0);
        times.took(ServerTime::Total, TimeUnit::Millis, self.invocation_latency.0);
        if times != ServerTimes::default() {
            out(Utterance::Took(times));
        }
    }
}
