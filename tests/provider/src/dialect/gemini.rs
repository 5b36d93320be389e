//! Gemini generateContent: unnamed chunks, the finish reason in the last one and no other end marker; calls come whole.

use serde_json::{Value, json};

use super::{Asked, Stream, Whole, Word};
use crate::form::Event;
use crate::script::{Kind, Reply, Tokens};

/// The stream's state.
pub(super) struct Gemini {
    model: String,
    usage: Option<Tokens>,
    /// Name and arguments of the call being made.
    call: Option<(String, String)>,
    finish: String,
}

impl Gemini {
    pub(super) fn new(asked: &Asked, reply: &Reply) -> Self {
        Self { model: asked.model.clone(), usage: reply.usage, call: None, finish: "stop".to_owned() }
    }

    fn chunk(&self, kind: Kind, text: &str, parts: &[Value], finish: Option<&str>) -> Event {
        let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
        if let Some(finish) = finish {
            candidate["finishReason"] = json!(finish_word(finish));
        }
        let mut chunk = json!({"candidates": [candidate], "modelVersion": self.model, "responseId": "scripted"});
        if let Some(usage) = self.usage {
            // Running counts: what is there so far, and all of it at the end.
            let so_far = if finish.is_some() { usage } else { Tokens { output: 1, reasoning: 0, ..usage } };
            chunk["usageMetadata"] = usage_json(so_far);
        }
        Event::data(kind, text, &chunk.to_string())
    }

    fn call(&mut self) -> Option<Event> {
        let (name, args) = self.call.take()?;
        let part = json!({"functionCall": {"name": name, "args": {"q": args}}});
        // The arguments count as they stand there.
        let text = format!("{name}{}", json!({"q": args}));
        Some(self.chunk(Kind::Tool, &text, &[part], None))
    }
}

impl Stream for Gemini {
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
                events.push(self.chunk(Kind::Visible, text, &[json!({"text": text})], None));
            }
            Word::Reasoning(text) => {
                events.push(self.chunk(Kind::Reasoning, text, &[json!({"text": text, "thought": true})], None));
            }
            Word::Tool(name) => self.call = Some(((*name).to_owned(), String::new())),
            Word::Finish(reason) => (*reason).clone_into(&mut self.finish),
            Word::End => events.push(self.chunk(Kind::End, "", &[json!({"text": ""})], Some(&self.finish))),
            Word::Ping => events.push(Event::comment(Kind::Keepalive, "keep-alive")),
            Word::Error { kind, message } => {
                let error = json!({"error": {"code": 503, "message": message, "status": kind}});
                events.push(Event::data(Kind::Error, "", &error.to_string()));
            }
            Word::Start | Word::ToolArgs(_) | Word::Audio(_) => {}
        }
        events
    }
}

fn finish_word(reason: &str) -> &str {
    match reason {
        "stop" | "tool" => "STOP",
        "length" => "MAX_TOKENS",
        "filter" => "SAFETY",
        other => other,
    }
}

/// Thoughts are no part of the candidates' count.
fn usage_json(usage: Tokens) -> Value {
    json!({"promptTokenCount": usage.input, "candidatesTokenCount": usage.output - usage.reasoning,
           "thoughtsTokenCount": usage.reasoning, "cachedContentTokenCount": usage.cached,
           "totalTokenCount": usage.input + usage.output})
}

/// `GenerateContentResponse`.
pub(super) fn whole(said: &Whole) -> Value {
    let mut parts = Vec::new();
    if !said.reasoning.is_empty() {
        parts.push(json!({"text": said.reasoning, "thought": true}));
    }
    let text = format!("{}{}", said.text, said.refusal);
    if !text.is_empty() {
        parts.push(json!({"text": text}));
    }
    let calls = said.tools.iter().map(|(name, args)| json!({"functionCall": {"name": name, "args": {"q": args}}}));
    parts.extend(calls);
    let mut body = json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0,
                                          "finishReason": finish_word(&said.finish)}],
                          "modelVersion": said.model, "responseId": "scripted"});
    if let Some(usage) = said.usage {
        body["usageMetadata"] = usage_json(usage);
    }
    body
}
