//! The finder on recorded builds: what it looks at in them, in `tests/vectors/rustls/`.
//!
//! A file is lines of `code ADDRESS HEX`, `data ADDRESS HEX`, `text ADDRESS HEX`, `pointer SLOT VALUE` and
//! `expect …`; the test makes an ELF file of them. To record a build:
//! `LLM_OBSERVER_RECORD=/path/program:name cargo test -p capture --lib record_a_rustls -- --ignored`.

#![expect(clippy::string_slice, reason = "hexadecimal digits")]
#![expect(clippy::disallowed_methods, reason = "recorded builds are files")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::*;
use crate::elf::{ElfBudget, RandomAccess};
use crate::stacks::{hidden, symbols};

const BUDGET: ElfBudget = ElfBudget::new(|| 0);

fn image(file: impl RandomAccess + 'static) -> ElfImage {
    ElfImage::read(file, &symbols(), &BUDGET).expect("within the budget").expect("an ELF file")
}

/// What the stack says of a file.
fn told(image: &ElfImage) -> Result<Option<StackLayout>, AmbiguousStack> {
    let budget = BUDGET;
    let mut survey = image.survey(&budget).expect("within the budget").expect("it is open");
    Rustls.survey(&mut survey)
}

fn described(image: &ElfImage) -> Vec<String> {
    let layout = match told(image) {
        Ok(Some(layout)) => layout,
        Ok(None) => return vec!["expect nothing".into()],
        Err(doubt) => return vec![format!("expect {} {}", doubt.reason.name(), doubt.detail)],
    };
    let line = |function: &LocatedFunction| {
        let skip = places::skip(image, function.address, PlacementStrategy::Auto);
        format!("expect {:#x} +{} {}", function.address, skip.bytes, function.name)
    };
    layout.functions.iter().map(line).collect()
}

#[test]
#[ignore = "tells what is found in a program: LLM_OBSERVER_RECORD=path"]
fn look_at_a_rustls() {
    let path = std::env::var("LLM_OBSERVER_RECORD").expect("LLM_OBSERVER_RECORD=path");
    let image = image(std::fs::File::open(path).expect("a file"));
    let began = std::time::Instant::now();
    let lines = described(&image);
    println!("{:?}\n{}", began.elapsed(), lines.join("\n"));
    let budget = BUDGET;
    let began = std::time::Instant::now();
    let mut survey = image.survey(&budget).expect("within the budget").expect("it is open");
    let markers = markers::find(&mut survey);
    println!("markers {:?} {markers:?}", began.elapsed());
    let began = std::time::Instant::now();
    let pairs = vtables::find(&mut survey).expect("no doubt");
    println!("pairs {:?}", began.elapsed());
    for pair in pairs {
        println!(
            "{:#x} {:#x} {} {}",
            pair.encrypt,
            pair.decrypt,
            pair.reads_chunks,
            String::from_utf8_lossy(&pair.source)
        );
    }
    if let Ok(Some(layout)) = told(&image) {
        println!("{:#x?}", Rustls.plan(&image, &layout, PlacementStrategy::Auto));
    }
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/rustls")
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex")
}

fn bytes(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex")).collect()
}

/// A file that has pieces of another at the same addresses.
#[derive(Clone, Debug, Default)]
struct Pieces {
    /// Flags of a segment (1 executable, 2 writable, 4 readable), address, contents.
    segments: Vec<(u32, u64, Vec<u8>)>,
    /// What the loader fills in.
    pointers: Vec<(u64, u64)>,
    /// The same as words of the file, at fixed addresses.
    fixed: bool,
}

/// Where the pointers' table is put: above all code of the files that are known.
const TABLES: u64 = 0x7000_0000_0000;

