//! Utterances as most dialects emit them.

use std::borrow::Cow;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::error::ErrorMember;
use super::json::loose::{LooseText, RawJson};
use super::{DeltaKind, ProviderMark, TokenUsage, Utterance, cap};

/// A delta, where there is a text.
pub(crate) fn emit_text(kind: DeltaKind, text: &LooseText<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    if let Some(text) = &text.0 {
        out(Utterance::Delta { kind, text: Cow::Borrowed(text) });
    }
}

/// A tool call's name, which comes once, and a piece of its arguments or all of them.
pub(crate) fn emit_call(name: &LooseText<'_>, arguments: &RawJson<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    if name.word().is_some() {
        emit_text(DeltaKind::Tool, name, out);
    }
    if let Some(text) = arguments.text() {
        out(Utterance::Delta { kind: DeltaKind::Tool, text });
    }
}

/// Token counts, where there are any.
pub(crate) fn emit_usage(usage: TokenUsage, out: &mut dyn FnMut(Utterance<'_>)) {
    if usage != TokenUsage::default() {
        out(Utterance::Usage(usage));
    }
}

/// The word that the API has for why the answer ended.
pub(crate) fn emit_finish(reason: &str, out: &mut dyn FnMut(Utterance<'_>)) {
    out(Utterance::Finish { reason: Cow::Borrowed(cap(reason)) });
}

/// An error in the stream, where the member stands there.
pub(crate) fn emit_error(failure: &ErrorMember<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
    if failure.present {
        out(Utterance::Error { kind: failure.kind().map(Cow::Borrowed) });
    }
}

/// Emits `Start` with what is new: an id once, whenever it comes; so a model, and again as a `Mark`
/// when it changes. Other marks likewise.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StartReporter {
    id: bool,
    /// Hash of the value emitted last, by mark; 0: none.
    emitted: [u64; ProviderMark::COUNT],
}

impl StartReporter {
    pub(crate) fn emit(&mut self, id: Option<&str>, model: Option<&str>, out: &mut dyn FnMut(Utterance<'_>)) {
        let short = |name| Cow::Borrowed(cap(name));
        let id = id.filter(|id| !id.is_empty() && !self.id);
        self.id |= id.is_some();
        let named = self.emitted.first().is_some_and(|&emitted| emitted != 0);
        let model = model.filter(|model| self.news(ProviderMark::Model, model));
        if let Some(model) = model.filter(|_| named) {
            out(Utterance::Mark { what: ProviderMark::Model, value: short(model) });
        }
        let model = model.filter(|_| !named);
        if id.is_some() || model.is_some() {
            out(Utterance::Start { response_id: id.map(short), model: model.map(short) });
        }
    }

    /// Emits a mark if its value is new.
    pub(crate) fn mark(&mut self, what: ProviderMark, value: Option<&str>, out: &mut dyn FnMut(Utterance<'_>)) {
        if let Some(value) = value.filter(|value| self.news(what, value)) {
            out(Utterance::Mark { what, value: Cow::Borrowed(cap(value)) });
        }
    }

    fn news(&mut self, what: ProviderMark, value: &str) -> bool {
        if value.is_empty() {
            return false;
        }
        let hash = FixedState::default().hash_one(value) | 1;
        self.emitted.get_mut(what as usize).is_some_and(|emitted| std::mem::replace(emitted, hash) != hash)
    }
}
