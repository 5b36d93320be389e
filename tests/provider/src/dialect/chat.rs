//! OpenAI chat completions: data-only events, `[DONE]` at the end.

use serde_json::{Value, json};

use super::{Asked, Piece, Stream, Whole, Word};
use crate::script::{Kind, Reply, Tokens};

const ID: &str = "chatcmpl-scripted";
const CALL: &str = "call_scripted";

/// The stream's state.
pub struct Chat {
    model: String,
    padding: bool,
    /// `Some` if usage was asked for and there is one.
    usage: Option<Tokens>,
    include_usage: bool,
}

impl Chat {
    pub fn new(asked: &Asked, reply: &Reply) -> Self {
        Self {
            model: asked.model.clone(),
            padding: reply.padding,
            usage: reply.usage.filter(|_| asked.include_usage),
            include_usage: asked.include_usage,
        }
    }

    fn chunk(&self, kind: Kind, text: &str, delta: &Value, finish: Option<&str>) -> Piece {
        let choices = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        let mut chunk = self.envelope(&choices);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        if self.padding {
            // As long as makes the sum of both constant, up to 16.
            chunk["obfuscation"] = json!("x".repeat(16_usize.saturating_sub(text.len())));
        }
        Piece::event(kind, text, &chunk.to_string())
    }

    fn envelope(&self, choices: &Value) -> Value {
        json!({"id": ID, "object": "chat.completion.chunk", "created": 1_700_000_000, "model": self.model,
               "service_tier": "default", "system_fingerprint": "fp_scripted", "choices": choices})
    }

    fn finish(&self, reason: &str) -> Vec<Piece> {
        let mut pieces = vec![self.chunk(Kind::Event, "", &json!({}), Some(finish_word(reason)))];
        if let Some(usage) = self.usage {
            let mut chunk = self.envelope(&json!([]));
            chunk["usage"] = usage_json(usage);
            pieces.push(Piece::event(Kind::Event, "", &chunk.to_string()));
        }
        pieces
    }
}

impl Stream for Chat {
    fn say(&mut self, word: &Word<'_>) -> Vec<Piece> {
        let piece = match word {
            Word::Start => {
                self.chunk(Kind::Event, "", &json!({"role": "assistant", "content": "", "refusal": null}), None)
            }
            Word::Text(text) => self.chunk(Kind::Visible, text, &json!({"content": text}), None),
            Word::Reasoning(text) => self.chunk(Kind::Reasoning, text, &json!({"reasoning_content": text}), None),
            Word::Refusal(text) => self.chunk(Kind::Refusal, text, &json!({"refusal": text}), None),
            Word::Tool(name) => self.chunk(Kind::Tool, name, &tool_start(name), None),
            Word::ToolArgs(text) => {
                let delta = json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]});
                self.chunk(Kind::Tool, text, &delta, None)
            }
            Word::Finish(reason) => return self.finish(reason),
            Word::End => Piece::event(Kind::End, "", "[DONE]"),
            Word::Ping => Piece::comment(Kind::Keepalive, "keep-alive"),
            Word::Error { kind, message } => {
                let error = json!({"error": {"message": message, "type": kind, "param": null, "code": kind}});
                Piece::event(Kind::Error, "", &error.to_string())
            }
        };
        vec![piece]
    }
}

fn tool_start(name: &str) -> Value {
    json!({"content": null,
           "tool_calls": [{"index": 0, "id": CALL, "type": "function", "function": {"name": name, "arguments": ""}}]})
}

fn finish_word(reason: &str) -> &str {
    match reason {
        "tool" => "tool_calls",
        "filter" => "content_filter",
        other => other,
    }
}

fn usage_json(usage: Tokens) -> Value {
    json!({"prompt_tokens": usage.input, "completion_tokens": usage.output, "total_tokens": usage.input + usage.output,
           "prompt_tokens_details": {"cached_tokens": usage.cached},
           "completion_tokens_details": {"reasoning_tokens": usage.reasoning}})
}

/// `chat.completion`.
pub fn whole(said: &Whole) -> Value {
    let mut message = json!({"role": "assistant", "content": said.text, "refusal": null});
    if !said.refusal.is_empty() {
        message["content"] = Value::Null;
        message["refusal"] = json!(said.refusal);
    }
    if !said.reasoning.is_empty() {
        message["reasoning_content"] = json!(said.reasoning);
    }
    if let Some((name, args)) = &said.tool {
        message["tool_calls"] =
            json!([{"id": CALL, "type": "function", "function": {"name": name, "arguments": args}}]);
    }
    json!({"id": ID, "object": "chat.completion", "created": 1_700_000_000, "model": said.model,
           "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish_word(&said.finish)}],
           "usage": said.usage.map(usage_json)})
}
