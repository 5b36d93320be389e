//! OpenAI chat completions: data-only events, `[DONE]` at the end. Other vendors speak it with
//! differences of their own.

use serde_json::{Value, json};

use super::{Asked, Flavour, Stream, Whole, Word};
use crate::form::Event;
use crate::script::{Kind, Reply, Tokens};

const ID: &str = "chatcmpl-scripted";

/// The stream's state.
pub(super) struct Chat {
    model: String,
    flavour: Flavour,
    padding: bool,
    usage: Option<Tokens>,
    include_usage: bool,
    /// Calls begun so far.
    calls: u32,
    /// Mistral: a call comes whole, so its words wait here.
    call: Option<(String, String)>,
}

impl Chat {
    pub(super) fn new(asked: &Asked, reply: &Reply) -> Self {
        Self {
            model: asked.model.clone(),
            flavour: asked.flavour,
            padding: reply.padding,
            usage: reply.usage,
            include_usage: asked.include_usage,
            calls: 0,
            call: None,
        }
    }

    fn chunk(&self, kind: Kind, text: &str, delta: &Value, finish: Option<&str>) -> Event {
        Event::data(kind, text, &self.body(text, delta, finish).to_string())
    }

    fn body(&self, text: &str, delta: &Value, finish: Option<&str>) -> Value {
        let choices = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        let mut chunk = self.envelope(&choices);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        if self.padding && self.flavour == Flavour::Mistral {
            chunk["p"] = json!("abcdefghijklmnop".get(text.len().min(16)..));
        } else if self.padding {
            // As long as makes the sum of both constant, up to 16.
            chunk["obfuscation"] = json!("x".repeat(16_usize.saturating_sub(text.len())));
        }
        chunk
    }

    fn envelope(&self, choices: &Value) -> Value {
        let mut body = json!({"id": ID, "object": "chat.completion.chunk", "created": 1_700_000_000,
                              "model": self.model, "choices": choices});
        match self.flavour {
            Flavour::Mistral => {}
            Flavour::OpenRouter => body["provider"] = json!("Scripted"),
            _ => {
                body["service_tier"] = json!("default");
                body["system_fingerprint"] = json!("fp_scripted");
            }
        }
        body
    }

    fn start(&self) -> Event {
        let mut delta = json!({"role": "assistant", "content": ""});
        if self.flavour == Flavour::Own {
            delta["refusal"] = Value::Null;
        }
        let mut chunk = self.body("", &delta, None);
        if self.flavour == Flavour::Groq {
            chunk["x_groq"] = json!({"id": "req_scripted"});
        }
        Event::data(Kind::Event, "", &chunk.to_string())
    }

    fn reasoning(&self, text: &str) -> Event {
        let delta = match self.flavour {
            Flavour::Mistral => {
                json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]})
            }
            Flavour::Groq | Flavour::OpenRouter => json!({"reasoning": text}),
            _ => json!({"reasoning_content": text}),
        };
        self.chunk(Kind::Reasoning, text, &delta, None)
    }

    fn tool(&mut self, name: &str) -> Vec<Event> {
        self.calls += 1;
        if self.flavour == Flavour::Mistral {
            self.call = Some((name.to_owned(), String::new()));
            return Vec::new();
        }
        let call = call(self.calls - 1, name, "");
        vec![self.chunk(Kind::Tool, name, &json!({"content": null, "tool_calls": [call]}), None)]
    }

    fn args(&mut self, text: &str) -> Vec<Event> {
        if let Some((_, args)) = &mut self.call {
            args.push_str(text);
            return Vec::new();
        }
        let call = json!({"index": self.calls.saturating_sub(1), "function": {"arguments": text}});
        vec![self.chunk(Kind::Tool, text, &json!({"tool_calls": [call]}), None)]
    }

    /// A call that waited to be whole.
    fn flush(&mut self) -> Option<Event> {
        let (name, args) = self.call.take()?;
        let delta = json!({"content": "", "tool_calls": [call(self.calls - 1, &name, &args)]});
        Some(self.chunk(Kind::Tool, &format!("{name}{args}"), &delta, None))
    }

    fn finish(&self, reason: &str) -> Vec<Event> {
        let delta = if self.flavour == Flavour::Mistral { json!({"content": ""}) } else { json!({}) };
        let mut chunk = self.body("", &delta, Some(finish_word(reason)));
        let usage = self.usage.map(|usage| usage_json(usage, self.flavour));
        let unasked = matches!(self.flavour, Flavour::Mistral | Flavour::OpenRouter);
        match (&usage, self.flavour) {
            (Some(usage), Flavour::Groq) => chunk["x_groq"] = json!({"id": "req_scripted", "usage": usage}),
            (Some(usage), _) if unasked => chunk["usage"] = usage.clone(),
            _ => {}
        }
        let mut events = vec![Event::data(Kind::Event, "", &chunk.to_string())];
        if let Some(usage) = usage.filter(|_| self.include_usage && !unasked) {
            let mut chunk = self.envelope(&json!([]));
            chunk["usage"] = usage;
            events.push(Event::data(Kind::Event, "", &chunk.to_string()));
        }
        events
    }

    fn ping(&self) -> Event {
        let text = if self.flavour == Flavour::OpenRouter { "OPENROUTER PROCESSING" } else { "keep-alive" };
        Event::comment(Kind::Keepalive, text)
    }
}

