//! Files made to cost, to lie, or to change while they are read. What is asserted are the accounts, never times.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::builder::{DYNSYM, RELA, STRTAB, library, relocation, symbol};
use super::*;

/// Reads a file; it must be within the budget. Returns the refusal's reason.
fn reason<B: RandomAccess + 'static>(file: B, budget: &ElfBudget) -> Option<&'static str> {
    let (spent, reason) = match read_within(file, budget) {
        Ok(None) => (ElfReadCost::default(), None),
        Ok(Some(image)) => (image.spent, None),
        Err(refusal) => {
            assert!(ElfRefusalReason::ALL.contains(&refusal.reason) && !refusal.detail.is_empty());
            (refusal.spent, Some(refusal.reason.as_str()))
        }
    };
    assert!(spent.bytes <= budget.bytes && spent.sections <= budget.sections && spent.symbols <= budget.symbols);
    assert!(spent.relocations <= budget.relocations && spent.names <= budget.names + 3);
    reason
}

/// Places the probes of a file that may be anything.
fn placed(image: &ElfImage) {
    for (stack, layout) in stacks::named(image).expect("no doubt") {
        for strategy in [stacks::PlacementStrategy::Auto, stacks::PlacementStrategy::Symbol] {
            assert!(stack.plan(image, &layout, strategy).probes.len() <= layout.functions.len());
        }
    }
}

/// A file of the given length on disk that has these bytes at its start, and nothing behind them.
fn sparse(bytes: &[u8], len: u64) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    file.set_len(len).expect("a file system with sparse files");
    file
}

#[test]
fn a_file_cut_at_any_byte_is_survived() {
    let whole = library().build().bytes;
    let mut reasons = std::collections::BTreeSet::new();
    for len in 0..whole.len() {
        reasons.extend(reason(whole[..len].to_vec(), &BUDGET));
    }
    assert!(reasons.is_empty(), "the section headers come last: without them it is no library, {reasons:?}");
    // With the section headers in front of what they tell of.
    let mut built = library().build();
    let headers = built.bytes[built.headers..].to_vec();
    for name in [".dynsym", ".dynstr", ".rela.plt"] {
        let mut bytes = built.bytes.clone();
        bytes.extend_from_within(built.offsets[name]..built.offsets[name] + 24);
        let mut moved = built.clone();
        moved.bytes = bytes;
        moved.set_section(name, 24, (moved.bytes.len() - 23) as u64);
        assert_eq!(reason(moved.bytes, &BUDGET), Some("elf_cut_short"), "{name}");
    }
    built.bytes.truncate(built.headers);
    built.bytes.extend_from_slice(&headers[..headers.len() - 1]);
    assert!(read(&built.bytes).functions.is_empty());
}

#[test]
fn any_number_in_a_header_is_survived() {
    let numbers: Vec<u64> =
        (0..64).flat_map(|bit| [1 << bit, (1u64 << bit).wrapping_neg()]).chain([0, u64::MAX - 63]).collect();
    let names: Vec<_> = library().build().offsets.keys().copied().collect();
    for number in numbers {
        for name in &names {
            for field in [4, 24, 32, 40] {
                let mut built = library().build();
                built.set_section(name, field, number);
                reason(built.bytes, &BUDGET);
            }
        }
        // Of the file header and of the one program header, all words.
        for at in (16..64).step_by(2).chain((64..120).step_by(4)) {
            let mut bytes = library().build().bytes;
            let width = if at < 64 { 2 } else { 4 };
            bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
            reason(bytes, &BUDGET);
        }
        for at in (24..48).step_by(8).chain((64 + 8..64 + 56).step_by(8)) {
            let mut bytes = library().build().bytes;
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
            if let Ok(Some(image)) = read_within(bytes, &BUDGET) {
                placed(&image);
            }
        }
    }
}

#[test]
fn addresses_and_sizes_at_the_end_of_the_address_space_are_survived() {
    for (address, size) in [(u64::MAX, u64::MAX), (u64::MAX - 3, 16), (0x1000, u64::MAX), (1 << 63, 1 << 63)] {
        let mut builder = library();
        builder.parts[0].bytes = [symbol(1, 1, address, size), symbol(18, 1, address, size)].concat();
        builder.segments.push((1, 5, address, 200, u64::MAX));
        builder.segments.push((1, 5, u64::MAX - 64, u64::MAX - 8, 64));
        let image = read(&builder.build().bytes);
        placed(&image);
        assert!(image.code(u64::MAX - 2).len() <= CODE_WINDOW);
    }
}

