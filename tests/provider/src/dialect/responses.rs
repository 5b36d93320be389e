//! OpenAI Responses: named, numbered events; items and parts; `response.completed` at the end.

use serde_json::{Value, json};

use super::{Asked, Stream, Whole, Word};
use crate::form::Event;
use crate::script::{Kind, Reply, Tokens};

const ID: &str = "resp_scripted";

/// What kind of output item is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Message,
    Reasoning,
    Call,
}

/// The stream's state.
pub(super) struct Responses {
    model: String,
    padding: bool,
    usage: Option<Tokens>,
    /// `sequence_number` of the next event.
    next: u64,
    open: Option<Item>,
    /// Items begun so far.
    items: u32,
    finish: String,
}

impl Responses {
    pub(super) fn new(asked: &Asked, reply: &Reply) -> Self {
        Self {
            model: asked.model.clone(),
            padding: reply.padding,
            usage: reply.usage,
            next: 0,
            open: None,
            items: 0,
            finish: "stop".to_owned(),
        }
    }

    fn event(&mut self, kind: Kind, text: &str, name: &str, mut data: Value) -> Event {
        data["type"] = json!(name);
        data["sequence_number"] = json!(self.next);
        self.next += 1;
        Event::named(kind, text, name, &data.to_string())
    }

    fn lifecycle(&mut self, kind: Kind, name: &str, status: &str) -> Event {
        let said =
            Whole { model: self.model.clone(), usage: self.usage, finish: self.finish.clone(), ..Whole::default() };
        let mut response = whole(&said);
        response["status"] = json!(status);
        if status == "in_progress" {
            response["usage"] = Value::Null;
        }
        self.event(kind, "", name, json!({"response": response}))
    }

    fn delta(&mut self, item: Item, kind: Kind, text: &str, name: &str) -> Vec<Event> {
        let mut events = self.open(item, "");
        let mut data = json!({"item_id": self.item_id(), "output_index": self.items.saturating_sub(1), "delta": text});
        match item {
            Item::Message => data["content_index"] = json!(0),
            Item::Reasoning => data["summary_index"] = json!(0),
            Item::Call => {}
        }
        if name == "response.output_text.delta" {
            data["logprobs"] = json!([]);
        }
        if self.padding {
            data["obfuscation"] = json!("x".repeat(16_usize.saturating_sub(text.len())));
        }
        events.push(self.event(kind, text, name, data));
        events
    }

    /// Begins an item of this kind unless one is open (every call is an item of its own); ends the other that is.
    fn open(&mut self, item: Item, tool: &str) -> Vec<Event> {
        if self.open == Some(item) && tool.is_empty() {
            return Vec::new();
        }
        let mut events = self.close();
        self.open = Some(item);
        self.items += 1;
        let (index, id) = (self.items - 1, self.item_id());
        let body = match item {
            Item::Message => {
                json!({"type": "message", "id": id, "role": "assistant", "status": "in_progress", "content": []})
            }
            Item::Reasoning => json!({"type": "reasoning", "id": id, "summary": []}),
            Item::Call => json!({"type": "function_call", "id": id, "call_id": "call_scripted", "name": tool,
                                 "arguments": "", "status": "in_progress"}),
        };
        let kind = if item == Item::Call { Kind::Tool } else { Kind::Event };
        events.push(self.event(kind, tool, "response.output_item.added", json!({"output_index": index, "item": body})));
        let part = match item {
            Item::Message => Some((
                "response.content_part.added",
                json!({"item_id": id, "output_index": index,
                "content_index": 0, "part": {"type": "output_text", "text": "", "annotations": []}}),
            )),
            Item::Reasoning => Some((
                "response.reasoning_summary_part.added",
                json!({"item_id": id, "output_index": index,
                "summary_index": 0, "part": {"type": "summary_text", "text": ""}}),
            )),
            Item::Call => None,
        };
        events.extend(part.map(|(name, data)| self.event(Kind::Event, "", name, data)));
        events
    }

