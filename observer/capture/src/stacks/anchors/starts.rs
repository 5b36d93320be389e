//! Where functions begin and end: by the table that unwinders search, and where that says nothing, by what is called.

use std::collections::BTreeMap;

use super::super::AmbiguousStack;
use crate::elf::{FileSurvey, SurveyRange};

/// A function's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FunctionExtent {
    pub start: u64,
    pub end: u64,
}

/// A function that is longer is none of those that are looked for: they have under 3 KiB. So far
/// back a beginning is searched for.
pub(super) const LONGEST: u64 = 4 << 10;

/// Called places around an instruction that are looked at: one in a thousand is none.
const CANDIDATES: usize = 16;

/// Functions begin at multiples of it where compilers are left their way.
const ALIGNED: u64 = 16;

/// The beginnings of functions.
#[derive(Debug, Default)]
pub(super) struct FunctionStarts {
    unwind: Option<UnwindTable>,
    /// For each segment of code, a bit for each aligned place that is called: 8 MiB for the largest file.
    called: BTreeMap<u64, CalledPlaces>,
}

#[derive(Debug, Default)]
struct CalledPlaces {
    len: u64,
    bits: Vec<u64>,
}

impl FunctionStarts {
    pub(super) fn new(survey: &mut FileSurvey<'_>) -> Result<Self, AmbiguousStack> {
        let unwind = UnwindTable::open(survey)?;
        let code: Vec<SurveyRange> = survey.segments().filter(|segment| segment.executable).collect();
        let called =
            code.into_iter().map(|segment| (segment.address, CalledPlaces { len: segment.len, bits: Vec::new() }));
        Ok(Self { unwind, called: called.collect() })
    }

    /// A call leads there.
    pub(super) fn called(&mut self, place: u64) {
        let Some((first, places)) = self.called.range_mut(..=place).next_back() else { return };
        let into = place - first;
        if into >= places.len {
            return;
        }
        let (word, bit) = position(into);
        if places.bits.len() <= word {
            places.bits.resize(word + 1, 0);
        }
        if let Some(word) = places.bits.get_mut(word) {
            *word |= 1 << bit;
        }
    }

    /// The function around an instruction, by the unwinders' table.
    pub(super) fn described(
        &self,
        survey: &mut FileSurvey<'_>,
        place: u64,
    ) -> Result<Option<FunctionExtent>, AmbiguousStack> {
        match &self.unwind {
            Some(table) => table.around(survey, place),
            None => Ok(None),
        }
    }

    /// Places up to this one, the nearest first, that are called: functions begin at most of them.
    pub(super) fn called_before(&self, place: u64) -> Vec<u64> {
        let steps = 0..=LONGEST / ALIGNED;
        let back = steps.map_while(|step| (place / ALIGNED * ALIGNED).checked_sub(step * ALIGNED));
        back.filter(|place| self.is_called(*place)).take(CANDIDATES).collect()
    }

    fn is_called(&self, place: u64) -> bool {
        let Some((first, places)) = self.called.range(..=place).next_back() else { return false };
        let (word, bit) = position(place - first);
        places.bits.get(word).is_some_and(|word| word >> bit & 1 == 1)
    }
}

/// The word and the bit of a place.
fn position(into: u64) -> (usize, u64) {
    let number = into / ALIGNED;
    (usize::try_from(number / 64).unwrap_or(usize::MAX), number % 64)
}

/// `.eh_frame_hdr`: beginnings of functions in order, with what describes each.
#[derive(Clone, Copy, Debug)]
struct UnwindTable {
    /// Where the section begins: what its numbers are relative to.
    base: u64,
    entries: u64,
}

impl UnwindTable {
    /// The form that all linkers write: version 1, entries of two numbers relative to the section.
    fn open(survey: &mut FileSurvey<'_>) -> Result<Option<Self>, AmbiguousStack> {
        let Some(section) = survey.section(".eh_frame_hdr") else { return Ok(None) };
        let head = survey.read(section.address, HEAD)?;
        let Some(([1, _, 0x03, 0x3b], rest)) = head.split_first_chunk::<4>() else { return Ok(None) };
        let entries =
            rest.get(4..).and_then(|rest| rest.first_chunk::<4>()).map_or(0, |count| u32::from_le_bytes(*count));
        Ok(Some(Self { base: section.address, entries: u64::from(entries).min(section.len / ENTRY) }))
    }

    fn entry(&self, survey: &mut FileSurvey<'_>, number: u64) -> Result<Option<(u64, u64)>, AmbiguousStack> {
        let bytes = survey.read(self.base.saturating_add(HEAD + number * ENTRY), ENTRY)?;
        let number = |at: usize| {
            let bytes = bytes.get(at..)?.first_chunk::<4>()?;
            Some(self.base.wrapping_add_signed(i64::from(i32::from_le_bytes(*bytes))))
        };
        Ok(number(0).zip(number(4)))
    }

    /// The function around an instruction, if the table describes it.
    fn around(&self, survey: &mut FileSurvey<'_>, place: u64) -> Result<Option<FunctionExtent>, AmbiguousStack> {
        let (mut low, mut high) = (0, self.entries);
        // A table out of order leads somewhere, in as many steps.
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry(survey, middle)? {
                Some((start, _)) if start <= place => low = middle + 1,
                _ => high = middle,
            }
        }
        let Some(last) = low.checked_sub(1) else { return Ok(None) };
        let Some((start, description)) = self.entry(survey, last)? else { return Ok(None) };
        // Its length, what it belongs to, where the function begins, and how long it is.
        let description = survey.read(description, 16)?;
        let Some(len) = description.get(12..).and_then(|bytes| bytes.first_chunk::<4>()) else { return Ok(None) };
        let end = start.saturating_add(u64::from(u32::from_le_bytes(*len)));
        Ok((start <= place && place < end).then_some(FunctionExtent { start, end }))
    }
}

const HEAD: u64 = 12;

const ENTRY: u64 = 8;
