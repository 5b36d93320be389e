//! What every dialect over HTTP with a JSON body does alike: the request, answers that are no stream, the marks of a
//! stream's events. What differs is a `DialectRules`.

use std::borrow::Cow;
use std::cell::Cell;

use super::answer::{AnswerParts, AnswerSoFar, TokenCounting};
use super::json::loose;
use super::path::PathPreset;
use super::request::RequestScan;
use super::{Dialect, RequestFacts, Utterance, error};
use capture::proto::{BodyEvent, BodyEventKind, ExchangeEnd, RequestHead, ResponseHead};

/// What is particular to one dialect.
pub(crate) trait DialectRules: Default + Send {
    /// Where things stand in an answer that is not a stream.
    const ANSWER: AnswerParts;
    /// How this API's token counts become ours.
    const COUNTS: TokenCounting = TokenCounting::INCLUSIVE;
    /// Events in binary frames are text all the same.
    const BINARY_TEXT: bool = false;
    /// What the request's address says.
    fn preset(_head: &RequestHead) -> PathPreset {
        PathPreset::default()
    }
    /// The request, before anything else is told.
    fn begin(&mut self, _head: &RequestHead) {}
    /// Whether an answer labelled as JSON is a stream of JSON texts, by what was asked for.
    fn streams_json(&self, _asked: &RequestFacts) -> bool {
        false
    }
    /// One event's data, which is neither empty nor `[DONE]`; `Err`: why it cannot be understood. Saying nothing means
    /// that the event carries nothing.
    fn event(&mut self, name: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>))
    -> Result<(), &'static str>;
    /// An event of which only the beginning was kept, because it was too large. Saying nothing is right where no event
    /// of that size matters.
    fn beginning(&mut self, _name: Option<&str>, _data: &[u8], _out: &mut dyn FnMut(Utterance<'_>)) {}
    /// The exchange ended so: what was held back, and whether a stream without an end marker of its own is complete.
    fn end(&mut self, _how: ExchangeEnd, _out: &mut dyn FnMut(Utterance<'_>)) {}
    /// Bytes of the response are missing.
    fn gap(&mut self) {}
    /// Bytes held beside the interpreter itself.
    fn held(&self) -> usize {
        0
    }
}

/// One exchange in the dialect of `S`.
pub(crate) struct DialectExchange<S> {
    request: RequestScan,
    answer: AnswerSoFar,
    speech: S,
    /// JSON in the answer is a stream.
    json_stream: bool,
    /// The end marker came; it is emitted once, even where two markers come.
    ended: bool,
    failed: bool,
    /// Bytes are missing behind the last event: an error may have been among them.
    tail_lost: bool,
}

impl<S: DialectRules> DialectExchange<S> {
    #[must_use]
    pub(crate) fn new(head: &RequestHead) -> Self {
        let answer = AnswerSoFar::new(S::ANSWER, S::COUNTS);
        let mut speech = S::default();
        speech.begin(head);
        Self {
            request: RequestScan::new(head, S::preset(head)),
            answer,
            speech,
            json_stream: false,
            ended: false,
            failed: false,
            tail_lost: false,
        }
    }

    /// Emits to `out`, an end only once, and notes ends and errors.
    fn emitter<'o>(
        ended: &'o mut bool,
        failed: &'o mut bool,
        out: &'o mut dyn FnMut(Utterance<'_>),
    ) -> impl FnMut(Utterance<'_>) + 'o {
        move |utterance: Utterance<'_>| {
            *failed |= matches!(utterance, Utterance::Error { .. });
            let again = matches!(utterance, Utterance::End) && std::mem::replace(ended, true);
            out(if again { Utterance::Other } else { utterance });
        }
    }
}

impl<S: DialectRules> Dialect for DialectExchange<S> {
    fn request_body(&mut self, bytes: &[u8]) {
        self.request.push(bytes);
    }

    fn request_end(&mut self, lost: bool) -> RequestFacts {
        let facts = self.request.end(lost);
        self.json_stream = self.speech.streams_json(&facts);
        facts
    }

    fn streams_json(&self) -> bool {
        self.json_stream
    }

    fn response(&mut self, head: &ResponseHead) {
        self.answer.response(head);
    }

    fn event(&mut self, event: &BodyEvent<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        self.tail_lost = false;
        let (mut emit, silent) = (Self::emitter(&mut self.ended, &mut self.failed, out), Cell::new(true));
        let out = &mut |utterance: Utterance<'_>| {
            silent.set(false);
            emit(utterance);
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

    fn end(&mut self, how: ExchangeEnd, out: &mut dyn FnMut(Utterance<'_>)) {
        let mut over = self.ended || self.failed || self.tail_lost;
        let mut emit = Self::emitter(&mut self.ended, &mut self.failed, out);
        self.speech.end(how, &mut |utterance| {
            // Nothing is added where the end was emitted, an error is how it ended, or what came last is not known.
            let end = matches!(utterance, Utterance::End);
            if !(end && over) {
                emit(utterance);
            }
            over |= end;
        });
        drop(emit);
        self.answer.end(self.failed, out);
    }

    fn gap(&mut self) {
        self.tail_lost = true;
        self.answer.gap();
        self.speech.gap();
    }

    fn held(&self) -> usize {
        size_of_val(self) + self.request.held() + self.answer.held() + self.speech.held()
    }
}

fn spoken<S: DialectRules>(
    speech: &mut S,
    event: &BodyEvent<'_>,
    out: &mut dyn FnMut(Utterance<'_>),
) -> Result<(), &'static str> {
    match event.kind {
        BodyEventKind::Text => {}
        BodyEventKind::Binary if S::BINARY_TEXT => {}
        BodyEventKind::Exception => return exception(event, out),
        BodyEventKind::Binary => {
            out(Utterance::Media { bytes: event.data.len() as u64 });
            return Ok(());
        }
        BodyEventKind::Opaque => return Ok(()),
    }
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

/// The framing says that this is an error; its name is the word for it.
fn exception(event: &BodyEvent<'_>, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
    let kind = error::kind(None, event.name).map(Cow::Borrowed);
    out(Utterance::Error { kind });
    Ok(())
}

/// Feeds a dialect as a peer might: the first bytes choose the shape, the rest is cut into request,
/// events and body. For fuzzing; what must hold is that nothing panics and that memory stays
/// bounded.
pub(crate) fn fuzz<S: DialectRules>(data: &[u8]) {
    let Some((&mode, data)) = data.split_first() else { return };
    let mut exchange: DialectExchange<S> = DialectExchange::new(&RequestHead::default());
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
                exchange.event(
                    &BodyEvent { name, data: piece, wire_bytes: piece.len(), truncated, ..BodyEvent::default() },
                    out,
                );
            }
        }
    }
    let _ = exchange.request_end(false);
    exchange.end(if mode & 32 == 0 { ExchangeEnd::Complete } else { ExchangeEnd::Reset }, out);
    assert!(exchange.held() < 16 * 1024, "holds {} bytes", exchange.held());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{
        anthropic_messages, bedrock_converse, bedrock_invoke, cohere_chat, cohere_chat_v1, deepgram, elevenlabs,
        gemini, gemini_interactions, llama_cpp_completion, mistral_conversations, ollama, openai_audio, openai_chat,
        openai_realtime, openai_responses, sglang_generate, tgi_generate,
    };

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
            "\"candidates\"",
            "\"parts\"",
            "\"functionCall\"",
            "\"event_type\"",
            "\"text-generation\"",
            "\"token\"",
            "\"meta_info\"",
            "\"done\"",
            "\"bytes\"",
            "\"<think>\"",
            "\"</thi\"",
            "\n",
            " ",
            "[DONE]",
        ]);
        let valid = prop::sample::select(vec![
            r#"{"type":"message_start","message":{"id":"a","usage":{"input_tokens":18446744073709551615,"cache_read_input_tokens":18446744073709551615}}}"#,
            r#"{"choices":[{"delta":{"content":"x","tool_calls":[{"function":{"name":"f"}}]}}],"usage":{"prompt_tokens":1}}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"a","thought":true},{"functionCall":{"name":"f","args":{"a":[1]}}}]},"finishReason":"STOP"}]}"#,
            r#"{"text":"abc","index":300,"meta_info":{"id":"i","finish_reason":{"type":"stop"}}}"#,
            r#"{"bytes":"eyJ0eXBlIjoibWVzc2FnZV9zdG9wIn0=","p":"ab"}"#,
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
            #[cfg(debug_assertions)]
            crate::template::fuzz(&data);
            anthropic_messages::fuzz(&data);
            bedrock_converse::fuzz(&data);
            bedrock_invoke::fuzz(&data);
            cohere_chat::fuzz(&data);
            cohere_chat_v1::fuzz(&data);
            deepgram::fuzz(&data);
            elevenlabs::fuzz(&data);
            crate::gemini_live::fuzz(&data);
            gemini::fuzz(&data);
            gemini_interactions::fuzz(&data);
            llama_cpp_completion::fuzz(&data);
            mistral_conversations::fuzz(&data);
            ollama::fuzz(&data);
            openai_audio::fuzz(&data);
            anthropic_messages::fuzz(&data);
            bedrock_converse::fuzz(&data);
            bedrock_invoke::fuzz(&data);
            cohere_chat::fuzz(&data);
            cohere_chat_v1::fuzz(&data);
            deepgram::fuzz(&data);
            elevenlabs::fuzz(&data);
            gemini::fuzz(&data);
            gemini_interactions::fuzz(&data);
            llama_cpp_completion::fuzz(&data);
            mistral_conversations::fuzz(&data);
            ollama::fuzz(&data);
            openai_audio::fuzz(&data);
            openai_chat::fuzz(&data);
            openai_realtime::fuzz(&data);
            openai_responses::fuzz(&data);
            sglang_generate::fuzz(&data);
            tgi_generate::fuzz(&data);
        }
    }
}