    fn close(&mut self) -> Vec<Event> {
        let Some(item) = self.open.take() else { return Vec::new() };
        let id = self.item_id();
        let body = match item {
            Item::Message => {
                json!({"type": "message", "id": id, "role": "assistant", "status": "completed", "content": []})
            }
            Item::Reasoning => json!({"type": "reasoning", "id": id, "summary": []}),
            Item::Call => json!({"type": "function_call", "id": id, "call_id": "call_scripted", "name": "tool",
                                 "arguments": "", "status": "completed"}),
        };
        let data = json!({"output_index": self.items.saturating_sub(1), "item": body});
        vec![self.event(Kind::Event, "", "response.output_item.done", data)]
    }

    fn item_id(&self) -> String {
        format!("item_{}", self.items)
    }

    fn end(&mut self) -> Event {
        let incomplete = matches!(self.finish.as_str(), "length" | "filter");
        let (name, status) =
            if incomplete { ("response.incomplete", "incomplete") } else { ("response.completed", "completed") };
        self.lifecycle(Kind::End, name, status)
    }
}

impl Stream for Responses {
    fn say(&mut self, word: &Word<'_>) -> Vec<Event> {
        match word {
            Word::Start => vec![
                self.lifecycle(Kind::Event, "response.created", "in_progress"),
                self.lifecycle(Kind::Event, "response.in_progress", "in_progress"),
            ],
            Word::Text(text) => self.delta(Item::Message, Kind::Visible, text, "response.output_text.delta"),
            Word::Refusal(text) => self.delta(Item::Message, Kind::Refusal, text, "response.refusal.delta"),
            Word::Reasoning(text) => {
                self.delta(Item::Reasoning, Kind::Reasoning, text, "response.reasoning_summary_text.delta")
            }
            Word::Tool(name) => self.open(Item::Call, name),
            Word::ToolArgs(text) => self.delta(Item::Call, Kind::Tool, text, "response.function_call_arguments.delta"),
            Word::Finish(reason) => {
                self.finish = (*reason).to_owned();
                self.close()
            }
            Word::Audio(_) => Vec::new(),
            Word::End => vec![self.end()],
            Word::Ping => vec![Event::comment(Kind::Keepalive, "keep-alive")],
            Word::Error { kind, message } => {
                vec![self.event(Kind::Error, "", "error", json!({"code": kind, "message": message, "param": null}))]
            }
        }
    }
}

fn usage_json(usage: Tokens) -> Value {
    json!({"input_tokens": usage.input, "input_tokens_details": {"cached_tokens": usage.cached},
           "output_tokens": usage.output, "output_tokens_details": {"reasoning_tokens": usage.reasoning},
           "total_tokens": usage.input + usage.output})
}

/// `response`.
pub(super) fn whole(said: &Whole) -> Value {
    let mut output = Vec::new();
    if !said.reasoning.is_empty() {
        output.push(
            json!({"type": "reasoning", "id": "item_r", "summary": [{"type": "summary_text", "text": said.reasoning}]}),
        );
    }
    let mut content = Vec::new();
    if !said.text.is_empty() {
        content.push(json!({"type": "output_text", "text": said.text, "annotations": []}));
    }
    if !said.refusal.is_empty() {
        content.push(json!({"type": "refusal", "refusal": said.refusal}));
    }
    if !content.is_empty() {
        output.push(
            json!({"type": "message", "id": "item_m", "role": "assistant", "status": "completed", "content": content}),
        );
    }
    for (name, args) in &said.tools {
        output.push(json!({"type": "function_call", "id": "item_c", "call_id": "call_scripted", "name": name,
                           "arguments": args, "status": "completed"}));
    }
    let reason = match said.finish.as_str() {
        "length" => json!({"reason": "max_output_tokens"}),
        "filter" => json!({"reason": "content_filter"}),
        _ => Value::Null,
    };
    let status = if reason.is_null() { "completed" } else { "incomplete" };
    json!({"id": ID, "object": "response", "created_at": 1_700_000_000, "status": status, "model": said.model,
           "output": output, "incomplete_details": reason, "error": null, "instructions": null, "metadata": {},
           "parallel_tool_calls": true, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
           "usage": said.usage.map(usage_json)})
}
