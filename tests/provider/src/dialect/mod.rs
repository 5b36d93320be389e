//! How the three dialects put a script into events and into whole JSON answers.

#![expect(
    clippy::indexing_slicing,
    reason = "assigning to a key of a JSON object made here: that inserts, never panics"
)]

mod chat;
mod messages;
mod responses;

use serde_json::{Value, json};

use crate::script::{Kind, Reply, Say, Tokens};
use crate::words::Words;

/// Which API a request speaks, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Chat,
    Responses,
    Messages,
}

impl Api {
    /// The API of a path, query excluded; any prefix is allowed, as gateways do.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or_default();
        [("/chat/completions", Self::Chat), ("/responses", Self::Responses), ("/messages", Self::Messages)]
            .into_iter()
            .find_map(|(end, api)| path.ends_with(end).then_some(api))
    }
}

/// What the request asked for, as far as the answer depends on it.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub model: String,
    pub stream: bool,
    /// OpenAI chat: `stream_options.include_usage`.
    pub include_usage: bool,
}

/// Bytes of one event, and what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub bytes: Vec<u8>,
    pub kind: Kind,
    pub chars: u32,
    pub full_stop: bool,
}

impl Piece {
    fn event(kind: Kind, text: &str, data: &str) -> Self {
        Self::new(format!("data: {data}\n\n"), kind, text)
    }

    fn named(kind: Kind, text: &str, name: &str, data: &str) -> Self {
        Self::new(format!("event: {name}\ndata: {data}\n\n"), kind, text)
    }

    fn comment(kind: Kind, text: &str) -> Self {
        Self::new(format!(": {text}\n\n"), kind, "")
    }

    fn new(bytes: String, kind: Kind, text: &str) -> Self {
        Self { bytes: bytes.into_bytes(), kind, chars: count(text), full_stop: text.contains('.') }
    }
}

/// A step's words with made-up texts filled in.
enum Word<'a> {
    Start,
    Text(&'a str),
    Reasoning(&'a str),
    Refusal(&'a str),
    Tool(&'a str),
    ToolArgs(&'a str),
    Finish(&'a str),
    End,
    Ping,
    Error { kind: &'a str, message: &'a str },
}

/// One dialect's way of streaming.
trait Stream: Send {
    fn say(&mut self, word: &Word<'_>) -> Vec<Piece>;
}

/// Everything an answer says, collected for dialects' whole JSON bodies.
#[derive(Debug, Default)]
struct Whole {
    model: String,
    text: String,
    reasoning: String,
    refusal: String,
    tool: Option<(String, String)>,
    finish: String,
    usage: Option<Tokens>,
}

/// Turns steps into pieces for one reply.
pub struct Renderer {
    stream: Box<dyn Stream>,
    words: Words,
}

impl Renderer {
    /// A renderer for a streamed reply.
    #[must_use]
    pub fn new(api: Api, asked: &Asked, reply: &Reply) -> Self {
        let stream: Box<dyn Stream> = match api {
            Api::Chat => Box::new(chat::Chat::new(asked, reply)),
            Api::Responses => Box::new(responses::Responses::new(asked, reply)),
            Api::Messages => Box::new(messages::Messages::new(asked, reply)),
        };
        Self { stream, words: Words::default() }
    }

    /// The events of one step; none for faults.
    pub fn say(&mut self, say: &Say) -> Vec<Piece> {
        let made_up = self.made_up(say);
        let word = match say {
            Say::Start => Word::Start,
            Say::Text(_) => Word::Text(&made_up),
            Say::Words(text) => Word::Text(text),
            Say::Reasoning(_) => Word::Reasoning(&made_up),
            Say::Refusal(_) => Word::Refusal(&made_up),
            Say::Tool { name } => Word::Tool(name),
            Say::ToolArgs(_) => Word::ToolArgs(&made_up),
            Say::Finish(reason) => Word::Finish(reason),
            Say::End => Word::End,
            Say::Ping => Word::Ping,
            Say::Error { kind, message } => Word::Error { kind, message },
            Say::Comment(text) => return vec![Piece::comment(Kind::Keepalive, text)],
            Say::Raw(text) => return vec![Piece::new(text.clone(), Kind::Raw, "")],
            Say::Fault(_) => return Vec::new(),
        };
        self.stream.say(&word)
    }

    fn made_up(&mut self, say: &Say) -> String {
        match say {
            Say::Text(chars) | Say::Reasoning(chars) | Say::Refusal(chars) => self.words.take(*chars),
            Say::ToolArgs(chars) => "0123456789".chars().cycle().take(*chars as usize).collect(),
            _ => String::new(),
        }
    }
}

/// The body of a whole (non-stream) answer, and the number of visible characters in it.
#[must_use]
pub fn whole(api: Api, asked: &Asked, reply: &Reply) -> (Value, u32) {
    let mut whole = Whole { model: asked.model.clone(), usage: reply.usage, ..Whole::default() };
    let mut words = Words::default();
    for step in &reply.steps {
        for _ in 0..step.repeat {
            collect(&mut whole, &mut words, &step.say);
        }
    }
    let visible = count(&whole.text);
    let body = match api {
        Api::Chat => chat::whole(&whole),
        Api::Responses => responses::whole(&whole),
        Api::Messages => messages::whole(&whole),
    };
    (body, visible)
}

fn collect(whole: &mut Whole, words: &mut Words, say: &Say) {
    match say {
        Say::Text(chars) => whole.text.push_str(&words.take(*chars)),
        Say::Words(text) => whole.text.push_str(text),
        Say::Reasoning(chars) => whole.reasoning.push_str(&words.take(*chars)),
        Say::Refusal(chars) => whole.refusal.push_str(&words.take(*chars)),
        Say::Tool { name } => whole.tool = Some((name.clone(), String::new())),
        Say::ToolArgs(chars) => {
            if let Some((_, args)) = &mut whole.tool {
                args.extend("0123456789".chars().cycle().take(*chars as usize));
            }
        }
        Say::Finish(reason) => whole.finish.clone_from(reason),
        _ => {}
    }
}

/// The body of an error status.
#[must_use]
pub fn error_body(api: Api, status: u16) -> Value {
    let message = "scripted failure";
    let kind = match (api, status) {
        (_, 400) => "invalid_request_error",
        (_, 401) => "authentication_error",
        (_, 404) => "not_found_error",
        (Api::Messages, 429) => "rate_limit_error",
        (Api::Messages, 529) => "overloaded_error",
        (Api::Messages, _) => "api_error",
        (_, 429) => "rate_limit_exceeded",
        _ => "server_error",
    };
    match api {
        Api::Messages => json!({"type": "error", "error": {"type": kind, "message": message}}),
        _ => json!({"error": {"message": message, "type": kind, "param": null, "code": kind}}),
    }
}

fn count(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}
