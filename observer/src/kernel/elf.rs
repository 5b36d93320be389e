//! What the placement needs of an ELF file: symbols, bytes at an address, where a PLT entry leads.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Architecture, Object, ObjectSymbol, ObjectSymbolTable, ReadCache, RelocationTarget};

use super::probes::FUNCTIONS;

/// An executable or library, read from disk.
#[derive(Debug, Default)]
pub struct Image {
    /// Addresses of the probed functions' symbols, by name.
    pub functions: HashMap<&'static str, Symbol>,
    /// Build id, hex.
    pub build_id: Option<String>,
    /// Names that say what else this binary is.
    pub marks: Marks,
    segments: Vec<Segment>,
    plt: HashMap<u64, &'static str>,
}

/// A function's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    pub address: u64,
    pub size: u64,
}

/// Signs of TLS stacks that no probe of ours enters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// A Go program (it carries its own TLS).
    pub go: bool,
    /// Symbols were stripped.
    pub stripped: bool,
}

#[derive(Debug)]
struct Segment {
    address: u64,
    file_offset: u64,
    bytes: Vec<u8>,
}

/// Code around a probed function that is worth decoding, bytes: wrappers are under 200.
const CODE_WINDOW: u64 = 512;

impl Image {
    /// Reads what is needed of the file at `path`. `Ok(None)`: not a 64-bit x86 ELF file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> std::io::Result<Option<Self>> {
        let cache = ReadCache::new(File::open(path)?);
        let Ok(elf) = ElfFile64::<object::Endianness, _>::parse(&cache) else { return Ok(None) };
        if elf.architecture() != Architecture::X86_64 {
            return Ok(None);
        }
        Ok(Some(Self::of(&elf)))
    }

    fn of<'data, R: object::ReadRef<'data>>(elf: &ElfFile64<'data, object::Endianness, R>) -> Self {
        let mut image = Self { build_id: build_id(elf), ..Self::default() };
        image.marks.go = elf.section_by_name(".go.buildinfo").is_some() || elf.section_by_name(".gopclntab").is_some();
        image.marks.stripped = elf.symbol_table().is_none();
        image.find_functions(elf);
        if !image.functions.is_empty() {
            image.read_segments(elf);
            image.read_plt(elf);
        }
        image
    }

    /// The dynamic symbols first: they cannot be stripped.
    fn find_functions<'data, R: object::ReadRef<'data>>(&mut self, elf: &ElfFile64<'data, object::Endianness, R>) {
        for table in [elf.dynamic_symbol_table(), elf.symbol_table()].into_iter().flatten() {
            for symbol in table.symbols().filter(|s| s.is_definition() && s.address() != 0) {
                let Ok(name) = symbol.name() else { continue };
                if !name.starts_with("SSL_") {
                    continue;
                }
                if let Some(function) = FUNCTIONS.iter().find(|f| f.symbol == name) {
                    self.functions.insert(function.symbol, Symbol { address: symbol.address(), size: symbol.size() });
                }
            }
            if !self.functions.is_empty() {
                return;
            }
        }
    }

    fn read_segments<'data, R: object::ReadRef<'data>>(&mut self, elf: &ElfFile64<'data, object::Endianness, R>) {
        let (endian, data) = (elf.endian(), elf.data());
        for header in elf.elf_header().program_headers(endian, data).unwrap_or_default() {
            let executable = header.p_flags(endian) & object::elf::PF_X != 0;
            if header.p_type(endian) == object::elf::PT_LOAD && executable {
                self.segments.push(Segment {
                    address: header.p_vaddr(endian),
                    file_offset: header.p_offset(endian),
                    bytes: header.data(endian, data).unwrap_or_default().to_vec(),
                });
            }
        }
    }

    /// PLT slots whose symbol this very file defines: GOT address → name.
    fn read_plt<'data, R: object::ReadRef<'data>>(&mut self, elf: &ElfFile64<'data, object::Endianness, R>) {
        let Some(symbols) = elf.dynamic_symbol_table() else { return };
        for (got, relocation) in elf.dynamic_relocations().into_iter().flatten() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let Ok(name) = symbols.symbol_by_index(index).and_then(|s| s.name()) else { continue };
            if let Some((known, _)) = self.functions.iter().find(|(known, _)| **known == name) {
                self.plt.insert(got, known);
            }
        }
    }

    /// Code at a virtual address, up to `CODE_WINDOW` bytes; empty outside the executable segments.
    #[must_use]
    pub fn code(&self, address: u64) -> &[u8] {
        self.segment(address).map_or(&[][..], |s| {
            let from = usize::try_from(address - s.address).unwrap_or(usize::MAX);
            let rest = s.bytes.get(from..).unwrap_or_default();
            rest.get(..usize::try_from(CODE_WINDOW).unwrap_or(0)).unwrap_or(rest)
        })
    }

    /// The file offset of a virtual address, as uprobes want it.
    #[must_use]
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        self.segment(address).map(|s| address - s.address + s.file_offset)
    }

    /// The function of this file that the PLT slot with this GOT address leads to.
    #[must_use]
    pub fn plt_target(&self, got: u64) -> Option<Symbol> {
        self.functions.get(self.plt.get(&got)?).copied()
    }

    fn segment(&self, address: u64) -> Option<&Segment> {
        self.segments.iter().find(|s| address >= s.address && address - s.address < s.bytes.len() as u64)
    }

    /// An image of one code segment, for tests and recorded library builds.
    #[must_use]
    pub fn of_code(address: u64, bytes: &[u8], functions: &[(&'static str, Symbol)]) -> Self {
        Self {
            functions: functions.iter().copied().collect(),
            segments: vec![Segment { address, file_offset: 0, bytes: bytes.to_vec() }],
            ..Self::default()
        }
    }
}

fn build_id<'data, R: object::ReadRef<'data>>(elf: &ElfFile64<'data, object::Endianness, R>) -> Option<String> {
    let id = elf.build_id().ok().flatten()?;
    Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
}
