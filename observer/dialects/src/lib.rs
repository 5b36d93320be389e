//! Stage 5: what the messages mean. `Message` in, `Utterance` out.
//!
//! ```
//! use dialects::{DeltaKind, Utterance, find};
//! use capture::proto::{BodyEvent, RequestHead};
//!
//! let head = RequestHead { method: "POST".into(), path: "/v1/chat/completions".into(), ..RequestHead::default() };
//! let row = find(&head, &[]).expect("the path is OpenAI's");
//! assert_eq!(row.api, "openai.chat");
//!
//! let (mut dialect, mut visible) = ((row.make)(&head), 0);
//! let data = br#"{"choices":[{"index":0,"delta":{"content":"Hi"}}]}"#;
//! dialect.event(&BodyEvent { data, ..BodyEvent::default() }, &mut |utterance| {
//!     if let Utterance::Delta { kind: DeltaKind::Visible, text } = utterance {
//!         visible += text.chars().count();
//!     }
//! });
//! assert_eq!(visible, 2);
//! ```

#![deny(
    clippy::disallowed_methods,
    reason = "a pure stage: time is an argument, and nothing here reads files or sockets"
)]
#![forbid(unsafe_code)]

mod answer;
pub mod anthropic_messages;
pub mod bedrock_converse;
pub mod bedrock_invoke;
pub mod cohere_chat;
pub mod cohere_chat_v1;
mod content;
pub mod deepgram;
pub mod elevenlabs;
mod emit;
mod error;
mod exchange;
pub mod finish;
pub mod gemini;
pub mod gemini_interactions;
pub mod gemini_live;
pub mod grpc;
mod head;
pub mod json;
pub mod llama_cpp_completion;
pub mod look;
pub mod mistral_conversations;
pub mod ollama;
pub mod openai_audio;
pub mod openai_chat;
pub mod openai_realtime;
pub mod openai_responses;
mod path;
pub mod prompt;
pub mod provider;
mod request;
mod running;
pub mod sglang_generate;
pub mod socket;
pub mod spans;
mod table;
#[cfg(debug_assertions)]
pub mod template;
#[cfg(test)]
mod testing;
pub mod tgi_generate;
mod think;
pub mod unknown;

use std::borrow::Cow;
use std::fmt;

use self::answer::TokenCounting;
use self::emit::StartReporter;
pub use self::head::{RequestMarks, ResponseFacts, ServerTimes};
use self::path::ends as path_ends;
pub use self::running::find_mid_stream;
pub use self::socket::{SOCKETS, SocketDialect, SocketRow, SocketTurn, find_socket, whose};
pub use self::table::{DIALECTS, DeclaredRoute, DialectRow, find, related, row};
use capture::proto::{BodyEvent, ExchangeEnd, ResponseHead};

/// What the provider said.
#[derive(Clone, PartialEq)]
pub enum Utterance<'a> {
    /// The response began and named itself (any of the two may come later or never).
    Start { response_id: Option<Cow<'a, str>>, model: Option<Cow<'a, str>> },
    /// A piece of the answer. Empty texts are reported too: they are events, but not chunks. One
    /// event brings one delta for each choice that it speaks for.
    Delta { kind: DeltaKind, text: Cow<'a, str> },
    /// Output of an answer that is not a stream (one JSON document): `chars` more characters of it
    /// were scanned and forgotten. It adds to the character counts, but it is no chunk and sets no
    /// milestone: nobody can use a part of it.
    Whole { kind: DeltaKind, chars: u64 },
    /// Sound (or pictures) as bytes: a piece of such a body, or an event that is one.
    Media { bytes: u64 },
    /// Token counts so far (cumulative: the last one wins field by field).
    Usage(TokenUsage),
    /// Something else that the provider says of its answer: said once, and again when it changes.
    Mark { what: ProviderMark, value: Cow<'a, str> },
    /// How long the server says that its own work took.
    Took(ServerTimes),
    /// A rate limit, or what an error says of one, that came outside the heads: in the name of the
    /// header that says the same over HTTP (`x-ratelimit-…`, `retry-after`), or `quota-id`.
    Limit { name: Cow<'a, str>, value: Cow<'a, str> },
    /// Why the answer ended, in the provider's word (`finish::class` has the normal form).
    Finish { reason: Cow<'a, str> },
    /// An error inside the stream or an error body; `kind` is the provider's type or code (never its text). An error
    /// outweighs an `End` that follows it: some servers close a failed stream with `[DONE]`.
    Error { kind: Option<Cow<'a, str>> },
    /// The dialect's own end marker (`[DONE]`, `message_stop`, `response.completed`): the stream is complete.
    End,
    /// A keep-alive (`ping`): liveness, not output.
    KeepAlive,
    /// A well-formed event that carries nothing of the above.
    Other,
    /// The event could not be understood (bad JSON, bad UTF-8): counted by reason.
    Malformed(&'static str),
}

/// Names and counts only: nobody's words must reach a log.
impl fmt::Debug for Utterance<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { response_id, model } => {
                f.debug_struct("Start").field("response_id", response_id).field("model", model).finish()
            }
            Self::Delta { kind, text } => write!(f, "Delta({kind:?}, {} bytes)", text.len()),
            Self::Whole { kind, chars } => write!(f, "Whole({kind:?}, {chars} chars)"),
            Self::Media { bytes } => write!(f, "Media({bytes} bytes)"),
            Self::Usage(usage) => usage.fmt(f),
            Self::Mark { what, value } => f.debug_tuple("Mark").field(what).field(value).finish(),
            Self::Took(times) => times.fmt(f),
            Self::Limit { name, value } => f.debug_tuple("Limit").field(name).field(value).finish(),
            Self::Finish { reason } => f.debug_tuple("Finish").field(reason).finish(),
            Self::Error { kind } => f.debug_tuple("Error").field(kind).finish(),
            Self::End => f.write_str("End"),
            Self::KeepAlive => f.write_str("KeepAlive"),
            Self::Other => f.write_str("Other"),
            Self::Malformed(reason) => f.debug_tuple("Malformed").field(reason).finish(),
        }
    }
}

/// What kind of output a delta is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeltaKind {
    /// Text the user sees.
    Visible,
    /// Reasoning text or its summary.
    Reasoning,
    /// A tool call's name or arguments (the name is a delta of its own, before its arguments).
    Tool,
    /// A refusal that the API marks as such (the user sees it, but it is not the answer).
    Refusal,
    /// Audio (text: base64, or its transcript where that is what comes).
    Audio,
}

