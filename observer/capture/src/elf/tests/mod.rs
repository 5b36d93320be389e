//! Files that are right, if odd. Those that are not: `hostile`.

#![expect(clippy::disallowed_methods, reason = "descriptors are part of what is tested")]

pub(crate) mod builder;
mod hostile;
mod survey;

use self::builder::{Builder, Built, DYNSYM, STRTAB, SYMTAB, library, symbol};
use super::*;
use crate::stacks;

const BUDGET: ElfBudget = ElfBudget::new(|| 0);

fn read_within<B: RandomAccess + 'static>(file: B, budget: &ElfBudget) -> Result<Option<ElfImage>, ElfRefusal> {
    ElfImage::read(file, &stacks::symbols(), budget)
}

fn read(bytes: &[u8]) -> ElfImage {
    read_within(bytes.to_vec(), &BUDGET).expect("within its budget").expect("an ELF file")
}

fn names(image: &ElfImage) -> Vec<&'static str> {
    let mut names: Vec<_> = image.functions.keys().copied().collect();
    names.sort_unstable();
    names
}

/// What a file must say that was made of `library`, whatever was done to it.
fn assert_library(image: &ElfImage) {
    assert_eq!(names(image), ["SSL_read", "SSL_write"], "what it imports is not its own");
    assert_eq!(image.functions["SSL_write"], FunctionSymbol { address: 0x1010, size: 16 });
    assert_eq!(image.plt_target(0x3010), image.functions.get("SSL_write").copied());
    assert_eq!(image.plt_target(0x3000), image.functions.get("SSL_read").copied());
    assert_eq!(image.plt_target(0x3008), None, "leads into another file");
    assert_eq!(image.build_id.as_deref(), Some("deadbeef"));
}

#[test]
fn a_library_is_read() {
    let built = library().build();
    let image = read(&built.bytes);
    assert_library(&image);
    assert_eq!(image.marks, OtherTlsStacks { go: false, stripped: true });
    assert_eq!(image.file_offset(0x1010), Some(built.offsets[".text"] as u64 + 16));
    assert_eq!(image.file_offset(0x1020), None, "behind the segment");
    assert_eq!(image.code(0x1010)[..3], [0x53, 0x5b, 0xc3]);
    assert_eq!((image.spent.symbols, image.spent.relocations, image.spent.names), (4, 3, 3));
    let text = built.offsets[".text"] as u64;
    let [(stack, layout)] = &stacks::named(&image).expect("no doubt")[..] else { panic!("one stack") };
    let plan = stack.plan(&image, layout, stacks::PlacementStrategy::Auto);
    let entries = plan.probes.iter().flat_map(|probe| &probe.entry).flat_map(|point| point.offsets.clone());
    assert_eq!(entries.collect::<Vec<_>>(), [text + 16, text]);
}

#[test]
fn files_of_which_nothing_is_known_are_not_alike() {
    let library = read(&library().build().bytes);
    assert!(library.is_like(&library));
    let unknown = ElfImage::default();
    assert!(!unknown.is_like(&unknown) && !unknown.is_like(&library));
}

#[test]
fn code_is_read_of_the_open_file_until_it_is_closed() {
    use std::io::Write;
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&library().build().bytes).expect("written");
    let mut image = read_within(file, &BUDGET).expect("readable").expect("an ELF file");
    assert_library(&image);
    let path = image.open_path().expect("it is open");
    assert_eq!(std::fs::read(path).expect("readable"), library().build().bytes);
    image.close();
    assert_eq!((image.open_path(), image.code(0x1010)), (None, Vec::new()));
    assert!(image.file_offset(0x1010).is_some(), "what was read stays");
}

#[test]
fn what_is_no_64_bit_x86_elf_file_is_none() {
    let library = library().build().bytes;
    let changed = |at: usize, byte: u8| {
        let mut bytes = library.clone();
        bytes[at] = byte;
        bytes
    };
    for bytes in [Vec::new(), b"#!/bin/sh\n".to_vec(), changed(0, 0), changed(4, 1), changed(5, 2), changed(18, 183)] {
        assert!(matches!(read_within(bytes, &BUDGET), Ok(None)));
    }
}

#[test]
fn the_size_of_entries_is_not_believed() {
    for size in [0, 1, 7, 23, 25, u64::MAX] {
        let mut built = library().build();
        built.set_section(".dynsym", 56, size);
        built.set_section(".rela.plt", 56, size);
        assert_library(&read(&built.bytes));
    }
}

#[test]
fn a_remainder_smaller_than_an_entry_is_none() {
    let mut builder = library();
    builder.parts[0].bytes.extend_from_slice(&[0xff; 23]);
    builder.parts[2].bytes.extend_from_slice(&[0xff; 5]);
    builder.segments[0].3 = builder.build().offsets[".text"] as u64;
    assert_library(&read(&builder.build().bytes));
}

