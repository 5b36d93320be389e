//! Reasoning between `<think>` and `</think>` inside the content: what servers without a reasoning
//! parser send. The tags come cut anywhere, are nobody's text, and count for nothing.
//!
//! Where bytes are missing, so may be a tag. What comes behind a hole in reasoning is reasoning or
//! text, and is told as neither until a closing tag settles it. Behind a hole before the first word
//! it is taken for text, as it would be of nearly all servers: these send no tags at all.

use std::borrow::Cow;

use super::{DeltaKind, Utterance};
use capture::limits;

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Where one choice's content is. A tag that has come in part is held as the number of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThinkState {
    /// Only white space so far.
    Start { held: usize },
    /// Behind the opening tag. Not `sure`: the closing one may have been lost.
    Inside { held: usize, sure: bool },
    /// Behind the closing one, or there is none: text is text.
    Off,
}

impl Default for ThinkState {
    fn default() -> Self {
        Self::Start { held: 0 }
    }
}

impl ThinkState {
    /// A piece of content; `emit` gets what it is.
    pub(crate) fn push(&mut self, mut text: &str, emit: &mut dyn FnMut(DeltaKind, &str)) {
        while !text.is_empty() {
            text = match *self {
                Self::Off => return emit(DeltaKind::Visible, text),
                Self::Start { held } => self.at_start(held, text, emit),
                Self::Inside { held, sure: true } => self.inside(held, true, text, emit),
                Self::Inside { held, sure: false } => self.inside(held, false, text, &mut |_, _| {}),
            };
        }
    }

    /// Bytes are missing here: the rest of a tag, or a whole one, may be among them.
    pub(crate) fn gap(&mut self) {
        *self = match *self {
            Self::Start { held: 1.. } | Self::Inside { .. } => Self::Inside { held: 0, sure: false },
            other => other,
        };
    }

    /// The choice ended: part of a tag was text after all.
    pub(crate) fn finish(&mut self, emit: &mut dyn FnMut(DeltaKind, &str)) {
        let (kind, held) = match *self {
            Self::Start { held } => (DeltaKind::Visible, OPEN.get(..held)),
            Self::Inside { held, sure: true } => (DeltaKind::Reasoning, CLOSE.get(..held)),
            Self::Inside { sure: false, .. } | Self::Off => return,
        };
        *self = Self::Off;
        if let Some(held) = held.filter(|held| !held.is_empty()) {
            emit(kind, held);
        }
    }

    fn at_start<'t>(&mut self, held: usize, text: &'t str, emit: &mut dyn FnMut(DeltaKind, &str)) -> &'t str {
        let body = if held == 0 { text.trim_start() } else { text };
        let found = if body.is_empty() { More::Part(0) } else { more(OPEN, held, body) };
        if let More::Not = found {
            self.finish(emit); // what was held is said by itself
            return text;
        }
        let space = text.get(..text.len() - body.len()).filter(|space| !space.is_empty());
        if let Some(space) = space {
            emit(DeltaKind::Visible, space);
        }
        match found {
            More::All(rest) => {
                *self = Self::Inside { held: 0, sure: true };
                rest
            }
            More::Part(held) => {
                *self = Self::Start { held };
                ""
            }
            More::Not => text,
        }
    }

    fn inside<'t>(&mut self, held: usize, sure: bool, text: &'t str, emit: &mut dyn FnMut(DeltaKind, &str)) -> &'t str {
        if held > 0 {
            return match more(CLOSE, held, text) {
                More::All(rest) => self.off(rest),
                More::Part(held) => self.wait(held, sure),
                More::Not => {
                    emit(DeltaKind::Reasoning, CLOSE.get(..held).unwrap_or_default());
                    *self = Self::Inside { held: 0, sure };
                    text
                }
            };
        }
        let (thought, rest) = match text.split_once(CLOSE) {
            Some((thought, rest)) => (thought, self.off(rest)),
            None => {
                let part = (1..CLOSE.len()).rev().find(|&n| CLOSE.get(..n).is_some_and(|part| text.ends_with(part)));
                let part = part.unwrap_or(0);
                (text.get(..text.len() - part).unwrap_or(text), self.wait(part, sure))
            }
        };
        if !thought.is_empty() {
            emit(DeltaKind::Reasoning, thought);
        }
        rest
    }

    fn off<'t>(&mut self, rest: &'t str) -> &'t str {
        *self = Self::Off;
        rest
    }

    fn wait(&mut self, held: usize, sure: bool) -> &'static str {
        *self = Self::Inside { held, sure };
        ""
    }
}

