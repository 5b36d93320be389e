//! The pointers of a file, as its loader will fill them in, and the shape that a pair of vtables has
//! among them.

use std::collections::VecDeque;
use std::ops::Range;

use crate::elf::{ElfRefusal, FileSurvey};
use crate::stacks::AmbiguousStack;

/// Places where a pair of vtables may stand, by the pointers alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PairCandidate {
    /// Address of the encrypter's vtable.
    pub vtable: u64,
    pub encrypt: u64,
    pub encrypted_payload_len: u64,
    pub decrypt: u64,
    /// Where the path stands that panics of the decrypter name.
    pub source: u64,
}

/// From the encrypter's vtable back to the decrypter's: `[drop][size][align][decrypt]`, then a
/// `core::panic::Location` of three words.
pub(super) const DECRYPTER: u64 = 7 * WORD;

pub(super) const WORD: u64 = 8;

/// Candidates looked at, at the price of four short reads each: Codex, with 260,000 pointers, has 250.
const CANDIDATES: usize = 4096;

/// Looks for the shape.
///
/// # Errors
/// Over the budget, or more candidates than any file has.
pub(super) fn candidates(survey: &mut FileSurvey<'_>) -> Result<Vec<PairCandidate>, AmbiguousStack> {
    let mut scan = PointerScan::new(survey);
    if survey.is_fixed() {
        words(survey, |slot, value| scan.see(slot, value))?;
    } else {
        survey.pointers(|slot, value| {
            scan.see(slot, value);
            Ok(())
        })?;
    }
    if scan.too_many {
        let detail =
            format!("over {CANDIDATES} of its tables of pointers look like vtables of rustls: no program has so many");
        return Err(super::unknown(detail));
    }
    scan.found.sort_unstable_by_key(|candidate| candidate.vtable);
    scan.found.dedup();
    Ok(scan.found)
}

/// The words of a file of a fixed address: pointers stand in it as they are.
fn words(survey: &mut FileSurvey<'_>, mut each: impl FnMut(u64, u64)) -> Result<(), ElfRefusal> {
    let data: Vec<_> = survey.segments().filter(|segment| !segment.executable).collect();
    for segment in data {
        // A word that lies across two windows is whole in the second, and in that alone.
        survey.windows(segment.address, segment.len, size_of::<u64>() - 1, |address, window| {
            let first = address.next_multiple_of(WORD);
            let rest = usize::try_from(first - address).ok().and_then(|skip| window.get(skip..)).unwrap_or_default();
            for (slot, word) in (first..).step_by(size_of::<u64>()).zip(rest.as_chunks::<8>().0) {
                each(slot, u64::from_le_bytes(*word));
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The last pointers seen, in the order of their addresses as linkers make it: in another order
/// nothing is found.
struct PointerScan {
    code: Vec<Range<u64>>,
    mapped: Vec<Range<u64>>,
    last: VecDeque<(u64, u64)>,
    found: Vec<PairCandidate>,
    too_many: bool,
}

impl PointerScan {
    fn new(survey: &FileSurvey<'_>) -> Self {
        let code = survey.segments().filter(|segment| segment.executable).map(|segment| segment.addresses()).collect();
        let mapped = survey.segments().map(|segment| segment.addresses()).collect();
        Self { code, mapped, last: VecDeque::with_capacity(KEPT), found: Vec::new(), too_many: false }
    }

    fn is_code(&self, value: u64) -> bool {
        self.code.iter().any(|range| range.contains(&value))
    }

    fn see(&mut self, slot: u64, value: u64) {
        if !self.mapped.iter().any(|range| range.contains(&value)) {
            return;
        }
        let follows = self.last.back().is_some_and(|(last, _)| last.checked_add(WORD) == Some(slot));
        if follows
            && self.is_code(value)
            && let Some(candidate) = self.candidate(slot, value)
        {
            self.too_many = self.found.len() == CANDIDATES;
            if !self.too_many {
                self.found.push(candidate);
            }
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back((slot, value));
    }

    /// `slot` would be the encrypter's second method.
    fn candidate(&self, slot: u64, value: u64) -> Option<PairCandidate> {
        let vtable = slot.checked_sub(4 * WORD)?;
        let decrypter = vtable.checked_sub(DECRYPTER)?;
        let at = |base: u64, word: u64| {
            let slot = base + word * WORD;
            self.last.iter().rev().find(|(known, _)| *known == slot).map(|(_, value)| *value)
        };
        let is_code = |value: u64| self.is_code(value);
        let drops = [at(vtable, 0), at(decrypter, 0)].into_iter().flatten().all(is_code);
        // Sizes, alignments, a length, a line: no pointers.
        let plain = [(vtable, 1), (vtable, 2), (decrypter, 1), (decrypter, 2), (decrypter, 5), (decrypter, 6)];
        let source = at(decrypter, 4)?;
        if !drops || is_code(source) || plain.iter().any(|(base, word)| at(*base, *word).is_some()) {
            return None;
        }
        let (encrypt, decrypt) = (at(vtable, 3)?, at(decrypter, 3)?);
        (is_code(encrypt) && is_code(decrypt)).then_some(PairCandidate {
            vtable,
            encrypt,
            encrypted_payload_len: value,
            decrypt,
            source,
        })
    }
}

/// Pointers kept to look back at: a pair of vtables has seven.
const KEPT: usize = 12;