#[test]
fn numbers_too_large_for_the_file_header_are_found_in_the_first_section() {
    let mut built = library().build();
    let count = u16::from_le_bytes([built.bytes[60], built.bytes[61]]);
    let at = built.headers;
    built.bytes[at + 32..at + 40].copy_from_slice(&u64::from(count).to_le_bytes());
    built.bytes[at + 40..at + 44].copy_from_slice(&u32::from(count - 1).to_le_bytes());
    built.bytes[at + 44..at + 48].copy_from_slice(&1u32.to_le_bytes());
    for (field, value) in [(60, 0), (62, 0xffff), (56, 0xffff)] {
        built.set_header(field, value);
    }
    assert_library(&read(&built.bytes));
}

#[test]
fn more_sections_than_the_file_header_can_count_are_read() {
    let mut built = library().build();
    let at = built.headers;
    let more = 70_000;
    built.bytes.resize(at + 64 * more, 0);
    built.bytes[at + 32..at + 40].copy_from_slice(&(more as u64).to_le_bytes());
    built.set_header(60, 0);
    let image = read(&built.bytes);
    assert_library(&image);
    assert_eq!(image.spent.sections, more as u64);
}

#[test]
fn names_inside_other_names_are_found() {
    let mut builder = library();
    builder.parts[1].bytes = b"\0XXSSL_read\0SSL_new\0XSSL_write\0".to_vec();
    builder.parts[0].bytes =
        [symbol(0, 0, 0, 0), symbol(3, 1, 0x1000, 16), symbol(12, 0, 0, 0), symbol(21, 1, 0x1010, 16)].concat();
    builder.segments[0].3 = builder.build().offsets[".text"] as u64;
    assert_library(&read(&builder.build().bytes));
}

#[test]
fn a_name_defined_twice_is_the_later_one() {
    let mut builder = library();
    builder.parts[0].bytes.extend(symbol(1, 1, 0x1008, 8));
    assert_eq!(read(&builder.build().bytes).functions["SSL_read"].address, 0x1008);
}

/// A file with one file-local table that has `SSL_read`.
fn with_local_symbols() -> Builder {
    Builder::default().part(".symtab", SYMTAB, 2, [symbol(0, 0, 0, 0), symbol(1, 1, 0x1000, 16)].concat()).part(
        ".strtab",
        STRTAB,
        0,
        b"\0SSL_read\0".to_vec(),
    )
}

#[test]
fn local_symbols_count_in_programs_alone() {
    let finds = |builder: &Builder, kind: u16| {
        let mut built = builder.build();
        built.set_header(16, kind);
        let image = read(&built.bytes);
        assert!(!image.marks.stripped);
        !image.functions.is_empty()
    };
    let (executable, shared) = (2, 3);
    let plain = with_local_symbols();
    assert!(finds(&plain, executable) && finds(&plain, shared), "nothing dynamic: nobody can load it");
    let dynamic = |entries: &[u64]| {
        let bytes: Vec<u8> = entries.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut builder = with_local_symbols().part(".dynamic", 6, 0, bytes);
        builder.segments.push((2, 6, 0x5000, 0, 16 * (entries.len() as u64 / 2)));
        builder.segments[0].3 = builder.build().offsets[".dynamic"] as u64;
        builder
    };
    let library = dynamic(&[1, 1, 0, 0]);
    assert!(!finds(&library, shared));
    assert!(finds(&library, executable), "at a fixed address");
    let mut loaded = library.clone();
    loaded.segments.push((3, 4, 0x200, 0x200, 28));
    loaded.segments[0].3 = loaded.build().offsets[".dynamic"] as u64;
    assert!(finds(&loaded, shared), "it names a loader");
    let position_independent = 0x0800_0000;
    assert!(finds(&dynamic(&[0x6fff_fffb, position_independent, 0, 0]), shared), "static, but can be loaded anywhere");
    assert!(!finds(&dynamic(&[0x6fff_fffb, 1, 0, 0]), shared));
    assert!(!finds(&dynamic(&[0, 0, 0x6fff_fffb, position_independent]), shared), "behind the end of the table");
}

#[test]
fn go_is_known_by_its_sections() {
    assert!(read(&library().part(".gopclntab", 1, 0, vec![0]).build().bytes).marks.go);
    assert!(read(&library().part(".go.buildinfo", 1, 0, vec![0]).build().bytes).marks.go);
    assert!(!read(&library().part(".gopclntable", 1, 0, vec![0]).build().bytes).marks.go);
}

