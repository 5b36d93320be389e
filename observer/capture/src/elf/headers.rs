//! The file header, the program headers and the section headers. The loader goes by the program
//! headers; the section headers may be missing, or wrong, and the program still runs.

use object::LittleEndian as LE;
use object::elf::{
    ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_X86_64, ET_EXEC, FileHeader64, PF_W, PF_X, PN_XNUM, PT_DYNAMIC, PT_INTERP,
    PT_LOAD, PT_NOTE, ProgramHeader64, SHN_XINDEX, SHT_DYNSYM, SHT_NOBITS, SHT_NOTE, SHT_RELA, SHT_SYMTAB,
    SectionHeader64,
};

use super::budget::{ElfRefusal, ElfRefusalReason, PROGRAM_HEADERS, TABLES};
use super::names::{self, NameOffsets, SymbolNames};
use super::reader::{ElfReader, EntryAccount, TableExtent};

/// A part of the file that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MappedSegment {
    pub address: u64,
    pub file_offset: u64,
    pub len: u64,
    pub executable: bool,
    pub writable: bool,
}

impl MappedSegment {
    /// The file offset of an address in it.
    pub(super) fn file_offset(&self, address: u64) -> Option<u64> {
        let into = address.checked_sub(self.address).filter(|into| *into < self.len)?;
        self.file_offset.checked_add(into)
    }
}

/// What the program headers tell.
#[derive(Debug, Default)]
pub(super) struct ProgramHeaders {
    pub segments: Vec<MappedSegment>,
    pub dynamic: Option<TableExtent>,
    pub notes: Vec<TableExtent>,
    /// It names a loader, or has a fixed address: a program, no library.
    pub executable: bool,
}

impl ProgramHeaders {
    /// The file offset of an address.
    pub(super) fn file_offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| segment.file_offset(address))
    }
}

/// A symbol table with what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SymbolTable {
    pub symbols: TableExtent,
    pub strings: TableExtent,
    pub relocations: Vec<TableExtent>,
}

/// What the section headers tell.
#[derive(Debug, Default)]
pub(super) struct SectionHeaders {
    pub dynamic_symbols: Option<SymbolTable>,
    pub all_symbols: Option<SymbolTable>,
    pub notes: Vec<TableExtent>,
    /// A section that Go's linker makes.
    pub go: bool,
}

/// The file header; `None`: not a 64-bit x86 ELF file.
pub(super) fn file(reader: &mut ElfReader<'_>) -> Result<Option<FileHeader64<LE>>, ElfRefusal> {
    let header = reader.record::<FileHeader64<LE>>(0)?.filter(|header| {
        let ident = &header.e_ident;
        ident.magic == ELFMAG && ident.class == ELFCLASS64 && ident.data == ELFDATA2LSB
    });
    Ok(header.filter(|header| header.e_machine.get(LE) == EM_X86_64))
}

/// Reads the program headers.
pub(super) fn program(reader: &mut ElfReader<'_>, file: &FileHeader64<LE>) -> Result<ProgramHeaders, ElfRefusal> {
    let mut program = ProgramHeaders { executable: file.e_type.get(LE) == ET_EXEC, ..ProgramHeaders::default() };
    let (size, mut count) = (file.e_phentsize.get(LE), u64::from(file.e_phnum.get(LE)));
    // Linux takes no other size.
    if usize::from(size) != size_of::<ProgramHeader64<LE>>() {
        return Ok(program);
    }
    if count == u64::from(PN_XNUM) {
        count = section_at(reader, file, 0)?.map_or(0, |section| u64::from(section.sh_info.get(LE)));
    }
    if count > PROGRAM_HEADERS {
        let detail = format!("it claims {count} program headers; Linux takes {PROGRAM_HEADERS}");
        return Err(ElfRefusal::new(ElfRefusalReason::TooManyProgramHeaders, detail));
    }
    let table = TableExtent { offset: file.e_phoff.get(LE), len: count * u64::from(size) };
    reader.records::<ProgramHeader64<LE>>(table, |_, header| {
        let part = TableExtent { offset: header.p_offset.get(LE), len: header.p_filesz.get(LE) };
        match header.p_type.get(LE) {
            PT_LOAD => program.segments.push(MappedSegment {
                address: header.p_vaddr.get(LE),
                file_offset: part.offset,
                len: part.len,
                executable: header.p_flags.get(LE) & PF_X != 0,
                writable: header.p_flags.get(LE) & PF_W != 0,
            }),
            PT_INTERP => program.executable = true,
            PT_DYNAMIC => program.dynamic = program.dynamic.or(Some(part)),
            PT_NOTE if program.notes.len() < TABLES => program.notes.push(part),
            _ => {}
        }
        Ok(())
    })?;
    Ok(program)
}

