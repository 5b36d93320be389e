//! Small files with the functions of BoringSSL and OpenSSL in outline.

use super::super::super::boringssl::BoringSsl;
use super::super::super::{PlacementStrategy, ProbePlacement, StackLayout, TlsStack, UnseenReason, hidden, symbols};
use crate::elf::{ElfBudget, ElfImage};

pub(super) const BUDGET: ElfBudget = ElfBudget::new(|| 0);

const TEXTS: u64 = 0x1_0000;
const CODE: u64 = 0x2_0000;

/// A file being made: texts in one segment, functions in another.
#[derive(Debug, Default)]
pub(super) struct Crafted {
    texts: Vec<u8>,
    code: Vec<u8>,
    functions: Vec<u64>,
}

impl Crafted {
    pub(super) fn text(&mut self, text: &[u8]) -> u64 {
        self.texts.push(0);
        let at = TEXTS + self.texts.len() as u64;
        self.texts.extend_from_slice(text);
        self.texts.push(0);
        at
    }

    /// Begins a function: `push rbx`.
    pub(super) fn function(&mut self) -> u64 {
        self.code.resize(self.code.len().next_multiple_of(16), 0xcc);
        let start = self.here();
        self.functions.push(start);
        self.code.push(0x53);
        start
    }

    pub(super) fn here(&self) -> u64 {
        CODE + self.code.len() as u64
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.code.extend_from_slice(bytes);
    }

    fn distance(&mut self, to: u64) {
        let distance = i32::try_from(to.cast_signed() - (self.here() + 4).cast_signed()).expect("near");
        self.bytes(&distance.to_le_bytes());
    }

    pub(super) fn call(&mut self, to: u64) {
        self.bytes(&[0xe8]);
        self.distance(to);
    }

    /// `mov edi, library; mov esi, function; mov edx, reason; lea rcx, [text]`, and enough of other
    /// instructions that the next report is another one.
    pub(super) fn report(&mut self, library: u32, function: u32, reason: u32, text: u64) {
        for (opcode, number) in [(0xbf, library), (0xbe, function), (0xba, reason)] {
            self.bytes(&[opcode]);
            self.bytes(&number.to_le_bytes());
        }
        self.bytes(&[0x48, 0x8d, 0x0d]);
        self.distance(text);
        self.bytes(&[0x90; 40]);
    }

    pub(super) fn ret(&mut self) {
        self.bytes(&[0x5b, 0xc3]);
    }

    /// The file: a header, two program headers, the texts, the code, which ends with a function that calls all others.
    pub(super) fn file(mut self) -> Vec<u8> {
        let functions = self.functions.clone();
        self.function();
        functions.into_iter().for_each(|function| self.call(function));
        self.ret();
        let mut file = vec![0; 0x1000];
        file[..20].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 62, 0]);
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[54..58].copy_from_slice(&[56, 0, 2, 0]);
        let texts = self.texts.len().next_multiple_of(0x1000);
        let parts = [(4u32, 0x1000, TEXTS, self.texts.len()), (5, 0x1000 + texts, CODE, self.code.len())];
        for (part, (flags, offset, address, len)) in parts.into_iter().enumerate() {
            let numbers = [offset as u64, address, address, len as u64, len as u64, 0x1000];
            let header: Vec<u8> = [1u32.to_le_bytes(), flags.to_le_bytes()]
                .concat()
                .into_iter()
                .chain(numbers.into_iter().flat_map(u64::to_le_bytes))
                .collect();
            file[64 + part * 56..120 + part * 56].copy_from_slice(&header);
        }
        self.texts.resize(texts, 0);
        [file, self.texts, self.code].concat()
    }
}

/// BoringSSL's functions in outline, in the order of `NAMES`.
pub(super) fn boringssl(file: &mut Crafted) -> [u64; 6] {
    let text = file.text(b"../../vendor/boringssl/ssl/ssl_lib.cc");
    let reasons = |file: &mut Crafted, reasons: &[u32]| {
        let start = file.function();
        reasons.iter().for_each(|reason| file.report(16, 0, *reason, text));
        start
    };
    let inner = reasons(file, &[226, 215]);
    file.ret();
    let write = reasons(file, &[66, 226, 215, 111]);
    file.ret();
    let read = reasons(file, &[66]);
    file.call(inner);
    // mov [rdi], rax; mov [rdi+8], rax
    file.bytes(&[0x48, 0x89, 0x07, 0x48, 0x89, 0x47, 0x08]);
    file.ret();
    let peek = reasons(file, &[66]);
    file.call(inner);
    file.ret();
    let shutdown = reasons(file, &[226]);
    file.call(inner);
    file.ret();
    let new = reasons(file, &[185]);
    file.ret();
    [inner, write, read, peek, shutdown, new]
}

