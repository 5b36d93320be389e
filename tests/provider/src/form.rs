//! How events become the bytes of a body, whatever dialect they are of.

use serde_json::json;

use crate::script::Kind;

/// The stream's outer form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Server-sent events.
    #[default]
    Sse,
    /// ... with CR LF line ends, as Google's front ends send them.
    SseCrlf,
    /// A JSON document a line.
    Lines,
    /// One JSON array, streamed element by element.
    Array,
    /// AWS event stream.
    Frames,
    /// ... whose `chunk` events carry another API's events in base64 (InvokeModel).
    Wrapped,
    /// A WebSocket message each.
    Messages,
    /// The events' own bytes (audio).
    Bytes,
}

impl Form {
    /// The body's media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream; charset=utf-8",
            Self::SseCrlf => "text/event-stream",
            Self::Lines => "application/x-ndjson",
            Self::Array => "application/json; charset=UTF-8",
            Self::Frames | Self::Wrapped => "application/vnd.amazon.eventstream",
            Self::Messages => "",
            Self::Bytes => "audio/mpeg",
        }
    }
}

/// One event of a dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub kind: Kind,
    pub chars: u32,
    pub full_stop: bool,
    pub what: What,
}

/// What the event is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A name (may be empty) and JSON or another line of text.
    Data {
        name: String,
        data: String,
    },
    /// An event-stream exception; an event of that name elsewhere.
    Exception {
        name: String,
        data: String,
    },
    /// A comment, where the form has any.
    Comment(String),
    Bytes(Vec<u8>),
}

impl Event {
    /// Data without a name.
    #[must_use]
    pub(crate) fn data(kind: Kind, text: &str, data: &str) -> Self {
        Self::named(kind, text, "", data)
    }

    /// Data with a name.
    #[must_use]
    pub(crate) fn named(kind: Kind, text: &str, name: &str, data: &str) -> Self {
        Self::new(kind, text, What::Data { name: name.to_owned(), data: data.to_owned() })
    }

    /// A comment.
    #[must_use]
    pub(crate) fn comment(kind: Kind, text: &str) -> Self {
        Self::new(kind, "", What::Comment(text.to_owned()))
    }

    /// `text` is what counts as output.
    #[must_use]
    pub(crate) fn new(kind: Kind, text: &str, what: What) -> Self {
        let chars = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        Self { kind, chars, full_stop: text.contains('.'), what }
    }
}

/// Bytes of one event, and what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub bytes: Vec<u8>,
    pub kind: Kind,
    pub chars: u32,
    pub full_stop: bool,
}

/// Writes a stream in its form.
#[derive(Debug)]
pub(crate) struct Former {
    form: Form,
    /// Something was written.
    begun: bool,
}

impl Former {
    #[must_use]
    pub(crate) fn new(form: Form) -> Self {
        Self { form, begun: false }
    }

    /// The event's bytes; `None`: this form cannot say it.
    pub(crate) fn piece(&mut self, event: &Event) -> Option<Piece> {
        let bytes = match &event.what {
            // What is wrapped has no errors of its own.
            What::Data { data, .. } if self.form == Form::Wrapped && event.kind == Kind::Error => {
                let data = json!({"message": data}).to_string();
                frame("exception", "modelStreamErrorException", data.as_bytes())
            }
            What::Data { name, data } => self.event(name, data),
            What::Exception { name, data } if self.form == Form::Wrapped || self.form == Form::Frames => {
                frame("exception", name, data.as_bytes())
            }
            What::Exception { name, data } => self.event(name, data),
            What::Comment(text) => match self.form {
                Form::Sse => format!(": {text}\n\n").into_bytes(),
                Form::SseCrlf => format!(": {text}\r\n\r\n").into_bytes(),
                _ => return None,
            },
            What::Bytes(bytes) => bytes.clone(),
        };
        self.begun = true;
        Some(Piece { bytes, kind: event.kind, chars: event.chars, full_stop: event.full_stop })
    }

    fn event(&self, name: &str, data: &str) -> Vec<u8> {
        match self.form {
            Form::Sse if name.is_empty() => format!("data: {data}\n\n").into_bytes(),
            Form::Sse => format!("event: {name}\ndata: {data}\n\n").into_bytes(),
            Form::SseCrlf => format!("data: {data}\r\n\r\n").into_bytes(),
            Form::Lines => format!("{data}\n").into_bytes(),
            Form::Array => format!("{}{data}", if self.begun { ",\r\n" } else { "[" }).into_bytes(),
            Form::Frames => frame("event", name, data.as_bytes()),
            Form::Wrapped => {
                let chunk = json!({"bytes": base64(data.as_bytes()), "p": "abcdefghijk"});
                frame("event", "chunk", chunk.to_string().as_bytes())
            }
            Form::Messages | Form::Bytes => data.as_bytes().to_vec(),
        }
    }

    /// What ends the body.
    #[must_use]
    pub(crate) fn finish(&self) -> &'static [u8] {
        match (self.form, self.begun) {
            (Form::Array, true) => b"]",
            (Form::Array, false) => b"[]",
            _ => b"",
        }
    }
}

/// One AWS event-stream message.
#[must_use]
pub(crate) fn frame(message_type: &str, name: &str, payload: &[u8]) -> Vec<u8> {
    let mut headers = Vec::new();
    for (key, value) in [
        (format!(":{message_type}-type").as_str(), name),
        (":content-type", "application/json"),
        (":message-type", message_type),
    ] {
        headers.extend(u8::try_from(key.len()));
        headers.extend_from_slice(key.as_bytes());
        // Type 7: a string with a length of 16 bits.
        headers.push(7);
        headers.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes();
    let mut out = number(headers.len() + payload.len() + 16).to_vec();
    out.extend(number(headers.len()));
    out.extend(crc32fast::hash(&out).to_be_bytes());
    out.extend(headers);
    out.extend_from_slice(payload);
    out.extend(crc32fast::hash(&out).to_be_bytes());
    out
}

/// Standard base64 with padding.
#[must_use]
pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
