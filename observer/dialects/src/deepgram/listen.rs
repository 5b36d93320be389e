//! Deepgram's transcription over a WebSocket: sound goes up all the time, in binary messages, and
//! words come down as they are understood. A call is an utterance, from its first words to the
//! message that says that it is over.
//!
//! Endpoints: GET `…/v1/listen`, `…/v2/listen` (Flux), upgraded to a WebSocket.
//!
//! Words are revised until they are final, so only those are text: `is_final` of v1 (each segment
//! once), `EndOfTurn` of v2 (whose transcript is that of the whole turn). What comes before is an
//! event without text. An utterance is over with `speech_final`, with what `Finalize` asked for,
//! with `UtteranceEnd`, or with the `Metadata` that answers `CloseStream`. Source: the types of
//! deepgram-sdk 7.17 (Python) and the API reference. Checked 2026-11.

use std::borrow::Cow;

use serde::Deserialize;

use super::ANSWER;
use crate::answer::AnswerParts;
use crate::emit::{StartReporter, emit_finish, emit_text};
use crate::exchange::{DialectExchange, DialectRules};
use crate::json::loose::{self, BoxedObject, LooseCode, LooseCount, LooseFlag, LooseList, LooseText};
use crate::path::{self, PathPreset};
use crate::socket::{self, SocketDialect, SocketRow, SocketTurn};
use crate::{DeltaKind, Dialect, Utterance, error, path_ends};
use capture::proto::{BodyEvent, RequestHead};

pub(crate) static SOCKET: SocketRow = SocketRow {
    call: &super::LISTEN,
    matches: |head| path_ends(head, &["/v1/listen", "/v2/listen"]),
    make: |head| Box::new(DeepgramListenSocket { head: head.clone(), name: 0 }),
};

/// Where utterances begin and end.
pub(super) struct DeepgramListenSocket {
    head: RequestHead,
    /// Of the channel, or of the turn, that the last message is about.
    name: u64,
}

impl DeepgramListenSocket {
    /// Channels, and turns, are counted from 0.
    fn about(&mut self, number: Option<u64>) {
        self.name = number.map_or(0, |number| number.saturating_add(1));
    }
}

impl SocketDialect for DeepgramListenSocket {
    fn sent(&mut self, message: &BodyEvent<'_>) -> SocketTurn {
        // Flux drops the turn in progress: its words stay what they were, and nothing says that they are final.
        let flux = path_ends(&self.head, &["/v2/listen"]);
        self.name = 0;
        if flux && socket::kind(message) == Some("CloseStream") { SocketTurn::Ends } else { SocketTurn::Same }
    }

    fn received(&mut self, message: &BodyEvent<'_>) -> SocketTurn {
        self.name = 0;
        let Some(class) = socket::kind(message) else { return SocketTurn::Apart };
        // `SpeechStarted` may be a noise, of which no words ever come.
        if !matches!(class, "Results" | "TurnInfo" | "UtteranceEnd" | "Metadata" | "Error") {
            return SocketTurn::Apart;
        }
        let mut spare = String::new();
        let said =
            loose::text(message.data).and_then(|data| loose::read::<BoxedObject<ListenMessage<'_>>>(data, &mut spare));
        let Ok(BoxedObject(Some(said))) = said else { return SocketTurn::Apart };
        match class {
            "Metadata" => SocketTurn::EndsAll,
            // A message of the client that makes no sense is no concern of what is heard.
            "Error" if said.variant.word() == Some("SchemaError") => SocketTurn::Apart,
            "Error" => SocketTurn::Last,
            "UtteranceEnd" => {
                let ended = serde_json::from_slice::<BoxedObject<Ended>>(message.data).ok().and_then(|ended| ended.0);
                self.about(ended.and_then(|ended| ended.channel.items.first()?.0));
                SocketTurn::Ends
            }
            "Results" => {
                self.about(said.channel_index.items.first().and_then(|number| number.0));
                turn(said.words().is_some(), said.over())
            }
            _ => {
                self.about(said.turn_index.0);
                let event = said.event.word().unwrap_or_default();
                turn(said.transcript.word().is_some() || event == "StartOfTurn", event == "EndOfTurn")
            }
        }
    }

    fn name(&self) -> u64 {
        self.name
    }

    fn call(&mut self) -> Box<dyn Dialect> {
        Box::new(DialectExchange::<DeepgramUtterance>::new(&self.head))
    }

    fn held(&self) -> usize {
        size_of_val(self) + self.head.path.capacity()
    }
}

fn turn(words: bool, over: bool) -> SocketTurn {
    match (words, over) {
        (true, true) => SocketTurn::Last,
        (true, false) => SocketTurn::Runs,
        (false, true) => SocketTurn::Ends,
        // Silence.
        (false, false) => SocketTurn::Same,
    }
}

/// One utterance.
#[derive(Debug, Default)]
pub(super) struct DeepgramUtterance {
    named: StartReporter,
}

impl DialectRules for DeepgramUtterance {
    const ANSWER: AnswerParts = ANSWER;

