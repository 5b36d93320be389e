//! Placement on recorded builds of the library: pieces of their code as they ship, in
//! `tests/vectors/placement_gnutls/`, in the format of `tests/vectors/placement/`. To record one:
//! `LLM_OBSERVER_RECORD=/path/libgnutls.so.30:name cargo test -p capture --lib gnutls::tests::record
//! -- --ignored`.

#![expect(clippy::string_slice, reason = "hexadecimal digits")]
#![expect(clippy::disallowed_methods, reason = "recorded builds are files")]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::*;
use crate::elf::{ElfBudget, FunctionSymbol};
use crate::stacks::{named, symbols};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/placement_gnutls")
}

fn known(name: &str) -> &'static str {
    FUNCTIONS.iter().find(|known| **known == name).expect("a function of the table")
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex")
}

fn bytes(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex")).collect()
}

fn plan(image: &ElfImage, strategy: PlacementStrategy) -> ProbePlan {
    let layout = GnuTls.recognise(image).expect("no doubt").expect("it has some of the functions");
    GnuTls.plan(image, &layout, strategy)
}

/// A line for each probe; places as offsets into the code of `image`.
fn described(plan: &ProbePlan) -> Vec<String> {
    let line = |probe: &FunctionProbe| {
        let entry = probe.entry.as_ref().expect("all have one");
        let exit = probe.exit.as_ref().map_or("-", |exit| exit.point().program);
        format!("expect {} {} {} {} places {exit}", probe.function, probe.placement, entry.program, entry.offsets.len())
    };
    plan.probes.iter().map(line).collect()
}

fn recorded(text: &str) -> (ElfImage, Vec<String>) {
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
    (ElfImage::of_code(&code, &functions, &plt), expected)
}

#[test]
fn every_recorded_build_is_placed_as_expected() {
    let mut builds = 0;
    for entry in std::fs::read_dir(vectors()).expect("the vectors").flatten() {
        if entry.path().extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let (image, expected) = recorded(&std::fs::read_to_string(entry.path()).expect("a text file"));
        let plan = plan(&image, PlacementStrategy::Auto);
        assert_eq!(described(&plan), expected, "{}", entry.path().display());
        let own = plan.rows.iter().filter(|row| matches!(row.served, CallCoverage::Own(_))).count();
        assert_eq!(own, plan.probes.len(), "each probe is a row");
        builds += 1;
    }
    assert!(builds >= 4, "only {builds} recorded builds");
}

/// `xor ecx,ecx; jmp` to `to` from `at`.
fn tail_call(at: u64, to: u64) -> Vec<u8> {
    let distance = i32::try_from(to.cast_signed() - (at + 7).cast_signed()).expect("near");
    [&[0x31, 0xc9, 0xe9][..], &distance.to_le_bytes()].concat()
}

