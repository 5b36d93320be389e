//! How each dialect puts a script into events and into whole JSON answers.

#![expect(
    clippy::indexing_slicing,
    reason = "assigning to a key of a JSON object made here: that inserts, never panics"
)]

mod asked;
mod chat;
mod cohere;
mod completions;
mod converse;
mod gemini;
pub mod listen;
mod messages;
mod ollama;
mod realtime;
mod responses;
mod speech;
mod transcribe;
mod usage;

use serde_json::{Value, json};

pub use self::asked::{Api, Asked, Flavour};
pub use self::usage::reported;
use crate::form::{Event, Former, Piece, What};
use crate::script::{Kind, Reply, Say, Tokens};
use crate::words::Words;

/// A step's words with made-up texts filled in.
enum Word<'a> {
    Start,
    Text(&'a str),
    Reasoning(&'a str),
    Refusal(&'a str),
    Tool(&'a str),
    ToolArgs(&'a str),
    Audio(&'a [u8]),
    Finish(&'a str),
    End,
    Ping,
    Error { kind: &'a str, message: &'a str },
}

/// One dialect's way of streaming.
trait Stream: Send {
    fn say(&mut self, word: &Word<'_>) -> Vec<Event>;
}

/// Everything an answer says, collected for dialects' whole JSON bodies.
#[derive(Debug, Default)]
struct Whole {
    model: String,
    text: String,
    reasoning: String,
    refusal: String,
    /// Name and arguments of each call.
    tools: Vec<(String, String)>,
    finish: String,
    audio: Vec<u8>,
    usage: Option<Tokens>,
}

/// Turns steps into pieces for one reply.
pub struct Renderer {
    stream: Box<dyn Stream>,
    former: Former,
    words: Words,
}

impl Renderer {
    /// A renderer for a streamed reply.
    #[must_use]
    pub fn new(asked: &Asked, reply: &Reply) -> Self {
        let stream: Box<dyn Stream> = match asked.api {
            Api::Chat => Box::new(chat::Chat::new(asked, reply)),
            Api::Completions => Box::new(completions::Completions::new(asked, reply)),
            Api::Responses => Box::new(responses::Responses::new(asked, reply)),
            Api::Messages | Api::Invoke => Box::new(messages::Messages::new(asked, reply)),
            Api::Gemini => Box::new(gemini::Gemini::new(asked, reply)),
            Api::Converse => Box::new(converse::Converse::new(reply)),
            Api::Cohere => Box::new(cohere::Cohere::new(reply)),
            Api::OllamaChat | Api::OllamaGenerate => Box::new(ollama::Ollama::new(asked, reply)),
            Api::Speech => Box::new(speech::Speech::new(asked, reply)),
            Api::Realtime => Box::new(realtime::Realtime::new(reply)),
            Api::Listen => Box::new(listen::Listen),
            Api::Transcription => Box::new(transcribe::Transcribe::new(reply)),
        };
        Self { stream, former: Former::new(asked.form), words: Words::default() }
    }

    /// The events of one step; none for faults.
    pub fn say(&mut self, say: &Say) -> Vec<Piece> {
        let made_up = self.made_up(say);
        let audio = if let Say::Audio(bytes) = say { sound(*bytes) } else { Vec::new() };
        let word = match say {
            Say::Start => Word::Start,
            Say::Text(_) => Word::Text(&made_up),
            Say::Words(text) => Word::Text(text),
            Say::Reasoning(_) => Word::Reasoning(&made_up),
            Say::Refusal(_) => Word::Refusal(&made_up),
            Say::Tool { name } => Word::Tool(name),
            Say::ToolArgs(_) => Word::ToolArgs(&made_up),
            Say::Audio(_) => Word::Audio(&audio),
            Say::Finish(reason) => Word::Finish(reason),
            Say::End => Word::End,
            Say::Ping => Word::Ping,
            Say::Error { kind, message } => Word::Error { kind, message },
            Say::Comment(text) => return self.pieces(&[Event::comment(Kind::Keepalive, text)]),
            Say::Raw(text) => return self.pieces(&[Event::new(Kind::Raw, "", What::Bytes(text.clone().into()))]),
            Say::Fault(_) => return Vec::new(),
        };
        let events = self.stream.say(&word);
        self.pieces(&events)
    }

    /// What ends the body.
    #[must_use]
    pub fn finish(&self) -> &'static [u8] {
        self.former.finish()
    }

    fn pieces(&mut self, events: &[Event]) -> Vec<Piece> {
        events.iter().filter_map(|event| self.former.piece(event)).collect()
    }

    fn made_up(&mut self, say: &Say) -> String {
        match say {
            Say::Text(chars) | Say::Reasoning(chars) | Say::Refusal(chars) => self.words.take(*chars),
            Say::ToolArgs(chars) => "0123456789".chars().cycle().take(*chars as usize).collect(),
            _ => String::new(),
        }
    }
}

/// So many bytes that no text parser should take for text.
fn sound(bytes: u32) -> Vec<u8> {
    (0..=255).rev().cycle().take(bytes as usize).collect()
}

/// The body of a whole (non-stream) answer, and the number of visible characters in it.
#[must_use]
pub fn whole(asked: &Asked, reply: &Reply) -> (Vec<u8>, u32) {
    let finish = "stop".to_owned();
    let mut whole = Whole { model: asked.model.clone(), usage: reply.usage, finish, ..Whole::default() };
    let mut words = Words::default();
    for step in &reply.steps {
        for _ in 0..step.repeat {
            collect(&mut whole, &mut words, &step.say);
        }
    }
    let visible = count(&whole.text);
    let body = match asked.api {
        Api::Chat => chat::whole(&whole, asked.flavour),
        Api::Completions => completions::whole(&whole),
        Api::Responses | Api::Realtime | Api::Listen | Api::Transcription => responses::whole(&whole),
        Api::Messages | Api::Invoke => messages::whole(&whole),
        Api::Gemini => gemini::whole(&whole),
        Api::Converse => converse::whole(&whole),
        Api::Cohere => cohere::whole(&whole),
        Api::OllamaChat | Api::OllamaGenerate => ollama::whole(&whole, asked.api),
        Api::Speech => return (whole.audio, 0),
    };
    (body.to_string().into_bytes(), visible)
}

fn collect(whole: &mut Whole, words: &mut Words, say: &Say) {
    match say {
        Say::Text(chars) => {
            whole.text.push_str(&words.take(*chars));
            whole.audio.extend(sound(chars * speech::BYTES_PER_CHAR));
        }
        Say::Words(text) => whole.text.push_str(text),
        Say::Audio(bytes) => whole.audio.extend(sound(*bytes)),
        Say::Reasoning(chars) => whole.reasoning.push_str(&words.take(*chars)),
        Say::Refusal(chars) => whole.refusal.push_str(&words.take(*chars)),
        Say::Tool { name } => whole.tools.push((name.clone(), String::new())),
        Say::ToolArgs(chars) => {
            if let Some((_, args)) = whole.tools.last_mut() {
                args.extend("0123456789".chars().cycle().take(*chars as usize));
            }
        }
        Say::Finish(reason) => whole.finish.clone_from(reason),
        _ => {}
    }
}

/// The body of an error status, and the name by which AWS's header calls it.
#[must_use]
pub fn error_body(api: Api, status: u16) -> (Value, Option<&'static str>) {
    let message = "scripted failure";
    let kind = match (api, status) {
        (Api::Gemini, 400) => "INVALID_ARGUMENT",
        (Api::Gemini, 429) => "RESOURCE_EXHAUSTED",
        (Api::Gemini, 503 | 529) => "UNAVAILABLE",
        (Api::Gemini, _) => "INTERNAL",
        (Api::Converse | Api::Invoke, 400) => "ValidationException",
        (Api::Converse | Api::Invoke, 429) => "ThrottlingException",
        (Api::Converse | Api::Invoke, 503 | 529) => "ServiceUnavailableException",
        (Api::Converse | Api::Invoke, _) => "InternalServerException",
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
        Api::Messages => (json!({"type": "error", "error": {"type": kind, "message": message}}), None),
        Api::Gemini => (json!({"error": {"code": status, "message": message, "status": kind}}), None),
        Api::Converse | Api::Invoke => (json!({"message": message}), Some(kind)),
        Api::Cohere => (json!({"id": "scripted", "message": message}), None),
        Api::OllamaChat | Api::OllamaGenerate => (json!({"error": message}), None),
        _ => (json!({"error": {"message": message, "type": kind, "param": null, "code": kind}}), None),
    }
}

fn count(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}