    fn preset(head: &RequestHead) -> PathPreset {
        PathPreset { model: path::parameter(head, "model"), stream: Some(true), ..PathPreset::default() }
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let said = loose::read::<BoxedObject<ListenMessage<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        let details = said.metadata.0.as_deref();
        let id = said.request_id.word().or_else(|| details?.request_id.word());
        let model = details.and_then(|details| details.model_info.0.as_deref()).and_then(|model| model.name.word());
        self.named.emit(id, model, out);
        match said.class.word().unwrap_or_default() {
            "Results" => {
                if let Some(words) = said.words().filter(|_| said.is_final.0) {
                    emit_text(DeltaKind::Visible, words, out);
                }
                if said.over() {
                    emit_over(if said.speech_final.0 { "speech_final" } else { "from_finalize" }, out);
                }
            }
            "TurnInfo" if said.event.word() == Some("EndOfTurn") => {
                emit_text(DeltaKind::Visible, &said.transcript, out);
                emit_over("EndOfTurn", out);
            }
            class @ "UtteranceEnd" => emit_over(class, out),
            "Metadata" => out(Utterance::End),
            "Error" => {
                let kind = error::kind(said.code.0.as_deref(), said.variant.word()).map(Cow::Borrowed);
                out(Utterance::Error { kind });
            }
            _ => {}
        }
        Ok(())
    }
}

fn emit_over(why: &str, out: &mut dyn FnMut(Utterance<'_>)) {
    emit_finish(why, out);
    out(Utterance::End);
}

/// A message of the server, of either version.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ListenMessage<'a> {
    #[serde(borrow, rename = "type")]
    class: LooseText<'a>,
    /// Which channel it is of, and how many there are.
    channel_index: LooseList<LooseCount>,
    #[serde(borrow)]
    channel: BoxedObject<Channel<'a>>,
    is_final: LooseFlag,
    speech_final: LooseFlag,
    from_finalize: LooseFlag,
    #[serde(borrow)]
    metadata: BoxedObject<Details<'a>>,
    #[serde(borrow)]
    request_id: LooseText<'a>,
    #[serde(borrow)]
    event: LooseText<'a>,
    turn_index: LooseCount,
    #[serde(borrow)]
    transcript: LooseText<'a>,
    #[serde(borrow)]
    variant: LooseText<'a>,
    #[serde(borrow)]
    code: LooseCode<'a>,
}

impl ListenMessage<'_> {
    /// What was heard last, by the best guess.
    fn words(&self) -> Option<&LooseText<'_>> {
        let best = self.channel.0.as_deref()?.alternatives.items.first()?.0.as_deref()?;
        best.transcript.word().map(|_| &best.transcript)
    }

    /// Nothing of the utterance follows.
    fn over(&self) -> bool {
        self.is_final.0 && (self.speech_final.0 || self.from_finalize.0)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Channel<'a> {
    #[serde(borrow)]
    alternatives: LooseList<BoxedObject<Alternative<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Alternative<'a> {
    #[serde(borrow)]
    transcript: LooseText<'a>,
}

/// The end of an utterance, whose `channel` is what `channel_index` is of results.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Ended {
    channel: LooseList<LooseCount>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details<'a> {
    #[serde(borrow)]
    request_id: LooseText<'a>,
    #[serde(borrow)]
    model_info: BoxedObject<Model<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Model<'a> {
    #[serde(borrow)]
    name: LooseText<'a>,
}
