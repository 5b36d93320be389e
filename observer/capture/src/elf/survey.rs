//! A whole file, looked through by address: how stacks are found that no symbol names. Everything
//! passes through one window, within the budget of one file.

use std::ops::Range;

use object::LittleEndian as LE;
use object::U64;
use object::elf::{ET_EXEC, R_X86_64_RELATIVE, Rela64};

use super::budget::{ElfBudget, ElfReadCost, ElfRefusal};
use super::bytes::RandomAccess;
use super::dynamic::{self, DynamicTable};
use super::headers::{self, MappedSegment, NamedSections};
use super::reader::{ElfReader, EntryAccount, TableExtent};

/// A file being looked through.
#[derive(Debug)]
pub struct FileSurvey<'a> {
    reader: ElfReader<'a>,
    segments: Vec<MappedSegment>,
    sections: NamedSections,
    dynamic: DynamicTable,
    fixed: bool,
}

/// A part of a file that is mapped, or a section: where it lies in memory and how much of the file it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurveyRange {
    /// Virtual address.
    pub address: u64,
    /// Bytes that the file has of it: a claim.
    pub len: u64,
    pub executable: bool,
    pub writable: bool,
}

impl SurveyRange {
    /// The addresses in it.
    #[must_use]
    pub fn addresses(&self) -> Range<u64> {
        self.address..self.address.saturating_add(self.len)
    }
}

impl<'a> FileSurvey<'a> {
    /// Reads the headers. `Ok(None)`: not a 64-bit x86 ELF file.
    ///
    /// # Errors
    /// The file cannot be read, or is over the budget.
    pub fn open(bytes: &'a dyn RandomAccess, budget: &'a ElfBudget) -> Result<Option<Self>, ElfRefusal> {
        let mut reader = ElfReader::new(bytes, budget);
        let Some(file) = headers::file(&mut reader)? else { return Ok(None) };
        let program = headers::program(&mut reader, &file)?;
        let sections = headers::named_sections(&mut reader, &file)?;
        let dynamic = program.dynamic.map_or(Ok(DynamicTable::default()), |table| dynamic::read(&mut reader, table))?;
        let fixed = file.e_type.get(LE) == ET_EXEC;
        Ok(Some(Self { reader, segments: program.segments, sections, dynamic, fixed }))
    }

    /// What the loader maps of the file, in the file's order.
    pub fn segments(&self) -> impl Iterator<Item = SurveyRange> + use<'_, 'a> {
        self.segments.iter().map(|segment| SurveyRange {
            address: segment.address,
            len: segment.len,
            executable: segment.executable,
            writable: segment.writable,
        })
    }

    /// Where its constants are. Old linkers put them beside the code, and make no part of their own.
    #[must_use]
    pub fn constants(&self) -> Vec<SurveyRange> {
        let parts: Vec<SurveyRange> = self.segments().filter(|part| !part.writable).collect();
        let own: Vec<SurveyRange> = parts.iter().filter(|part| !part.executable).copied().collect();
        if own.is_empty() { parts } else { own }
    }

    /// Bytes of the file that are mapped: a claim.
    #[must_use]
    pub fn mapped(&self) -> u64 {
        self.segments.iter().fold(0, |sum, segment| sum.saturating_add(segment.len))
    }

