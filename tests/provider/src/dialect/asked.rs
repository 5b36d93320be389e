//! What a request asks for, as far as the answer depends on it: by its path first, as gateways allow any prefix.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::form::Form;

/// Which API a request speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    #[default]
    Chat,
    Completions,
    Responses,
    Messages,
    Gemini,
    /// Bedrock Converse.
    Converse,
    /// Bedrock InvokeModel with Anthropic's bodies.
    Invoke,
    /// Cohere v2.
    Cohere,
    OllamaChat,
    OllamaGenerate,
    /// `/v1/audio/speech`.
    Speech,
    Realtime,
    /// Deepgram's transcription over a WebSocket.
    Listen,
    /// OpenAI's realtime transcription.
    Transcription,
}

/// Vendors that speak another's API with differences of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavour {
    #[default]
    Own,
    Groq,
    Mistral,
    DeepSeek,
    OpenRouter,
}

impl Flavour {
    /// By the host, or by the first segment of the path where the host is this one.
    fn of(host: &str, path: &str) -> Self {
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let is = |name: &str| first.contains(name) || host.contains(name);
        match () {
            () if is("groq") => Self::Groq,
            () if is("mistral") => Self::Mistral,
            () if is("deepseek") => Self::DeepSeek,
            () if is("openrouter") => Self::OpenRouter,
            () => Self::Own,
        }
    }
}

/// What the request asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub api: Api,
    pub flavour: Flavour,
    pub form: Form,
    pub model: String,
    pub stream: bool,
    /// OpenAI chat: `stream_options.include_usage`.
    pub include_usage: bool,
}

impl Asked {
    /// A POST's meaning; `None`: no model call.
    #[must_use]
    pub fn read(host: &str, target: &str, body: &[u8]) -> Option<Self> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let mut asked = Self::by_url(path, query).or_else(|| Self::by_path(path, &body))?;
        asked.flavour = Flavour::of(host, path);
        asked.include_usage = body.pointer("/stream_options/include_usage").and_then(Value::as_bool).unwrap_or(false);
        Some(asked)
    }

    /// A text message on a WebSocket that asks for an answer; the model is in it, was set for the
    /// session, or was in the target.
    #[must_use]
    pub fn message(api: Api, target: &str, set: Option<&str>, message: &Value) -> Option<Self> {
        let asks = if api == Api::Transcription { "input_audio_buffer.commit" } else { "response.create" };
        if message.get("type").and_then(Value::as_str) != Some(asks) {
            return None;
        }
        let model = word(message, "model").or_else(|| set.map(str::to_owned)).unwrap_or_else(|| in_query(target));
        Some(Self::turn(api, model))
    }

    /// Sound on a WebSocket that is written down.
    #[must_use]
    pub fn sound(target: &str) -> Self {
        Self::turn(Api::Listen, in_query(target))
    }

    fn turn(api: Api, model: String) -> Self {
        Self { api, form: Form::Messages, model, stream: true, include_usage: true, ..Self::default() }
    }

    /// APIs that name the model in the URL.
    fn by_url(path: &str, query: &str) -> Option<Self> {
        let (before, last) = path.rsplit_once('/')?;
        if let Some((model, verb)) = last.rsplit_once(':').filter(|_| before.ends_with("/models")) {
            let stream = verb == "streamGenerateContent";
            let sse = query.split('&').any(|pair| pair == "alt=sse");
            let form = if sse { Form::SseCrlf } else { Form::Array };
            let known = stream || verb == "generateContent";
            return known.then(|| Self { form, ..Self::of(Api::Gemini, unescape(model), stream) });
        }
        let (prefix, model) = before.rsplit_once('/')?;
        if !prefix.ends_with("/model") {
            return None;
        }
        let (api, form, stream) = match last {
            "converse" => (Api::Converse, Form::Frames, false),
            "converse-stream" => (Api::Converse, Form::Frames, true),
            "invoke" => (Api::Invoke, Form::Wrapped, false),
            "invoke-with-response-stream" => (Api::Invoke, Form::Wrapped, true),
            _ => return None,
        };
        Some(Self { form, ..Self::of(api, unescape(model), stream) })
    }

    fn by_path(path: &str, body: &Value) -> Option<Self> {
        let (api, form) = [
            ("/chat/completions", Api::Chat, Form::Sse),
            ("/completions", Api::Completions, Form::Sse),
            ("/responses", Api::Responses, Form::Sse),
            ("/messages", Api::Messages, Form::Sse),
            ("/v2/chat", Api::Cohere, Form::Sse),
            ("/api/chat", Api::OllamaChat, Form::Lines),
            ("/api/generate", Api::OllamaGenerate, Form::Lines),
            ("/audio/speech", Api::Speech, Form::Bytes),
        ]
        .into_iter()
        .find_map(|(end, api, form)| path.ends_with(end).then_some((api, form)))?;
        let stream = body.get("stream").and_then(Value::as_bool);
        let stream = match api {
            Api::OllamaChat | Api::OllamaGenerate => stream.unwrap_or(true),
            Api::Speech => true,
            _ => stream.unwrap_or(false),
        };
        let sse = api == Api::Speech && body.get("stream_format").and_then(Value::as_str) == Some("sse");
        let form = if sse { Form::Sse } else { form };
        Some(Self { form, ..Self::of(api, word(body, "model").unwrap_or_default(), stream) })
    }

    fn of(api: Api, model: String, stream: bool) -> Self {
        Self { api, model, stream, ..Self::default() }
    }
}

/// The model that a target names.
fn in_query(target: &str) -> String {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    unescape(query.split('&').find_map(|pair| pair.strip_prefix("model=")).unwrap_or_default())
}

fn word(object: &Value, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// Percent-decodes.
fn unescape(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut rest = bytes.clone();
        let code = (byte == b'%').then(|| hex(rest.next()?, rest.next()?)).flatten();
        if code.is_some() {
            bytes = rest;
        }
        out.push(code.unwrap_or(byte));
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}
