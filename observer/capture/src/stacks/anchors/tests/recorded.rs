//! Pieces of real programs, as they ship, in `tests/vectors/anchors/`: all that the finder looks at
//! of them, at its place. What lies between is zeroes.
//!
//! A file is lines of `len BYTES`, `piece OFFSET HEX` and `expect FUNCTION OFFSET`. To record another one:
//! `LLM_OBSERVER_RECORD=/path/to/program:name cargo test -p capture --lib record_a_program -- --ignored`.

#![expect(clippy::string_slice, reason = "hexadecimal digits")]
#![expect(clippy::disallowed_methods, reason = "recorded programs are files")]
#![expect(clippy::cast_possible_truncation, reason = "offsets of files in memory")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::super::super::{SavedLayout, TlsStack, hidden, symbols};
use crate::elf::{ElfBudget, ElfImage, RandomAccess};

const BUDGET: ElfBudget = ElfBudget::new(|| 0);

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/anchors")
}

/// A file of which only pieces are known.
#[derive(Debug, Default)]
struct Pieces {
    len: u64,
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl RandomAccess for Pieces {
    fn read_at(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let len = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(into.len());
        into[..len].fill(0);
        let end = offset + len as u64;
        let first = self.pieces.range(..=offset).next_back().map_or(offset, |(at, _)| *at);
        for (at, piece) in self.pieces.range(first..end) {
            let (from, to) = ((*at).max(offset), (*at + piece.len() as u64).min(end));
            if from < to {
                let (into_from, piece_from, len) =
                    ((from - offset) as usize, (from - at) as usize, (to - from) as usize);
                into[into_from..into_from + len].copy_from_slice(&piece[piece_from..piece_from + len]);
            }
        }
        Ok(len)
    }
}

/// What is found in a file, as lines.
fn found(image: &ElfImage) -> Vec<String> {
    assert!(image.functions.is_empty(), "symbols name it");
    let stacks = hidden(image, &BUDGET).expect("no doubt");
    let functions =
        stacks.iter().flat_map(|(stack, layout)| layout.functions.iter().map(|function| (*stack, *function)));
    let line = |(stack, function): (&'static dyn TlsStack, super::super::super::LocatedFunction)| {
        let offset = image.file_offset(function.address).expect("it lies in the code");
        format!("expect {} {} {offset:#x}", stack.name(), function.name)
    };
    functions.map(line).collect()
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex")
}

fn bytes(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex")).collect()
}

fn load(text: &str) -> (Pieces, Vec<String>) {
    let (mut file, mut expected) = (Pieces::default(), Vec::new());
    for line in text.lines() {
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["len", len] => file.len = len.parse().expect("a number"),
            ["piece", offset, hexes] => drop(file.pieces.insert(hex(offset), bytes(hexes))),
            ["expect", ..] => expected.push(line.to_owned()),
            _ => {}
        }
    }
    (file, expected)
}

#[test]
fn functions_of_every_recorded_program_are_found_where_they_are() {
    let mut programs = 0;
    for entry in std::fs::read_dir(vectors()).expect("the vectors").flatten() {
        if entry.path().extension().is_none_or(|e| e != "txt") {
            continue;
        }
        let (file, expected) = load(&std::fs::read_to_string(entry.path()).expect("a text file"));
        let image = ElfImage::read(file, &symbols(), &BUDGET).expect("readable").expect("an ELF file");
        assert_eq!(found(&image), expected, "{}", entry.path().display());
        for (stack, layout) in hidden(&image, &BUDGET).expect("no doubt") {
            let read = SavedLayout::new(stack, &layout).read().map(|(_, layout)| layout);
            assert_eq!(read, Some(layout), "{}", entry.path().display());
        }
        programs += 1;
    }
    assert!(programs >= 15, "only {programs} recorded programs");
}

/// What is found in programs, and how long it takes: `LLM_OBSERVER_LOOK_AT=PATH:…`.
#[test]
#[ignore = "for people"]
fn look_at_programs() {
    for path in std::env::var("LLM_OBSERVER_LOOK_AT").expect("LLM_OBSERVER_LOOK_AT=PATH:…").split(':') {
        let began = std::time::Instant::now();
        let image =
            ElfImage::read(File::open(path).expect("a file"), &symbols(), &BUDGET).expect("readable").expect("ELF");
        let found =
            hidden(&image, &BUDGET).map(|stacks| format!("{stacks:x?}")).unwrap_or_else(|doubt| format!("{doubt:?}"));
        println!("{path}: {} ms\n{found}", began.elapsed().as_millis());
    }
}

/// Tells which parts of a file were read on their own.
#[derive(Debug)]
struct Recorder {
    file: File,
    read: Arc<Mutex<BTreeSet<(u64, usize)>>>,
}

/// What is read in pieces up to this is a header, an entry of a table, or a function; else it is searched.
const SEARCHED: usize = 20 << 10;

