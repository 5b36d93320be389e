//! Ollama's own API (`/api/chat`, `/api/generate`): a document a line, `done` in the last one; calls come whole.

use serde_json::{Value, json};

use super::{Api, Asked, Stream, Whole, Word};
use crate::form::Event;
use crate::script::{Kind, Reply, Tokens};

/// The stream's state.
pub(super) struct Ollama {
    api: Api,
    model: String,
    usage: Option<Tokens>,
    /// Name and arguments of the call being made.
    call: Option<(String, String)>,
    finish: String,
}

impl Ollama {
    pub(super) fn new(asked: &Asked, reply: &Reply) -> Self {
        Self { api: asked.api, model: asked.model.clone(), usage: reply.usage, call: None, finish: "stop".to_owned() }
    }

    fn line(&self, kind: Kind, text: &str, said: &Said<'_>) -> Event {
        Event::data(kind, text, &document(self.api, &self.model, said).to_string())
    }

    fn call(&mut self) -> Option<Event> {
        let (name, args) = self.call.take().filter(|_| self.api == Api::OllamaChat)?;
        let text = format!("{name}{}", json!({"q": args}));
        let calls = [tool_call(&name, &args)];
        Some(self.line(Kind::Tool, &text, &Said { calls: &calls, ..Said::default() }))
    }
}

/// What one document says.
#[derive(Default)]
struct Said<'a> {
    text: &'a str,
    thinking: &'a str,
    calls: &'a [Value],
}

fn document(api: Api, model: &str, said: &Said<'_>) -> Value {
    let mut document = json!({"model": model, "created_at": "2026-01-01T00:00:00.123456789Z", "done": false});
    if api == Api::OllamaGenerate {
        document["response"] = json!(said.text);
        if !said.thinking.is_empty() {
            document["thinking"] = json!(said.thinking);
        }
        return document;
    }
    let mut message = json!({"role": "assistant", "content": said.text});
    if !said.thinking.is_empty() {
        message["thinking"] = json!(said.thinking);
    }
    if !said.calls.is_empty() {
        message["tool_calls"] = json!(said.calls);
    }
    document["message"] = message;
    document
}

fn tool_call(name: &str, args: &str) -> Value {
    json!({"function": {"name": name, "arguments": {"q": args}}})
}

fn finish(document: &mut Value, reason: &str, usage: Option<Tokens>) {
    document["done"] = json!(true);
    document["done_reason"] = json!(if reason == "length" { "length" } else { "stop" });
    document["total_duration"] = json!(174_560_334);
    document["load_duration"] = json!(101_397_084);
    if let Some(usage) = usage {
        document["prompt_eval_count"] = json!(usage.input);
        document["prompt_eval_duration"] = json!(13_074_791);
        document["eval_count"] = json!(usage.output);
        document["eval_duration"] = json!(52_479_709);
    }
}

impl Stream for Ollama {
    fn say(&mut self, word: &Word<'_>) -> Vec<Event> {
        if let Word::ToolArgs(text) = word {
            if let Some((_, args)) = &mut self.call {
                args.push_str(text);
            }
            return Vec::new();
        }
        let mut events: Vec<Event> = self.call().into_iter().collect();
        match word {
            Word::Text(text) | Word::Refusal(text) => {
                events.push(self.line(Kind::Visible, text, &Said { text, ..Said::default() }));
            }
            Word::Reasoning(text) => {
                events.push(self.line(Kind::Reasoning, text, &Said { thinking: text, ..Said::default() }));
            }
            Word::Tool(name) => self.call = Some(((*name).to_owned(), String::new())),
            Word::Finish(reason) => (*reason).clone_into(&mut self.finish),
            Word::End => {
                let mut last = document(self.api, &self.model, &Said::default());
                finish(&mut last, &self.finish, self.usage);
                events.push(Event::data(Kind::End, "", &last.to_string()));
            }
            Word::Error { message, .. } => {
                events.push(Event::data(Kind::Error, "", &json!({"error": message}).to_string()));
            }
            Word::Start | Word::Ping | Word::ToolArgs(_) | Word::Audio(_) => {}
        }
        events
    }
}

/// The one document of an answer that is no stream.
pub(super) fn whole(said: &Whole, api: Api) -> Value {
    let text = format!("{}{}", said.text, said.refusal);
    let calls: Vec<Value> = said.tools.iter().map(|(name, args)| tool_call(name, args)).collect();
    let mut body = document(api, &said.model, &Said { text: &text, thinking: &said.reasoning, calls: &calls });
    finish(&mut body, &said.finish, said.usage);
    body
}