/// What a `Mark` tells of. A change in mid-stream is the trace of a failover behind a gateway that says nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProviderMark {
    /// The answering model, where it changes after it was named.
    Model,
    /// The backend's configuration (`system_fingerprint`).
    Fingerprint,
    /// The service tier that served (`default`, `flex`, `priority`, `ON_DEMAND` …).
    Tier,
    /// The provider behind a router (OpenRouter's `provider`).
    Upstream,
    /// A fallback took over: the model it went to.
    Fallback,
    /// The category of a refusal or of a block.
    Blocked,
    /// The answer can be taken up again by another request: `offered`. The token itself is nobody's business.
    Continuation,
    /// Reasoning came along that only its provider can read: the name of the field. What it holds is nobody's business.
    Sealed,
}

impl ProviderMark {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// The mark's name in `inspect`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Fingerprint => "fingerprint",
            Self::Tier => "tier",
            Self::Upstream => "upstream",
            Self::Fallback => "fallback",
            Self::Blocked => "blocked",
            Self::Continuation => "continuation",
            Self::Sealed => "sealed_reasoning",
        }
    }
}

/// Token counts as the provider reported them, normalised: `input` includes cached, `output` includes reasoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// All input tokens.
    pub input: Option<u64>,
    /// All output tokens.
    pub output: Option<u64>,
    /// Input tokens read from a cache.
    pub cached: Option<u64>,
    /// Input tokens written to a cache.
    pub cache_write: Option<u64>,
    /// Output tokens spent on reasoning.
    pub reasoning: Option<u64>,
    /// Input tokens that are audio.
    pub audio_input: Option<u64>,
    /// Output tokens that are audio.
    pub audio_output: Option<u64>,
}

impl TokenUsage {
    /// Counts are cumulative: the last one wins, field by field.
    pub fn merge(&mut self, new: &TokenUsage) {
        let TokenUsage { input, output, cached, cache_write, reasoning, audio_input, audio_output } = *new;
        self.input = input.or(self.input);
        self.output = output.or(self.output);
        self.cached = cached.or(self.cached);
        self.cache_write = cache_write.or(self.cache_write);
        self.reasoning = reasoning.or(self.reasoning);
        self.audio_input = audio_input.or(self.audio_input);
        self.audio_output = audio_output.or(self.audio_output);
    }
}

/// What the request asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// The model's name as on the wire.
    pub model: Option<String>,
    /// Whether a stream was asked for.
    pub stream: Option<bool>,
    /// Number of messages (or input items).
    pub messages: Option<u32>,
    /// Number of tools offered.
    pub tools: Option<u32>,
    /// The output limit asked for.
    pub max_tokens: Option<u64>,
    /// The body was not seen whole (lost or over a cap), so absent fields are unknown rather than absent.
    pub truncated: bool,
}

/// One exchange's interpreter. Pure, never panics, constant memory.
pub trait Dialect: Send {
    /// A piece of the request body.
    fn request_body(&mut self, bytes: &[u8]);
    /// The request ended: what it asked for. `lost`: bytes of the body are missing.
    fn request_end(&mut self, lost: bool) -> RequestFacts;
    /// Asked after `request_end`: an answer labelled as JSON (and no error) is a stream of JSON
    /// texts, in lines or as an array that grows. Each comes as an event, as it is complete.
    fn streams_json(&self) -> bool {
        false
    }
    /// The response head (status, headers).
    fn response(&mut self, head: &ResponseHead);
    /// One event of the stream.
    fn event(&mut self, event: &BodyEvent<'_>, out: &mut dyn FnMut(Utterance<'_>));
    /// A piece of a body that is not a stream (JSON answer or error).
    fn body(&mut self, bytes: &[u8], out: &mut dyn FnMut(Utterance<'_>));
    /// What the server said behind the body.
    fn trailers(&mut self, _trailers: &[(String, String)], _out: &mut dyn FnMut(Utterance<'_>)) {}
    /// The exchange ended: say what is still to be said (a whole JSON answer is interpreted here at
    /// the latest; a stream without an end marker of its own is complete if its framing is).
    fn end(&mut self, how: ExchangeEnd, out: &mut dyn FnMut(Utterance<'_>));
    /// Bytes of the response are missing.
    fn gap(&mut self);
    /// Bytes held now.
    fn held(&self) -> usize;
}

/// A name, cut to `limits::NAME` bytes between characters.
fn cap(name: &str) -> &str {
    name.get(..name.floor_char_boundary(capture::limits::NAME)).unwrap_or(name)
}