#[test]
fn sections_that_lie_over_each_other_are_survived() {
    let mut built = library().build();
    let len = built.bytes.len() as u64;
    for name in [".dynsym", ".dynstr", ".rela.plt", ".note.gnu.build-id", ".shstrtab"] {
        built.set_section(name, 24, 0);
        built.set_section(name, 32, len);
    }
    reason(built.bytes, &BUDGET);
}

#[test]
fn counts_over_a_sparse_file_are_refused_before_anything_is_read_or_kept() {
    let tib = 1u64 << 40;
    let mut built = library().build();
    let at = built.headers;
    built.bytes[at + 32..at + 40].copy_from_slice(&((5u64 << 30) / 64).to_le_bytes());
    built.set_header(60, 0);
    assert_eq!(reason(sparse(&built.bytes, 6 << 30), &BUDGET), Some("elf_too_many_sections"));
    for (section, len, expected) in [
        (".dynsym", 2 << 30, "elf_too_many_symbols"),
        (".dynsym", tib, "elf_too_many_symbols"),
        (".dynsym", u64::MAX, "elf_too_many_symbols"),
        (".rela.plt", 1 << 30, "elf_too_many_relocations"),
        (".rela.plt", tib, "elf_too_many_relocations"),
        (".dynstr", 1 << 30, "elf_strings_too_large"),
        (".dynstr", tib, "elf_strings_too_large"),
    ] {
        let mut built = library().build();
        built.set_section(section, 32, len);
        let Err(refusal) = read_within(sparse(&built.bytes, tib), &BUDGET) else { panic!("{section} of {len}") };
        assert_eq!(refusal.reason.as_str(), expected);
        assert!(refusal.spent.bytes < 8192, "{section} of {len}: {:?}", refusal.spent);
    }
    // The names of sections are worth no refusal.
    let mut built = library().build();
    built.set_section(".shstrtab", 32, tib);
    assert_library(&read_within(sparse(&built.bytes, tib), &BUDGET).expect("readable").expect("an ELF file"));
}

#[test]
fn program_headers_beyond_what_linux_takes_are_refused() {
    for count in [1171u16, 0xfffe] {
        let mut built = library().build();
        built.set_header(56, count);
        assert_eq!(reason(built.bytes, &BUDGET), Some("elf_too_many_program_headers"));
    }
    let mut built = library().build();
    built.set_header(56, 0xffff);
    let at = built.headers;
    built.bytes[at + 44..at + 48].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(reason(built.bytes, &BUDGET), Some("elf_too_many_program_headers"));
}

/// A library whose last table is made of one pattern for ever: no file needs to be written for it.
#[derive(Debug)]
struct Endless {
    head: Vec<u8>,
    pattern: Vec<u8>,
}

impl Endless {
    fn new(head: Vec<u8>, pattern: &[u8]) -> Self {
        // Long enough that reading it takes few calls.
        Self { head, pattern: pattern.repeat((1 << 16) / pattern.len() + 1) }
    }
}

impl RandomAccess for Endless {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let head = (&self.head[..]).read_at(into, offset)?;
        if head > 0 {
            return Ok(head);
        }
        let into_pattern = (offset - self.head.len() as u64) % self.pattern.len() as u64;
        let from = usize::try_from(into_pattern).expect("short");
        let len = into.len().min(self.pattern.len() - from);
        into[..len].copy_from_slice(&self.pattern[from..from + len]);
        Ok(len)
    }
}

fn endless(section: &str, len: u64, pattern: &[u8]) -> Endless {
    let mut built = library().build();
    built.set_section(section, 24, built.bytes.len() as u64);
    built.set_section(section, 32, len);
    Endless::new(built.bytes, pattern)
}

/// Budgets as small as tests like them, in the proportions of the real ones.
const SMALL: ElfBudget =
    ElfBudget { bytes: 3 << 20, strings: 2 << 20, names: 1 << 14, symbols: 1 << 16, relocations: 1 << 16, ..BUDGET };

