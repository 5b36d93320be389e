//! Writes small Go programs, right or wrong in chosen places: code, the table of functions and the
//! module's description, as Go's linker lays them out.

use crate::elf::tests::builder::Builder;

/// `cmp rsp,[r14+0x10]; jbe 14; push rbp; mov rbp,rsp; pop rbp; ret; pop rbp; ret`, and behind them
/// what makes the stack larger: `call; jmp 0`.
pub(super) const SMALL: &[u8] =
    &[0x49, 0x3b, 0x66, 0x10, 0x76, 0x08, 0x55, 0x48, 0x89, 0xe5, 0x5d, 0xc3, 0x5d, 0xc3, 0xe8, 0, 0, 0, 0, 0xeb, 0xeb];

/// As `Write` of Go 1.26 begins: `lea r12,[rsp-0x50]; cmp r12,[r14+0x10]; jbe`; then `ret`.
pub(super) const LARGE: &[u8] =
    &[0x4c, 0x8d, 0x64, 0x24, 0xb0, 0x4d, 0x3b, 0x66, 0x10, 0x0f, 0x86, 1, 0, 0, 0, 0xc3, 0xe8, 0, 0, 0, 0];

/// As functions of Go 1.16 begin: `mov rcx,fs:[-8]; cmp rsp,[rcx+0x10]; jbe`; then `ret`.
pub(super) const OF_1_16: &[u8] =
    &[0x64, 0x48, 0x8b, 0x0c, 0x25, 0xf8, 0xff, 0xff, 0xff, 0x48, 0x3b, 0x61, 0x10, 0x76, 1, 0xc3, 0xc3];

fn half(value: u64) -> u32 {
    u32::try_from(value).expect("small")
}

fn len(value: u64) -> usize {
    usize::try_from(value).expect("small")
}

/// A program in the making.
#[derive(Clone, Debug)]
pub(super) struct GoFile {
    pub magic: u32,
    pub functions: Vec<(&'static str, Vec<u8>)>,
    /// The header says where the code begins.
    pub text_in_header: bool,
    pub module: bool,
    /// Pointers stand in relocations instead of in the file.
    pub relocated: bool,
    pub sections: bool,
    /// A name that stands before all others.
    pub named_first: Option<&'static str>,
    /// Words of the header and of the module's description that are other ones.
    pub header: Vec<(usize, u64)>,
    pub described: Vec<(usize, u64)>,
}

pub(super) const TEXT: u64 = 0x40_1000;
pub(super) const TABLE: u64 = 0x50_0000;
pub(super) const MODULE: u64 = 0x60_0000;
const RELA: u64 = 0x70_0000;

/// Functions begin so far apart.
pub(super) const APART: u64 = 0x40;

pub(super) const READ: &str = "crypto/tls.(*Conn).Read";
pub(super) const WRITE: &str = "crypto/tls.(*Conn).Write";

impl GoFile {
    /// A client of Go 1.26, stripped.
    pub(super) fn new() -> Self {
        let functions = [
            ("runtime.text", SMALL),
            ("crypto/tls.(*Conn).Readable", SMALL),
            (READ, SMALL),
            ("crypto/tls.(*Conn).Read.func1", SMALL),
            (WRITE, LARGE),
            ("crypto/tls.(*Conn).clientHandshake", LARGE),
            ("crypto/tls.(*Conn).Close", SMALL),
            ("main.main", SMALL),
        ];
        Self {
            magic: 0xffff_fff1,
            functions: functions.iter().map(|(name, code)| (*name, code.to_vec())).collect(),
            text_in_header: false,
            module: true,
            relocated: false,
            sections: true,
            named_first: None,
            header: Vec::new(),
            described: Vec::new(),
        }
    }

    /// Another body of a function.
    pub(super) fn with(mut self, name: &str, code: &[u8]) -> Self {
        self.functions.iter_mut().filter(|(one, _)| *one == name).for_each(|(_, body)| *body = code.to_vec());
        self
    }

    /// Where a function begins: its distance from the code's beginning.
    pub(super) fn entry(&self, name: &str) -> u64 {
        self.entry_of(self.functions.iter().take_while(|(one, _)| *one != name).count())
    }

    fn entry_of(&self, number: usize) -> u64 {
        self.functions.iter().take(number).map(|(_, code)| (code.len() as u64).next_multiple_of(APART)).sum()
    }

    fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for (_, code) in &self.functions {
            text.extend_from_slice(code);
            text.resize(len((text.len() as u64).next_multiple_of(APART)), 0xcc);
        }
        text
    }