pub(super) fn image(file: Vec<u8>) -> ElfImage {
    ElfImage::read(file, &symbols(), &BUDGET).expect("readable").expect("an ELF file")
}

fn layout(file: Crafted) -> (ElfImage, StackLayout) {
    let image = image(file.file());
    let mut found = hidden(&image, &BUDGET).expect("no doubt");
    assert_eq!(found.len(), 1);
    (image, found.remove(0).1)
}

fn doubt(file: Crafted) -> String {
    let doubt = hidden(&image(file.file()), &BUDGET).expect_err("a doubt");
    assert_eq!(doubt.reason, UnseenReason::AnchorAmbiguous);
    doubt.detail
}

fn places(layout: &StackLayout) -> Vec<(&'static str, u64)> {
    layout.functions.iter().map(|function| (function.name, function.address)).collect()
}

/// Seeds for the fuzzer: `LLM_OBSERVER_SEEDS=tests/fuzz/corpus/elf cargo test -p capture --lib
/// make_seeds -- --ignored`.
#[test]
#[ignore = "writes the fuzzer's seeds"]
fn make_seeds() {
    let folder = std::path::PathBuf::from(std::env::var("LLM_OBSERVER_SEEDS").expect("a folder"));
    let (mut boring, mut open) = (Crafted::default(), Crafted::default());
    boringssl(&mut boring);
    openssl(&mut open, b"OpenSSL 3.6.4 3 Nov 2026", true);
    for (name, file) in [("boringssl_inside", boring), ("openssl_inside", open)] {
        std::fs::write(folder.join(name), file.file()).expect("written");
    }
}

#[test]
fn boringssls_functions_are_told_by_what_they_report() {
    let mut file = Crafted::default();
    let [_, write, read, _, shutdown, new] = boringssl(&mut file);
    let (image, layout) = layout(file);
    let expected = [("SSL_new", new), ("SSL_write", write), ("SSL_read", read), ("SSL_shutdown", shutdown)];
    assert_eq!(places(&layout), expected);
    let plan = BoringSsl.plan(&image, &layout, PlacementStrategy::Auto);
    assert!(plan.probes.iter().all(|probe| probe.placement == ProbePlacement::Entry(0)));
    assert!(plan.probes[1].why.contains("it alone raises 226, 215 and 111 with ssl_lib.cc"), "{:?}", plan.probes[1]);
}

#[test]
fn two_candidates_are_a_refusal() {
    let mut file = Crafted::default();
    boringssl(&mut file);
    boringssl(&mut file);
    let told = doubt(file);
    assert!(told.starts_with("2 functions are like BoringSSL's SSL_write where one is expected (0x2"), "{told}");
}

#[test]
fn a_read_that_takes_nothing_away_is_no_read() {
    let mut file = Crafted::default();
    let text = file.text(b"ssl/ssl_lib.cc");
    let inner = file.function();
    [226, 215].into_iter().for_each(|reason| file.report(16, 0, reason, text));
    file.ret();
    file.function();
    [226, 215, 111].into_iter().for_each(|reason| file.report(16, 0, reason, text));
    file.ret();
    file.function();
    file.report(16, 0, 66, text);
    file.call(inner);
    file.ret();
    assert_eq!(doubt(file), "no function is like BoringSSL's SSL_read");
}

#[test]
fn a_text_that_nothing_refers_to_is_no_stack() {
    let mut file = Crafted::default();
    file.text(b"ssl/ssl_lib.cc");
    file.function();
    file.ret();
    assert!(hidden(&image(file.file()), &BUDGET).expect("no doubt").is_empty());
}