#[test]
fn strings_full_of_names_are_refused_early() {
    // The real budget, as security tried it: 120 MB of it.
    let Err(refusal) = read_within(endless(".dynstr", 120 << 20, b"SSL_read"), &BUDGET) else { panic!("no limit") };
    assert_eq!(refusal.reason, ElfRefusalReason::TooManyNames);
    assert!(refusal.spent.bytes < 9 << 20, "{:?}", refusal.spent);
    for pattern in [&b"SSL_read\0"[..], b"SSL_", b"SSL_write_ex2\0SSL_new\0"] {
        assert_eq!(reason(endless(".dynstr", 1 << 20, pattern), &SMALL), Some("elf_too_many_names"));
    }
    assert_eq!(reason(endless(".dynstr", 1 << 20, b"SSL"), &SMALL), None);
}

#[test]
fn symbols_and_relocations_that_are_all_wanted_are_not_all_kept() {
    let many = symbol(1, 1, 0x1000, 16);
    assert_eq!(reason(endless(".dynsym", 1 << 20, &many), &SMALL), Some("elf_too_many_names"));
    let slots: Vec<u8> = (0..5000).flat_map(|slot| relocation(0x10_0000 + 8 * slot, 1)).collect();
    assert_eq!(reason(endless(".rela.plt", 1 << 20, &slots), &SMALL), Some("elf_too_many_relocations"));
    // None of them wanted: looked at and forgotten.
    assert_eq!(reason(endless(".dynsym", 1 << 20, &symbol(2, 1, 0x1000, 16)), &SMALL), None);
    assert_eq!(reason(endless(".rela.plt", 1 << 20, &relocation(0x5000, 2)), &SMALL), None);
}

#[test]
fn tables_that_are_many_or_the_same_are_bounded_together() {
    let mut builder = library();
    for _ in 0..100 {
        builder = builder.part(".more", RELA, 1, relocation(0x3000, 1));
    }
    assert_eq!(reason(builder.build().bytes, &BUDGET), Some("elf_too_many_sections"));
    // A few, each of half of what is looked at.
    let mut builder = library();
    for name in [".one", ".two", ".three"] {
        builder = builder.part(name, RELA, 1, Vec::new());
    }
    let mut built = builder.build();
    for name in [".one", ".two", ".three"] {
        built.set_section(name, 32, 24 << 15);
    }
    assert_eq!(reason(sparse(&built.bytes, 1 << 30), &SMALL), Some("elf_too_many_relocations"));
    // Notes: their number and length are cut, and the build id is the first found.
    let mut builder = library();
    for _ in 0..200 {
        builder = builder.part(".note.more", 7, 0, vec![0xff; 100]);
    }
    builder.segments[0].3 = builder.build().offsets[".text"] as u64;
    assert_library(&read(&builder.build().bytes));
}