    /// Is its address fixed? Then pointers stand in the file as they are, and no relocation tells of them.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// A section by its name. Files may be without; what the sections say is their maker's claim.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<SurveyRange> {
        let (_, address, len) = self.sections.iter().find(|(section, ..)| section == name.as_bytes())?;
        let of = |segment: &&MappedSegment| segment.file_offset(*address).is_some();
        let (executable, writable) =
            self.segments.iter().find(of).map_or((false, false), |segment| (segment.executable, segment.writable));
        Some(SurveyRange { address: *address, len: *len, executable, writable })
    }

    /// Does the file name its sections at all? Then what it does not name, it does not have.
    #[must_use]
    pub fn has_sections(&self) -> bool {
        !self.sections.is_empty()
    }

    /// The file offset of an address, wherever it is mapped.
    #[must_use]
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| segment.file_offset(address))
    }

    /// Is there code at this address?
    #[must_use]
    pub fn is_code(&self, address: u64) -> bool {
        self.segments.iter().any(|segment| segment.executable && segment.file_offset(address).is_some())
    }

    /// What the file has from an address on, `len` bytes at most: less at the end of the segment, of
    /// the file, and beyond `READ`; nothing where nothing is mapped.
    ///
    /// # Errors
    /// Over the budget, or unreadable.
    pub fn read(&mut self, address: u64, len: u64) -> Result<Vec<u8>, ElfRefusal> {
        let Some(table) = self.extent(address, len.min(READ)) else { return Ok(Vec::new()) };
        let mut bytes = vec![0; usize::try_from(table.len).unwrap_or_default()];
        let there = self.reader.fill(&mut bytes, table.offset)?;
        bytes.truncate(there);
        Ok(bytes)
    }

    /// Shows the file from an address on, window by window, to the end of the segment at most. Each
    /// window comes with the address of its first byte and begins with the last `overlap` bytes of
    /// the one before: what is no longer than one byte more is seen whole in one of them.
    ///
    /// # Errors
    /// Over the budget, unreadable, or what `each` says.
    pub fn windows(
        &mut self,
        address: u64,
        len: u64,
        overlap: usize,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), ElfRefusal>,
    ) -> Result<(), ElfRefusal> {
        let Some(table) = self.extent(address, len) else { return Ok(()) };
        let mut at = address;
        self.reader.windows(table, overlap, |window, _| {
            each(at, window)?;
            let done = window.len().saturating_sub(overlap);
            at = at.saturating_add(done as u64);
            Ok(done)
        })?;
        Ok(())
    }

    /// The pointers that the loader fills in: where each stands and what it will point at, by
    /// addresses as the file has them. None in a file of a fixed address.
    ///
    /// # Errors
    /// Over the budget, unreadable, or what `each` says.
    pub fn pointers(&mut self, mut each: impl FnMut(u64, u64) -> Result<(), ElfRefusal>) -> Result<(), ElfRefusal> {
        self.rela(&mut each)?;
        self.relr(&mut each)
    }

    /// What it did cost so far.
    pub fn spent(&mut self) -> ElfReadCost {
        self.reader.look_at_clock();
        self.reader.spent
    }

    fn extent(&self, address: u64, len: u64) -> Option<TableExtent> {
        let segment = self.segments.iter().find(|segment| segment.file_offset(address).is_some())?;
        let into = address.checked_sub(segment.address)?;
        Some(TableExtent { offset: segment.file_offset(address)?, len: len.min(segment.len - into) })
    }

    fn table(&self, (address, len): (Option<u64>, u64)) -> Option<TableExtent> {
        self.extent(address?, len)
    }

    fn rela(&mut self, each: &mut impl FnMut(u64, u64) -> Result<(), ElfRefusal>) -> Result<(), ElfRefusal> {
        let Some(table) = self.table(self.dynamic.relocations) else { return Ok(()) };
        self.reader.spend(EntryAccount::Relocations, table.len / size_of::<Rela64<LE>>() as u64)?;
        self.reader.records::<Rela64<LE>>(table, |_, relocation| {
            // On all of 64-bit x86 the lower half is the kind.
            if relocation.r_info.get(LE) & u64::from(u32::MAX) != u64::from(R_X86_64_RELATIVE) {
                return Ok(());
            }
            each(relocation.r_offset.get(LE), relocation.r_addend.get(LE).cast_unsigned())
        })?;
        Ok(())
    }

    /// Packed ones: a word is a slot, or, if odd, a bitmap of which of the next 63 words are slots.
    /// What a slot will point at stands in it.
    fn relr(&mut self, each: &mut impl FnMut(u64, u64) -> Result<(), ElfRefusal>) -> Result<(), ElfRefusal> {
        let Some(table) = self.table(self.dynamic.packed_relocations) else { return Ok(()) };
        let words = table.len / 8;
        self.reader.spend(EntryAccount::Relocations, words)?;
        let mut slots = PackedSlots::default();
        // In pieces: the table passes through the same window as what its slots hold.
        for piece in 0..words.div_ceil(PACKED_PIECE) {
            let offset = table.offset.saturating_add(piece * PACKED_PIECE * 8);
            let len = (words - piece * PACKED_PIECE).min(PACKED_PIECE) * 8;
            let mut found = Vec::new();
            self.reader.records::<U64<LE>>(TableExtent { offset, len }, |_, word| {
                slots.read(word.get(LE), &mut found);
                Ok(())
            })?;
            self.reader.spend(EntryAccount::Relocations, found.len() as u64)?;
            self.values(&found, each)?;
        }
        Ok(())
    }

    /// What stands in slots, which come in the order of their addresses in files that linkers make:
    /// neighbours are read in one go.
    fn values(
        &mut self,
        slots: &[u64],
        each: &mut impl FnMut(u64, u64) -> Result<(), ElfRefusal>,
    ) -> Result<(), ElfRefusal> {
        let mut rest = slots;
        while let Some(first) = rest.first().copied() {
            let near = |slot: &&u64| slot.checked_sub(first).is_some_and(|into| into < NEIGHBOURS);
            let run = rest.iter().take_while(near).count().max(1);
            let (these, others) = rest.split_at(run.min(rest.len()));
            rest = others;
            let last = these.iter().copied().max().unwrap_or(first);
            let bytes = self.read(first, last - first + 8)?;
            for slot in these {
                let into = usize::try_from(slot - first).unwrap_or(usize::MAX);
                let word = bytes.get(into..).and_then(|bytes| bytes.first_chunk::<8>());
                if let Some(word) = word {
                    each(*slot, u64::from_le_bytes(*word))?;
                }
            }
        }
        Ok(())
    }
}

/// A table of packed relocations being read.
#[derive(Debug, Default)]
struct PackedSlots {
    /// The slot that the next bitmap's first bit stands for.
    next: u64,
}

impl PackedSlots {
    fn read(&mut self, word: u64, found: &mut Vec<u64>) {
        if word & 1 == 0 {
            found.push(word);
            self.next = word.saturating_add(8);
            return;
        }
        found.extend((0..63).filter(|bit| word >> (bit + 1) & 1 == 1).map(|bit| self.next.saturating_add(bit * 8)));
        self.next = self.next.saturating_add(63 * 8);
    }
}

/// Bytes handed out at once by `read`: what is looked at whole is a function or a small table.
const READ: u64 = 1 << 20;

/// Words of a packed table read at a time: each may stand for 63 slots, which are kept for so long.
const PACKED_PIECE: u64 = 1024;

/// How far apart slots may lie that are read in one go, bytes.
const NEIGHBOURS: u64 = 64 << 10;
