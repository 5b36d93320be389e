//! OpenAI Realtime: a session on a WebSocket, of which each response is a call, from
//! `response.created` (or the client's `response.create`) to `response.done`. With voice detection
//! nobody asks for a response: the server begins it. Sessions that only write down what they hear:
//! `transcribe`. (What such a model writes down beside its responses is no call.)
//!
//! Endpoints: GET `…/v1/realtime?model=M`, `…/openai/realtime?deployment=D` (Azure), upgraded to a WebSocket.
//! Source: the OpenAI API reference and the realtime types of openai-python 2.54. Checked 2026-11.

mod transcribe;
mod types;

use std::borrow::Cow;

use self::transcribe::TranscriptionSocket;
use self::types::{RateLimit, Response, StreamEvent};
use super::answer::{AnswerPart, AnswerParts, at};
use super::emit::{StartReporter, emit_finish, emit_text, emit_usage};
use super::exchange::{DialectExchange, DialectRules};
use super::finish::{self, FinishClass};
use super::json::loose;
use super::path::{self, PathPreset};
use super::socket::{self, SocketDialect, SocketRow, SocketTurn};
use super::{DeltaKind, Dialect, DialectRow, ProviderMark, Utterance, path_ends, provider};
use capture::proto::{BodyEvent, RequestHead};

/// Of a session's calls; no request over HTTP is one.
pub(super) static ROW: DialectRow = DialectRow {
    api: "openai.realtime",
    operation: "chat",
    matches: |_| false,
    provider: |head| provider::name(head, "openai"),
    make: |head| Box::new(DialectExchange::<RealtimeResponse>::new(head)),
};

pub(super) static SOCKET: SocketRow = SocketRow {
    call: &ROW,
    matches: |head| path_ends(head, &["/realtime"]),
    make: |head| Box::new(Session { head: head.clone(), waits: false, scribe: None }),
};

pub(super) use transcribe::SOCKET as TRANSCRIPTION;

/// Where calls begin and end.
struct Session {
    head: RequestHead,
    /// The client asked for a response, and the server has not begun one.
    waits: bool,
    /// The session turned out to be one that only transcribes.
    scribe: Option<TranscriptionSocket>,
}

impl Session {
    /// What kind of session it is, if this message says so.
    fn learn(&mut self, kind: Option<&str>, message: &BodyEvent<'_>) {
        let tells = kind.is_some_and(|kind| kind.starts_with("session.") || kind.starts_with("transcription_session."));
        if let Some(settings) = tells.then(|| transcribe::settings(message)).flatten().filter(|set| set.transcribes()) {
            self.scribe.get_or_insert_with(|| TranscriptionSocket::new(&self.head)).learn(&settings);
        }
    }
}

/// What is said of the session, its items and what it hears, while a response may be asked for or going on.
const APART: &[&str] = &[
    "session.",
    "transcription_session.",
    "conversation.",
    "input_audio_buffer.",
    "output_audio_buffer.",
    "mcp_list_tools.",
];

impl SocketDialect for Session {
    fn sent(&mut self, message: &BodyEvent<'_>) -> SocketTurn {
        let kind = socket::kind(message);
        if self.scribe.is_none() {
            self.learn(kind, message);
        }
        if let Some(scribe) = &mut self.scribe {
            return scribe.sent(message);
        }
        if kind != Some("response.create") {
            return SocketTurn::Same;
        }
        self.waits = true;
        SocketTurn::Begins
    }

    fn received(&mut self, message: &BodyEvent<'_>) -> SocketTurn {
        let kind = socket::kind(message);
        if self.scribe.is_none() {
            self.learn(kind, message);
        }
        if let Some(scribe) = &mut self.scribe {
            return scribe.received(message);
        }
        match kind {
            Some("response.created") => {
                self.waits = false;
                SocketTurn::Begins
            }
            Some("response.done") => SocketTurn::Ends,
            // Most errors are answers to other messages, and a response goes on; one that comes
            // instead of a response ends it.
            Some("error") if std::mem::take(&mut self.waits) => SocketTurn::Ends,
            Some(kind) if APART.iter().any(|start| kind.starts_with(start)) => SocketTurn::Apart,
            _ => SocketTurn::Same,
        }
    }

    fn name(&self) -> u64 {
        self.scribe.as_ref().map_or(0, TranscriptionSocket::name)
    }

    fn call(&mut self) -> Box<dyn Dialect> {
        match &mut self.scribe {
            Some(scribe) => scribe.call(),
            None => (ROW.make)(&self.head),
        }
    }

