//! Bedrock Converse: event-stream messages; text blocks have no start event; `metadata` comes last.

use serde_json::{Value, json};

use super::{Stream, Whole, Word};
use crate::form::{Event, What};
use crate::script::{Kind, Reply, Tokens};

/// The stream's state.
pub(super) struct Converse {
    usage: Option<Tokens>,
    /// Type of the open content block.
    open: Option<&'static str>,
    /// Blocks begun so far.
    blocks: u32,
    /// Said at the end.
    finish: &'static str,
}

impl Converse {
    pub(super) fn new(reply: &Reply) -> Self {
        Self { usage: reply.usage, open: None, blocks: 0, finish: "end_turn" }
    }

    fn delta(&mut self, block: &'static str, kind: Kind, text: &str, delta: &Value) -> Vec<Event> {
        let mut events = Vec::new();
        if self.open != Some(block) {
            events.extend(self.close());
            self.open = Some(block);
            self.blocks += 1;
        }
        let data = json!({"contentBlockIndex": self.index(), "delta": delta, "p": "abcdefgh"});
        events.push(event(kind, text, "contentBlockDelta", &data));
        events
    }

    fn tool(&mut self, name: &str) -> Vec<Event> {
        let mut events: Vec<Event> = self.close().into_iter().collect();
        self.open = Some("toolUse");
        self.blocks += 1;
        let start = json!({"toolUse": {"toolUseId": format!("tooluse_{}", self.blocks), "name": name}});
        let data = json!({"contentBlockIndex": self.index(), "start": start, "p": "abc"});
        events.push(event(Kind::Tool, name, "contentBlockStart", &data));
        events
    }

    fn close(&mut self) -> Option<Event> {
        self.open.take()?;
        Some(event(Kind::Event, "", "contentBlockStop", &json!({"contentBlockIndex": self.index(), "p": "a"})))
    }

    fn index(&self) -> u32 {
        self.blocks.saturating_sub(1)
    }
}

impl Stream for Converse {
    fn say(&mut self, word: &Word<'_>) -> Vec<Event> {
        match word {
            Word::Start => vec![event(Kind::Event, "", "messageStart", &json!({"role": "assistant", "p": "ab"}))],
            Word::Text(text) | Word::Refusal(text) => self.delta("text", Kind::Visible, text, &json!({"text": text})),
            Word::Reasoning(text) => {
                self.delta("reasoning", Kind::Reasoning, text, &json!({"reasoningContent": {"text": text}}))
            }
            Word::Tool(name) => self.tool(name),
            Word::ToolArgs(text) => self.delta("toolUse", Kind::Tool, text, &json!({"toolUse": {"input": text}})),
            Word::Finish(reason) => {
                self.finish = finish_word(reason);
                self.close().into_iter().collect()
            }
            Word::End => {
                let stop = json!({"stopReason": self.finish, "p": "abcd"});
                let usage = json!({"usage": usage_json(self.usage.unwrap_or_default()), "metrics": {"latencyMs": 7}});
                vec![event(Kind::Event, "", "messageStop", &stop), event(Kind::End, "", "metadata", &usage)]
            }
            Word::Error { message, .. } => {
                let (name, data) = ("modelStreamErrorException".to_owned(), json!({"message": message}).to_string());
                vec![Event::new(Kind::Error, "", What::Exception { name, data })]
            }
            Word::Ping | Word::Audio(_) => Vec::new(),
        }
    }
}

fn event(kind: Kind, text: &str, name: &str, data: &Value) -> Event {
    Event::named(kind, text, name, &data.to_string())
}

fn finish_word(reason: &str) -> &'static str {
    match reason {
        "length" => "max_tokens",
        "tool" => "tool_use",
        "filter" => "content_filtered",
        _ => "end_turn",
    }
}

fn usage_json(usage: Tokens) -> Value {
    json!({"inputTokens": usage.input - usage.cached, "outputTokens": usage.output,
           "totalTokens": usage.input + usage.output, "cacheReadInputTokens": usage.cached, "cacheWriteInputTokens": 0})
}

/// `ConverseResponse`.
pub(super) fn whole(said: &Whole) -> Value {
    let mut content = Vec::new();
    if !said.reasoning.is_empty() {
        content.push(json!({"reasoningContent": {"reasoningText": {"text": said.reasoning}}}));
    }
    let text = format!("{}{}", said.text, said.refusal);
    if !text.is_empty() {
        content.push(json!({"text": text}));
    }
    for (name, args) in &said.tools {
        content.push(json!({"toolUse": {"toolUseId": "tooluse_1", "name": name, "input": {"q": args}}}));
    }
    json!({"output": {"message": {"role": "assistant", "content": content}}, "metrics": {"latencyMs": 7},
           "stopReason": finish_word(&said.finish), "usage": usage_json(said.usage.unwrap_or_default())})
}
