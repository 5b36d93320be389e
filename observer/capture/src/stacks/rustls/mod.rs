//! rustls 0.23, which programs in Rust carry inside of them: stripped, linked in one piece, without a
//! function that a symbol could name.
//!
//! What no optimiser can take away is a method that is called through a vtable: `MessageEncrypter::encrypt`
//! and `MessageDecrypter::decrypt`, one pair for each family of cipher suites and provider of
//! cryptography. Each call is one TLS record, with its number and its type. The strings that rustls's
//! panics name (`…/rustls-0.23.46/src/crypto/ring/tls13.rs`) tell that it is there, and which one.

mod markers;
mod places;
mod vtables;
mod words;

use self::vtables::SuitePair;
use super::{
    AmbiguousStack, CallCoverage, CallExit, CallKind, FunctionProbe, FunctionRow, LayoutCertainty, LocatedFunction,
    PlacementStrategy, ProbePlacement, ProbePlan, ProbePoint, StackLayout, TlsStack, UnseenReason,
};
use crate::elf::{ElfImage, FileSurvey};
use crate::units::Direction;

/// The stack.
#[derive(Debug)]
pub struct Rustls;

const ENCRYPT: &str = "rustls_encrypt";
const DECRYPT: &str = "rustls_decrypt";
const DECRYPT_DONE: &str = "rustls_decrypt_done";

/// What a found function is called, by what it does and by where it is written: encrypting first.
const NAMES: [[&str; 5]; 2] = [
    [
        "encrypt (ring, TLS 1.3)",
        "encrypt (ring, TLS 1.2)",
        "encrypt (aws-lc, TLS 1.3)",
        "encrypt (aws-lc, TLS 1.2)",
        "encrypt",
    ],
    [
        "decrypt (ring, TLS 1.3)",
        "decrypt (ring, TLS 1.2)",
        "decrypt (aws-lc, TLS 1.3)",
        "decrypt (aws-lc, TLS 1.2)",
        "decrypt",
    ],
];

impl TlsStack for Rustls {
    fn name(&self) -> &'static str {
        "rustls"
    }

    fn programs(&self) -> &'static [&'static str] {
        &[ENCRYPT, DECRYPT, DECRYPT_DONE]
    }

    /// No symbol names them in what is shipped; where one does, the vtables are there as well.
    fn recognise(&self, _: &ElfImage) -> Result<Option<StackLayout>, AmbiguousStack> {
        Ok(None)
    }

    fn survey(&self, survey: &mut FileSurvey<'_>) -> Result<Option<StackLayout>, AmbiguousStack> {
        let markers = markers::find(survey)?;
        if !markers.any() {
            return Ok(None);
        }
        let pairs = vtables::find(survey)?;
        let known: Vec<_> = pairs.iter().filter(|pair| markers.lays_out_as_known(pair)).collect();
        if known.is_empty() {
            return Err(unknown(markers.unknown(&pairs)));
        }
        let functions = |names: &[&'static str; 5], address: fn(&SuitePair) -> u64| {
            let mut found: Vec<_> = known
                .iter()
                .map(|pair| LocatedFunction { name: named(names, pair), address: address(pair), size: 0 })
                .collect();
            // Suites share a body where the linker found them alike: one place, one probe.
            found.sort_by_key(|function| function.address);
            found.dedup_by_key(|function| function.address);
            found
        };
        let [encrypters, decrypters] = &NAMES;
        let functions =
            [functions(encrypters, |pair| pair.encrypt), functions(decrypters, |pair| pair.decrypt)].concat();
        Ok(Some(StackLayout { functions, certainty: LayoutCertainty::Anchored(ANCHOR) }))
    }

    fn layout_words(&self) -> Vec<&'static str> {
        NAMES.as_flattened().iter().copied().chain([ANCHOR]).collect()
    }

    fn plan(&self, image: &ElfImage, layout: &StackLayout, strategy: PlacementStrategy) -> ProbePlan {
        let probes =
            vec![probe(image, layout, strategy, Direction::Write), probe(image, layout, strategy, Direction::Read)];
        let rows = vec![
            FunctionRow { probe: ENCRYPT, served: CallCoverage::Own(0) },
            FunctionRow { probe: DECRYPT, served: CallCoverage::Own(1) },
        ];
        ProbePlan { probes, rows }
    }
}

/// How the functions were found, in words.
const ANCHOR: &str = "vtables with an encrypted_payload_len that adds 16, 17 or 24";

fn unknown(detail: String) -> AmbiguousStack {
    AmbiguousStack { reason: UnseenReason::RustlsLayoutUnknown, detail }
}

/// By the file that a pair's panics name.
fn named(names: &[&'static str; 5], pair: &SuitePair) -> &'static str {
    let at = |part: &str| memchr::memmem::find(&pair.source, part.as_bytes()).is_some();
    let index = match (at("/ring/"), at("/aws_lc_rs/"), at("/tls13.rs"), at("/tls12.rs")) {
        (true, _, true, _) => 0,
        (true, _, _, true) => 1,
        (_, true, true, _) => 2,
        (_, true, _, true) => 3,
        _ => 4,
    };
    names.get(index).copied().unwrap_or(names[4])
}

/// All encrypters, or all decrypters: what a call passes is one of their places.
fn probe(image: &ElfImage, layout: &StackLayout, strategy: PlacementStrategy, direction: Direction) -> FunctionProbe {
    let (program, names) = match direction {
        Direction::Write => (ENCRYPT, &NAMES[0]),
        Direction::Read => (DECRYPT, &NAMES[1]),
    };
    let functions: Vec<_> = layout.functions.iter().filter(|function| names.contains(&function.name)).collect();
    let skips: Vec<_> = functions.iter().map(|function| places::skip(image, function.address, strategy)).collect();
    let place = |(function, skip): (&&LocatedFunction, &places::Skip)| {
        image.file_offset(function.address.saturating_add(skip.bytes))
    };
    let offsets: Vec<u64> = functions.iter().zip(&skips).filter_map(place).collect();
    let suites: Vec<_> = functions.iter().map(|function| function.name).collect();
    let stepped = skips.iter().filter(|skip| !skip.cheap).count();
    let why = format!("{}; {}{}", suites.join(", "), ANCHOR, stepping_note(stepped));
    let exit = (direction == Direction::Read)
        .then(|| CallExit::ReturnProbe(ProbePoint { program: DECRYPT_DONE, offsets: offsets.clone() }));
    FunctionProbe {
        function: program,
        placement: ProbePlacement::Entry(skips.iter().map(|skip| skip.bytes).max().unwrap_or(0)),
        why,
        entry: Some(ProbePoint { program, offsets }),
        exit,
        calls: Some(CallKind { direction, through_pointer: false }),
    }
}

fn stepping_note(stepped: usize) -> String {
    match stepped {
        0 => "; the kernel emulates the instructions there".into(),
        some => format!("; the kernel single-steps {some} of the instructions there"),
    }
}

#[cfg(test)]
mod tests;
