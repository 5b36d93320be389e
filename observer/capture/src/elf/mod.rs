//! What TLS stacks are recognised by in an ELF file: symbols, code at an address, where a PLT entry
//! leads. Reads only what it needs: a program may carry 100 MB and make its first call 50 ms after
//! it starts.
//!
//! Whoever can start a program on the host makes these files. All counts, sizes and places in them
//! are claims: tables pass through one window, nothing is kept by a count of the file's, and what
//! one file may cost is an `ElfBudget`. A file may change while it is read; then what was read is some
//! mixture, but it is read within the same limits. Pure but for the reads of the descriptor it is
//! given.
#![deny(clippy::disallowed_methods, reason = "reads what it is handed: opening files and clocks are the caller's")]

mod budget;
mod bytes;
mod dynamic;
mod headers;
mod names;
mod notes;
mod reader;
mod relocations;
mod sameness;
mod survey;
mod symbols;

use std::collections::HashMap;
use std::path::PathBuf;

use object::LittleEndian as LE;
use object::elf::FileHeader64;

pub use budget::{ElfBudget, ElfReadCost, ElfRefusal, ElfRefusalReason};
pub use bytes::RandomAccess;
pub use names::SymbolNames;
pub use sameness::{CodeFingerprint, fingerprint, same_head};
pub use survey::{FileSurvey, SurveyRange};

use self::dynamic::DynamicTable;
use self::headers::MappedSegment;
use self::reader::ElfReader;
use self::symbols::FoundSymbols;

/// An executable or library.
#[derive(Debug, Default)]
pub struct ElfImage {
    /// Addresses of the symbols that were looked for, by name.
    pub functions: HashMap<&'static str, FunctionSymbol>,
    /// Build id, hex. Read only of files with such symbols.
    pub build_id: Option<String>,
    /// Signs of what else this binary is.
    pub marks: OtherTlsStacks,
    /// What reading it did cost.
    pub spent: ElfReadCost,
    /// Bytes of the file that are mapped: a claim.
    mapped: u64,
    segments: Vec<MappedSegment>,
    plt: HashMap<u64, &'static str>,
    code: Option<Box<dyn RandomAccess>>,
}

/// A function's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionSymbol {
    pub address: u64,
    pub size: u64,
}

/// Signs of TLS stacks that no probe of ours enters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherTlsStacks {
    /// A Go program (it carries its own TLS).
    pub go: bool,
    /// Symbols were stripped.
    pub stripped: bool,
}

/// Code looked at from one address, bytes: wrappers are under 200.
const CODE_WINDOW: usize = 512;

/// Bytes of one function looked at, whatever its symbol claims: those that are probed have under 4 KiB.
const LONGEST_FUNCTION: usize = 64 << 10;

