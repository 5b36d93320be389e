//! OpenAI's realtime transcription: an item for each commit, its text in deltas and then whole.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::{Stream, Word};
use crate::form::Event;
use crate::script::{Kind, Reply, Tokens};

/// An item's state.
pub(super) struct Transcribe {
    item: String,
    usage: Option<Tokens>,
    text: String,
}

impl Transcribe {
    pub(super) fn new(reply: &Reply) -> Self {
        static ITEMS: AtomicU64 = AtomicU64::new(0);
        let item = format!("item_{}", ITEMS.fetch_add(1, Ordering::Relaxed));
        Self { item, usage: reply.usage, text: String::new() }
    }

    fn event(&self, kind: Kind, text: &str, name: &str, mut data: Value) -> Event {
        data["type"] = json!(name);
        data["item_id"] = json!(self.item);
        data["event_id"] = json!("event_scripted");
        Event::data(kind, text, &data.to_string())
    }

    fn written(&self, kind: Kind, text: &str, name: &str, mut data: Value) -> Vec<Event> {
        data["content_index"] = json!(0);
        vec![self.event(kind, text, &format!("conversation.item.input_audio_transcription.{name}"), data)]
    }
}

impl Stream for Transcribe {
    fn say(&mut self, word: &Word<'_>) -> Vec<Event> {
        match word {
            Word::Start => {
                vec![self.event(Kind::Event, "", "input_audio_buffer.committed", json!({"previous_item_id": null}))]
            }
            Word::Text(text) | Word::Refusal(text) => {
                self.text.push_str(text);
                self.written(Kind::Visible, text, "delta", json!({"delta": text}))
            }
            Word::End => {
                let usage = self.usage.map(|usage| {
                    json!({"type": "tokens", "input_tokens": usage.input, "output_tokens": usage.output,
                           "total_tokens": usage.input + usage.output,
                           "input_token_details": {"audio_tokens": usage.input, "text_tokens": 0}})
                });
                self.written(Kind::End, "", "completed", json!({"transcript": self.text, "usage": usage}))
            }
            Word::Error { kind, message } => {
                let error = json!({"type": kind, "code": kind, "message": message});
                self.written(Kind::Error, "", "failed", json!({"error": error}))
            }
            _ => Vec::new(),
        }
    }
}
