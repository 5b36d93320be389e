//! What came in pieces already. OpenAI repeats each text whole in a `.done` event; some compatible servers send
//! nothing but that, and then it is the text.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::types::{Item, StreamEvent};

/// Pieces and items remembered; of a stream with more of them, whole texts are taken for repetitions.
const REMEMBERED: usize = 64;

/// Whose text it is, as far as the event says: its item's id (hashed) and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ItemKey {
    id: Option<u64>,
    place: Option<u64>,
}

impl ItemKey {
    pub(super) fn of(event: &StreamEvent<'_>, item: Option<&Item<'_>>) -> Self {
        let id = event.item_id.word().or_else(|| item.and_then(|item| item.id.word()));
        Self { id: id.map(|id| FixedState::default().hash_one(id)), place: event.output_index.0 }
    }

    /// Where neither is told of both, they are taken for the same.
    fn may_be(self, other: Self) -> bool {
        match (self.place.zip(other.place), self.id.zip(other.id)) {
            (Some((one, other)), _) => one == other,
            (None, Some((one, other))) => one == other,
            (None, None) => true,
        }
    }
}

/// What of which item came in pieces: by the number of its kind in the table of deltas, or by `NAME`.
#[derive(Debug, Default)]
pub(super) struct SaidInPieces {
    said: Vec<(usize, ItemKey)>,
    /// Too much was said, or bytes are missing, a piece among them perhaps.
    unsure: bool,
}

/// Of a call's name, which comes with its item.
pub(super) const NAME: usize = usize::MAX;

impl SaidInPieces {
    /// A piece of this kind came.
    pub(super) fn note(&mut self, kind: usize, key: ItemKey) {
        if self.said.contains(&(kind, key)) {
            return;
        }
        if self.said.len() >= REMEMBERED {
            self.unsure = true;
            return;
        }
        self.said.push((kind, key));
    }

    /// Is the whole text of this kind nothing but a repetition?
    pub(super) fn repeats(&self, kind: usize, key: ItemKey) -> bool {
        self.unsure || self.said.iter().any(|(said, of)| *said == kind && of.may_be(key))
    }

    /// Bytes are missing.
    pub(super) fn gap(&mut self) {
        self.unsure = true;
    }

    pub(super) fn held(&self) -> usize {
        self.said.capacity() * size_of::<(usize, ItemKey)>()
    }
}