/// Reads the section headers; none of them if they are not all there.
pub(super) fn sections(reader: &mut ElfReader<'_>, file: &FileHeader64<LE>) -> Result<SectionHeaders, ElfRefusal> {
    let Some((table, names_at)) = section_table(reader, file)? else { return Ok(SectionHeaders::default()) };
    reader.spend(EntryAccount::Sections, table.len / SECTION)?;
    let names = section_at(reader, file, u64::from(names_at))?.map(|section| part(&section)).unwrap_or_default();
    let go = match names::find(reader, names, &[go_sections()]) {
        // Programs run without the names of their sections: what is wrong with those alone is no
        // reason to refuse the file.
        Err(ElfRefusal {
            reason: ElfRefusalReason::CutShort | ElfRefusalReason::StringsTooLarge | ElfRefusalReason::TooManyNames,
            ..
        }) => NameOffsets::default(),
        found => found?,
    };
    let mut sections = SectionHeaders::default();
    let mut dynamic_index = 0;
    let mut links = [None; 2];
    let read = reader.records::<SectionHeader64<LE>>(table, |index, section| {
        sections.go |= go.get(section.sh_name.get(LE)).is_some();
        let link = u64::from(section.sh_link.get(LE));
        match section.sh_type.get(LE) {
            SHT_DYNSYM if sections.dynamic_symbols.is_none() => {
                sections.dynamic_symbols = Some(SymbolTable { symbols: part(section), ..SymbolTable::default() });
                (dynamic_index, links[0]) = (index, Some(link));
            }
            SHT_SYMTAB if sections.all_symbols.is_none() => {
                sections.all_symbols = Some(SymbolTable { symbols: part(section), ..SymbolTable::default() });
                links[1] = Some(link);
            }
            SHT_NOTE if sections.notes.len() < TABLES => sections.notes.push(part(section)),
            _ => {}
        }
        Ok(())
    })?;
    if read < table.len / SECTION {
        return Ok(SectionHeaders::default());
    }
    let tables = [&mut sections.dynamic_symbols, &mut sections.all_symbols];
    for (symbols, link) in tables.into_iter().zip(links) {
        if let (Some(symbols), Some(link)) = (symbols, link) {
            symbols.strings = section_at(reader, file, link)?.map(|section| part(&section)).unwrap_or_default();
        }
    }
    if let Some(symbols) = &mut sections.dynamic_symbols {
        symbols.relocations = relocations(reader, table, dynamic_index)?;
    }
    Ok(sections)
}

/// Sections by name: the address and the length in the file of each.
pub(super) type NamedSections = Vec<(Vec<u8>, u64, u64)>;

