//! Writes small ELF files, right or wrong in chosen places.

use std::collections::BTreeMap;

/// A section: type, link, contents. Numbered in the order in which they are added, from 1.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub kind: u32,
    pub link: u32,
    pub name: &'static str,
    pub bytes: Vec<u8>,
}

/// A file in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Builder {
    pub parts: Vec<Part>,
    /// Program headers: type, flags, address, offset, length in the file.
    pub segments: Vec<(u32, u32, u64, u64, u64)>,
}

pub(crate) const SYMTAB: u32 = 2;
pub(crate) const STRTAB: u32 = 3;
pub(crate) const RELA: u32 = 4;
pub(crate) const NOTE: u32 = 7;
pub(crate) const DYNSYM: u32 = 11;

/// A built file, and where things are in it.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub bytes: Vec<u8>,
    /// Offset of the section headers.
    pub headers: usize,
    /// Offset of each section's contents, by its name.
    pub offsets: BTreeMap<&'static str, usize>,
    numbers: BTreeMap<&'static str, usize>,
}

impl Built {
    /// Sets a field of a section header: 4 is the type, 24 the offset, 32 the size, 40 the link, 56
    /// the size of an entry.
    pub(crate) fn set_section(&mut self, name: &str, field: usize, value: u64) {
        let at = self.headers + 64 * self.numbers[name] + field;
        let width = if field == 40 || field == 4 { 4 } else { 8 };
        self.bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }

    /// Says where a section lies in memory.
    pub(crate) fn set_address(&mut self, name: &str, address: u64) {
        self.set_section(name, 16, address);
    }

    /// Sets two bytes of the file header: 56 is the number of program headers, 60 of section
    /// headers, 62 of their names.
    pub(crate) fn set_header(&mut self, field: usize, value: u16) {
        self.bytes[field..field + 2].copy_from_slice(&value.to_le_bytes());
    }
}

/// A symbol: name, section, address, size.
pub(crate) fn symbol(name: u32, section: u16, address: u64, size: u64) -> Vec<u8> {
    let mut bytes = name.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[0x12, 0]);
    bytes.extend_from_slice(&section.to_le_bytes());
    bytes.extend_from_slice(&address.to_le_bytes());
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes
}

/// A relocation of a GOT slot with a symbol's address.
pub(crate) fn relocation(slot: u64, symbol: u64) -> Vec<u8> {
    let words = [slot, symbol << 32 | 7, 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

impl Builder {
    pub(crate) fn part(mut self, name: &'static str, kind: u32, link: u32, bytes: Vec<u8>) -> Self {
        self.parts.push(Part { kind, link, name, bytes });
        self
    }

    /// Contents behind the headers, then the section headers; the last section has the names.
    pub(crate) fn build(&self) -> Built {
        let mut bytes = vec![0; 64];
        bytes[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
        for (at, value) in [(16, 3u16), (18, 62), (52, 64), (54, 56), (58, 64)] {
            bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
        bytes[56..58].copy_from_slice(&u16::try_from(self.segments.len()).expect("few").to_le_bytes());
        for (kind, flags, address, offset, len) in &self.segments {
            bytes.extend_from_slice(&kind.to_le_bytes());
            bytes.extend_from_slice(&flags.to_le_bytes());
            for word in [*offset, *address, *address, *len, *len, 4096] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
        }
        let mut names = vec![0];
        let (mut offsets, mut numbers) = (BTreeMap::new(), BTreeMap::new());
        let mut headers = vec![[0; 64].to_vec()];
        let mut parts = self.parts.clone();
        parts.push(Part { kind: STRTAB, link: 0, name: ".shstrtab", bytes: Vec::new() });
        for part in &mut parts {
            let name = u32::try_from(names.len()).expect("few");
            names.extend_from_slice(part.name.as_bytes());
            names.push(0);
            if part.name == ".shstrtab" {
                part.bytes.clone_from(&names);
            }
            let mut header = [name.to_le_bytes(), part.kind.to_le_bytes()].concat();
            header.extend_from_slice(&[0; 16]);
            header.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            header.extend_from_slice(&(part.bytes.len() as u64).to_le_bytes());
            header.extend_from_slice(&part.link.to_le_bytes());
            header.resize(64, 0);
            offsets.insert(part.name, bytes.len());
            numbers.insert(part.name, headers.len());
            bytes.extend_from_slice(&part.bytes);
            bytes.push(0);
            headers.push(header);
        }
        let at = bytes.len();
        bytes[40..48].copy_from_slice(&(at as u64).to_le_bytes());
        let mut built = Built { bytes, headers: at, offsets, numbers };
        built.set_header(60, u16::try_from(headers.len()).expect("few"));
        built.set_header(62, u16::try_from(headers.len() - 1).expect("few"));
        built.bytes.extend(headers.into_iter().flatten());
        built
    }
}

/// A library with `SSL_read` (number 1) and `SSL_write` (3), an imported `SSL_new` (2, with the
/// address of a stub, as programs have it), a PLT slot for each, a build id and code.
pub(crate) fn library() -> Builder {
    let strings = b"\0SSL_read\0SSL_new\0SSL_write\0".to_vec();
    let symbols =
        [symbol(0, 0, 0, 0), symbol(1, 1, 0x1000, 16), symbol(10, 0, 0x900, 0), symbol(18, 1, 0x1010, 16)].concat();
    let slots = [relocation(0x3000, 1), relocation(0x3008, 2), relocation(0x3010, 3)].concat();
    let note = [&[4, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0][..], b"GNU\0", &[0xde, 0xad, 0xbe, 0xef]].concat();
    // push rbx; pop rbx; ret
    let code = [&[0x53, 0x5b, 0xc3][..], &[0xcc; 13], &[0x53, 0x5b, 0xc3], &[0xcc; 13]].concat();
    let mut builder = Builder::default()
        .part(".dynsym", DYNSYM, 2, symbols)
        .part(".dynstr", STRTAB, 0, strings)
        .part(".rela.plt", RELA, 1, slots)
        .part(".note.gnu.build-id", NOTE, 0, note)
        .part(".text", 1, 0, code);
    builder.segments.push((1, 5, 0x1000, 0, 32));
    let offset = builder.build().offsets[".text"] as u64;
    builder.segments[0].3 = offset;
    builder
}
