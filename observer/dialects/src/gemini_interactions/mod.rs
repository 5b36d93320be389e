//! Gemini's Interactions: typed events from `interaction.created` over steps and their deltas to
//! the interaction's last.
//!
//! Endpoint: POST `…/v1beta/interactions` (other versions; under a location on Vertex). Taking up a
//! stream again is a GET, and no new call. Source: the interaction types of google-genai 3.4
//! (Python). Checked 2026-11.

mod types;

use std::borrow::Cow;

use self::types::{Delta, Interaction, Step, StreamEvent};
use super::answer::{AnswerPart, AnswerParts, TokenCount, TokenCounting, at};
use super::emit::{StartReporter, emit_call, emit_error, emit_finish, emit_text, emit_usage};
use super::exchange::{DialectExchange, DialectRules};
use super::json::loose;
use super::{DeltaKind, DialectRow, Utterance, provider};
use capture::proto::{ExchangeEnd, RequestHead};

pub(super) static ROW: DialectRow = DialectRow {
    api: "gemini.interactions",
    operation: "generate_content",
    matches: is_interactions,
    provider: |head| provider::name(head, "gcp.gen_ai"),
    make: |head| Box::new(DialectExchange::<GeminiInteractions>::new(head)),
};

/// `/v1beta/interactions`, with or without project and location between.
fn is_interactions(head: &RequestHead) -> bool {
    let Some((front, "interactions")) = head.path.trim_end_matches('/').rsplit_once('/') else { return false };
    let version = |segment: &str| {
        segment.strip_prefix('v').is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()))
    };
    front.contains("/locations/") || front.rsplit('/').next().is_some_and(version)
}

/// Thoughts are counted apart from the output.
const COUNTS: TokenCounting = TokenCounting { reasoning_apart: true, ..TokenCounting::INCLUSIVE };

/// A stream of typed events.
#[derive(Debug, Default)]
pub struct GeminiInteractions {
    named: StartReporter,
    /// A state was told from which it does not go on.
    over: bool,
}

impl DialectRules for GeminiInteractions {
    const ANSWER: AnswerParts = ANSWER;
    const COUNTS: TokenCounting = COUNTS;

    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        out: &mut dyn FnMut(Utterance<'_>),
    ) -> Result<(), &'static str> {
        let mut spare = String::new();
        let event = loose::read::<loose::BoxedObject<StreamEvent<'_>>>(data, &mut spare)?.0.unwrap_or_default();
        let class = event.event_type.word().or(name).unwrap_or("");
        if let Some(interaction) = &event.interaction.0 {
            self.named.emit(interaction.id.word(), interaction.model.word(), out);
        }
        match class {
            // `content.…` are the names of the first previews.
            "step.delta" | "content.delta" => {
                if let Some(delta) = &event.delta.0 {
                    emit_delta(delta, out);
                }
            }
            "step.start" => {
                if let Some(step) = &event.step.0 {
                    emit_step(step, out);
                }
            }
            "interaction.status_update" => self.emit_status(event.status.word().unwrap_or(""), out),
            _ => {
                let state = class.strip_prefix("interaction.").filter(|state| is_last(state) || *state == "complete");
                if state.is_some() {
                    self.emit_last(state, event.interaction.0.as_deref(), out);
                }
            }
        }
        emit_error(&event.error, out);
        Ok(())
    }

    fn end(&mut self, how: ExchangeEnd, out: &mut dyn FnMut(Utterance<'_>)) {
        if how == ExchangeEnd::Complete && self.over {
            out(Utterance::End);
        }
    }
}

fn is_last(state: &str) -> bool {
    matches!(
        state,
        "completed"
            | "failed"
            | "cancelled"
            | "incomplete"
            | "budget_exceeded"
            | "requires_action"
            | "requires_continuation"
    )
}

impl GeminiInteractions {
    fn emit_status(&mut self, state: &str, out: &mut dyn FnMut(Utterance<'_>)) {
        if is_last(state) {
            self.over = true;
            emit_finish(state, out);
        }
    }

    fn emit_last(&mut self, state: Option<&str>, whole: Option<&Interaction<'_>>, out: &mut dyn FnMut(Utterance<'_>)) {
        emit_usage(whole.and_then(|whole| whole.usage.0.as_deref()).map(|u| u.usage(COUNTS)).unwrap_or_default(), out);
        let state = whole.and_then(|whole| whole.status.word()).or(state).unwrap_or("");
        if state == "failed" {
            out(Utterance::Error { kind: Some(Cow::Borrowed("failed")) });
        } else {
            emit_finish(state, out);
        }
        out(Utterance::End);
    }
}

fn emit_step(step: &Step<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    let class = step.class.word().unwrap_or("");
    if class.ends_with("_call") {
        // Tools that Google runs itself have no name but their type.
        let name = if step.name.word().is_some() { &step.name } else { &step.class };
        emit_call(name, &step.arguments, out);
    } else if class == "model_output" {
        step.content.emit(DeltaKind::Visible, &mut |kind, text| {
            out(Utterance::Delta { kind, text: Cow::Borrowed(text) });
        });
    }
}

fn emit_delta(delta: &Delta<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    match delta.class.word().unwrap_or("") {
        "text" => emit_text(DeltaKind::Visible, &delta.text, out),
        "thought_summary" | "thought" => {
            emit_text(DeltaKind::Reasoning, &delta.text, out);
            delta.content.emit(DeltaKind::Reasoning, &mut |kind, text| {
                out(Utterance::Delta { kind, text: Cow::Borrowed(text) });
            });
        }
        "audio" => emit_text(DeltaKind::Audio, &delta.data, out),
        "arguments_delta" => emit_call(&delta.name, &delta.arguments, out),
        class if class.ends_with("_call") => emit_call(&delta.name, &delta.arguments, out),
        // Signatures, annotations, results of tools.
        _ => {}
    }
}

static ANSWER: AnswerParts = &[
    at(&["id"], AnswerPart::Id),
    at(&["model"], AnswerPart::Model),
    at(&["status"], AnswerPart::Status),
    at(&["steps", "[]", "content", "[]", "text"], AnswerPart::Text(DeltaKind::Visible)),
    at(&["steps", "[]", "summary", "[]", "text"], AnswerPart::Text(DeltaKind::Reasoning)),
    // Arguments are an object here, so their text has no length of its own.
    at(&["steps", "[]", "name"], AnswerPart::Text(DeltaKind::Tool)),
    at(&["usage", "total_input_tokens"], AnswerPart::Tokens(TokenCount::Input)),
    at(&["usage", "total_tool_use_tokens"], AnswerPart::Tokens(TokenCount::MoreInput)),
    at(&["usage", "total_output_tokens"], AnswerPart::Tokens(TokenCount::Output)),
    at(&["usage", "total_cached_tokens"], AnswerPart::Tokens(TokenCount::Cached)),
    at(&["usage", "total_thought_tokens"], AnswerPart::Tokens(TokenCount::Reasoning)),
    at(&["error"], AnswerPart::Error),
    at(&["error"], AnswerPart::ErrorObject),
    at(&["error", "status"], AnswerPart::ErrorType),
    at(&["error", "code"], AnswerPart::ErrorCode),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<GeminiInteractions>(data);
}