    /// The table, and where its names and functions begin in it.
    fn table(&self) -> (Vec<u8>, u64, u64) {
        let wide = self.magic == 0xffff_fffa;
        let (mut names, mut places) = (Vec::new(), Vec::new());
        if let Some(first) = self.named_first {
            names = [first.as_bytes(), &[0]].concat();
        }
        for (name, _) in &self.functions {
            if self.named_first == Some(name) {
                places.push(0);
                continue;
            }
            places.push(half(names.len() as u64));
            names.extend_from_slice(name.as_bytes());
            names.push(0);
        }
        names.resize(names.len().next_multiple_of(8), 0);
        let count = self.functions.len();
        let names_at = 80;
        let functions_at = names_at + names.len();
        let width = if wide { 16 } else { 8 };
        let (mut entries, mut records) = (Vec::new(), Vec::new());
        let records_at = ((count + 1) * width) as u64;
        for (number, place) in places.into_iter().enumerate() {
            let (entry, record) = (self.entry_of(number), records_at + records.len() as u64);
            if wide {
                entries.extend([TEXT + entry, record].iter().flat_map(|word| word.to_le_bytes()));
                records.extend((TEXT + entry).to_le_bytes());
            } else {
                entries.extend([entry, record].iter().flat_map(|word| half(*word).to_le_bytes()));
                records.extend(half(entry).to_le_bytes());
            }
            records.extend(place.to_le_bytes());
            records.extend([0; 24]);
        }
        let end = self.text().len() as u64;
        entries.extend(if wide { (TEXT + end).to_le_bytes().to_vec() } else { half(end).to_le_bytes().to_vec() });
        entries.resize(len(records_at), 0);
        let text = if self.text_in_header && !self.relocated { TEXT } else { 0 };
        let (names_end, functions) = (functions_at as u64, functions_at as u64);
        let mut words = vec![0, count as u64, 1];
        words.extend((!wide).then_some(text));
        words.extend([names_at as u64, names_end, names_end, names_end, functions]);
        self.header.iter().for_each(|(index, value)| words[*index] = *value);
        let mut table: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        table[..4].copy_from_slice(&self.magic.to_le_bytes());
        table[4..8].copy_from_slice(&[0, 0, 1, 8]);
        table.resize(names_at, 0);
        ([table, names, entries, records].concat(), TABLE + names_at as u64, TABLE + functions)
    }

    fn words(&self) -> Vec<u64> {
        let (_, names, functions) = self.table();
        let (count, end) = (self.functions.len() as u64, TEXT + self.text().len() as u64);
        let mut words = vec![0; 24];
        for (index, value) in [(0, TABLE), (1, names), (13, functions), (16, functions), (17, count + 1)] {
            words[index] = value;
        }
        words[20..24].copy_from_slice(&[TEXT, end, TEXT, end]);
        self.described.iter().for_each(|(index, value)| words[*index] = *value);
        words
    }

    /// The file's bytes, with its parts where the constants say.
    pub(super) fn build(&self) -> Vec<u8> {
        let (table, ..) = self.table();
        let words = self.words();
        let mut relocations: Vec<(u64, u64)> = Vec::new();
        let mut module: Vec<u8> = vec![0; 16];
        if self.module {
            let stays = |index: usize| !self.relocated || index == 17;
            let of = |(index, word): (usize, &u64)| if stays(index) { *word } else { 0 };
            module.extend(words.iter().enumerate().map(of).flat_map(u64::to_le_bytes));
            let moved = words.iter().enumerate().filter(|(index, word)| !stays(*index) && **word != 0);
            relocations.extend(moved.map(|(index, word)| (MODULE + 16 + 8 * index as u64, *word)));
        }
        if self.relocated && self.text_in_header {
            relocations.push((TABLE + 24, TEXT));
        }
        let rela = relocations.iter().flat_map(|(slot, value)| [*slot, 8, *value]).flat_map(u64::to_le_bytes).collect();
        let dynamic = [7, RELA, 8, 24 * relocations.len() as u64, 0, 0].into_iter().flat_map(u64::to_le_bytes);
        let parts: [(&'static str, u64, u32, Vec<u8>); 5] = [
            (".text", TEXT, 5, self.text()),
            (".gopclntab", TABLE, 4, table),
            (".go.module", MODULE, 6, module),
            (".rela", RELA, 4, rela),
            (".dynamic", RELA + 0x1_0000, 6, dynamic.collect()),
        ];
        let mut builder = Builder::default();
        for (name, _, _, bytes) in &parts {
            builder = builder.part(name, 1, 0, bytes.clone());
        }
        builder.segments = vec![(1, 0, 0, 0, 0); parts.len()];
        builder.segments.push((2, 6, 0, 0, 0));
        let built = builder.build();
        for (segment, (name, address, flags, bytes)) in builder.segments.iter_mut().zip(&parts) {
            *segment = (1, *flags, *address, built.offsets[name] as u64, bytes.len() as u64);
        }
        let (address, len) = (parts[4].1, parts[4].3.len() as u64);
        builder.segments[5] = (2, 6, address, built.offsets[".dynamic"] as u64, len);
        let mut built = builder.build();
        // A module's description begins where its section does; here so far into its segment.
        for (name, address) in [(".text", TEXT), (".gopclntab", TABLE), (".go.module", MODULE + 16)] {
            built.set_address(name, address);
        }
        if !self.sections {
            built.bytes[40..48].fill(0);
        }
        if !self.relocated {
            built.set_header(16, 2);
        }
        built.bytes
    }
}