    fn row(&self) -> Option<&'static DialectRow> {
        self.scribe.as_ref().map(|_| transcribe::ROW)
    }

    fn held(&self) -> usize {
        size_of_val(self) + self.head.path.capacity() + self.scribe.as_ref().map_or(0, TranscriptionSocket::held)
    }
}

/// Event types that append output; each has a `.done` twin that repeats it. The last are names of previews.
const DELTAS: &[(&str, DeltaKind)] = &[
    ("response.output_audio.delta", DeltaKind::Audio),
    ("response.output_audio_transcript.delta", DeltaKind::Audio),
    ("response.output_text.delta", DeltaKind::Visible),
    ("response.function_call_arguments.delta", DeltaKind::Tool),
    ("response.mcp_call_arguments.delta", DeltaKind::Tool),
    ("response.audio.delta", DeltaKind::Audio),
    ("response.audio_transcript.delta", DeltaKind::Audio),
    ("response.text.delta", DeltaKind::Visible),
];

/// One response.
#[derive(Debug, Default)]
pub struct RealtimeResponse {
    named: StartReporter,
    begun: bool,
}

impl DialectRules for RealtimeResponse {
    const ANSWER: AnswerParts = ANSWER;

    fn preset(head: &RequestHead) -> PathPreset {
        let model = path::parameter(head, "model").or_else(|| path::parameter(head, "deployment"));
        PathPreset { model, stream: Some(true), ..PathPreset::default() }
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let event = loose::read::<loose::BoxedObject<StreamEvent<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        let class = event.class.word().unwrap_or("");
        if let Some(&(_, kind)) = DELTAS.iter().find(|(name, _)| *name == class) {
            emit_text(kind, &event.delta, out);
            return Ok(());
        }
        match class {
            "response.created" => {
                self.begun = true;
                self.named.emit(event.response.0.as_deref().and_then(|response| response.id.word()), None, out);
            }
            "response.output_item.added" => {
                let item =
                    event.item.0.as_deref().filter(|item| item.class.word().is_some_and(|c| c.ends_with("_call")));
                if let Some(item) = item {
                    emit_text(DeltaKind::Tool, &item.name, out);
                }
            }
            "response.done" => self.emit_last(&event.response.0.unwrap_or_default(), out),
            "rate_limits.updated" => {
                event
                    .rate_limits
                    .items
                    .iter()
                    .filter_map(|limit| limit.0.as_deref())
                    .for_each(|limit| emit_limit(limit, out));
            }
            "error" if !self.begun => out(Utterance::Error { kind: event.error.kind().map(Cow::Borrowed) }),
            _ => {}
        }
        Ok(())
    }
}

impl RealtimeResponse {
    fn emit_last(&mut self, response: &Response<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        self.named.emit(response.id.word(), None, out);
        emit_usage(response.usage.0.as_deref().map(types::Tokens::usage).unwrap_or_default(), out);
        let details = response.status_details.0.as_deref();
        let status = response.status.word().unwrap_or("");
        if status == "failed" {
            let kind = details.and_then(|details| details.error.kind());
            out(Utterance::Error { kind: Some(Cow::Borrowed(kind.unwrap_or(status))) });
        } else {
            let reason = details.and_then(|details| details.reason.word()).unwrap_or(status);
            if finish::class(reason) == FinishClass::Refusal {
                self.named.mark(ProviderMark::Blocked, Some(reason), out);
            }
            emit_finish(reason, out);
        }
        out(Utterance::End);
    }
}

/// In the names of the headers that say the same over HTTP.
fn emit_limit(limit: &RateLimit<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    let Some(name @ ("requests" | "tokens")) = limit.name.word() else { return };
    let reset = limit.reset_seconds.0.map(|seconds| format!("{seconds}s"));
    let values = [
        ("limit", limit.limit.0.map(|n| n.to_string())),
        ("remaining", limit.remaining.0.map(|n| n.to_string())),
        ("reset", reset),
    ];
    for (what, value) in values.into_iter().filter_map(|(what, value)| Some((what, value?))) {
        out(Utterance::Limit { name: format!("x-ratelimit-{what}-{name}").into(), value: value.into() });
    }
}

/// What a refused upgrade is answered with.
static ANSWER: AnswerParts = &[at(&["error"], AnswerPart::Error), at(&["error"], AnswerPart::ErrorObject)];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<RealtimeResponse>(data);
    super::exchange::fuzz::<transcribe::AudioTranscript>(data);
    socket::fuzz(&SOCKET, data);
    socket::fuzz(&TRANSCRIPTION, data);
}