/// The content of all choices of an answer.
#[derive(Debug, Default)]
pub(crate) struct ThinkTags {
    /// This server never sends such tags.
    off: bool,
    first: ThinkState,
    /// Of the choices after the first.
    more: Vec<(u64, ThinkState)>,
}

impl ThinkTags {
    /// From here on, text is text.
    pub(crate) fn disregard(&mut self) {
        self.off = true;
    }

    /// Content of a choice. An empty one is told as it is.
    pub(crate) fn emit(&mut self, choice: u64, text: &str, out: &mut dyn FnMut(Utterance<'_>)) {
        match if self.off || text.is_empty() { None } else { self.of(choice) } {
            Some(think) if *think != ThinkState::Off => think.push(text, &mut |kind, text| emit(kind, text, out)),
            _ => emit(DeltaKind::Visible, text, out),
        }
    }

    /// The opening tag of a choice must have been among bytes that are missing.
    pub(crate) fn opened(&mut self, choice: u64) {
        if let Some(think @ (ThinkState::Start { .. } | ThinkState::Inside { .. })) = self.of(choice) {
            *think = ThinkState::Inside { held: 0, sure: true };
        }
    }

    /// Bytes of the answer are missing: of any choice.
    pub(crate) fn gap(&mut self) {
        let more = self.more.iter_mut().map(|(_, think)| think);
        std::iter::once(&mut self.first).chain(more).for_each(ThinkState::gap);
    }

    /// A choice ended.
    pub(crate) fn finish(&mut self, choice: u64, out: &mut dyn FnMut(Utterance<'_>)) {
        if let Some(think) = self.of(choice) {
            think.finish(&mut |kind, text| emit(kind, text, out));
        }
    }

    /// All ended.
    pub(crate) fn end(&mut self, out: &mut dyn FnMut(Utterance<'_>)) {
        let more = self.more.iter_mut().map(|(_, think)| think);
        for think in std::iter::once(&mut self.first).chain(more) {
            think.finish(&mut |kind, text| emit(kind, text, out));
        }
    }

    #[must_use]
    pub(crate) fn held(&self) -> usize {
        self.more.capacity() * size_of::<(u64, ThinkState)>()
    }

    /// The state of a choice; `None` past the cap, where content is taken as it is.
    fn of(&mut self, choice: u64) -> Option<&mut ThinkState> {
        if choice == 0 {
            return Some(&mut self.first);
        }
        let at = self.more.iter().position(|(known, _)| *known == choice);
        if at.is_none() && self.more.len() < limits::EVENT_ITEMS {
            self.more.push((choice, ThinkState::default()));
        }
        let at = at.unwrap_or_else(|| self.more.len().saturating_sub(1));
        self.more.get_mut(at).filter(|(known, _)| *known == choice).map(|(_, think)| think)
    }
}

fn emit(kind: DeltaKind, text: &str, out: &mut dyn FnMut(Utterance<'_>)) {
    out(Utterance::Delta { kind, text: Cow::Borrowed(text) });
}

enum More<'t> {
    /// The tag is complete; the rest follows it.
    All(&'t str),
    /// So many of its bytes have come.
    Part(usize),
    Not,
}

fn more<'t>(tag: &str, held: usize, text: &'t str) -> More<'t> {
    let Some(missing) = tag.get(held..) else { return More::Not };
    match text.strip_prefix(missing) {
        Some(rest) => More::All(rest),
        None if missing.starts_with(text) => More::Part(held + text.len()),
        None => More::Not,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What was said of each kind, the pieces of one kind joined.
    fn said<'a>(pieces: impl IntoIterator<Item = &'a str>) -> (String, String) {
        let (mut think, mut reasoning, mut visible) = (ThinkState::default(), String::new(), String::new());
        let mut emit = |kind: DeltaKind, text: &str| match kind {
            DeltaKind::Reasoning => reasoning.push_str(text),
            _ => visible.push_str(text),
        };
        for piece in pieces {
            think.push(piece, &mut emit);
        }
        think.finish(&mut emit);
        (reasoning, visible)
    }

    #[test]
    fn tags_cut_anywhere() {
        for (text, reasoning, visible) in [
            ("<think>why</think>so", "why", "so"),
            ("\n <think>\nwhy\n</think>\n\nso </think>", "\nwhy\n", "\n \n\nso </think>"),
            ("<think>a<b</thin</think>é", "a<b</thin", "é"),
            ("<think>a</t", "a</t", ""),
            ("<thi", "", "<thi"),
            ("<this is it", "", "<this is it"),
            ("so <think>no</think>", "", "so <think>no</think>"),
            ("<think></think>", "", ""),
            ("<think>é<<</think>", "é<<", ""),
            ("", "", ""),
        ] {
            for cut in 1..=text.chars().count().max(1) {
                let chars: Vec<char> = text.chars().collect();
                let pieces: Vec<String> = chars.chunks(cut).map(|piece| piece.iter().collect()).collect();
                let got = said(pieces.iter().map(String::as_str));
                assert_eq!(got, (reasoning.into(), visible.into()), "{text:?} in pieces of {cut}");
            }
        }
    }

    #[test]
    fn behind_a_hole_nothing_is_taken_for_what_it_may_not_be() {
        for (before, behind, reasoning, visible) in [
            ("<think>why", "more</think>so", "why", "so"),
            ("<think>why", "so", "why", ""),
            ("<think>why</thi", "nk>so", "why", ""),
            ("<thi", "why</think>so", "", "so"),
            ("<think>why</think>s", "o", "why", "so"),
            ("s", "o <think>", "", "so <think>"),
            // Nothing tells that there was a tag: taken for text, as nearly all servers' is.
            ("", "why", "", "why"),
        ] {
            assert_eq!(holed([before, behind]), (reasoning.into(), visible.into()), "{before:?} … {behind:?}");
        }
    }

    /// What is said of two parts with a hole between them.
    fn holed([before, behind]: [&str; 2]) -> (String, String) {
        let (mut think, mut said) = (ThinkState::default(), [String::new(), String::new()]);
        let [reasoning, visible] = &mut said;
        let mut emit = |kind: DeltaKind, text: &str| match kind {
            DeltaKind::Reasoning => reasoning.push_str(text),
            _ => visible.push_str(text),
        };
        think.push(before, &mut emit);
        think.gap();
        think.push(behind, &mut emit);
        think.finish(&mut emit);
        let [reasoning, visible] = said;
        (reasoning, visible)
    }

    proptest! {
        #[test]
        fn behind_the_opening_tag_a_hole_changes_no_kind(
            parts in prop::collection::vec("(</think>|[<>/ a]|hink|</t|é){0,4}", 3)
        ) {
            let (reasoning, visible) = said(["<think>", &parts.concat()]);
            let (less_reasoning, less_visible) = holed([&format!("<think>{}", parts[0]), &parts[2]]);
            prop_assert!(reasoning.starts_with(&less_reasoning), "{less_reasoning:?} of {reasoning:?}");
            let begun = less_visible.len().min(said(["<think>", &parts[0]]).1.len());
            let (begun, rest) = less_visible.split_at(begun);
            prop_assert!(visible.starts_with(begun) && visible.ends_with(rest), "{less_visible:?} of {visible:?}");
        }

        #[test]
        fn any_cut_says_the_same(pieces in prop::collection::vec("(<think>|</think>|[<>/ a]|hink|</t|é){0,4}", 0..8)) {
            let whole = pieces.concat();
            prop_assert_eq!(said(pieces.iter().map(String::as_str)), said([whole.as_str()]));
        }
    }
}
