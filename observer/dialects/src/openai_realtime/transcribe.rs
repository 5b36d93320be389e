//! Sessions that only write down what they hear. A call is a piece of sound that was committed, by
//! the client or by the server's voice detection, until its transcript is complete; where words
//! come before that, it begins with them. Several may be written down at once, and no order is
//! promised: each message names its item.
//!
//! Endpoints: GET `…/realtime?intent=transcription`; any other session that says that it is of the
//! type `transcription`. Source: the OpenAI API reference and the realtime types of openai-python
//! 2.54. Checked 2026-11.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use serde::Deserialize;

use super::types::Tokens;
use crate::answer::AnswerParts;
use crate::emit::{StartReporter, emit_finish, emit_text, emit_usage};
use crate::error::ErrorMember;
use crate::exchange::{DialectExchange, DialectRules};
use crate::json::loose::{self, BoxedObject, LooseText};
use crate::json::member;
use crate::path::{self, PathPreset};
use crate::socket::{self, SocketDialect, SocketRow, SocketTurn};
use crate::{DeltaKind, Dialect, DialectRow, Utterance, cap, openai_audio, path_ends};
use capture::limits::SOCKET_TURNS;
use capture::proto::{BodyEvent, RequestHead};

/// What such a call is.
pub(super) static ROW: &DialectRow = &openai_audio::TRANSCRIPTION;

pub(crate) static SOCKET: SocketRow = SocketRow {
    call: ROW,
    matches: |head| {
        path_ends(head, &["/realtime"]) && path::parameter(head, "intent").as_deref() == Some("transcription")
    },
    make: |head| Box::new(TranscriptionSocket::new(head)),
};

/// Events of a transcript: what follows names which.
const TRANSCRIPT: &str = "conversation.item.input_audio_transcription.";

/// Where calls begin and end.
pub(super) struct TranscriptionSocket {
    /// The upgrade's, the model of the session in its query.
    head: RequestHead,
    /// The item that the last message is about.
    name: u64,
    /// Commits of the client that the server has not confirmed.
    asked: usize,
    /// The item of which words come while its sound still goes up; 0: none.
    running: u64,
    /// Items whose sound is complete and whose transcript is not, the last `SOCKET_TURNS`.
    committed: VecDeque<u64>,
}

impl TranscriptionSocket {
    pub(super) fn new(head: &RequestHead) -> TranscriptionSocket {
        TranscriptionSocket { head: head.clone(), name: 0, asked: 0, running: 0, committed: VecDeque::new() }
    }

    /// What a session's settings say of the model.
    pub(super) fn learn(&mut self, session: &TranscriptionSession<'_>) {
        if let Some(model) = session.model() {
            let model = cap(model).replace('%', "%25").replace('&', "%26");
            self.head.query = Some(format!("model={model}"));
        }
    }

    fn confirmed(&mut self, item: u64) {
        self.asked = self.asked.saturating_sub(1);
        if self.running == item {
            self.running = 0;
        }
        if self.committed.len() >= SOCKET_TURNS {
            self.committed.pop_front();
        }
        self.committed.push_back(item);
    }

    fn done(&mut self, item: u64) {
        self.committed.retain(|other| *other != item);
        if self.running == item {
            self.running = 0;
        }
    }
}

impl SocketDialect for TranscriptionSocket {
    fn sent(&mut self, message: &BodyEvent<'_>) -> SocketTurn {
        self.name = 0;
        match socket::kind(message) {
            Some("input_audio_buffer.commit") => {
                // What is committed was begun already.
                if std::mem::take(&mut self.running) != 0 {
                    return SocketTurn::Same;
                }
                self.asked += 1;
                SocketTurn::Begins
            }
            Some("input_audio_buffer.clear") if self.running != 0 => {
                self.name = std::mem::take(&mut self.running);
                SocketTurn::Ends
            }
            Some(kind) if kind.ends_with("session.update") => {
                if let Some(session) = settings(message) {
                    self.learn(&session);
                }
                SocketTurn::Same
            }
            _ => SocketTurn::Same,
        }
    }