/// The sections that are mapped, with their names; none of them if they are not all there.
pub(super) fn named_sections(reader: &mut ElfReader<'_>, file: &FileHeader64<LE>) -> Result<NamedSections, ElfRefusal> {
    let Some((table, names_at)) = section_table(reader, file)? else { return Ok(Vec::new()) };
    reader.spend(EntryAccount::Sections, table.len / SECTION)?;
    let names = section_at(reader, file, u64::from(names_at))?.map(|section| part(&section)).unwrap_or_default();
    let names = reader.bytes(TableExtent { len: names.len.min(SECTION_NAMES), ..names })?;
    let mut sections = Vec::new();
    reader.records::<SectionHeader64<LE>>(table, |_, section| {
        let address = section.sh_addr.get(LE);
        let name = usize::try_from(section.sh_name.get(LE)).ok().and_then(|at| names.get(at..)).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        if address != 0 && name.len() <= SECTION_NAME && sections.len() < NAMED_SECTIONS {
            sections.push((name.to_vec(), address, part(section).len));
        }
        Ok(())
    })?;
    Ok(sections)
}

/// Bytes of section names looked at: real files have under 1,000.
const SECTION_NAMES: u64 = 64 << 10;

/// Longer names are none that anybody looks for.
const SECTION_NAME: usize = 64;

/// Mapped sections kept. Real files have under 50.
const NAMED_SECTIONS: usize = 1024;

/// Tables of relocations against the dynamic symbols. The ABI of 64-bit x86 knows only those with addends.
fn relocations(
    reader: &mut ElfReader<'_>,
    table: TableExtent,
    dynamic_index: u64,
) -> Result<Vec<TableExtent>, ElfRefusal> {
    let mut found = Vec::new();
    reader.records::<SectionHeader64<LE>>(table, |_, section| {
        if section.sh_type.get(LE) == SHT_RELA && u64::from(section.sh_link.get(LE)) == dynamic_index {
            if found.len() == TABLES {
                let detail = format!("it has over {TABLES} sections of dynamic relocations; real files have two");
                return Err(ElfRefusal::new(ElfRefusalReason::TooManySections, detail));
            }
            found.push(part(section));
        }
        Ok(())
    })?;
    Ok(found)
}

/// Where the section headers are, and the number of the one with their names. `None`: there are none.
fn section_table(
    reader: &mut ElfReader<'_>,
    file: &FileHeader64<LE>,
) -> Result<Option<(TableExtent, u32)>, ElfRefusal> {
    let (offset, size) = (file.e_shoff.get(LE), u64::from(file.e_shentsize.get(LE)));
    if offset == 0 || size != SECTION {
        return Ok(None);
    }
    let (mut count, mut names) = (u64::from(file.e_shnum.get(LE)), u32::from(file.e_shstrndx.get(LE)));
    // Numbers too large for the file header stand in the first section header.
    if count == 0 || names == u32::from(SHN_XINDEX) {
        let Some(first) = section_at(reader, file, 0)? else { return Ok(None) };
        count = if count == 0 { first.sh_size.get(LE) } else { count };
        names = if names == u32::from(SHN_XINDEX) { first.sh_link.get(LE) } else { names };
    }
    Ok(Some((TableExtent { offset, len: count.saturating_mul(size) }, names)))
}

/// Bytes of a section header.
const SECTION: u64 = size_of::<SectionHeader64<LE>>() as u64;

fn section_at(
    reader: &mut ElfReader<'_>,
    file: &FileHeader64<LE>,
    index: u64,
) -> Result<Option<SectionHeader64<LE>>, ElfRefusal> {
    let offset =
        Some(file.e_shoff.get(LE)).filter(|first| *first != 0).and_then(|first| first.checked_add(index * SECTION));
    offset.map_or(Ok(None), |offset| reader.record(offset))
}

/// What a section has in the file.
fn part(section: &SectionHeader64<LE>) -> TableExtent {
    let len = if section.sh_type.get(LE) == SHT_NOBITS { 0 } else { section.sh_size.get(LE) };
    TableExtent { offset: section.sh_offset.get(LE), len }
}

/// Sections that only Go's linker makes.
fn go_sections() -> SymbolNames {
    SymbolNames { prefix: b".go", names: vec![".go.buildinfo", ".gopclntab"] }
}