/// `lea rcx, [text]` in the midst of another instruction.
#[test]
fn what_is_no_instruction_refers_to_nothing() {
    let mut file = Crafted::default();
    let text = file.text(b"ssl/ssl_lib.cc");
    file.function();
    file.bytes(&[0x48, 0xb8]); // mov rax, imm64
    let at = file.here();
    file.report(16, 0, 226, text - 8);
    // The lea of the report lies 15 bytes on; the number takes 8 of those.
    assert!(file.here() > at);
    file.ret();
    assert!(hidden(&image(file.file()), &BUDGET).is_ok_and(|found| found.is_empty()));
}

/// OpenSSL from 3.0 on: the write has a fifth argument, or not.
fn openssl(file: &mut Crafted, version: &[u8], fifth: bool) -> [u64; 2] {
    let (read_name, write_name) = (file.text(b"ssl_read_internal"), file.text(b"ssl_write_internal"));
    file.text(version);
    let read = file.function();
    file.report(20, 0, 276, read_name);
    file.ret();
    let write = file.function();
    if fifth {
        file.bytes(&[0x4c, 0x89, 0xc3]); // mov rbx, r8
    }
    file.report(20, 0, 276, write_name);
    // mov r8d, 1: no argument
    file.bytes(&[0x41, 0xb8, 1, 0, 0, 0]);
    file.ret();
    [read, write]
}

#[test]
fn openssls_write_is_told_with_its_form() {
    for (version, fifth, name) in [
        (&b"OpenSSL 3.6.4 3 Nov 2026"[..], true, "ssl_write_internal with flags"),
        (b"OpenSSL 3.0.19 27 Jan 2026", false, "ssl_write_internal"),
        (b"no version", true, "ssl_write_internal with flags"),
        (b"no version", false, "ssl_write_internal"),
    ] {
        let mut file = Crafted::default();
        let [read, write] = openssl(&mut file, version, fifth);
        assert_eq!(places(&layout(file).1), [(name, write), ("ssl_read_internal", read)]);
    }
    let mut file = Crafted::default();
    openssl(&mut file, b"OpenSSL 3.0.19 27 Jan 2026", true);
    let told = doubt(file);
    assert_eq!(
        told,
        "its ssl_write_internal has five arguments, its version is another one: OpenSSL 3.0.19 27 Jan 2026"
    );
}

/// The compiler took the function into those that call it.
#[test]
fn an_inlined_openssl_is_a_refusal() {
    let mut file = Crafted::default();
    openssl(&mut file, b"OpenSSL 3.6.4 3 Nov 2026", true);
    let name = file.text(b"ssl_read_internal");
    for _ in 0..2 {
        file.function();
        file.report(20, 0, 276, name);
        file.ret();
    }
    let told = doubt(file);
    assert!(told.starts_with("3 functions are like OpenSSL's ssl_read_internal where one is expected"), "{told}");
}

#[test]
fn openssl_1_1_1_is_told_by_numbers_of_its_library() {
    let mut file = Crafted::default();
    let text = file.text(b"ssl/ssl_lib.c");
    let report = |file: &mut Crafted, library, number| {
        let start = file.function();
        file.report(library, number, 276, text);
        file.ret();
        start
    };
    let (read, write, new) = (report(&mut file, 20, 523), report(&mut file, 20, 524), report(&mut file, 20, 186));
    // Another library's, and another function's.
    report(&mut file, 6, 523);
    report(&mut file, 20, 208);
    assert_eq!(places(&layout(file).1), [("ssl_write_internal", write), ("ssl_read_internal", read), ("SSL_new", new)]);
}

/// Bytes in the midst of a function that look like a call into another: the place is aligned, and
/// no instruction begins there.
#[test]
fn what_is_called_by_chance_is_no_function() {
    let mut file = Crafted::default();
    let text = file.text(b"ssl_read_internal");
    let write_name = file.text(b"ssl_write_internal");
    let read = file.function();
    file.bytes(&[0x90; 10]);
    file.bytes(&[0x48, 0xb8]); // mov rax, imm64: its number begins 13 bytes on, and has the next aligned place in it
    file.bytes(&[0x90; 8]);
    let midst = read + 16;
    file.report(20, 0, 276, text);
    file.ret();
    let write = file.function();
    file.report(20, 0, 276, write_name);
    file.ret();
    file.function();
    file.call(midst);
    file.ret();
    assert_eq!(places(&layout(file).1), [("ssl_write_internal", write), ("ssl_read_internal", read)]);
}
