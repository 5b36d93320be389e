//! What reading one file may cost. A stranger makes the file: its counts are claims, and each is
//! held against a budget before anything is read or kept on its word.

use std::fmt;

/// Limits for one file.
#[derive(Clone, Copy, Debug)]
pub struct ElfBudget {
    /// Bytes read.
    pub bytes: u64,
    /// Section headers.
    pub sections: u64,
    /// Bytes of one string table.
    pub strings: u64,
    /// Strings that begin like a wanted name.
    pub names: u64,
    /// Symbols, over all tables.
    pub symbols: u64,
    /// Relocations, over all tables.
    pub relocations: u64,
    /// CPU time, nanoseconds.
    pub cpu_ns: u64,
    /// CPU time of the reading thread so far, nanoseconds. Looked at before each read.
    pub cpu: fn() -> u64,
}

impl ElfBudget {
    /// What real files stay inside of by far, and what a worker can spend on a stranger's.
    #[must_use]
    pub const fn new(cpu: fn() -> u64) -> Self {
        Self {
            bytes: BYTES,
            sections: SECTIONS,
            strings: STRINGS,
            names: NAMES,
            symbols: SYMBOLS,
            relocations: RELOCATIONS,
            cpu_ns: CPU_NS,
            cpu,
        }
    }
}

/// Bytes read of one file: its largest string table, and all symbols and relocations of the largest
/// known. Only tables are read, never the code and data that make real files large.
const BYTES: u64 = 768 << 20;

/// Section headers: more than a file can have without extended numbering (65,279). Real files have under 100.
const SECTIONS: u64 = 1 << 17;

/// A string table. A stripped browser's is 60 MiB, that of a proxy in C++ with all its symbols under 200 MiB.
const STRINGS: u64 = 256 << 20;

/// Strings that begin like a wanted name. A whole OpenSSL has under 2,000.
const NAMES: u64 = 1 << 20;

/// Symbols. A browser with all its symbols has about 2 million.
const SYMBOLS: u64 = 8 << 20;

/// Relocations. A browser before the packed ones (RELR) has about 1 million.
const RELOCATIONS: u64 = 8 << 20;

/// CPU time. Node takes 2 ms, a table of 60 MiB of names with 500,000 symbols 15 ms, the most that
/// the other limits let pass under 300 ms: this one is for machines several times slower, and for
/// file systems that make each read dear.
const CPU_NS: u64 = 1_000_000_000;

/// Program headers: as many as Linux takes of a program (64 KiB of them, `load_elf_phdrs`). Real files have under 20.
pub(super) const PROGRAM_HEADERS: u64 = 65_536 / 56;

/// Places of wanted names kept, whether in a string table, in a symbol table or as slots of a PLT:
/// real files have one or two for each name.
pub(super) const KEPT: usize = 4096;

/// Relocation and note tables kept. Real files have two and five.
pub(super) const TABLES: usize = 64;

/// Entries of the dynamic table looked at: one for each library a file needs, and about 30.
pub(super) const DYNAMIC: u64 = 4096;

/// Bytes of a table of notes looked at. A build id is 36 of them, other notes (core properties,
/// package metadata) some 100.
pub(super) const NOTES: u64 = 64 << 10;

/// What reading a file did cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ElfReadCost {
    pub bytes: u64,
    pub sections: u64,
    pub names: u64,
    pub symbols: u64,
    pub relocations: u64,
    pub cpu_ns: u64,
}

/// Why a file was not read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElfRefusal {
    pub reason: ElfRefusalReason,
    /// The same for people, with figures: "its symbol table claims 44000000 entries; 8388608 are looked at".
    pub detail: String,
    /// What it cost up to then.
    pub spent: ElfReadCost,
}

impl ElfRefusal {
    pub(super) fn new(reason: ElfRefusalReason, detail: String) -> Self {
        Self { reason, detail, spent: ElfReadCost::default() }
    }

    /// It maps more than is looked through.
    #[must_use]
    pub fn too_large(mapped: u64, limit: u64) -> Self {
        let detail = format!("it maps {mapped} bytes; files up to {limit} are looked through for TLS");
        Self::new(ElfRefusalReason::TooManyBytes, detail)
    }

    /// The system could not read the file.
    #[must_use]
    pub fn unreadable(error: &std::io::Error) -> Self {
        Self::new(ElfRefusalReason::Unreadable, error.to_string())
    }
}

impl fmt::Display for ElfRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.detail)
    }
}

impl std::error::Error for ElfRefusal {}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ElfRefusalReason {
    /// The system could not read it.
    Unreadable,
    /// A table that is needed goes beyond the file's end: it is cut, or being written.
    CutShort,
    TooManySections,
    TooManyProgramHeaders,
    StringsTooLarge,
    TooManyNames,
    TooManySymbols,
    TooManyRelocations,
    TooManyBytes,
    TooMuchCpu,
}

impl ElfRefusalReason {
    pub const ALL: [Self; 10] = [
        Self::Unreadable,
        Self::CutShort,
        Self::TooManySections,
        Self::TooManyProgramHeaders,
        Self::StringsTooLarge,
        Self::TooManyNames,
        Self::TooManySymbols,
        Self::TooManyRelocations,
        Self::TooManyBytes,
        Self::TooMuchCpu,
    ];

    /// A label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "elf_unreadable",
            Self::CutShort => "elf_cut_short",
            Self::TooManySections => "elf_too_many_sections",
            Self::TooManyProgramHeaders => "elf_too_many_program_headers",
            Self::StringsTooLarge => "elf_strings_too_large",
            Self::TooManyNames => "elf_too_many_names",
            Self::TooManySymbols => "elf_too_many_symbols",
            Self::TooManyRelocations => "elf_too_many_relocations",
            Self::TooManyBytes => "elf_too_many_bytes",
            Self::TooMuchCpu => "elf_too_much_cpu",
        }
    }
}