    fn received(&mut self, message: &BodyEvent<'_>) -> SocketTurn {
        let Some(kind) = socket::kind(message) else { return SocketTurn::Apart };
        let item = member::text(message.data, "item_id").map_or(0, |id| FixedState::default().hash_one(id) | 1);
        self.name = item;
        match kind.strip_prefix(TRANSCRIPT) {
            Some("delta" | "segment") => {
                if !self.committed.contains(&item) {
                    self.running = item;
                }
                return SocketTurn::Runs;
            }
            Some("completed" | "failed") => {
                self.done(item);
                return SocketTurn::Last;
            }
            _ => {}
        }
        match kind {
            "input_audio_buffer.committed" => {
                self.confirmed(item);
                SocketTurn::Begins
            }
            // Other errors are answers to other messages.
            "error" if self.asked > 0 => {
                self.asked -= 1;
                self.name = 0;
                SocketTurn::Ends
            }
            _ => {
                if kind.contains("session.")
                    && let Some(session) = settings(message)
                {
                    self.learn(&session);
                }
                SocketTurn::Apart
            }
        }
    }

    fn name(&self) -> u64 {
        self.name
    }

    fn call(&mut self) -> Box<dyn Dialect> {
        Box::new(DialectExchange::<AudioTranscript>::new(&self.head))
    }

    fn held(&self) -> usize {
        size_of_val(self) + self.head.path.capacity() + self.committed.capacity() * size_of::<u64>()
    }
}

/// The settings of a session in a message of either side.
pub(super) fn settings<'a>(message: &BodyEvent<'a>) -> Option<Box<TranscriptionSession<'a>>> {
    serde_json::from_slice::<BoxedObject<Settings<'a>>>(message.data).ok()?.0?.session.0
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Settings<'a> {
    #[serde(borrow)]
    session: BoxedObject<TranscriptionSession<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct TranscriptionSession<'a> {
    #[serde(borrow, rename = "type")]
    class: LooseText<'a>,
    /// Of previews: `realtime.transcription_session`.
    #[serde(borrow)]
    object: LooseText<'a>,
    #[serde(borrow)]
    audio: BoxedObject<Audio<'a>>,
    /// In previews.
    #[serde(borrow)]
    input_audio_transcription: BoxedObject<Model<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Audio<'a> {
    #[serde(borrow)]
    input: BoxedObject<Input<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Input<'a> {
    #[serde(borrow)]
    transcription: BoxedObject<Model<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Model<'a> {
    #[serde(borrow)]
    model: LooseText<'a>,
}

impl TranscriptionSession<'_> {
    /// It only writes down.
    pub(super) fn transcribes(&self) -> bool {
        self.class.word() == Some("transcription") || self.object.word() == Some("realtime.transcription_session")
    }

    fn model(&self) -> Option<&str> {
        let input = self.audio.0.as_deref().and_then(|audio| audio.input.0.as_deref());
        let set = input.and_then(|input| input.transcription.0.as_deref());
        set.or(self.input_audio_transcription.0.as_deref())?.model.word()
    }
}

/// One piece of sound, written down.
#[derive(Debug, Default)]
pub(super) struct AudioTranscript {
    named: StartReporter,
    /// Some of its text came.
    said: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TranscribedItem<'a> {
    #[serde(borrow, rename = "type")]
    class: LooseText<'a>,
    #[serde(borrow)]
    item_id: LooseText<'a>,
    #[serde(borrow)]
    delta: LooseText<'a>,
    #[serde(borrow)]
    transcript: LooseText<'a>,
    usage: BoxedObject<Tokens>,
    #[serde(borrow)]
    error: ErrorMember<'a>,
}

impl DialectRules for AudioTranscript {
    const ANSWER: AnswerParts = super::ANSWER;

    fn preset(head: &RequestHead) -> PathPreset {
        let model = path::parameter(head, "model").or_else(|| path::parameter(head, "deployment"));
        PathPreset { model, stream: Some(true), ..PathPreset::default() }
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let event = loose::read::<BoxedObject<TranscribedItem<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        self.named.emit(event.item_id.word(), None, out);
        let class = event.class.word().unwrap_or_default();
        match class.strip_prefix(TRANSCRIPT).unwrap_or(class) {
            "delta" => {
                self.said |= event.delta.word().is_some();
                emit_text(DeltaKind::Visible, &event.delta, out);
            }
            "completed" => {
                // It repeats what came in pieces, if it did.
                if !std::mem::replace(&mut self.said, true) {
                    emit_text(DeltaKind::Visible, &event.transcript, out);
                }
                emit_usage(event.usage.0.as_deref().map(Tokens::usage).unwrap_or_default(), out);
                emit_finish("completed", out);
                out(Utterance::End);
            }
            "failed" | "error" => out(Utterance::Error { kind: event.error.kind().map(Cow::Borrowed) }),
            _ => {}
        }
        Ok(())
    }
}
