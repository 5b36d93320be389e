//! Gemini's `generateContent` and `streamGenerateContent`, on the Gemini API and on Vertex AI:
//! chunks without names or end marker, as events (`alt=sse`) or as the items of one JSON array.
//!
//! Endpoints: POST `…/models/M:streamGenerateContent`, `…/models/M:generateContent`; also
//! `endpoints/…`, `tunedModels/…`. Source: the types of google-genai 3.4 (Python) and 2.32
//! (JavaScript), the Vertex AI reference. Checked 2026-11.

mod types;

use std::borrow::Cow;

pub(super) use self::types::{Blob, FunctionCall};
use self::types::{Candidate, Chunk};
use super::answer::{AnswerPart, AnswerParts, TokenCount, TokenCounting, at};
use super::emit::{self, StartReporter, emit_text};
use super::exchange::{DialectExchange, DialectRules};
use super::finish::{self, FinishClass};
use super::json::loose;
use super::path::{self, PathPreset};
use super::{DeltaKind, DialectRow, ProviderMark, RequestFacts, TokenUsage, Utterance, cap, provider};
use capture::proto::{ExchangeEnd, RequestHead};

pub(super) static ROW: DialectRow = DialectRow {
    api: "gemini.generate_content",
    operation: "generate_content",
    matches: |head| verb(head).is_some(),
    provider: |head| provider::name(head, "gcp.gen_ai"),
    make: |head| Box::new(DialectExchange::<GeminiChat>::new(head)),
};

/// Model and whether the method streams.
fn verb(head: &RequestHead) -> Option<(String, bool)> {
    let (model, verb) = path::method(&head.path)?;
    match verb.as_str() {
        "streamGenerateContent" => Some((model, true)),
        "generateContent" => Some((model, false)),
        _ => None,
    }
}

/// A stream of chunks. It has no end marker: it is complete if a candidate finished and the framing is complete.
#[derive(Debug, Default)]
pub struct GeminiChat {
    named: StartReporter,
    finished: bool,
    /// The last event was too large to be read to its end, where the finish reason stands.
    cut: bool,
}

/// Thoughts are counted apart from the candidates.
const COUNTS: TokenCounting = TokenCounting { reasoning_apart: true, ..TokenCounting::INCLUSIVE };

impl DialectRules for GeminiChat {
    const ANSWER: AnswerParts = ANSWER;
    const COUNTS: TokenCounting = COUNTS;

    fn preset(head: &RequestHead) -> PathPreset {
        let verb = verb(head);
        PathPreset {
            stream: verb.as_ref().map(|(_, stream)| *stream),
            model: verb.map(|(model, _)| model),
            ..PathPreset::default()
        }
    }

    /// Without `alt=sse` the chunks are the items of an array.
    fn streams_json(&self, asked: &RequestFacts) -> bool {
        asked.stream == Some(true)
    }

    fn event(&mut self, _: Option<&str>, data: &str, out: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        let mut spare = String::new();
        let chunk = loose::read::<loose::InlineObject<Chunk<'_>>>(data, &mut spare)?.0.unwrap_or_default().into_inner();
        self.cut = false;
        self.named.emit(chunk.response_id.word(), chunk.model_version.word(), out);
        for candidate in chunk.candidates.items.iter().filter_map(|candidate| candidate.0.as_deref()) {
            self.emit_candidate(candidate, out);
        }
        if let Some(reason) = chunk.prompt_feedback.0.as_deref().and_then(|feedback| feedback.block_reason.word()) {
            self.named.mark(ProviderMark::Blocked, Some(reason), out);
            self.finish(reason, out);
        }
        if let Some(tokens) = &chunk.usage_metadata.0 {
            let usage = tokens.usage(COUNTS);
            if usage != TokenUsage::default() {
                out(Utterance::Usage(usage));
            }
            self.named.mark(ProviderMark::Tier, tokens.traffic_type.word(), out);
        }
        if chunk.error.present {
            out(Utterance::Error { kind: chunk.error.kind().map(Cow::Borrowed) });
        }
        if chunk.candidates.cut {
            out(Utterance::Malformed("items_cap"));
        }
        Ok(())
    }

