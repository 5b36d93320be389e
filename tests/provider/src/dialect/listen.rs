//! Deepgram's transcription over a WebSocket: words are guessed, then final; an utterance ends with an empty result.

use serde_json::{Value, json};

use super::{Stream, Word};
use crate::form::Event;
use crate::script::Kind;

/// An utterance's state.
pub struct Listen;

/// The id of the connection.
pub const ID: &str = "dg_scripted";

fn results(kind: Kind, text: &str, words: &str, is_final: bool, over: bool) -> Event {
    let alternative = json!({"transcript": words, "confidence": 0.9, "words": []});
    let data = json!({
        "type": "Results", "channel_index": [0, 1], "duration": 1.0, "start": 0.0, "is_final": is_final, "speech_final": over,
        "channel": {"alternatives": [alternative]}, "from_finalize": false,
        "metadata": {"request_id": ID, "model_info": {"name": "general-nova", "version": "v", "arch": "nova"}, "model_uuid": "u"},
    });
    Event::data(kind, text, &data.to_string())
}

/// What a client that closes the stream is told.
#[must_use]
pub fn summary() -> Value {
    json!({"type": "Metadata", "transaction_key": "deprecated", "request_id": ID, "sha256": "", "created": "",
           "duration": 1.0, "channels": 1})
}

impl Stream for Listen {
    fn say(&mut self, word: &Word<'_>) -> Vec<Event> {
        match word {
            Word::Text(text) | Word::Refusal(text) => {
                let guess: String = text.chars().skip(1).chain("?".chars()).collect();
                vec![results(Kind::Event, "", &guess, false, false), results(Kind::Visible, text, text, true, false)]
            }
            Word::End => vec![results(Kind::End, "", "", true, true)],
            Word::Error { kind, message } => {
                let data = json!({"type": "Error", "variant": "", "code": kind, "description": message});
                vec![Event::data(Kind::Error, "", &data.to_string())]
            }
            _ => Vec::new(),
        }
    }
}