/// `library` with a dynamic table and a table of hashes, its section headers taken off.
fn without_sections(hash: (u64, &[u32])) -> Built {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let make = |offsets: Option<&Built>| {
        let at = |name| offsets.map_or(0, |built: &Built| built.offsets[name] as u64 + 0x10_0000);
        let len =
            |name: &str| library().parts.iter().find(|part| part.name == name).map_or(0, |p| p.bytes.len()) as u64;
        let entries = [
            (5, at(".dynstr")),
            (6, at(".dynsym")),
            (10, len(".dynstr")),
            (23, at(".rela.plt")),
            (2, len(".rela.plt")),
            (hash.0, at(".hash")),
            (0, 0),
        ];
        let table: Vec<u8> =
            entries.iter().flat_map(|(tag, value)| [*tag, *value]).flat_map(u64::to_le_bytes).collect();
        let mut builder = library().part(".hash", 1, 0, words(hash.1)).part(".dynamic", 6, 0, table);
        let dynamic = offsets.map_or(0, |built| built.offsets[".dynamic"] as u64);
        let text = offsets.map_or(0, |built| built.offsets[".text"] as u64);
        let note = offsets.map_or(0, |built| built.offsets[".note.gnu.build-id"] as u64);
        builder.segments = vec![
            (1, 5, 0x1000, text, 32),
            (1, 4, 0x10_0000, 0, 1 << 16),
            (2, 6, 0x10_0000 + dynamic, dynamic, 16 * entries.len() as u64),
            (4, 4, 0x10_0000 + note, note, 20),
        ];
        builder.build()
    };
    let mut built = make(Some(&make(None)));
    built.bytes.truncate(built.headers);
    built.bytes[40..48].fill(0);
    built.set_header(60, 0);
    built.set_header(62, 0);
    built
}

#[test]
fn without_section_headers_the_loaders_tables_lead_to_the_symbols() {
    let (hash, gnu_hash) = (4, 0x6fff_fef5);
    // One bucket, four chain words.
    assert_library(&read(&without_sections((hash, &[1, 4, 1, 0, 2, 3, 0])).bytes));
    // One bucket that begins at symbol 1, a bloom filter of one word (eight bytes), a chain of
    // three that ends with the odd one.
    let image = read(&without_sections((gnu_hash, &[1, 1, 1, 0, 0, 0, 1, 2, 4, 7])).bytes);
    assert_library(&image);
    assert!(image.marks.stripped);
    // A table of hashes that counts nothing, or goes beyond the file.
    assert!(read(&without_sections((gnu_hash, &[0, 0, 0, 0])).bytes).functions.is_empty());
    let endless = read_within(without_sections((gnu_hash, &[1, 1, 1, 0, 0, 0, 1, 2, 4, 6])).bytes, &BUDGET);
    assert_eq!(endless.expect_err("the chain goes on into what follows").reason, ElfRefusalReason::CutShort);
    let cut = without_sections((hash, &[1, 4, 1, 0, 2, 3, 0]));
    assert!(read(&cut.bytes[..cut.offsets[".dynamic"]]).functions.is_empty(), "no dynamic table");
}

#[test]
fn section_headers_that_are_not_there_are_none() {
    let (gnu_hash, words) = (0x6fff_fef5, [1, 1, 1, 0, 0, 0, 1, 2, 4, 7]);
    for (offset, count) in [(u64::MAX, 10), (1 << 40, 10), (1 << 40, 0), (64, 0)] {
        let mut built = without_sections((gnu_hash, &words));
        built.bytes[40..48].copy_from_slice(&u64::to_le_bytes(offset));
        built.set_header(60, count);
        match read_within(built.bytes, &BUDGET) {
            Ok(Some(image)) => assert_library(&image),
            // At 64 lie the program headers: as a section header they claim a number.
            Err(refusal) => assert!(offset == 64 && refusal.reason == ElfRefusalReason::TooManySections, "{refusal}"),
            Ok(None) => panic!("an ELF file"),
        }
    }
}

#[test]
fn the_dynamic_symbols_win_over_the_local_ones() {
    let mut builder = library().part(".symtab", SYMTAB, 7, symbol(1, 1, 0x2000, 4)).part(
        ".strtab",
        STRTAB,
        0,
        b"\0SSL_read\0".to_vec(),
    );
    builder.segments[0].3 = builder.build().offsets[".text"] as u64;
    assert_library(&read(&builder.build().bytes));
    builder.parts[0] = builder::Part { kind: DYNSYM, link: 2, name: ".dynsym", bytes: symbol(1, 0, 0, 0) };
    assert_eq!(read(&builder.build().bytes).functions["SSL_read"].address, 0x2000, "only imported there");
}
