//! What the placement needs of an ELF file: symbols, code at an address, where a PLT entry leads. Reads only what it needs: a
//! program may carry 100 MB and make its first call 50 ms after it starts.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use memchr::memmem;
use object::elf::{PF_X, PT_LOAD, SHT_DYNSYM, SHT_SYMTAB};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{Architecture, Endianness, Object, ReadCache, RelocationTarget};

use super::probes::FUNCTIONS;

type Elf<'data> = ElfFile64<'data, Endianness, &'data ReadCache<File>>;

/// An executable or library, read from disk.
#[derive(Debug, Default)]
pub struct Image {
    /// Addresses of the probed functions' symbols, by name.
    pub functions: HashMap<&'static str, Symbol>,
    /// Build id, hex.
    pub build_id: Option<String>,
    /// Signs of what else this binary is.
    pub marks: Marks,
    segments: Vec<Segment>,
    plt: HashMap<u64, &'static str>,
    code: Source,
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

#[derive(Clone, Copy, Debug)]
struct Segment {
    address: u64,
    file_offset: u64,
    len: u64,
}

/// Where code is read from.
#[derive(Debug, Default)]
enum Source {
    #[default]
    Nowhere,
    File(File),
    #[cfg(test)]
    Bytes(Vec<u8>),
}

/// Code looked at from one address, bytes: wrappers are under 200.
const CODE_WINDOW: usize = 512;

impl Image {
    /// Reads what is needed of the file at `path`. `Ok(None)`: not a 64-bit x86 ELF file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> std::io::Result<Option<Self>> {
        let file = File::open(path)?;
        let cache = ReadCache::new(file.try_clone()?);
        let Ok(elf) = Elf::parse(&cache) else { return Ok(None) };
        if elf.architecture() != Architecture::X86_64 {
            return Ok(None);
        }
        Ok(Some(Self::of(&elf, file)))
    }

    fn of(elf: &Elf<'_>, file: File) -> Self {
        let mut image = Self { functions: find_functions(elf), ..Self::default() };
        image.marks.go = elf.section_by_name(".go.buildinfo").is_some() || elf.section_by_name(".gopclntab").is_some();
        image.marks.stripped = elf.section_by_name(".symtab").is_none();
        if !image.functions.is_empty() {
            image.build_id = build_id(elf);
            image.segments = segments(elf);
            image.read_plt(elf);
            image.code = Source::File(file);
        }
        image
    }

