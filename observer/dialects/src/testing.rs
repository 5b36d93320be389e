//! Plays an exchange through a row of the table and writes down what was said, one short line each.

use super::*;
use capture::proto::{ExchangeEnd, RequestHead};

/// An exchange with one row.
pub(crate) struct TestExchange {
    pub dialect: Box<dyn Dialect>,
    said: Vec<String>,
}

impl TestExchange {
    pub(crate) fn new(api: &str) -> Self {
        let row = row(api).expect("a row of the table");
        Self { dialect: (row.make)(&RequestHead::default()), said: Vec::new() }
    }

    /// A response with a status and content type.
    pub(crate) fn response(mut self, status: u16, content_type: &str) -> Self {
        let content_type = Some(content_type.to_owned());
        self.dialect.response(&ResponseHead { status, content_type, headers: Vec::new() });
        self
    }

    /// An event without a name.
    pub(crate) fn data(self, data: &str) -> Self {
        self.raw(None, data.as_bytes())
    }

    /// Events named by the `type` in their data, as both typed dialects send them.
    pub(crate) fn typed(self, data: &str) -> Self {
        let value: serde_json::Value = serde_json::from_str(data).expect("JSON");
        self.raw(value["type"].as_str(), data.as_bytes())
    }

    pub(crate) fn raw(self, name: Option<&str>, data: &[u8]) -> Self {
        self.event(&BodyEvent { name, data, wire_bytes: data.len() + 8, truncated: false, ..BodyEvent::default() })
    }

    /// The beginning of an event that was too large.
    pub(crate) fn beginning(self, name: Option<&str>, data: &[u8]) -> Self {
        self.event(&BodyEvent { name, data, wire_bytes: 2 << 20, truncated: true, ..BodyEvent::default() })
    }

    fn event(mut self, event: &BodyEvent<'_>) -> Self {
        let said = &mut self.said;
        self.dialect.event(event, &mut |u| said.push(line(&u)));
        self
    }

    /// A body in pieces of `cut` bytes.
    pub(crate) fn body(mut self, body: &str, cut: usize) -> Self {
        let said = &mut self.said;
        for piece in body.as_bytes().chunks(cut) {
            self.dialect.body(piece, &mut |u| said.push(line(&u)));
        }
        self
    }

    pub(crate) fn gap(mut self) -> Self {
        self.dialect.gap();
        self
    }

    /// The exchange ends in order; everything that was said.
    pub(crate) fn end(self) -> Vec<String> {
        self.ended(ExchangeEnd::Complete)
    }

    /// The exchange ends so.
    pub(crate) fn ended(mut self, how: ExchangeEnd) -> Vec<String> {
        let said = &mut self.said;
        self.dialect.end(how, &mut |u| said.push(line(&u)));
        self.said
    }
}

/// An utterance in one line.
pub(crate) fn line(utterance: &Utterance<'_>) -> String {
    match utterance {
        Utterance::Start { response_id, model } => {
            format!("start {} {}", response_id.as_deref().unwrap_or("-"), model.as_deref().unwrap_or("-"))
        }
        Utterance::Delta { kind, text } => format!("{kind:?} {text}").to_lowercase(),
        Utterance::Whole { kind, chars } => format!("{kind:?} whole {chars}").to_lowercase(),
        Utterance::Usage(u) => {
            let n = |n: Option<u64>| n.map_or("-".into(), |n| n.to_string());
            let TokenUsage { input, output, cached, cache_write, reasoning, audio_input, audio_output } = *u;
            let audio = [("audio_input", audio_input), ("audio_output", audio_output)];
            let audio = audio.map(|(name, n)| n.map_or(String::new(), |n| format!(" {name} {n}"))).concat();
            format!("usage {}{audio}", [input, output, cached, cache_write, reasoning].map(n).join(" "))
        }
        Utterance::Mark { what, value } => format!("mark {what:?} {value}"),
        Utterance::Limit { name, value } => format!("limit {name} {value}"),
        Utterance::Took(ServerTimes { queue_ms, prompt_ms, generation_ms, first_ms, total_ms }) => {
            let n = |n: Option<f64>| n.map_or("-".into(), |n| n.to_string());
            format!("took {}", [*queue_ms, *prompt_ms, *generation_ms, *first_ms, *total_ms].map(n).join(" "))
        }
        Utterance::Finish { reason } => format!("finish {reason}"),
        Utterance::Error { kind } => format!("error {}", kind.as_deref().unwrap_or("-")),
        Utterance::End => "end".into(),
        Utterance::KeepAlive => "keepalive".into(),
        Utterance::Media { bytes } => format!("media {bytes}"),
        Utterance::Other => "other".into(),
        Utterance::Malformed(reason) => format!("malformed {reason}"),
    }
}