impl Stream for Chat {
    fn say(&mut self, word: &Word<'_>) -> Vec<Event> {
        if let Word::ToolArgs(text) = word {
            return self.args(text);
        }
        let mut events: Vec<Event> = self.flush().into_iter().collect();
        match word {
            Word::Start => events.push(self.start()),
            Word::Text(text) => events.push(self.chunk(Kind::Visible, text, &json!({"content": text}), None)),
            Word::Reasoning(text) => events.push(self.reasoning(text)),
            Word::Refusal(text) if self.flavour == Flavour::Mistral => {
                events.push(self.chunk(Kind::Visible, text, &json!({"content": text}), None));
            }
            Word::Refusal(text) => events.push(self.chunk(Kind::Refusal, text, &json!({"refusal": text}), None)),
            Word::Tool(name) => events.extend(self.tool(name)),
            Word::Finish(reason) => events.extend(self.finish(reason)),
            Word::End => events.push(Event::data(Kind::End, "", "[DONE]")),
            Word::Ping => events.push(self.ping()),
            Word::Error { kind, message } => events.push(error(kind, message)),
            Word::ToolArgs(_) | Word::Audio(_) => {}
        }
        events
    }
}

/// An error event of the OpenAI family.
pub(super) fn error(kind: &str, message: &str) -> Event {
    let error = json!({"error": {"message": message, "type": kind, "param": null, "code": kind}});
    Event::data(Kind::Error, "", &error.to_string())
}

fn call(index: u32, name: &str, args: &str) -> Value {
    json!({"index": index, "id": format!("callScrip{index}"), "type": "function",
           "function": {"name": name, "arguments": args}})
}

fn finish_word(reason: &str) -> &str {
    match reason {
        "tool" => "tool_calls",
        "filter" => "content_filter",
        other => other,
    }
}

fn usage_json(usage: Tokens, flavour: Flavour) -> Value {
    let mut body = json!({"prompt_tokens": usage.input, "completion_tokens": usage.output,
                          "total_tokens": usage.input + usage.output});
    if flavour == Flavour::Mistral {
        return body;
    }
    body["prompt_tokens_details"] = json!({"cached_tokens": usage.cached});
    body["completion_tokens_details"] = json!({"reasoning_tokens": usage.reasoning});
    match flavour {
        Flavour::Groq => {
            for (key, seconds) in [("queue_time", 0.01), ("prompt_time", 0.02), ("completion_time", 0.5)] {
                body[key] = json!(seconds);
            }
        }
        Flavour::DeepSeek => {
            body["prompt_cache_hit_tokens"] = json!(usage.cached);
            body["prompt_cache_miss_tokens"] = json!(usage.input - usage.cached);
        }
        Flavour::OpenRouter => body["cost"] = json!(0.00014),
        _ => {}
    }
    body
}

/// `chat.completion`.
pub(super) fn whole(said: &Whole, flavour: Flavour) -> Value {
    let mut message = json!({"role": "assistant", "content": said.text});
    if flavour == Flavour::Own {
        message["refusal"] = Value::Null;
    }
    if !said.refusal.is_empty() {
        message["content"] = Value::Null;
        message["refusal"] = json!(said.refusal);
    }
    if !said.reasoning.is_empty() {
        let key =
            if matches!(flavour, Flavour::Groq | Flavour::OpenRouter) { "reasoning" } else { "reasoning_content" };
        message[key] = json!(said.reasoning);
    }
    let calls: Vec<Value> = (0..).zip(&said.tools).map(|(index, (name, args))| call(index, name, args)).collect();
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    json!({"id": ID, "object": "chat.completion", "created": 1_700_000_000, "model": said.model,
           "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish_word(&said.finish)}],
           "usage": said.usage.map(|usage| usage_json(usage, flavour))})
}