    /// PLT slots whose symbol this very file defines: GOT address → name.
    fn read_plt(&mut self, elf: &Elf<'_>) {
        let Some(names) = DynamicNames::of(elf) else { return };
        for (got, relocation) in elf.dynamic_relocations().into_iter().flatten() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            if let Some(known) = self.functions.keys().find(|known| names.is(index.0, known)) {
                self.plt.insert(got, known);
            }
        }
    }

    /// Code at a virtual address, up to `CODE_WINDOW` bytes; empty outside the executable segments.
    #[must_use]
    pub fn code(&self, address: u64) -> Vec<u8> {
        let Some(offset) = self.file_offset(address) else { return Vec::new() };
        match &self.code {
            Source::Nowhere => Vec::new(),
            #[cfg(test)]
            Source::Bytes(bytes) => {
                let rest = usize::try_from(offset).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
                rest.get(..CODE_WINDOW).unwrap_or(rest).to_vec()
            }
            Source::File(file) => {
                let mut window = vec![0; CODE_WINDOW];
                let len = file.read_at(&mut window, offset).unwrap_or(0);
                window.truncate(len);
                window
            }
        }
    }

    /// A path that leads to this very file for as long as it is held open, whatever becomes of its names and of the process that
    /// mapped it.
    #[must_use]
    pub fn open_path(&self) -> Option<PathBuf> {
        match &self.code {
            Source::File(file) => Some(PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))),
            _ => None,
        }
    }

    /// Closes the file: an open one would keep its mount busy when a container goes.
    pub fn close(&mut self) {
        self.code = Source::Nowhere;
    }

    /// The file offset of a virtual address, as uprobes want it.
    #[must_use]
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        let segment = self.segments.iter().find(|s| address >= s.address && address - s.address < s.len)?;
        Some(address - segment.address + segment.file_offset)
    }

    /// The function of this file that the PLT slot with this GOT address leads to.
    #[must_use]
    pub fn plt_target(&self, got: u64) -> Option<Symbol> {
        self.functions.get(self.plt.get(&got)?).copied()
    }

    /// An image of pieces of code (address, bytes), for recorded library builds.
    #[cfg(test)]
    pub(super) fn of_code(
        code: &[(u64, Vec<u8>)],
        functions: &[(&'static str, Symbol)],
        plt: &[(u64, &'static str)],
    ) -> Self {
        let mut image = Self {
            functions: functions.iter().copied().collect(),
            plt: plt.iter().copied().collect(),
            ..Self::default()
        };
        let mut all = Vec::new();
        for (address, bytes) in code {
            image.segments.push(Segment { address: *address, file_offset: all.len() as u64, len: bytes.len() as u64 });
            all.extend_from_slice(bytes);
        }
        image.code = Source::Bytes(all);
        image
    }

    /// The PLT slots that lead back into this file, for recording it.
    #[cfg(test)]
    pub(super) fn plt(&self) -> Vec<(u64, &'static str)> {
        self.plt.iter().map(|(got, name)| (*got, *name)).collect()
    }
}

/// The dynamic symbols first: they cannot be stripped. The full table is worth reading only in executables, which carry TLS
/// without exporting it; in libraries what others call is exported.
fn find_functions(elf: &Elf<'_>) -> HashMap<&'static str, Symbol> {
    let found = find_in(elf, SHT_DYNSYM).unwrap_or_default();
    let executable = elf.section_by_name(".interp").is_some() || elf.section_by_name(".dynamic").is_none();
    if found.is_empty() && executable { find_in(elf, SHT_SYMTAB).unwrap_or_default() } else { found }
}

/// Finds the names in the string table first: one search, and no walk over 100,000 symbols where there is nothing to find.
fn find_in(elf: &Elf<'_>, kind: u32) -> Option<HashMap<&'static str, Symbol>> {
    let (endian, data) = (elf.endian(), elf.data());
    let sections = elf.elf_section_table();
    let table = sections.symbols(endian, data, kind).ok()?;
    let section = sections.section(table.string_section()).ok()?;
    if section.sh_size(endian) > MAX_STRINGS {
        return None;
    }
    let wanted = offsets_of_names(section.data(endian, data).ok()?);
    if wanted.is_empty() {
        return None;
    }
    let symbols = table.iter().filter(|symbol| !symbol.is_undefined(endian) && symbol.st_value(endian) != 0);
    Some(
        symbols
            .filter_map(|symbol| {
                let name = wanted.get(&symbol.st_name(endian))?;
                Some((*name, Symbol { address: symbol.st_value(endian), size: symbol.st_size(endian) }))
            })
            .collect(),
    )
}

/// Largest string table searched, bytes: a browser's is 60 MiB; beyond it the search would delay the probes of others.
const MAX_STRINGS: u64 = 128 << 20;

/// Where the functions' names stand in a string table: a symbol's `st_name` → name. Linkers merge tails, so a name need not
/// follow a NUL.
fn offsets_of_names(strings: &[u8]) -> HashMap<u32, &'static str> {
    memmem::find_iter(strings, b"SSL_")
        .filter_map(|at| {
            let rest = strings.get(at..)?;
            let name = rest.get(..rest.iter().take(MAX_NAME).position(|byte| *byte == 0)?)?;
            let function = FUNCTIONS.iter().find(|f| f.symbol.as_bytes() == name)?;
            Some((u32::try_from(at).ok()?, function.symbol))
        })
        .collect()
}

/// Longer than any name of the table.
const MAX_NAME: usize = 32;

fn segments(elf: &Elf<'_>) -> Vec<Segment> {
    let (endian, data) = (elf.endian(), elf.data());
    let headers = elf.elf_header().program_headers(endian, data).unwrap_or_default();
    let code = headers.iter().filter(|h| h.p_type(endian) == PT_LOAD && h.p_flags(endian) & PF_X != 0);
    code.map(|h| Segment { address: h.p_vaddr(endian), file_offset: h.p_offset(endian), len: h.p_filesz(endian) })
        .collect()
}

/// Names of dynamic symbols by index, without reading each through the cache.
struct DynamicNames<'data> {
    names: Vec<u32>,
    strings: &'data [u8],
}

impl<'data> DynamicNames<'data> {
    fn of(elf: &Elf<'data>) -> Option<Self> {
        let (endian, data) = (elf.endian(), elf.data());
        let sections = elf.elf_section_table();
        let table = sections.symbols(endian, data, SHT_DYNSYM).ok()?;
        let strings = sections.section(table.string_section()).ok()?.data(endian, data).ok()?;
        Some(Self { names: table.iter().map(|symbol| symbol.st_name(endian)).collect(), strings })
    }

    fn is(&self, index: usize, name: &str) -> bool {
        let at = self.names.get(index).map_or(usize::MAX, |at| *at as usize);
        let text = self.strings.get(at..).unwrap_or_default();
        text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }
}

fn build_id(elf: &Elf<'_>) -> Option<String> {
    let id = elf.build_id().ok().flatten()?;
    Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
}
