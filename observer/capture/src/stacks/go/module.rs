//! Where a Go program's code begins: since Go 1.26 the header of its table of functions does not
//! say, and in programs that are loaded anywhere it never stood in the file. The runtime's own
//! description of the program (`moduledata`) does; all that it says of the table must agree.

use std::collections::HashMap;
use std::ops::Range;

use super::pclntab::{FunctionTable, TableFault, word};
use crate::elf::{ElfRefusal, FileSurvey, SurveyRange};

/// Where the linker puts it since Go 1.26.
const SECTION: &str = ".go.module";

/// Words of it that are looked at: up to `etext`.
const WORDS: u64 = 24;

/// Places where something points at the table. Real files have two.
const PLACES: usize = 64;

/// The header's word that says where the code begins.
const HEADER_TEXT: u64 = 24;

/// Where the code begins that entries count from; `None`: nothing says it for sure.
pub(super) fn text(survey: &mut FileSurvey<'_>, table: &FunctionTable) -> Result<Option<u64>, TableFault> {
    let mut places: Vec<u64> = survey.section(SECTION).map(|section| section.address).into_iter().collect();
    let (slot, mut header, mut pointing) = (table.address.saturating_add(HEADER_TEXT), None, Vec::new());
    survey.pointers(|at, value| {
        if at == slot {
            header = Some(value);
        } else if value == table.address && pointing.len() < PLACES {
            pointing.push(at);
        }
        Ok(())
    })?;
    if let Some(header) = header.filter(|text| *text != 0) {
        return Ok(survey.is_code(header).then_some(header));
    }
    if places.is_empty() {
        places = if pointing.is_empty() { pointing_at(survey, table.address)? } else { pointing };
    }
    one_of(survey, table, &places)
}

/// Words of a file with a fixed address that hold this one.
fn pointing_at(survey: &mut FileSurvey<'_>, address: u64) -> Result<Vec<u64>, ElfRefusal> {
    let mut found = Vec::new();
    let data: Vec<SurveyRange> = survey.segments().filter(|segment| segment.writable).collect();
    for segment in data {
        survey.windows(segment.address, segment.len, 7, |at, window| {
            let odd = at.next_multiple_of(8) - at;
            let whole = window.get(usize::try_from(odd).unwrap_or_default()..).unwrap_or_default();
            for (index, bytes) in whole.chunks_exact(8).enumerate() {
                let place = at + odd + 8 * index as u64;
                if word(bytes) == address && found.len() < PLACES && !found.contains(&place) {
                    found.push(place);
                }
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// What the one right description among these says.
fn one_of(survey: &mut FileSurvey<'_>, table: &FunctionTable, places: &[u64]) -> Result<Option<u64>, TableFault> {
    let within = |place: &u64| *place..place.saturating_add(WORDS * 8);
    let ranges: Vec<Range<u64>> = places.iter().map(within).collect();
    let mut filled = HashMap::new();
    survey.pointers(|at, value| {
        if ranges.iter().any(|range| range.contains(&at)) {
            filled.insert(at, value);
        }
        Ok(())
    })?;
    let ends = [table.entry(survey, 0)?.0, table.entry(survey, table.count)?.0];
    let mut texts = Vec::new();
    for place in places {
        let bytes = survey.read(*place, WORDS * 8)?;
        let words = bytes.chunks_exact(8).enumerate();
        let filled = |index: usize| filled.get(&place.saturating_add(8 * index as u64)).copied();
        let words: Vec<u64> = words.map(|(index, bytes)| filled(index).unwrap_or_else(|| word(bytes))).collect();
        texts.extend(described(table, ends, &words).filter(|text| survey.is_code(*text) && !texts.contains(text)));
    }
    Ok(match texts.as_slice() {
        [text] => Some(*text),
        _ => None,
    })
}

/// Where the code begins by this description, if it is one of this table. `ends`: what the first and
/// the last entry of the table say, which must be the two ends of the functions; the runtime itself
/// stops a program where they are not.
fn described(table: &FunctionTable, ends: [u64; 2], words: &[u64]) -> Option<u64> {
    let of = |index: usize| words.get(index).copied();
    let (low, high, text, end) = (of(20)?, of(21)?, of(22)?, of(23)?);
    let same = of(0)? == table.address
        && of(1)? == table.names.start
        && [of(13)?, of(16)?] == [table.functions; 2]
        && of(17)? == table.count + 1
        && ends.map(|entry| text.checked_add(entry)) == [Some(low), Some(high)];
    (same && low < high && high <= end).then_some(text)
}
