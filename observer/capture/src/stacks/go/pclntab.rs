//! Go's own table of functions (`pclntab`): the runtime needs it to walk stacks, so it is in every
//! program, stripped or not. It has the name of each function and where its code begins.
//!
//! ```text
//! header ─ magic, number of functions, text, where the tables are
//! names  ─ NUL-terminated, one after the other
//! functions ─ (entry, record) by address, one more at the end │ records: entry, name, …
//! ```
//! source: `runtime/symtab.go` of Go 1.17 to 1.27.

use std::ops::Range;

use memchr::memmem;

use super::module;
use crate::elf::{ElfRefusal, FileSurvey, SurveyRange};

/// The table of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FunctionTable {
    /// Of the header.
    pub address: u64,
    /// All that may belong to it, by the section or the segment.
    end: u64,
    pub format: TableFormat,
    pub count: u64,
    pub names: Range<u64>,
    /// Where the table of functions begins; records are told by their distance from here.
    pub functions: u64,
    /// What entries count from; 0: only `module` knows.
    pub text: u64,
}

/// How entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableFormat {
    /// Go 1.16 and 1.17: whole addresses.
    Addresses,
    /// Go 1.18 and later: distances from the beginning of the code.
    Distances,
}

/// What a file has of such a table.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FoundTable {
    None,
    /// Of Go 1.15 or older, whose functions take their arguments on the stack.
    Old,
    Table(FunctionTable),
}

/// A function: where it begins, and where the next one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GoFunction {
    /// Its place among the wanted names.
    pub wanted: usize,
    pub address: u64,
    pub end: u64,
}

/// Functions of a table. Kubernetes' largest programs have 200,000.
const FUNCTIONS: u64 = 1 << 21;

/// Bytes of names. Those programs have 15 MiB of them.
const NAMES: u64 = 128 << 20;

/// Bytes of records. Each function's takes 40 to 200.
const RECORDS: u64 = 256 << 20;

/// Places that look like a wanted function's record. A name's number comes up by chance about once a file.
const CANDIDATES: usize = 256;

/// Places of a wanted name. Linkers write each once.
const NAMED: usize = 64;

/// Places that look like a header, in a file without sections.
const HEADERS: usize = 16;

/// Sections that have it: the second in programs that can be loaded anywhere, up to Go 1.25.
const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];

/// Up to Go 1.15, 1.17, 1.19, and since.
const MAGICS: [(u32, Option<TableFormat>); 4] = [
    (0xffff_fffb, None),
    (0xffff_fffa, Some(TableFormat::Addresses)),
    (0xffff_fff0, Some(TableFormat::Distances)),
    (0xffff_fff1, Some(TableFormat::Distances)),
];

/// Two zero bytes, the smallest instruction of this processor, and the size of a pointer.
const MAGIC_TAIL: [u8; 4] = [0, 0, 1, 8];

/// Sections that every Go program has: what C's linker makes of one that can be loaded anywhere has
/// the table within other data.
const GO_SECTIONS: [&str; 2] = [".go.buildinfo", ".note.go.buildid"];

/// Looks for the table: where the sections say, or through all data of a file without sections, and
/// of one that says it is Go's and not where the table is.
pub(super) fn find(survey: &mut FileSurvey<'_>) -> Result<FoundTable, ElfRefusal> {
    for name in SECTIONS {
        if let Some(section) = survey.section(name) {
            let found = read(survey, section.address, section.addresses().end)?;
            if found != FoundTable::None {
                return Ok(found);
            }
        }
    }
    if survey.has_sections() && GO_SECTIONS.iter().all(|name| survey.section(name).is_none()) {
        return Ok(FoundTable::None);
    }
    let data: Vec<SurveyRange> = survey.segments().filter(|segment| !segment.executable).collect();
    for segment in data {
        for at in headers(survey, segment)? {
            let found = read(survey, at, segment.addresses().end)?;
            if found != FoundTable::None {
                return Ok(found);
            }
        }
    }
    Ok(FoundTable::None)
}

