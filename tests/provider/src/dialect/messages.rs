//! Anthropic Messages: named events, content blocks, `message_stop` at the end.

use serde_json::{Value, json};

use super::{Asked, Stream, Whole, Word};
use crate::form::Event;
use crate::script::{Kind, Reply, Tokens};

const ID: &str = "msg_scripted";

/// The stream's state.
pub(super) struct Messages {
    model: String,
    padding: bool,
    usage: Tokens,
    /// Type of the open content block.
    open: Option<&'static str>,
    /// Blocks begun so far.
    blocks: u32,
}

impl Messages {
    pub(super) fn new(asked: &Asked, reply: &Reply) -> Self {
        let usage = reply.usage.unwrap_or_default();
        Self { model: asked.model.clone(), padding: reply.padding, usage, open: None, blocks: 0 }
    }

    fn named(&self, kind: Kind, text: &str, data: &Value) -> Event {
        let mut json = data.to_string();
        if self.padding && json.pop() == Some('}') {
            json.push_str(&" ".repeat(16_usize.saturating_sub(text.len())));
            json.push('}');
        }
        let name = data.get("type").and_then(Value::as_str).unwrap_or_default();
        Event::named(kind, text, name, &json)
    }

    fn start(&self) -> Event {
        let usage = json!({"input_tokens": self.usage.input - self.usage.cached, "output_tokens": 1,
                           "cache_read_input_tokens": self.usage.cached, "cache_creation_input_tokens": 0});
        let message = json!({"id": ID, "type": "message", "role": "assistant", "model": self.model, "content": [],
                             "stop_reason": null, "stop_sequence": null, "usage": usage});
        self.named(Kind::Event, "", &json!({"type": "message_start", "message": message}))
    }

    /// A delta, in a block of its type: one is begun (and the one before ended) if need be.
    fn delta(&mut self, block: &'static str, start: &Value, kind: Kind, text: &str, delta: &Value) -> Vec<Event> {
        let mut events = Vec::new();
        if self.open != Some(block) {
            events.extend(self.close());
            events.push(self.begin(block, start, Kind::Event, ""));
        }
        let index = self.blocks.saturating_sub(1);
        let data = json!({"type": "content_block_delta", "index": index, "delta": delta});
        events.push(self.named(kind, text, &data));
        events
    }

    fn begin(&mut self, block: &'static str, start: &Value, kind: Kind, text: &str) -> Event {
        let index = self.blocks;
        self.blocks += 1;
        self.open = Some(block);
        self.named(kind, text, &json!({"type": "content_block_start", "index": index, "content_block": start}))
    }

    fn close(&mut self) -> Option<Event> {
        self.open.take()?;
        let index = self.blocks.saturating_sub(1);
        Some(self.named(Kind::Event, "", &json!({"type": "content_block_stop", "index": index})))
    }

    fn text(&mut self, text: &str) -> Vec<Event> {
        let start = json!({"type": "text", "text": ""});
        self.delta("text", &start, Kind::Visible, text, &json!({"type": "text_delta", "text": text}))
    }

    fn reasoning(&mut self, text: &str) -> Vec<Event> {
        let start = json!({"type": "thinking", "thinking": "", "signature": ""});
        self.delta("thinking", &start, Kind::Reasoning, text, &json!({"type": "thinking_delta", "thinking": text}))
    }

    fn tool(&mut self, name: &str) -> Vec<Event> {
        let mut events: Vec<Event> = self.close().into_iter().collect();
        // A tool's name travels in its block's start: that event is output of the tool kind.
        let start = json!({"type": "tool_use", "id": "toolu_scripted", "name": name, "input": {}});
        events.push(self.begin("tool_use", &start, Kind::Tool, name));
        events
    }

    fn args(&mut self, text: &str) -> Vec<Event> {
        let delta = json!({"type": "input_json_delta", "partial_json": text});
        self.delta("tool_use", &json!({"type": "tool_use"}), Kind::Tool, text, &delta)
    }

    fn finish(&mut self, reason: &str) -> Vec<Event> {
        let mut events: Vec<Event> = self.close().into_iter().collect();
        let data = json!({"type": "message_delta", "usage": usage_json(self.usage),
                          "delta": {"stop_reason": finish_word(reason), "stop_sequence": null}});
        events.push(self.named(Kind::Event, "", &data));
        events
    }
}

impl Stream for Messages {
    fn say(&mut self, word: &Word<'_>) -> Vec<Event> {
        match word {
            Word::Start => vec![self.start()],
            Word::Text(text) | Word::Refusal(text) => self.text(text),
            Word::Reasoning(text) => self.reasoning(text),
            Word::Tool(name) => self.tool(name),
            Word::ToolArgs(text) => self.args(text),
            Word::Finish(reason) => self.finish(reason),
            Word::Audio(_) => Vec::new(),
            Word::End => vec![self.named(Kind::End, "", &json!({"type": "message_stop"}))],
            Word::Ping => vec![self.named(Kind::Keepalive, "", &json!({"type": "ping"}))],
            Word::Error { kind, message } => {
                let data = json!({"type": "error", "error": {"type": kind, "message": message}});
                vec![self.named(Kind::Error, "", &data)]
            }
        }
    }
}

fn finish_word(reason: &str) -> &str {
    match reason {
        "stop" => "end_turn",
        "length" => "max_tokens",
        "tool" => "tool_use",
        "filter" => "refusal",
        other => other,
    }
}

/// Cumulative usage, in Anthropic's exclusive counting.
fn usage_json(usage: Tokens) -> Value {
    json!({"input_tokens": usage.input - usage.cached, "cache_read_input_tokens": usage.cached,
           "cache_creation_input_tokens": 0, "output_tokens": usage.output,
           "output_tokens_details": {"thinking_tokens": usage.reasoning}})
}

/// `message`.
pub(super) fn whole(said: &Whole) -> Value {
    let mut content = Vec::new();
    if !said.reasoning.is_empty() {
        content.push(json!({"type": "thinking", "thinking": said.reasoning, "signature": "c2lnbmVk"}));
    }
    let text = format!("{}{}", said.text, said.refusal);
    if !text.is_empty() {
        content.push(json!({"type": "text", "text": text}));
    }
    for (name, args) in &said.tools {
        content.push(json!({"type": "tool_use", "id": "toolu_scripted", "name": name, "input": {"q": args}}));
    }
    json!({"id": ID, "type": "message", "role": "assistant", "model": said.model, "content": content,
           "stop_reason": finish_word(&said.finish), "stop_sequence": null,
           "usage": usage_json(said.usage.unwrap_or_default())})
}