    fn beginning(&mut self, _: Option<&str>, _: &[u8], _: &mut dyn FnMut(Utterance<'_>)) {
        self.cut = true;
    }

    fn end(&mut self, how: ExchangeEnd, out: &mut dyn FnMut(Utterance<'_>)) {
        if how == ExchangeEnd::Complete && (self.finished || self.cut) {
            out(Utterance::End);
        }
    }
}

impl GeminiChat {
    fn emit_candidate(&mut self, candidate: &Candidate<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        let parts = candidate.content.0.as_deref().map(|content| content.parts.items.as_slice()).unwrap_or_default();
        for part in parts.iter().filter_map(|part| part.0.as_deref()) {
            let sealed = part.thought_signature.word().map(|_| "thoughtSignature");
            self.named.mark(ProviderMark::Sealed, sealed, out);
            emit_text(if part.thought.0 { DeltaKind::Reasoning } else { DeltaKind::Visible }, &part.text, out);
            if let Some(call) = &part.function_call.0 {
                emit_call(call, out);
            }
            if let Some(code) = &part.executable_code.0 {
                emit_text(DeltaKind::Tool, &code.code, out);
            }
            // Of media, only audio is heard as it comes.
            if let Some(blob) = part.inline_data.0.as_deref()
                && blob.mime_type.word().is_some_and(|mime| mime.starts_with("audio/"))
            {
                emit_text(DeltaKind::Audio, &blob.data, out);
            }
        }
        let resumable = candidate.continuation_token.word().map(|_| "offered");
        self.named.mark(ProviderMark::Continuation, resumable, out);
        if let Some(reason) = candidate.finish_reason.word() {
            self.finish(reason, out);
        }
    }

    fn finish(&mut self, reason: &str, out: &mut dyn FnMut(Utterance<'_>)) {
        self.finished |= reason != "FINISH_REASON_UNSPECIFIED";
        if finish::class(reason) == FinishClass::Refusal {
            self.named.mark(ProviderMark::Blocked, Some(reason), out);
        }
        out(Utterance::Finish { reason: Cow::Borrowed(cap(reason)) });
    }
}

fn emit_call(call: &FunctionCall<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    emit::emit_call(&call.name, &call.args, out);
    for piece in call.partial_args.items.iter().filter_map(|piece| piece.0.as_deref()) {
        emit_text(DeltaKind::Tool, &piece.string_value, out);
    }
}

static ANSWER: AnswerParts = &[
    at(&["responseId"], AnswerPart::Id),
    at(&["modelVersion"], AnswerPart::Model),
    at(&["candidates", "[]", "content", "parts", "[]", "text"], AnswerPart::BlockText),
    at(&["candidates", "[]", "content", "parts", "[]", "thought"], AnswerPart::BlockThought),
    at(&["candidates", "[]", "content", "parts", "[]"], AnswerPart::Block),
    at(&["candidates", "[]", "content", "parts", "[]", "thoughtSignature"], AnswerPart::Sealed("thoughtSignature")),
    // Arguments are an object here, so their text has no length of its own.
    at(&["candidates", "[]", "content", "parts", "[]", "functionCall", "name"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["candidates", "[]", "finishReason"], AnswerPart::Finish),
    at(&["promptFeedback", "blockReason"], AnswerPart::Mark(ProviderMark::Blocked)),
    at(&["promptFeedback", "blockReason"], AnswerPart::Finish),
    at(&["usageMetadata", "promptTokenCount"], AnswerPart::Tokens(TokenCount::Input)),
    at(&["usageMetadata", "toolUsePromptTokenCount"], AnswerPart::Tokens(TokenCount::MoreInput)),
    at(&["usageMetadata", "candidatesTokenCount"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["usageMetadata", "cachedContentTokenCount"], AnswerPart::Tokens(TokenCount::Cached)),
    at(&["usageMetadata", "thoughtsTokenCount"], AnswerPart::Tokens(TokenCount::Reasoning)),
    at(&["usageMetadata", "trafficType"], AnswerPart::Mark(ProviderMark::Tier)),
    at(&["error"], AnswerPart::Error),
    at(&["error"], AnswerPart::ErrorObject),
    at(&["error", "status"], AnswerPart::ErrorType),
    at(&["error", "code"], AnswerPart::ErrorCode),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<GeminiChat>(data);
}

#[cfg(test)]
mod tests {
    use crate::testing::TestExchange;
    use capture::proto::ExchangeEnd;

    #[test]
    fn an_end_that_was_too_large_to_read_is_not_held_against_the_stream() {
        let play = || {
            let head = r#"{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"#;
            TestExchange::new("gemini.generate_content")
                .response(200, "text/event-stream")
                .beginning(None, head.as_bytes())
        };
        assert_eq!(play().end(), ["other", "end"]);
        assert_eq!(play().ended(ExchangeEnd::PeerClosed), ["other"]);
        let went_on = play().data(r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#);
        assert_eq!(went_on.end(), ["other", "visible a"]);
    }
}