/// Addresses in a segment that look like a header's.
fn headers(survey: &mut FileSurvey<'_>, segment: SurveyRange) -> Result<Vec<u64>, ElfRefusal> {
    let (mut found, tail) = (Vec::new(), memmem::Finder::new(&MAGIC_TAIL));
    survey.windows(segment.address, segment.len, 7, |address, window| {
        for at in tail.find_iter(window) {
            let magic = at.checked_sub(4).and_then(|from| window.get(from..)?.first_chunk::<4>());
            let known = magic.is_some_and(|magic| MAGICS.iter().any(|(known, _)| known.to_le_bytes() == *magic));
            let place = (address + at as u64).saturating_sub(4);
            if known && place.is_multiple_of(8) && found.len() < HEADERS && !found.contains(&place) {
                found.push(place);
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// Reads a header. What it claims must lie within `end`.
fn read(survey: &mut FileSurvey<'_>, address: u64, end: u64) -> Result<FoundTable, ElfRefusal> {
    let header = survey.read(address, 72)?;
    let Some((magic, rest)) = header.split_first_chunk::<4>() else { return Ok(FoundTable::None) };
    let magic = u32::from_le_bytes(*magic);
    let known = MAGICS.iter().find(|(known, _)| *known == magic && rest.starts_with(&MAGIC_TAIL));
    let Some((_, format)) = known else { return Ok(FoundTable::None) };
    let Some(format) = *format else { return Ok(FoundTable::Old) };
    let words: Vec<u64> = header.chunks_exact(8).map(word).collect();
    let table = match (format, words.as_slice()) {
        (TableFormat::Distances, [_, count, _, text, names, units, _, _, functions]) => {
            FunctionTable::of(address, end, format, [*count, *text, *names, *units, *functions])
        }
        (TableFormat::Addresses, [_, count, _, names, units, _, _, functions, ..]) => {
            FunctionTable::of(address, end, format, [*count, 0, *names, *units, *functions])
        }
        _ => None,
    };
    Ok(table.map_or(FoundTable::None, FoundTable::Table))
}

/// Eight bytes as a number.
pub(super) fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Four bytes as a number.
fn half(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)))
}

impl FunctionTable {
    fn of(address: u64, end: u64, format: TableFormat, claims: [u64; 5]) -> Option<Self> {
        let [count, text, names, units, functions] = claims;
        let at = |distance: u64| address.checked_add(distance).filter(|at| *at < end);
        let (names, functions) = (at(names)?..at(units)?, at(functions)?);
        let right = (1..=FUNCTIONS).contains(&count) && names.start < names.end && names.end - names.start <= NAMES;
        (right && names.end <= functions).then_some(Self { address, end, format, count, names, functions, text })
    }

    /// Bytes of an entry in the table, which are two numbers.
    fn width(&self) -> u64 {
        if self.format == TableFormat::Distances { 8 } else { 16 }
    }

    /// The functions of these names.
    pub(super) fn functions(
        mut self,
        survey: &mut FileSurvey<'_>,
        wanted: &[&str],
    ) -> Result<Vec<GoFunction>, TableFault> {
        let names = self.places_of(survey, wanted)?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        if self.format == TableFormat::Distances && self.text == 0 {
            self.text = module::text(survey, &self)?.ok_or(TableFault::NoText)?;
        }
        let (mut found, mut out_of_order) = (Vec::new(), Vec::new());
        for (wanted, place) in names {
            match self.by_order(survey, place)? {
                Some(index) => found.extend(self.function(survey, wanted, index)?),
                None => out_of_order.push((wanted, place)),
            }
        }
        if !out_of_order.is_empty() {
            for (wanted, record) in self.records(survey, &out_of_order)? {
                found.extend(self.of_record(survey, wanted, record)?);
            }
        }
        Ok(found)
    }

    /// The function of a name, as most are found: linkers write names in the order of the functions,
    /// but for those that were inlined into an earlier one.
    fn by_order(&self, survey: &mut FileSurvey<'_>, place: u64) -> Result<Option<u64>, TableFault> {
        let (mut from, mut to) = (0, self.count);
        while from < to {
            let middle = from.midpoint(to);
            let record = self.entry(survey, middle)?.1;
            let name = self.functions.saturating_add(record).saturating_add(self.width() / 2);
            match half(&survey.read(name, 4)?).cmp(&place) {
                std::cmp::Ordering::Equal => return Ok(Some(middle)),
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        Ok(None)
    }

    /// Where wanted names stand in the table of names.
    fn places_of(&self, survey: &mut FileSurvey<'_>, wanted: &[&str]) -> Result<Vec<(usize, u64)>, TableFault> {
        let terminated: Vec<Vec<u8>> = wanted.iter().map(|name| [name.as_bytes(), &[0]].concat()).collect();
        let prefix = common_prefix(wanted);
        let (finder, overlap) = (memmem::Finder::new(prefix), terminated.iter().map(Vec::len).max().unwrap_or(0) + 1);
        let mut found: Vec<(usize, u64)> = Vec::new();
        let names = self.names.clone();
        survey.windows(names.start, names.end - names.start, overlap, |address, window| {
            for at in finder.find_iter(window) {
                let whole = at.checked_sub(1).map_or(address == names.start, |before| window.get(before) == Some(&0));
                let place = (address - names.start) + at as u64;
                let rest = window.get(at..).unwrap_or_default();
                let name = terminated.iter().position(|name| rest.starts_with(name)).filter(|_| whole);
                found.extend(name.map(|name| (name, place)).filter(|one| found.len() < NAMED && !found.contains(one)));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Records that may be those of functions of these names, by their distance from the table of
    /// functions. Read from one end to the other, since they have no order by name.
    fn records(&self, survey: &mut FileSurvey<'_>, names: &[(usize, u64)]) -> Result<Vec<(usize, u64)>, TableFault> {
        let (into, base) = (self.width() / 2, self.functions);
        let (mut found, mut too_many) = (Vec::new(), false);
        let finders: Vec<_> = names.iter().map(|(wanted, place)| (*wanted, place.to_le_bytes())).collect();
        let finders: Vec<_> =
            finders.iter().map(|(wanted, place)| (*wanted, memmem::Finder::new(place.split_at(4).0))).collect();
        survey.windows(base, (self.end - base).min(RECORDS), 4, |address, window| {
            for (wanted, finder) in &finders {
                for at in finder.find_iter(window) {
                    let place = (address - base) + at as u64;
                    let Some(record) = place.checked_sub(into).filter(|_| place.is_multiple_of(4)) else { continue };
                    too_many |= found.len() == CANDIDATES;
                    if !too_many && !found.contains(&(*wanted, record)) {
                        found.push((*wanted, record));
                    }
                }
            }
            Ok(())
        })?;
        if too_many { Err(TableFault::Crowded) } else { Ok(found) }
    }

    /// The function of a record, if the table of functions leads to that record.
    fn of_record(
        &self,
        survey: &mut FileSurvey<'_>,
        wanted: usize,
        record: u64,
    ) -> Result<Option<GoFunction>, TableFault> {
        let size = self.width() / 2;
        let entry = survey.read(self.functions.saturating_add(record), size)?;
        let entry = if size == 4 { half(&entry) } else { word(&entry) };
        match self.search(survey, entry)?.filter(|(_, of)| *of == record) {
            Some((index, _)) => self.function(survey, wanted, index),
            None => Ok(None),
        }
    }

    /// Function number `index`, if it is code.
    fn function(
        &self,
        survey: &mut FileSurvey<'_>,
        wanted: usize,
        index: u64,
    ) -> Result<Option<GoFunction>, TableFault> {
        let text = if self.format == TableFormat::Distances { self.text } else { 0 };
        let (entry, next) = (self.entry(survey, index)?.0, self.entry(survey, index + 1)?.0);
        let place = |entry: u64| text.checked_add(entry);
        let (Some(address), Some(end)) = (place(entry), place(next)) else { return Ok(None) };
        let right = address < end && survey.is_code(address) && survey.is_code(end - 1);
        Ok(right.then_some(GoFunction { wanted, address, end }))
    }

    /// The entry of the table with this beginning: its index, and its record.
    fn search(&self, survey: &mut FileSurvey<'_>, wanted: u64) -> Result<Option<(u64, u64)>, TableFault> {
        let (mut from, mut to) = (0, self.count);
        while from < to {
            let middle = from.midpoint(to);
            let (entry, record) = self.entry(survey, middle)?;
            match entry.cmp(&wanted) {
                std::cmp::Ordering::Equal => return Ok(Some((middle, record))),
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        Ok(None)
    }

    /// Entry and record number `index`; behind the last there is an entry without a record.
    pub(super) fn entry(&self, survey: &mut FileSurvey<'_>, index: u64) -> Result<(u64, u64), TableFault> {
        let width = self.width();
        let bytes = survey.read(self.functions.saturating_add(index.saturating_mul(width)), width)?;
        let (entry, record) = bytes.split_at(bytes.len().min(usize::try_from(width / 2).unwrap_or_default()));
        Ok(if width == 8 { (half(entry), half(record)) } else { (word(entry), word(record)) })
    }
}

/// What all of them begin with, for one search.
fn common_prefix<'a>(names: &[&'a str]) -> &'a [u8] {
    let Some((first, others)) = names.split_first() else { return b"" };
    let same = |other: &str| first.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let len = others.iter().map(|other| same(other)).min().unwrap_or(first.len());
    first.as_bytes().get(..len).unwrap_or_default()
}

/// Why a table does not tell where functions are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TableFault {
    /// The file was not read to its end.
    Unread(ElfRefusal),
    /// Nothing says where the code begins that entries count from.
    NoText,
    /// More than `CANDIDATES` places look like the records that are looked for.
    Crowded,
}

impl From<ElfRefusal> for TableFault {
    fn from(refusal: ElfRefusal) -> Self {
        Self::Unread(refusal)
    }
}