#[test]
fn bytes_are_bounded_whatever_is_made_of_them() {
    let tight = ElfBudget { bytes: 1 << 20, ..SMALL };
    assert_eq!(reason(endless(".dynstr", 2 << 20, b"x"), &tight), Some("elf_too_many_bytes"));
    reason(Endless::new(Vec::new(), b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0"), &tight);
    assert_eq!(reason(Endless::new(Vec::new(), &[0]), &tight), None);
}

#[test]
fn hash_tables_without_an_end_are_bounded() {
    let gnu_hash = 0x6fff_fef5;
    for words in [
        [1, 1, 1, 0, 0, 0, 1, 0, 0, 0],
        [u32::MAX, 1, 1, 0, 0, 0, 1, 0, 0, 0],
        [1, 1, u32::MAX, 0, 0, 0, 1, 0, 0, 0],
        [1, u32::MAX, 1, 0, 0, 0, u32::MAX, 0, 0, 0],
        [1, 0, 1, 0, 0, 0, u32::MAX, 0, 0, 0],
    ] {
        let head = without_sections((gnu_hash, &words)).bytes;
        reason(head.clone(), &SMALL);
        let found = reason(Endless::new(head, &[0]), &SMALL);
        assert!(matches!(found, None | Some("elf_too_many_symbols")), "{found:?}");
    }
    let head = without_sections((4, &[1, u32::MAX, 1, 0, 2, 3, 0])).bytes;
    assert_eq!(reason(head, &BUDGET), Some("elf_too_many_symbols"));
}

thread_local! {
    static CPU: Cell<u64> = const { Cell::new(0) };
}

/// Each look at the clock finds a millisecond gone.
fn a_millisecond_a_look() -> u64 {
    CPU.set(CPU.get() + 1_000_000);
    CPU.get()
}

#[test]
fn cpu_time_is_bounded() {
    let budget = ElfBudget { cpu_ns: 20_000_000, cpu: a_millisecond_a_look, ..BUDGET };
    assert_eq!(reason(library().build().bytes, &budget), None);
    let file = endless(".dynstr", 100 << 20, b"x");
    let Err(refusal) = read_within(file, &budget) else { panic!("no limit") };
    assert_eq!(refusal.reason.as_str(), "elf_too_much_cpu");
    assert!(refusal.spent.bytes < 8 << 20 && refusal.spent.cpu_ns >= 20_000_000, "{:?}", refusal.spent);
}

/// A library that changes with each read.
#[derive(Debug)]
struct Changing {
    bytes: Vec<u8>,
    reads: AtomicUsize,
    /// From this read on.
    from: usize,
    to: Change,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Empty,
    Half,
    Garbage,
    Error(ErrorKind),
}

impl RandomAccess for Changing {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.reads.fetch_add(1, Ordering::Relaxed) < self.from {
            return self.bytes.read_at(into, offset);
        }
        match self.to {
            Change::Empty => Ok(0),
            Change::Half => (&self.bytes[..self.bytes.len() / 2]).read_at(into, offset),
            Change::Garbage => {
                into.fill(0xff);
                Ok(into.len())
            }
            Change::Error(kind) => Err(kind.into()),
        }
    }
}

#[test]
fn a_file_that_changes_at_any_read_is_survived() {
    let changes = [
        Change::Empty,
        Change::Half,
        Change::Garbage,
        Change::Error(ErrorKind::Other),
        Change::Error(ErrorKind::Interrupted),
    ];
    for to in changes {
        for from in 0..40 {
            let bytes = library().build().bytes;
            let read = read_within(Changing { bytes, reads: AtomicUsize::new(0), from, to }, &SMALL);
            match (to, read) {
                (_, Ok(Some(image))) => placed(&image),
                (Change::Error(_), Err(refusal)) => assert_eq!(refusal.reason, ElfRefusalReason::Unreadable),
                (Change::Error(_), Ok(None)) => panic!("an error is no answer"),
                _ => {}
            }
        }
    }
}

#[test]
fn a_file_cut_by_somebody_while_it_is_read_is_survived() {
    let built = library().build();
    let len = 64 << 20;
    let mut large = built.clone();
    large.set_section(".dynstr", 32, len - 4096);
    let file = sparse(&large.bytes, len);
    let other = file.try_clone().expect("a descriptor");
    let cutter = std::thread::spawn(move || {
        for round in 0..500 {
            other.set_len(if round % 2 == 0 { 300 } else { len }).expect("truncated");
        }
    });
    while !cutter.is_finished() {
        reason(file.try_clone().expect("a descriptor"), &BUDGET);
    }
    cutter.join().expect("no panic");
}

#[test]
fn what_is_no_regular_file_is_unreadable_and_does_not_block() {
    let (reader, _writer) = io::pipe().expect("a pipe");
    assert_eq!(reason(File::from(std::os::fd::OwnedFd::from(reader)), &BUDGET), Some("elf_unreadable"));
    assert_eq!(reason(File::open("/").expect("a folder"), &BUDGET), Some("elf_unreadable"));
    assert_eq!(reason(File::open("/dev/zero").expect("a device"), &BUDGET), None);
}

#[test]
fn links_between_sections_may_lead_anywhere() {
    for link in [0, 1, 4, 5, 100, 0xffff, u32::MAX] {
        let mut builder = library();
        builder.parts[0].link = link;
        builder.parts[2].link = link;
        reason(builder.build().bytes, &BUDGET);
    }
    let mut builder = library().part(".dynsym2", DYNSYM, 99, Vec::new()).part(".empty", STRTAB, 0, Vec::new());
    builder.segments[0].3 = builder.build().offsets[".text"] as u64;
    assert_library(&read(&builder.build().bytes));
}
