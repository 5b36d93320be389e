//! What every dialect over HTTP with a JSON body does alike: the request, answers that are no stream, the marks of a
//! stream's events. What differs is a `Speech`.

use std::borrow::Cow;
use std::cell::Cell;

use super::answer::{Answer, Parts};
use super::json::loose;
use super::request::RequestScan;
use super::{Dialect, RequestFacts, Utterance, cap};
use crate::proto::{Event, RequestHead, ResponseHead};

/// What is particular to one dialect.
pub trait Speech: Default + Send {
    /// Where things stand in an answer that is not a stream.
    const ANSWER: Parts;
    /// Input tokens are reported without those read from or written to a cache.
    const CACHE_APART: bool = false;
    /// One event's data, which is neither empty nor `[DONE]`; `Err`: why it cannot be understood. Saying nothing means
    /// that the event carries nothing.
    fn event(&mut self, name: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>))
    -> Result<(), &'static str>;
    /// An event of which only the beginning was kept, because it was too large. Saying nothing is right where no event
    /// of that size matters.
    fn beginning(&mut self, _name: Option<&str>, _data: &[u8], _out: &mut dyn FnMut(Utterance<'_>)) {}
}

/// One exchange in the dialect of `S`.
pub struct Exchange<S> {
    request: RequestScan,
    answer: Answer,
    speech: S,
    /// The end marker came: said once, even where two markers come.
    ended: bool,
    failed: bool,
}

impl<S: Speech> Exchange<S> {
    #[must_use]
    pub fn new(head: &RequestHead) -> Self {
        let answer = Answer::new(S::ANSWER, S::CACHE_APART);
        Self { request: RequestScan::new(head), answer, speech: S::default(), ended: false, failed: false }
    }
}

impl<S: Speech> Dialect for Exchange<S> {
    fn request_body(&mut self, bytes: &[u8]) {
        self.request.push(bytes);
    }

    fn request_end(&mut self, lost: bool) -> RequestFacts {
        self.request.end(lost)
    }

    fn response(&mut self, head: &ResponseHead) {
        self.answer.response(head);
    }

    fn event(&mut self, event: &Event<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        let (ended, failed, silent) = (&mut self.ended, &mut self.failed, Cell::new(true));
        let out = &mut |utterance: Utterance<'_>| {
            silent.set(false);
            *failed |= matches!(utterance, Utterance::Error { .. });
            let again = matches!(utterance, Utterance::End) && std::mem::replace(ended, true);
            out(if again { Utterance::Other } else { utterance });
        };
        if let Err(reason) = spoken(&mut self.speech, event, out) {
            // An event that names itself an error is one, whatever its data looks like.
            let error = event.name == Some("error");
            out(if error { Utterance::Error { kind: None } } else { Utterance::Malformed(reason) });
        }
        if silent.get() {
            out(Utterance::Other);
        }
    }

    fn body(&mut self, bytes: &[u8], out: &mut dyn FnMut(Utterance<'_>)) {
        self.answer.push(bytes, out);
    }

    fn end(&mut self, out: &mut dyn FnMut(Utterance<'_>)) {
        self.answer.end(self.failed, out);
    }

    fn gap(&mut self) {
        self.answer.gap();
    }

    fn held(&self) -> usize {
        size_of_val(self) + self.request.held() + self.answer.held()
    }
}

fn spoken<S: Speech>(
    speech: &mut S,
    event: &Event<'_>,
    out: &mut dyn FnMut(Utterance<'_>),
) -> Result<(), &'static str> {
    if event.truncated {
        speech.beginning(event.name, event.data, out);
        return Ok(());
    }
    let data = loose::text(event.data)?.trim_ascii();
    if data.is_empty() {
        out(Utterance::KeepAlive);
    } else if data.starts_with("[DONE]") {
        out(Utterance::End);
    } else {
        return speech.event(event.name, data, out);
    }
    Ok(())
}

/// Says `Start` with what is new: an id or a model is told once, whenever it comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named {
    id: bool,
    model: bool,
}

impl Named {
    pub fn say(&mut self, id: Option<&str>, model: Option<&str>, out: &mut dyn FnMut(Utterance<'_>)) {
        let id = id.filter(|id| !id.is_empty() && !self.id);
        let model = model.filter(|model| !model.is_empty() && !self.model);
        self.id |= id.is_some();
        self.model |= model.is_some();
        if id.is_some() || model.is_some() {
            let short = |name| Cow::Borrowed(cap(name));
            out(Utterance::Start { response_id: id.map(short), model: model.map(short) });
        }
    }
}

/// Feeds a dialect as a peer might: the first bytes choose the shape, the rest is cut into request, events and body. For
/// fuzzing; what must hold is that nothing panics and that memory stays bounded.
pub fn fuzz<S: Speech>(data: &[u8]) {
    let Some((&mode, data)) = data.split_first() else { return };
    let mut exchange: Exchange<S> = Exchange::new(&RequestHead::default());
    let out = &mut |_: Utterance<'_>| {};
    let status = if mode & 1 == 0 { 200 } else { 500 };
    let head = ResponseHead { status, content_type: Some("application/json".into()), ..ResponseHead::default() };
    exchange.response(&head);
    for piece in data.split(|&b| b == b'\n') {
        let name = if mode & 2 == 0 { None } else { Some("error") };
        match mode >> 2 & 3 {
            0 => exchange.request_body(piece),
            1 => exchange.body(piece, out),
            _ => {
                let truncated = mode & 16 != 0;
                exchange
                    .event(&Event { name, data: piece, wire_bytes: piece.len(), truncated, ..Event::default() }, out);
            }
        }
    }
    let _ = exchange.request_end(false);
    exchange.end(out);
    assert!(exchange.held() < 16 * 1024, "holds {} bytes", exchange.held());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::dialect::{anthropic_messages, openai_chat, openai_responses};

    /// JSON of the words that the dialects look for, in any arrangement.
    fn documents() -> impl Strategy<Value = Vec<u8>> {
        let word = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "null",
            "true",
            "7",
            "-1e9",
            "\"\"",
            "\"\\ud83d\"",
            "\"choices\"",
            "\"delta\"",
            "\"content\"",
            "\"usage\"",
            "\"error\"",
            "\"type\"",
            "\"response\"",
            "\"message\"",
            "\"output\"",
            "\"text\"",
            "\"tool_calls\"",
            "\"message_start\"",
            "\"content_block_delta\"",
            "\"response.completed\"",
            "\"message_delta\"",
            "\"stop_reason\"",
            "\n",
            " ",
            "[DONE]",
        ]);
        let valid = prop::sample::select(vec![
            r#"{"type":"message_start","message":{"id":"a","usage":{"input_tokens":18446744073709551615,"cache_read_input_tokens":18446744073709551615}}}"#,
            r#"{"choices":[{"delta":{"content":"x","tool_calls":[{"function":{"name":"f"}}]}}],"usage":{"prompt_tokens":1}}"#,
            r#"{"type":"response.completed","response":{"id":"r","usage":{"input_tokens":3}}}"#,
        ]);
        let words = prop::collection::vec(word, 0..40).prop_map(|words| words.concat().into_bytes());
        let damaged = (valid, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(json, at, byte)| {
            let mut bytes = json.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        });
        prop_oneof![words, damaged, prop::collection::vec(any::<u8>(), 0..80)]
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_dialect_panic(mode in any::<u8>(), documents in prop::collection::vec(documents(), 0..4)) {
            let mut data = vec![mode];
            data.extend(documents.join(&b'\n'));
            openai_chat::fuzz(&data);
            openai_responses::fuzz(&data);
            anthropic_messages::fuzz(&data);
        }
    }
}
