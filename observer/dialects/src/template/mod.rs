//! Template: what its stream is, in a line.
//!
//! Endpoint: POST `…/v1/template`.
//! Source: where it is described; the date when that was read.

mod types;

use self::types::{Delta, StreamEvent};
use super::answer::{AnswerPart, AnswerParts, TokenCount, TokenCounting, at};
use super::emit::{StartReporter, emit_call, emit_error, emit_finish, emit_text, emit_usage};
use super::exchange::{DialectExchange, DialectRules};
use super::json::loose;
use super::{DeltaKind, DialectRow, ProviderMark, Utterance, provider};
use capture::proto::ExchangeEnd;

pub(super) static ROW: DialectRow = DialectRow {
    api: "template.chat",
    operation: "chat",
    // The end of the path under any prefix is best (`path_ends`); a host where others use that path for other things.
    matches: |head| head.host.as_deref() == Some("template.invalid"),
    // A host of its own goes into `provider::PROVIDERS`, by the name that OpenTelemetry gives it.
    provider: |head| provider::name(head, "template"),
    make: |head| Box::new(DialectExchange::<Template>::new(head)),
};

/// How its token counts become ours: does input include the cache, output the reasoning?
const COUNTS: TokenCounting = TokenCounting::INCLUSIVE;

/// A stream of typed events. It holds no text: what it must remember is a flag, a count or a hash.
#[derive(Debug, Default)]
pub struct Template {
    named: StartReporter,
    /// The answer ended as far as the model is concerned.
    finished: bool,
}

impl DialectRules for Template {
    const ANSWER: AnswerParts = ANSWER;
    const COUNTS: TokenCounting = COUNTS;

    // `preset`: what the path says (a model, a stream). `streams_json`: JSON that is a stream of texts.

    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        out: &mut dyn FnMut(Utterance<'_>),
    ) -> Result<(), &'static str> {
        let mut spare = String::new();
        let event = loose::read::<loose::BoxedObject<StreamEvent<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        self.named.emit(event.id.word(), event.model.word(), out);
        self.named.mark(ProviderMark::Fingerprint, event.fingerprint.word(), out);
        match event.class.word().or(name).unwrap_or("") {
            "delta" => {
                if let Some(delta) = &event.delta.0 {
                    emit_delta(delta, out);
                }
            }
            "ping" => out(Utterance::KeepAlive),
            // A `done` twin repeats what the deltas said: to say nothing is right.
            "finish" => {
                self.finished = true;
                emit_usage(event.usage.0.as_deref().map(|tokens| tokens.usage(COUNTS)).unwrap_or_default(), out);
                if let Some(reason) = event.reason.word() {
                    emit_finish(reason, out);
                }
            }
            // The end marker, if the API has one. (`[DONE]` is known to all dialects.)
            "end" => out(Utterance::End),
            // Errors of other shapes: `error::kind` finds the word that may be passed on.
            _ => emit_error(&event.error, out),
        }
        Ok(())
    }

    /// Only for streams without an end marker: complete if it said that it is over and the framing is complete.
    fn end(&mut self, how: ExchangeEnd, out: &mut dyn FnMut(Utterance<'_>)) {
        if how == ExchangeEnd::Complete && self.finished {
            out(Utterance::End);
        }
    }
}

fn emit_delta(delta: &Delta<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    emit_text(DeltaKind::Reasoning, &delta.thought, out);
    emit_text(DeltaKind::Visible, &delta.text, out);
    emit_text(DeltaKind::Refusal, &delta.refusal, out);
    emit_text(DeltaKind::Audio, &delta.audio, out);
    for call in delta.tools.items.iter().filter_map(|call| call.0.as_deref()) {
        emit_call(&call.name, &call.arguments, out);
    }
    if delta.tools.cut {
        out(Utterance::Malformed("items_cap"));
    }
}

/// Where the same things stand in an answer that is one JSON document. It is scanned as it comes, in constant memory.
static ANSWER: AnswerParts = &[
    at(&["id"], AnswerPart::Id),
    at(&["model"], AnswerPart::Model),
    at(&["fingerprint"], AnswerPart::Mark(ProviderMark::Fingerprint)),
    at(&["answer", "thought"], AnswerPart::Text(DeltaKind::Reasoning)),
    at(&["answer", "text"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["answer", "tools", "[]", "name"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["answer", "tools", "[]", "arguments"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["reason"], AnswerPart::Finish),
    at(&["usage", "input"], AnswerPart::Tokens(TokenCount::Input)),
    at(&["usage", "output"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["usage", "cached"], AnswerPart::Tokens(TokenCount::Cached)),
    at(&["error"], AnswerPart::Error),
    at(&["error"], AnswerPart::ErrorObject),
    at(&["error", "type"], AnswerPart::ErrorType),
    at(&["error", "code"], AnswerPart::ErrorCode),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<Template>(data);
}