impl ElfImage {
    /// Reads what is needed of a file, and keeps it for `code`. `wanted`: symbols to look for.
    /// `Ok(None)`: not a 64-bit x86 ELF file.
    ///
    /// # Errors
    /// The file cannot be read, is cut, or is over the budget.
    pub fn read<B: RandomAccess + 'static>(
        file: B,
        wanted: &[SymbolNames],
        budget: &ElfBudget,
    ) -> Result<Option<Self>, ElfRefusal> {
        let mut reader = ElfReader::new(&file, budget);
        let read = Self::of(&mut reader, wanted);
        reader.look_at_clock();
        let spent = reader.spent;
        match read {
            Ok(None) => Ok(None),
            Ok(Some(mut image)) => {
                image.spent = spent;
                image.code = Some(Box::new(file));
                Ok(Some(image))
            }
            Err(refusal) => Err(ElfRefusal { spent, ..refusal }),
        }
    }

    /// Have both the same functions at the same places, and the same build id? Two of which neither
    /// is known are not alike.
    #[must_use]
    pub fn is_like(&self, other: &ElfImage) -> bool {
        !self.functions.is_empty() && self.build_id == other.build_id && self.functions == other.functions
    }

    fn of(reader: &mut ElfReader<'_>, wanted: &[SymbolNames]) -> Result<Option<Self>, ElfRefusal> {
        let Some(file) = headers::file(reader)? else { return Ok(None) };
        Self::of_elf(reader, &file, wanted).map(Some)
    }

    /// The dynamic symbols first: they cannot be stripped. The full table is worth reading only in
    /// programs, which carry TLS without exporting it; in libraries what others call is exported.
    fn of_elf(reader: &mut ElfReader<'_>, file: &FileHeader64<LE>, wanted: &[SymbolNames]) -> Result<Self, ElfRefusal> {
        let program = headers::program(reader, file)?;
        let sections = headers::sections(reader, file)?;
        let dynamic = program.dynamic.map_or(Ok(DynamicTable::default()), |table| dynamic::read(reader, table))?;
        let marks = OtherTlsStacks { go: sections.go, stripped: sections.all_symbols.is_none() };
        let dynamic_symbols = match sections.dynamic_symbols {
            None => dynamic.symbols(reader, &program)?,
            there => there,
        };
        let (mut found, mut plt) = (FoundSymbols::default(), HashMap::new());
        if let Some(tables) = dynamic_symbols {
            found = symbols::find(reader, &tables, wanted)?;
            if !found.functions.is_empty() {
                plt = relocations::slots(reader, &tables.relocations, &found.numbers)?;
            }
        }
        let executable = program.executable || program.dynamic.is_none() || dynamic.program;
        if let Some(tables) = sections.all_symbols.filter(|_| found.functions.is_empty() && executable) {
            found = symbols::find(reader, &tables, wanted)?;
        }
        let mapped = program.segments.iter().fold(0, |sum: u64, segment| sum.saturating_add(segment.len));
        let segments = program.segments.into_iter().filter(|segment| segment.executable).collect();
        if found.functions.is_empty() {
            return Ok(Self { marks, mapped, segments, ..Self::default() });
        }
        let build_id = match notes::build_id(reader, &program.notes)? {
            None => notes::build_id(reader, &sections.notes)?,
            there => there,
        };
        Ok(Self { functions: found.functions, build_id, marks, mapped, segments, plt, ..Self::default() })
    }

    /// Code at a virtual address, up to `CODE_WINDOW` bytes; empty outside the executable segments,
    /// and once the file is closed.
    #[must_use]
    pub fn code(&self, address: u64) -> Vec<u8> {
        self.code_up_to(address, CODE_WINDOW)
    }

    /// The same, up to `len` bytes and `LONGEST_FUNCTION`.
    #[must_use]
    pub fn code_up_to(&self, address: u64, len: usize) -> Vec<u8> {
        let (Some(offset), Some(file)) = (self.file_offset(address), &self.code) else { return Vec::new() };
        let mut window = vec![0; len.min(LONGEST_FUNCTION)];
        let len = bytes::fill(file.as_ref(), &mut window, offset).unwrap_or(0);
        window.truncate(len);
        window
    }

    /// Bytes of the file that are mapped: a claim.
    #[must_use]
    pub fn mapped(&self) -> u64 {
        self.mapped
    }

    /// Opens the whole file to be looked through by address. `Ok(None)`: it is closed.
    ///
    /// # Errors
    /// The file cannot be read, or is over the budget.
    pub fn survey<'a>(&'a self, budget: &'a ElfBudget) -> Result<Option<FileSurvey<'a>>, ElfRefusal> {
        self.code.as_deref().map_or(Ok(None), |file| FileSurvey::open(file, budget))
    }

    /// A path that leads to this very file for as long as it is held open, whatever becomes of its
    /// names and of the process that mapped it.
    #[must_use]
    pub fn open_path(&self) -> Option<PathBuf> {
        let descriptor = self.code.as_ref()?.descriptor()?;
        Some(PathBuf::from(format!("/proc/self/fd/{descriptor}")))
    }

    /// Closes the file: an open one would keep its mount busy when a container goes.
    pub fn close(&mut self) {
        self.code = None;
    }

    /// The file offset of a virtual address in an executable segment, as uprobes want it.
    #[must_use]
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| segment.file_offset(address))
    }

    /// The function of this file that the PLT slot with this GOT address leads to.
    #[must_use]
    pub fn plt_target(&self, got: u64) -> Option<FunctionSymbol> {
        self.functions.get(self.plt.get(&got)?).copied()
    }

    /// The function of another file, among those that are looked for, that the PLT slot with this
    /// GOT address leads to.
    #[must_use]
    pub fn plt_import(&self, got: u64) -> Option<&'static str> {
        self.plt.get(&got).copied().filter(|name| !self.functions.contains_key(name))
    }

    /// An image of pieces of code (address, bytes), for recorded library builds.
    #[cfg(test)]
    pub(crate) fn of_code(
        code: &[(u64, Vec<u8>)],
        functions: &[(&'static str, FunctionSymbol)],
        plt: &[(u64, &'static str)],
    ) -> Self {
        let mut image = Self {
            functions: functions.iter().copied().collect(),
            plt: plt.iter().copied().collect(),
            ..Self::default()
        };
        let mut all = Vec::new();
        for (address, bytes) in code {
            let (file_offset, len) = (all.len() as u64, bytes.len() as u64);
            image.segments.push(MappedSegment {
                address: *address,
                file_offset,
                len,
                executable: true,
                writable: false,
            });
            all.extend_from_slice(bytes);
        }
        image.code = Some(Box::new(all));
        image
    }

    /// The PLT slots that lead back into this file, for recording it.
    #[cfg(test)]
    pub(crate) fn plt(&self) -> Vec<(u64, &'static str)> {
        self.plt.iter().map(|(got, name)| (*got, *name)).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests;