#[test]
fn a_send_is_probed_once_whatever_the_library_has() {
    let at = |address, size| FunctionSymbol { address, size };
    let push = vec![0x53, 0x5b, 0xc3];
    let of = |code: &[(u64, Vec<u8>)], functions: &[(&'static str, FunctionSymbol)]| {
        let plan = plan(&ElfImage::of_code(code, functions, &[]), PlacementStrategy::Auto);
        plan.probes.iter().map(|probe| probe.function).collect::<Vec<_>>()
    };
    let send = (SEND, at(0x1000, 7));
    let send2 = (SEND2, at(0x2000, 3));
    assert_eq!(of(&[(0x1000, push.clone())], &[send]), [SEND], "before 3.6.3");
    assert_eq!(of(&[(0x1000, tail_call(0x1000, 0x2000)), (0x2000, push.clone())], &[send, send2]), [SEND2]);
    let inlined = of(&[(0x1000, push.clone()), (0x2000, push)], &[send, send2]);
    assert_eq!(inlined, [SEND2, SEND], "the compiler put the one into the other");
}

#[test]
fn a_read_that_does_something_else_with_its_arguments_is_probed_where_it_begins() {
    // mov rcx,rdx; mov rdx,rsi; mov esi,TYPE; jmp +0x1000; and there a push.
    let code = |kind: u8| {
        let mut read = vec![0x48, 0x89, 0xd1, 0x48, 0x89, 0xf2, 0xbe, kind, 0, 0, 0, 0xe9];
        read.extend_from_slice(&0x1000_i32.to_le_bytes());
        vec![(0x1000, read), (0x2010, vec![0x53, 0x5b, 0xc3])]
    };
    let functions = [(RECV, FunctionSymbol { address: 0x1000, size: 16 })];
    let placed = |kind, strategy| {
        let image = ElfImage::of_code(&code(kind), &functions, &[]);
        described(&plan(&image, strategy)).remove(0)
    };
    let inside = "expect gnutls_record_recv callee+0 gnutls_recv_inner 1 places ssl_read_done";
    let public = "expect gnutls_record_recv entry ssl_read 1 places ssl_read_done";
    assert_eq!(placed(23, PlacementStrategy::Auto), inside);
    assert_eq!(placed(22, PlacementStrategy::Auto), public, "handshakes, not data");
    assert_eq!(placed(23, PlacementStrategy::Symbol), public);
}

#[test]
fn what_only_calls_gnutls_under_openssls_names_is_left_to_gnutls() {
    // SSL_read: jmp *[rip+X], to a slot that is filled with gnutls_record_recv.
    let code = [(0x1000, vec![0xff, 0x25, 0xfa, 0x0f, 0, 0])];
    let functions = [("SSL_read", FunctionSymbol { address: 0x1000, size: 6 })];
    let of = |plt: &[(u64, &'static str)]| {
        let image = ElfImage::of_code(&code, &functions, plt);
        named(&image).expect("no doubt").len()
    };
    assert_eq!((of(&[(0x2000, RECV)]), of(&[(0x2000, "SSL_read_ex")]), of(&[])), (0, 1, 1));
}

#[test]
#[ignore = "records a library build into the vectors: LLM_OBSERVER_RECORD=path:name"]
fn record() {
    let what = std::env::var("LLM_OBSERVER_RECORD").expect("LLM_OBSERVER_RECORD=path:name");
    let (path, name) = what.split_once(':').expect("path:name");
    let image = ElfImage::read(std::fs::File::open(path).expect("a file"), &symbols(), &ElfBudget::new(|| 0))
        .expect("readable")
        .expect("an ELF file");
    let mut text = format!("# {name}, build id {}\n", image.build_id.clone().unwrap_or_default());
    let mut pieces = Vec::new();
    for function in FUNCTIONS {
        let Some(symbol) = image.functions.get(function) else { continue };
        writeln!(text, "symbol {function} {:#x} {:#x}", symbol.address, symbol.size).unwrap();
        let whole = [SEND, RECV, RECV_SEQ].contains(function);
        pieces.push((symbol.address, if whole { symbol.size.min(512) } else { 16 }));
        let located = LocatedFunction { name: function, address: symbol.address, size: symbol.size };
        if whole {
            pieces.extend(receivers(&image, &located).into_iter().map(|address| (address, 16)));
        }
    }
    let mut plt = image.plt();
    plt.sort_unstable();
    for (got, function) in plt.into_iter().filter(|(_, function)| FUNCTIONS.contains(function)) {
        writeln!(text, "plt {got:#x} {function}").unwrap();
    }
    // The stubs that the recorded functions jump to.
    for (address, size) in pieces.clone() {
        let code = image.code_up_to(address, usize::try_from(size).unwrap());
        for instruction in iced_x86::Decoder::with_ip(64, &code, address, iced_x86::DecoderOptions::NONE) {
            if instruction.near_branch_target() != 0 {
                pieces.push((instruction.near_branch_target(), 16));
            }
        }
    }
    pieces.sort_unstable_by_key(|(address, size)| (*address, std::cmp::Reverse(*size)));
    let mut end = 0;
    for (address, size) in pieces.into_iter().filter(|(address, _)| image.file_offset(*address).is_some()) {
        let from = address.max(end);
        let code = image.code_up_to(from, usize::try_from((address + size).saturating_sub(from)).unwrap());
        if !code.is_empty() {
            let hexes: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "code {from:#x} {hexes}").unwrap();
            end = from + code.len() as u64;
        }
    }
    for line in described(&plan(&image, PlacementStrategy::Auto)) {
        writeln!(text, "{line}").unwrap();
    }
    std::fs::write(vectors().join(format!("{name}.txt")), text).expect("written");
}
