//! Cohere v2 chat: named events, content blocks, `message-end` and then `[DONE]`.

use serde_json::{Value, json};

use super::{Stream, Whole, Word};
use crate::form::Event;
use crate::script::{Kind, Reply, Tokens};

const ID: &str = "c14c80c3-18eb-4519-9460-6c92edd8cfb4";

/// The stream's state.
pub(super) struct Cohere {
    usage: Option<Tokens>,
    /// Type of the open block.
    open: Option<&'static str>,
    /// Blocks begun so far.
    blocks: u32,
    /// Said at the end.
    finish: &'static str,
}

impl Cohere {
    pub(super) fn new(reply: &Reply) -> Self {
        Self { usage: reply.usage, open: None, blocks: 0, finish: "COMPLETE" }
    }

    fn content(&mut self, block: &'static str, kind: Kind, text: &str) -> Vec<Event> {
        let mut events = Vec::new();
        if self.open != Some(block) {
            events.extend(self.close());
            let content = json!({"type": block, block: ""});
            events.push(self.begin(block, "content-start", Kind::Event, "", &json!({"content": content})));
        }
        events.push(self.event("content-delta", kind, text, &json!({"content": {block: text}})));
        events
    }

    fn tool(&mut self, name: &str) -> Vec<Event> {
        let mut events: Vec<Event> = self.close().into_iter().collect();
        let call = json!({"id": "lookup_scripted", "type": "function", "function": {"name": name, "arguments": ""}});
        events.push(self.begin("tool", "tool-call-start", Kind::Tool, name, &json!({"tool_calls": call})));
        events
    }

    fn begin(&mut self, block: &'static str, name: &str, kind: Kind, text: &str, message: &Value) -> Event {
        self.open = Some(block);
        self.blocks += 1;
        self.event(name, kind, text, message)
    }

    fn close(&mut self) -> Option<Event> {
        let name = if self.open.take()? == "tool" { "tool-call-end" } else { "content-end" };
        let data = json!({"type": name, "index": self.blocks.saturating_sub(1)});
        Some(Event::named(Kind::Event, "", name, &data.to_string()))
    }

    fn event(&self, name: &str, kind: Kind, text: &str, message: &Value) -> Event {
        let data = json!({"type": name, "index": self.blocks.saturating_sub(1), "delta": {"message": message}});
        Event::named(kind, text, name, &data.to_string())
    }

    fn end(&self, reason: &str, error: Option<&str>) -> Event {
        let mut delta = json!({"finish_reason": reason});
        if let Some(usage) = self.usage.filter(|_| error.is_none()) {
            delta["usage"] = usage_json(usage);
        }
        if let Some(error) = error {
            delta["error"] = json!(error);
        }
        let kind = if error.is_some() { Kind::Error } else { Kind::End };
        let data = json!({"type": "message-end", "id": ID, "delta": delta});
        Event::named(kind, "", "message-end", &data.to_string())
    }
}

impl Stream for Cohere {
    fn say(&mut self, word: &Word<'_>) -> Vec<Event> {
        match word {
            Word::Start => {
                let message =
                    json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
                let data = json!({"id": ID, "type": "message-start", "delta": {"message": message}});
                vec![Event::named(Kind::Event, "", "message-start", &data.to_string())]
            }
            Word::Text(text) | Word::Refusal(text) => self.content("text", Kind::Visible, text),
            Word::Reasoning(text) => self.content("thinking", Kind::Reasoning, text),
            Word::Tool(name) => self.tool(name),
            Word::ToolArgs(text) => {
                let message = json!({"tool_calls": {"function": {"arguments": text}}});
                vec![self.event("tool-call-delta", Kind::Tool, text, &message)]
            }
            Word::Finish(reason) => {
                self.finish = finish_word(reason);
                self.close().into_iter().collect()
            }
            // The reason ends the answer; what follows it only says so again.
            Word::End => vec![self.end(self.finish, None), Event::data(Kind::End, "", "[DONE]")],
            Word::Error { message, .. } => vec![self.end("ERROR", Some(message))],
            Word::Ping => vec![Event::comment(Kind::Keepalive, "keep-alive")],
            Word::Audio(_) => Vec::new(),
        }
    }
}

fn finish_word(reason: &str) -> &'static str {
    match reason {
        "length" => "MAX_TOKENS",
        "tool" => "TOOL_CALL",
        "filter" => "ERROR",
        _ => "COMPLETE",
    }
}

fn usage_json(usage: Tokens) -> Value {
    json!({"billed_units": {"input_tokens": usage.input - 1, "output_tokens": usage.output - 1},
           "tokens": {"input_tokens": usage.input, "output_tokens": usage.output}, "cached_tokens": usage.cached})
}

/// `V2ChatResponse`.
pub(super) fn whole(said: &Whole) -> Value {
    let mut content = Vec::new();
    if !said.reasoning.is_empty() {
        content.push(json!({"type": "thinking", "thinking": said.reasoning}));
    }
    let text = format!("{}{}", said.text, said.refusal);
    if !text.is_empty() {
        content.push(json!({"type": "text", "text": text}));
    }
    let call = |(name, args): &(String, String)| json!({"id": "lookup_scripted", "type": "function", "function": {"name": name, "arguments": args}});
    let calls: Vec<Value> = said.tools.iter().map(call).collect();
    let mut message = json!({"role": "assistant", "content": content});
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    let mut body = json!({"id": ID, "finish_reason": finish_word(&said.finish), "message": message});
    if let Some(usage) = said.usage {
        body["usage"] = usage_json(usage);
    }
    body
}
