//! Gemini Live: a session on a WebSocket, of which each turn is a call, from what the client says
//! (or, with voice, from the model's first content) to `turnComplete`. Messages are JSON, in text
//! or binary frames.
//!
//! Endpoints: GET `/ws/google.ai.generativelanguage.V.GenerativeService.BidiGenerateContent`,
//! `/ws/google.cloud.aiplatform.V.LlmBidiService/BidiGenerateContent` (Vertex), upgraded to a WebSocket.
//! Source: the live types of google-genai 3.4 (Python). Checked 2026-11.

mod types;

use self::types::{Asked, Content, Message};
use super::answer::{AnswerParts, TokenCounting};
use super::emit::{StartReporter, emit_call, emit_error, emit_finish, emit_text, emit_usage};
use super::exchange::{DialectExchange, DialectRules};
use super::json::loose;
use super::path::{self, PathPreset};
use super::socket::{SocketDialect, SocketRow, SocketTurn};
use super::{DeltaKind, Dialect, DialectRow, ProviderMark, Utterance, provider};
use capture::proto::{BodyEvent, RequestHead};

/// Of a session's calls; no request over HTTP is one.
pub(super) static ROW: DialectRow = DialectRow {
    api: "gemini.live",
    operation: "generate_content",
    matches: |_| false,
    provider: |head| provider::name(head, "gcp.gen_ai"),
    make: |head| Box::new(DialectExchange::<GeminiLiveTurn>::new(head)),
};

pub(super) static SOCKET: SocketRow = SocketRow {
    call: &ROW,
    matches: |head| head.path.contains("BidiGenerateContent"),
    make: |head| Box::new(Session { head: head.clone(), open: false }),
};

/// Where calls begin and end.
struct Session {
    /// The upgrade's, the model of the set-up in its query.
    head: RequestHead,
    /// A turn is open.
    open: bool,
}

impl SocketDialect for Session {
    fn sent(&mut self, message: &BodyEvent<'_>) -> SocketTurn {
        let Some(asked) = read::<Asked<'_>>(message) else { return SocketTurn::Same };
        if let Some(model) = asked.setup.0.as_deref().and_then(|setup| setup.model.word()) {
            let model = model.rsplit('/').next().unwrap_or(model);
            self.head.query = Some(format!("model={}", super::cap(model)));
        }
        let whole = asked.client_content.0.is_some_and(|content| content.turn_complete.0);
        if whole && !std::mem::replace(&mut self.open, true) { SocketTurn::Begins } else { SocketTurn::Same }
    }

    fn received(&mut self, message: &BodyEvent<'_>) -> SocketTurn {
        let Some(said) = read::<Message<'_>>(message) else { return SocketTurn::Same };
        let content = said.server_content.0.as_deref();
        if content.is_some_and(|content| content.turn_complete.0) || said.error.present {
            self.open = false;
            return SocketTurn::Ends;
        }
        // What the user said, written down, is no answer.
        let answers = said.tool_call.0.is_some()
            || content
                .is_some_and(|content| content.model_turn.0.is_some() || content.output_transcription.0.is_some());
        if answers && !std::mem::replace(&mut self.open, true) { SocketTurn::Begins } else { SocketTurn::Same }
    }

    fn call(&mut self) -> Box<dyn Dialect> {
        (ROW.make)(&self.head)
    }

    fn held(&self) -> usize {
        size_of_val(self) + self.head.path.capacity()
    }
}

/// A message of either side.
fn read<'a, T: serde::Deserialize<'a>>(message: &BodyEvent<'a>) -> Option<Box<T>> {
    serde_json::from_slice::<loose::BoxedObject<T>>(message.data).ok()?.0
}

/// Thoughts are counted apart.
const COUNTS: TokenCounting = TokenCounting { reasoning_apart: true, ..TokenCounting::INCLUSIVE };

/// One turn.
#[derive(Debug, Default)]
pub struct GeminiLiveTurn {
    named: StartReporter,
    /// The user spoke into the answer.
    interrupted: bool,
}

impl DialectRules for GeminiLiveTurn {
    const ANSWER: AnswerParts = &[];
    const COUNTS: TokenCounting = COUNTS;
    const BINARY_TEXT: bool = true;

    fn preset(head: &RequestHead) -> PathPreset {
        PathPreset { model: path::parameter(head, "model"), stream: Some(true), ..PathPreset::default() }
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let said = loose::read::<loose::BoxedObject<Message<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        if let Some(tokens) = &said.usage_metadata.0 {
            emit_usage(tokens.usage(COUNTS), out);
            self.named.mark(ProviderMark::Tier, tokens.traffic_type.word(), out);
        }
        if let Some(calls) = &said.tool_call.0 {
            let calls = calls.function_calls.items.iter().filter_map(|call| call.0.as_deref());
            calls.for_each(|call| emit_call(&call.name, &call.args, out));
        }
        if let Some(content) = &said.server_content.0 {
            self.emit_content(content, out);
        }
        emit_error(&said.error, out);
        Ok(())
    }
}

impl GeminiLiveTurn {
    fn emit_content(&mut self, content: &Content<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        let parts = content.model_turn.0.as_deref().map(|turn| turn.parts.items.as_slice()).unwrap_or_default();
        for part in parts.iter().filter_map(|part| part.0.as_deref()) {
            emit_text(if part.thought.0 { DeltaKind::Reasoning } else { DeltaKind::Visible }, &part.text, out);
            if let Some(blob) = part.inline_data.0.as_deref()
                && blob.mime_type.word().is_some_and(|mime| mime.starts_with("audio/"))
            {
                emit_text(DeltaKind::Audio, &blob.data, out);
            }
        }
        // What is spoken, written down.
        if let Some(spoken) = &content.output_transcription.0 {
            emit_text(DeltaKind::Audio, &spoken.text, out);
        }
        if content.interrupted.0 && !std::mem::replace(&mut self.interrupted, true) {
            emit_finish("interrupted", out);
        }
        if content.turn_complete.0 {
            if !self.interrupted {
                emit_finish(content.turn_complete_reason.word().unwrap_or("turn_complete"), out);
            }
            out(Utterance::End);
        }
    }
}

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<GeminiLiveTurn>(data);
}
