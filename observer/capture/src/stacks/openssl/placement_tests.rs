//! Placement on recorded builds of the library: pieces of their code as they ship, in
//! `tests/vectors/placement/`.
//!
//! A file is lines of `symbol NAME ADDRESS SIZE`, `plt GOT NAME`, `code ADDRESS HEX` and `expect
//! SYMBOL ADDRESS LENGTH HOW`. To record a new build: `LLM_OBSERVER_RECORD=/path/libssl.so:name
//! cargo test -p capture --lib record_a_build -- --ignored`.

#![expect(clippy::string_slice, reason = "hexadecimal digits")]
#![expect(clippy::disallowed_methods, reason = "recorded builds are files")]

use std::path::{Path, PathBuf};

use super::super::super::{TlsStack, symbols};
use super::super::OpenSsl;
use super::*;
use crate::elf::{ElfBudget, FunctionSymbol};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/placement")
}

fn known(name: &str) -> &'static str {
    FUNCTIONS.iter().find(|f| f.symbol == name).expect("a function of the table").symbol
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex")
}

fn bytes(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex")).collect()
}

fn described(place: &ProbePlace) -> String {
    format!("expect {} {:#x} {:?} {}", place.function.symbol, place.address, place.length, place.how)
}

fn placed(image: &ElfImage, strategy: PlacementStrategy) -> Vec<ProbePlace> {
    let layout = OpenSsl.recognise(image).expect("no doubt").expect("it has some of the functions");
    places(LibraryFile { image, layout: &layout }, strategy)
}

#[test]
fn every_recorded_build_is_placed_as_expected() {
    let mut builds = 0;
    for entry in std::fs::read_dir(vectors()).expect("the vectors").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("a text file");
        if entry.path().extension().is_none_or(|e| e != "txt") {
            continue;
        }
        let (mut code, mut functions, mut plt, mut expected) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["symbol", name, address, size] => {
                    functions.push((known(name), FunctionSymbol { address: hex(address), size: hex(size) }));
                }
                ["plt", got, name] => plt.push((hex(got), known(name))),
                ["code", address, hexes] => code.push((hex(address), bytes(hexes))),
                ["expect", ..] => expected.push(line.to_string()),
                _ => {}
            }
        }
        let image = ElfImage::of_code(&code, &functions, &plt);
        let got: Vec<_> = placed(&image, PlacementStrategy::Auto).iter().map(described).collect();
        assert_eq!(got, expected, "{}", entry.path().display());
        builds += 1;
    }
    assert!(builds >= 5, "only {builds} recorded builds");
}

#[test]
fn at_the_symbols_no_call_passes_two_probes() {
    // `f` forwards to `g`, both public: a probe on each would see every call of `f` twice.
    let write_ex = [0xf3, 0x0f, 0x1e, 0xfa, 0x49, 0x89, 0xc8, 0x31, 0xc9, 0xe9, 0x02, 0x00, 0x00, 0x00, 0x90, 0x90];
    let write_ex2 = [0x48, 0x83, 0xec, 0x08, 0xc3];
    let code = [(0x1000, [&write_ex[..], &write_ex2[..]].concat())];
    let functions = [
        ("SSL_write_ex", FunctionSymbol { address: 0x1000, size: 14 }),
        ("SSL_write_ex2", FunctionSymbol { address: 0x1010, size: 5 }),
    ];
    let image = ElfImage::of_code(&code, &functions, &[]);
    let places = placed(&image, PlacementStrategy::Symbol);
    assert_eq!(places.iter().map(|p| p.function.symbol).collect::<Vec<_>>(), ["SSL_write_ex2"]);
}

#[test]
fn a_wrapper_that_changes_an_argument_is_not_thin() {
    // sub rsp,8; inc rsi; call +5; add rsp,8; ret; push rbx
    let code =
        [0x48, 0x83, 0xec, 0x08, 0x48, 0xff, 0xc6, 0xe8, 0x05, 0, 0, 0, 0x48, 0x83, 0xc4, 0x08, 0xc3, 0x53, 0x5b, 0xc3];
    let functions = [("SSL_read_ex", FunctionSymbol { address: 0x1000, size: 17 })];
    let image = ElfImage::of_code(&[(0x1000, code.to_vec())], &functions, &[]);
    assert_eq!(placed(&image, PlacementStrategy::Auto)[0].how, ProbePlacement::Entry(0));
}

#[test]
fn garbage_code_is_placed_at_the_symbol_or_not_at_all() {
    for seed in 0u64..200 {
        let mut state = seed;
        let junk: Vec<u8> = (0..300)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            })
            .collect();
        let functions: Vec<_> = FUNCTIONS
            .iter()
            .enumerate()
            .map(|(i, f)| (f.symbol, FunctionSymbol { address: 0x1000 + i as u64 * 30, size: 30 }))
            .collect();
        let image = ElfImage::of_code(&[(0x1000, junk)], &functions, &[]);
        for place in placed(&image, PlacementStrategy::Auto) {
            assert!(image.file_offset(place.address).is_some());
        }
    }
}

#[test]
#[ignore = "records a library build into the vectors: LLM_OBSERVER_RECORD=path:name"]
fn record_a_build() {
    use std::fmt::Write;
    let what = std::env::var("LLM_OBSERVER_RECORD").expect("LLM_OBSERVER_RECORD=path:name");
    let (path, name) = what.split_once(':').expect("path:name");
    let image = ElfImage::read(std::fs::File::open(path).expect("a file"), &symbols(), &ElfBudget::new(|| 0))
        .expect("readable")
        .expect("an ELF file");
    let mut text = format!("# {name}, build id {}\n", image.build_id.clone().unwrap_or_default());
    let mut addresses = Vec::new();
    let mut functions: Vec<_> = image.functions.iter().collect();
    functions.sort_by_key(|(name, _)| **name);
    for (symbol, place) in functions {
        writeln!(text, "symbol {symbol} {:#x} {:#x}", place.address, place.size).unwrap();
        addresses.push(place.address);
    }
    for (got, symbol) in image.plt() {
        writeln!(text, "plt {got:#x} {symbol}").unwrap();
    }
    // Everything that a call or jump in a window leads to belongs to the record.
    for address in addresses.clone() {
        let code = image.code(address);
        let mut decoder = decoder(&code, address);
        while decoder.can_decode() {
            let instruction = decoder.decode();
            if instruction.op0_kind() == OpKind::NearBranch64 {
                addresses.push(instruction.near_branch_target());
            }
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    let mut end = 0;
    for address in addresses {
        let from = address.max(end);
        let code = image.code(from);
        let len = usize::try_from((address + 160).saturating_sub(from)).unwrap().min(code.len());
        if len > 0 {
            let hexes: String = code[..len].iter().map(|b| format!("{b:02x}")).collect();
            writeln!(text, "code {from:#x} {hexes}").unwrap();
            end = from + len as u64;
        }
    }
    for place in placed(&image, PlacementStrategy::Auto) {
        writeln!(text, "{}", described(&place)).unwrap();
    }
    std::fs::write(vectors().join(format!("{name}.txt")), text).expect("written");
}