impl RandomAccess for Recorder {
    fn read_at(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
        if into.len() <= SEARCHED {
            self.read.lock().expect("no panic").insert((offset, into.len()));
        }
        RandomAccess::read_at(&self.file, into, offset)
    }
}

#[test]
#[ignore = "records a program into the vectors: LLM_OBSERVER_RECORD=path:name"]
fn record_a_program() {
    let what = std::env::var("LLM_OBSERVER_RECORD").expect("LLM_OBSERVER_RECORD=path:name");
    let (path, name) = what.split_once(':').expect("path:name");
    let read = Arc::new(Mutex::new(BTreeSet::new()));
    let recorder = Recorder { file: File::open(path).expect("a file"), read: Arc::clone(&read) };
    let image = ElfImage::read(recorder, &symbols(), &BUDGET).expect("readable").expect("an ELF file");
    let expected = found(&image);
    let all = std::fs::read(path).expect("the file");
    let mut places: BTreeSet<(u64, usize)> = read.lock().expect("no panic").clone();
    places.retain(|(offset, len)| *len < FUNCTION || reports(&all[*offset as usize..][..*len]));
    // The texts, with what is in front of them and behind.
    for text in [
        "ssl_lib.c\0",
        "ssl_lib.cc\0",
        "ssl_read_internal\0",
        "ssl_write_internal\0",
        "\0SSL_new\0",
        "\0SSL_shutdown\0",
        "\0OpenSSL 3.",
    ] {
        let found = memchr::memmem::find_iter(&all, text.as_bytes());
        places.extend(found.map(|at| path_and(&all, at)));
    }
    places.extend(calls(&image, &all, &places));
    let mut text = format!("# {name}\nlen {}\n", all.len());
    for (offset, piece) in joined(&all, &places) {
        let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "piece {offset:#x} {hex}").expect("a string");
    }
    for line in &expected {
        writeln!(text, "{line}").expect("a string");
    }
    let (file, _) = load(&text);
    let again = ElfImage::read(file, &symbols(), &BUDGET).expect("readable").expect("an ELF file");
    assert_eq!(found(&again), expected, "the pieces are not all");
    std::fs::write(vectors().join(format!("{name}.txt")), text).expect("written");
}

/// What is longer is a function.
const FUNCTION: usize = 200;

/// Does a function report an error that any stack is told by? The others are left out.
fn reports(code: &[u8]) -> bool {
    let numbers = [226, 215, 111, 185, 523, 524, 186];
    let texts = code.windows(5).any(|mov| {
        let number = u32::from_le_bytes([mov[1], mov[2], mov[3], mov[4]]);
        matches!(mov[0], 0xb8..=0xbf) && numbers.contains(&number)
    });
    texts || code.len() < SHORT
}

/// Functions up to this are kept whatever they report: `SSL_peek` is one, and those of OpenSSL that are told by texts.
const SHORT: usize = 2048;

/// A text with the path in front of it, and what follows.
fn path_and(all: &[u8], at: usize) -> (u64, usize) {
    let before = all[..at].iter().rposition(|byte| *byte == 0).unwrap_or(at).saturating_sub(1);
    (before as u64, at - before + 64)
}

/// A call to each beginning and end of what was read.
fn calls(image: &ElfImage, all: &[u8], read: &BTreeSet<(u64, usize)>) -> Vec<(u64, usize)> {
    let mut survey = image.survey(&BUDGET).expect("readable").expect("open");
    let code: Vec<_> = survey.segments().filter(|segment| segment.executable).collect();
    let mut wanted: BTreeSet<u64> = read.iter().flat_map(|(offset, len)| [*offset, offset + *len as u64]).collect();
    let mut found = Vec::new();
    for segment in code {
        let first = survey.file_offset(segment.address).expect("mapped");
        for at in memchr::memchr_iter(0xe8, &all[first as usize..(first + segment.len) as usize]) {
            let at = first + at as u64;
            let Some(distance) = all.get(at as usize + 1..at as usize + 5) else { continue };
            let distance = i32::from_le_bytes(distance.try_into().expect("four bytes"));
            if wanted.remove(&(at + 5).wrapping_add_signed(i64::from(distance))) {
                found.push((at, 5));
            }
        }
    }
    let _ = survey.spent();
    found
}

/// The pieces in order, none within another; all zeroes are none.
fn joined<'a>(all: &'a [u8], places: &BTreeSet<(u64, usize)>) -> Vec<(u64, &'a [u8])> {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for (offset, len) in places {
        let (from, to) = (*offset as usize, (*offset as usize + len).min(all.len()));
        match ranges.last_mut() {
            Some((_, last)) if from <= *last => *last = (*last).max(to),
            _ => ranges.push((from, to)),
        }
    }
    let pieces = ranges.into_iter().filter(|(from, to)| from < to).map(|(from, to)| (from as u64, &all[from..to]));
    pieces.filter(|(_, piece)| piece.iter().any(|byte| *byte != 0)).collect()
}
