//! OpenAI Realtime: one JSON event a WebSocket message, a turn from `response.created` to `response.done`.

use serde_json::{Value, json};

use super::{Stream, Word};
use crate::form::{Event, base64};
use crate::script::{Kind, Reply, Tokens};

const ID: &str = "resp_scripted";

/// A turn's state.
pub(super) struct Realtime {
    usage: Option<Tokens>,
    /// Events so far: they are numbered.
    events: u64,
    /// Type of the open item.
    open: Option<&'static str>,
    items: u32,
    finish: String,
}

impl Realtime {
    pub(super) fn new(reply: &Reply) -> Self {
        Self { usage: reply.usage, events: 0, open: None, items: 0, finish: "stop".to_owned() }
    }

    fn event(&mut self, kind: Kind, text: &str, name: &str, mut data: Value) -> Event {
        self.events += 1;
        data["type"] = json!(name);
        data["event_id"] = json!(format!("event_{}", self.events));
        Event::data(kind, text, &data.to_string())
    }

    /// A delta in an item of its type.
    fn delta(&mut self, item: &'static str, kind: Kind, text: &str, name: &str, delta: &str) -> Vec<Event> {
        let mut events = self.open(item, "", Kind::Event);
        let data = json!({"response_id": ID, "item_id": self.item_id(), "output_index": self.items.saturating_sub(1),
                          "content_index": 0, "delta": delta});
        events.push(self.event(kind, text, name, data));
        events
    }

    fn open(&mut self, item: &'static str, tool: &str, kind: Kind) -> Vec<Event> {
        if self.open == Some(item) && tool.is_empty() {
            return Vec::new();
        }
        let mut events: Vec<Event> = self.close().into_iter().collect();
        self.open = Some(item);
        self.items += 1;
        let body = self.item(item, tool, "in_progress");
        let data = json!({"response_id": ID, "output_index": self.items - 1, "item": body});
        events.push(self.event(kind, tool, "response.output_item.added", data));
        events
    }

    fn close(&mut self) -> Option<Event> {
        let item = self.open.take()?;
        let body = self.item(item, "", "completed");
        let data = json!({"response_id": ID, "output_index": self.items.saturating_sub(1), "item": body});
        Some(self.event(Kind::Event, "", "response.output_item.done", data))
    }

    fn item(&self, item: &str, tool: &str, status: &str) -> Value {
        let id = self.item_id();
        if item == "function_call" {
            return json!({"id": id, "object": "realtime.item", "type": item, "status": status, "name": tool,
                          "call_id": "call_scripted", "arguments": ""});
        }
        json!({"id": id, "object": "realtime.item", "type": item, "status": status, "role": "assistant", "content": []})
    }

    fn item_id(&self) -> String {
        format!("item_{}", self.items)
    }

    fn response(&self, status: &str) -> Value {
        let details = match (status, self.finish.as_str()) {
            ("incomplete", "length") => json!({"type": "incomplete", "reason": "max_output_tokens"}),
            ("incomplete", _) => json!({"type": "incomplete", "reason": "content_filter"}),
            _ => Value::Null,
        };
        let usage = self.usage.filter(|_| status != "in_progress").map(usage_json);
        json!({"object": "realtime.response", "id": ID, "status": status, "status_details": details, "output": [],
               "usage": usage})
    }

    fn end(&mut self) -> Event {
        let incomplete = matches!(self.finish.as_str(), "length" | "filter");
        let response = self.response(if incomplete { "incomplete" } else { "completed" });
        self.event(Kind::End, "", "response.done", json!({"response": response}))
    }
}

impl Stream for Realtime {
    fn say(&mut self, word: &Word<'_>) -> Vec<Event> {
        match word {
            Word::Start => {
                let response = self.response("in_progress");
                vec![self.event(Kind::Event, "", "response.created", json!({"response": response}))]
            }
            Word::Text(text) | Word::Refusal(text) => {
                self.delta("message", Kind::Visible, text, "response.output_text.delta", text)
            }
            Word::Audio(bytes) => self.delta("message", Kind::Audio, "", "response.output_audio.delta", &base64(bytes)),
            Word::Tool(name) => self.open("function_call", name, Kind::Tool),
            Word::ToolArgs(text) => {
                self.delta("function_call", Kind::Tool, text, "response.function_call_arguments.delta", text)
            }
            Word::Finish(reason) => {
                (*reason).clone_into(&mut self.finish);
                self.close().into_iter().collect()
            }
            Word::End => vec![self.end()],
            // A response that fails says so in its last event; an `error` event is about what the client sent.
            Word::Error { kind, message } => {
                let mut response = self.response("failed");
                let error = json!({"type": kind, "code": kind, "message": message});
                response["status_details"] = json!({"type": "failed", "error": error});
                vec![self.event(Kind::Error, "", "response.done", json!({"response": response}))]
            }
            Word::Reasoning(_) | Word::Ping => Vec::new(),
        }
    }
}

fn usage_json(usage: Tokens) -> Value {
    json!({"total_tokens": usage.input + usage.output, "input_tokens": usage.input, "output_tokens": usage.output,
           "input_token_details": {"cached_tokens": usage.cached, "text_tokens": usage.input, "audio_tokens": 0},
           "output_token_details": {"text_tokens": usage.output, "audio_tokens": 0}})
}
