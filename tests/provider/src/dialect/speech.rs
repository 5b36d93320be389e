//! `/v1/audio/speech`: bytes as they are, or base64 in events. Words of a script are spoken: text becomes audio.

use serde_json::json;

use super::{Asked, Stream, Word, chat, sound};
use crate::form::{Event, Form, What, base64};
use crate::script::{Kind, Reply, Tokens};

/// How long a spoken character is.
pub(super) const BYTES_PER_CHAR: u32 = 48;

/// The stream's state.
pub(super) struct Speech {
    form: Form,
    usage: Option<Tokens>,
}

impl Speech {
    pub(super) fn new(asked: &Asked, reply: &Reply) -> Self {
        Self { form: asked.form, usage: reply.usage }
    }

    fn audio(&self, bytes: Vec<u8>) -> Event {
        if self.form == Form::Bytes {
            return Event::new(Kind::Sound, "", What::Bytes(bytes));
        }
        let data = json!({"type": "speech.audio.delta", "audio": base64(&bytes)});
        Event::data(Kind::Audio, "", &data.to_string())
    }
}

impl Stream for Speech {
    fn say(&mut self, word: &Word<'_>) -> Vec<Event> {
        match word {
            Word::Text(text) => {
                let chars = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
                vec![self.audio(sound(chars.saturating_mul(BYTES_PER_CHAR)))]
            }
            Word::Audio(bytes) => vec![self.audio(bytes.to_vec())],
            Word::End if self.form != Form::Bytes => {
                let usage = self.usage.unwrap_or_default();
                let data = json!({"type": "speech.audio.done", "usage": {"input_tokens": usage.input,
                    "output_tokens": usage.output, "total_tokens": usage.input + usage.output}});
                vec![Event::data(Kind::End, "", &data.to_string())]
            }
            Word::Error { kind, message } if self.form != Form::Bytes => vec![chat::error(kind, message)],
            _ => Vec::new(),
        }
    }
}
