//! OpenAI's older completions: text and nothing else, `[DONE]` at the end.

use serde_json::{Value, json};

use super::{Asked, Stream, Whole, Word, chat};
use crate::form::Event;
use crate::script::{Kind, Reply, Tokens};

/// The stream's state.
pub(super) struct Completions {
    model: String,
    usage: Option<Tokens>,
}

impl Completions {
    pub(super) fn new(asked: &Asked, reply: &Reply) -> Self {
        Self { model: asked.model.clone(), usage: reply.usage.filter(|_| asked.include_usage) }
    }

    fn chunk(&self, kind: Kind, text: &str, finish: Option<&str>) -> Event {
        let choices = json!([{"index": 0, "text": text, "logprobs": null, "finish_reason": finish}]);
        Event::data(kind, text, &envelope(&self.model, &choices).to_string())
    }
}

fn envelope(model: &str, choices: &Value) -> Value {
    json!({"id": "cmpl-scripted", "object": "text_completion", "created": 1_700_000_000, "model": model,
           "choices": choices})
}

/// The finish reasons that this API has.
fn finish_word(reason: &str) -> &str {
    match reason {
        "tool" => "stop",
        "filter" => "content_filter",
        other => other,
    }
}

impl Stream for Completions {
    fn say(&mut self, word: &Word<'_>) -> Vec<Event> {
        match word {
            Word::Text(text) | Word::Refusal(text) => vec![self.chunk(Kind::Visible, text, None)],
            Word::Finish(reason) => {
                let mut events = vec![self.chunk(Kind::Event, "", Some(finish_word(reason)))];
                if let Some(usage) = self.usage {
                    let mut last = envelope(&self.model, &json!([]));
                    last["usage"] = usage_json(usage);
                    events.push(Event::data(Kind::Event, "", &last.to_string()));
                }
                events
            }
            Word::End => vec![Event::data(Kind::End, "", "[DONE]")],
            Word::Ping => vec![Event::comment(Kind::Keepalive, "keep-alive")],
            Word::Error { kind, message } => vec![chat::error(kind, message)],
            Word::Start | Word::Reasoning(_) | Word::Tool(_) | Word::ToolArgs(_) | Word::Audio(_) => Vec::new(),
        }
    }
}

fn usage_json(usage: Tokens) -> Value {
    json!({"prompt_tokens": usage.input, "completion_tokens": usage.output, "total_tokens": usage.input + usage.output})
}

/// `text_completion`.
pub(super) fn whole(said: &Whole) -> Value {
    let text = format!("{}{}", said.text, said.refusal);
    let choices = json!([{"index": 0, "text": text, "logprobs": null, "finish_reason": finish_word(&said.finish)}]);
    let mut body = envelope(&said.model, &choices);
    if let Some(usage) = said.usage {
        body["usage"] = usage_json(usage);
    }
    body
}