impl Pieces {
    /// The file. It claims to have as much as one must have to be looked through.
    fn file(&self) -> Vec<u8> {
        let mut segments = self.segments.clone();
        let relocations: Vec<u8> = if self.fixed {
            for (slot, value) in &self.pointers {
                let holds =
                    |segment: &&mut (u32, u64, Vec<u8>)| (segment.1..segment.1 + segment.2.len() as u64).contains(slot);
                let (_, address, bytes) = segments.iter_mut().find(holds).expect("a slot");
                let at = usize::try_from(slot - *address).expect("small");
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
            Vec::new()
        } else {
            self.pointers.iter().flat_map(|(slot, value)| [*slot, 8, *value]).flat_map(u64::to_le_bytes).collect()
        };
        let table = [7, TABLES, 8, relocations.len() as u64, 9, 24, 0, 0];
        let dynamic: Vec<u8> = table.into_iter().flat_map(u64::to_le_bytes).collect();
        segments.push((4, TABLES, relocations));
        segments.push((4, TABLES + (1 << 29), dynamic.clone()));
        let mut headers: Vec<(u32, u32, u64, u64, u64)> = Vec::new();
        let (mut contents, count) = (Vec::new(), segments.len() as u64 + 2);
        for (flags, address, piece) in &segments {
            let offset = 64 + 56 * count + contents.len() as u64;
            headers.push((1, *flags, *address, offset, piece.len() as u64));
            contents.extend_from_slice(piece);
        }
        let last = headers.last().copied().expect("segments");
        headers.push((2, 4, last.2, last.3, dynamic.len() as u64));
        headers.push((1, 4, TABLES + (1 << 30), last.3 + last.4, 1 << 20));
        let mut file = b"\x7fELF\x02\x01\x01\0".to_vec();
        file.resize(64, 0);
        let kind: u16 = if self.fixed { 2 } else { 3 };
        for (at, value) in
            [(16, kind), (18, 62), (52, 64), (54, 56), (56, u16::try_from(count).expect("few")), (58, 64)]
        {
            file[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        for (kind, flags, address, offset, len) in headers {
            file.extend(kind.to_le_bytes());
            file.extend(flags.to_le_bytes());
            file.extend([offset, address, address, len, len, 4096].into_iter().flat_map(u64::to_le_bytes));
        }
        file.extend(contents);
        file
    }

    /// What follows the piece before belongs to it.
    fn add(&mut self, flags: u32, address: u64, bytes: Vec<u8>) {
        match self.segments.last_mut() {
            Some((kind, from, piece)) if *kind == flags && *from + piece.len() as u64 == address => piece.extend(bytes),
            _ => self.segments.push((flags, address, bytes)),
        }
    }

    fn of(text: &str) -> (Self, Vec<String>) {
        let (mut pieces, mut expected) = (Self::default(), Vec::new());
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["code", address, hexes] => pieces.add(5, hex(address), bytes(hexes)),
                ["data", address, hexes] => pieces.add(6, hex(address), bytes(hexes)),
                ["text", address, hexes] => pieces.add(4, hex(address), bytes(hexes)),
                ["pointer", slot, value] => pieces.pointers.push((hex(slot), hex(value))),
                ["expect", ..] => expected.push(line.to_owned()),
                _ => {}
            }
        }
        (pieces, expected)
    }
}

/// All recorded builds.
fn recorded() -> Vec<(String, Pieces, Vec<String>)> {
    let mut builds = Vec::new();
    for entry in std::fs::read_dir(vectors()).expect("the vectors").flatten() {
        let (pieces, expected) = Pieces::of(&std::fs::read_to_string(entry.path()).expect("a text file"));
        builds.push((entry.file_name().to_string_lossy().into_owned(), pieces, expected));
    }
    builds
}

#[test]
fn every_recorded_build_is_found_as_expected() {
    let builds = recorded();
    assert!(builds.len() >= 6, "only {} recorded builds", builds.len());
    for (name, pieces, expected) in builds {
        let image = image(pieces.file());
        assert_eq!(described(&image), expected, "{name}");
        if let Ok(Some(layout)) = told(&image) {
            let plan = Rustls.plan(&image, &layout, PlacementStrategy::Auto);
            let entries: usize = plan.probes.iter().filter_map(|probe| Some(probe.entry.as_ref()?.offsets.len())).sum();
            assert_eq!(entries, expected.len(), "{name}: each function has its probe");
            assert!(plan.probes[1].exit.is_some() && plan.probes[0].exit.is_none(), "{name}");
        }
    }
}

fn one() -> (Pieces, Vec<String>) {
    let (_, pieces, expected) = recorded().into_iter().find(|(name, ..)| name.starts_with("own")).expect("our own");
    (pieces, expected)
}

/// It is a seed of the fuzzer, too.
#[test]
fn what_the_fuzzer_begins_with_is_found() {
    let (pieces, _) = one();
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/elf/rustls");
    if std::env::var("BLESS").is_ok() {
        std::fs::write(&seed, pieces.file()).expect("written");
    }
    let file = std::fs::read(seed).expect("the seed: BLESS=1 writes it");
    assert!(told(&image(file.clone())).is_ok_and(|layout| layout.is_some()));
    crate::stacks::fuzz(&file);
}

#[test]
fn pointers_may_stand_in_the_file_as_they_are() {
    let (mut pieces, expected) = one();
    pieces.fixed = true;
    assert_eq!(described(&image(pieces.file())), expected);
}

/// Each of these makes of a right file one that is none of ours.
#[test]
fn what_is_not_quite_so_is_refused_with_its_reason() {
    let (right, _) = one();
    let refused = |pieces: &Pieces, part: &str| {
        let doubt = told(&image(pieces.file())).expect_err(part);
        assert!(doubt.reason == UnseenReason::RustlsLayoutUnknown && doubt.detail.contains(part), "{}", doubt.detail);
    };
    let replaced = |from: &str, to: &str| {
        let mut pieces = right.clone();
        for (_, _, bytes) in &mut pieces.segments {
            while let Some(at) = memchr::memmem::find(bytes, from.as_bytes()) {
                bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            }
        }
        pieces
    };
    for (version, part) in
        [("0.21", "no encrypted_payload_len"), ("0.22", "another form"), ("0.24", "otherwise than in 0.23")]
    {
        refused(&replaced("/rustls-0.23", &format!("/rustls-{version}")), part);
    }
    // No path, no body, no pointers, none in the order of a linker.
    let mut moved = right.clone();
    moved.pointers.reverse();
    refused(&moved, "release build");
    let mut bare = right.clone();
    bare.segments.retain(|(flags, ..)| *flags != 5);
    refused(&bare, "release build");
    let mut none = right.clone();
    none.segments.retain(|(flags, ..)| *flags != 4);
    assert_eq!(told(&image(none.file())), Ok(None), "nothing says that it is rustls");
}

#[test]
fn more_pairs_than_a_program_has_are_refused() {
    let (mut pieces, _) = one();
    let (slots, segments) = (pieces.pointers.clone(), pieces.segments.clone());
    // The same tables again and again, each with functions of its own.
    for copy in 1..4u64 {
        let by = copy << 32;
        pieces.pointers.extend(slots.iter().map(|(slot, value)| (slot + by, value + by)));
        pieces.segments.extend(segments.iter().map(|(flags, address, bytes)| (*flags, address + by, bytes.clone())));
    }
    let doubt = told(&image(pieces.file())).expect_err("too many");
    assert!(doubt.detail.contains("over 16 pairs"), "{}", doubt.detail);
}

#[test]
fn a_cut_or_garbled_file_is_survived() {
    let (pieces, _) = one();
    let file = pieces.file();
    for cut in (0..file.len()).step_by(9973).chain((0..512).step_by(7)) {
        if let Ok(Some(image)) = ElfImage::read(file[..cut].to_vec(), &symbols(), &BUDGET) {
            let _ = hidden(&image, &BUDGET);
        }
    }
    let mut state = 1u64;
    for _ in 0..60 {
        let mut garbled = file.clone();
        for _ in 0..20 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(state >> 33).expect("32 bits") % garbled.len().min(60_000);
            garbled[at] = state.to_be_bytes()[1];
        }
        if let Ok(Some(image)) = ElfImage::read(garbled, &symbols(), &BUDGET)
            && let Ok(Some(layout)) = told(&image)
        {
            assert!(layout.functions.len() <= 2 * vtables::PAIRS);
            Rustls.plan(&image, &layout, PlacementStrategy::Auto);
        }
    }
}

