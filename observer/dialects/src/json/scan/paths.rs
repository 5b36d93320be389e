//! Which wants lead to the current value, and what they get of it.

use super::{JsonScanner, Mask};
use crate::json::text::{StringExtract, StringReader};
use crate::json::want::{JsonExtract, JsonMatch, JsonQuery};
use capture::limits;

impl<T: Copy> JsonScanner<T> {
    /// Tells the caller what the value that just ended has for each want whose path leads exactly here.
    pub(super) fn found<'a>(
        &self,
        out: &mut dyn FnMut(T, JsonMatch<'_>),
        take: impl Fn(JsonExtract) -> Option<JsonMatch<'a>>,
    ) {
        for want in self.here() {
            let found = match (want.take, &self.hashes) {
                (JsonExtract::Hash, Some((_, merkle))) => Some(JsonMatch::Hash(merkle.last())),
                (other, _) => take(other),
            };
            if let Some(found) = found {
                out(want.what, found);
            }
        }
    }

    /// The wants whose path leads exactly to the current value.
    pub(super) fn here(&self) -> impl Iterator<Item = &'static JsonQuery<T>> + use<T> {
        let depth = self.depth;
        bits(self.child, self.wants).map(|(_, want)| want).filter(move |want| want.path.len() == depth)
    }

    /// What the current value's wants need of its text.
    pub(super) fn keep(&self) -> StringExtract {
        let mut keep = StringExtract { bytes: 0, count: false };
        for want in self.here() {
            match want.take {
                JsonExtract::Value => keep.bytes = limits::NAME,
                JsonExtract::Chars => keep.count = true,
                JsonExtract::Items | JsonExtract::Close | JsonExtract::Hash | JsonExtract::Raw => {}
            }
        }
        keep
    }

    /// The wants of the innermost container whose next segment fits.
    pub(super) fn step_into(&self, fits: impl Fn(&str, &StringReader) -> bool) -> Mask {
        let Some(outer) = self.depth.checked_sub(1) else { return 0 };
        let mask = self.masks.get(outer).copied().unwrap_or(0);
        bits(mask, self.wants)
            .filter(|(_, want)| want.path.get(outer).is_some_and(|segment| fits(segment, &self.text)))
            .fold(0, |mask, (bit, _)| mask | bit)
    }
}

/// The wants of a mask, each with its bit.
fn bits<T>(mut mask: Mask, wants: &'static [JsonQuery<T>]) -> impl Iterator<Item = (Mask, &'static JsonQuery<T>)> {
    std::iter::from_fn(move || {
        while mask != 0 {
            let at = mask.trailing_zeros();
            mask &= mask - 1;
            if let Some(want) = wants.get(at as usize) {
                return Some((1 << at, want));
            }
        }
        None
    })
}