/// One window of a file.
fn piece(survey: &mut FileSurvey<'_>, kind: &str, address: u64, len: u64, text: &mut String) {
    let bytes = survey.read(address, len).expect("within the budget");
    let hexes: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(text, "{kind} {address:#x} {hexes}").expect("a string");
}

#[test]
#[ignore = "records a program into the vectors: LLM_OBSERVER_RECORD=path:name"]
fn record_a_rustls() {
    let what = std::env::var("LLM_OBSERVER_RECORD").expect("LLM_OBSERVER_RECORD=path:name");
    let (path, name) = what.split_once(':').expect("path:name");
    let (image, budget) = (image(std::fs::File::open(path).expect("a file")), BUDGET);
    let mut survey = image.survey(&budget).expect("within the budget").expect("it is open");
    let candidates = words::candidates(&mut survey).expect("no doubt");
    let (mut text, mut places, mut slots) = (format!("# {name}\n"), Vec::new(), Vec::new());
    // Of what only looks alike, a few.
    let (mut others, mut none_confirmed) = (0, true);
    for candidate in candidates {
        let confirmed = vtables::confirmed(&mut survey, candidate).expect("within the budget").is_some();
        others += usize::from(!confirmed);
        none_confirmed &= !confirmed;
        if !confirmed && others > 3 {
            continue;
        }
        let decrypter = candidate.vtable - words::DECRYPTER;
        let table = survey.read(decrypter + 40, 8).expect("within the budget");
        let len = table.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        places.push((decrypter, "data", 96));
        places.push((candidate.source, "text", len.min(512)));
        places.push((candidate.encrypted_payload_len, "code", 32));
        places.extend([(candidate.encrypt, "code", 256), (candidate.decrypt, "code", 64)]);
        slots.push(decrypter..decrypter + 96);
    }
    places.sort_unstable();
    places.dedup();
    let mut end = 0;
    for (address, kind, len) in places {
        let from = address.max(end);
        if address + len > from {
            piece(&mut survey, kind, from, address + len - from, &mut text);
            end = address + len;
        }
    }
    // A path is found where it stands, and without vtables it is all that there is.
    let versions = markers::find(&mut survey).expect("within the budget");
    if none_confirmed {
        for segment in survey.segments().filter(|segment| !segment.writable && !segment.executable).collect::<Vec<_>>()
        {
            let mut found = None;
            let windows = survey.windows(segment.address, segment.len, 64, |address, window| {
                found = found.or(memchr::memmem::find(window, b"/rustls-0").map(|at| address + at as u64));
                Ok(())
            });
            windows.expect("within the budget");
            if let Some(at) = found.filter(|_| versions.any()) {
                piece(&mut survey, "text", at, 64, &mut text);
                break;
            }
        }
    }
    let mut pointers = Vec::new();
    survey
        .pointers(|slot, value| {
            if slots.iter().any(|range| range.contains(&slot)) {
                pointers.push((slot, value));
            }
            Ok(())
        })
        .expect("within the budget");
    for (slot, value) in pointers {
        writeln!(text, "pointer {slot:#x} {value:#x}").expect("a string");
    }
    for line in described(&image) {
        writeln!(text, "{line}").expect("a string");
    }
    std::fs::write(vectors().join(format!("{name}.txt")), text).expect("written");
}
