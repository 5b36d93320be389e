//! Cheap answers to whether a file is still what it was, or the same behind another path.

use std::fs::File;
use std::io;

use super::bytes::{self, RandomAccess};

/// The code at some places of a file. Equal: the probes there still sit on what they were placed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeFingerprint(Vec<u8>);

/// Code compared at each place, bytes: the prologue that decided on the place, and enough of what
/// follows that another build differs.
const COMPARED: usize = 64;

/// Reads the code at file offsets, in their order. The bytes themselves, no hash of them: who wrote
/// the file could choose its hash.
///
/// # Errors
/// The file cannot be read.
pub fn fingerprint(file: &dyn RandomAccess, offsets: &[u64]) -> io::Result<CodeFingerprint> {
    let mut code = vec![0; offsets.len() * (COMPARED + 1)];
    for (piece, offset) in code.chunks_exact_mut(COMPARED + 1).zip(offsets) {
        let Some((len, room)) = piece.split_last_mut() else { continue };
        // What is missing must not look like zeroes.
        *len = u8::try_from(bytes::fill(file, room, *offset)?).unwrap_or(u8::MAX);
    }
    Ok(CodeFingerprint(code))
}

/// Whether two files begin with the same ELF header, program headers, and what linkers put behind
/// them: notes with the build id first. Two files of one size that do are copies of one build, or
/// made to look so. Reads 4 KiB of each; false if either cannot be read.
#[must_use]
pub fn same_head(one: &File, other: &File) -> bool {
    matches!((head(one), head(other)), (Some(one), Some(other)) if one == other)
}

/// The ELF header, a dozen program headers and the notes are within 1 KiB of most files, and within
/// a page of those of Go.
const HEAD: usize = 4096;

fn head(file: &dyn RandomAccess) -> Option<Vec<u8>> {
    let mut head = vec![0; HEAD];
    let len = bytes::fill(file, &mut head, 0).ok()?;
    head.truncate(len);
    head.starts_with(&object::elf::ELFMAG).then_some(head)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn code_that_changed_or_went_makes_another_fingerprint() {
        let mut file = vec![0x90; 1000];
        let before = fingerprint(&file, &[100, 980]).expect("readable");
        file[500] = 0xcc;
        assert_eq!(fingerprint(&file, &[100, 980]).expect("readable"), before, "elsewhere");
        file[163] = 0xcc;
        assert_ne!(fingerprint(&file, &[100, 980]).expect("readable"), before);
        file[163] = 0x90;
        file.truncate(990);
        assert_ne!(fingerprint(&file, &[100, 980]).expect("readable"), before, "shorter");
        let (zeroes, short) = (vec![0; 64], vec![0; 32]);
        assert_ne!(fingerprint(&zeroes, &[0]).expect("readable"), fingerprint(&short, &[0]).expect("readable"));
        assert!(fingerprint(&file, &[u64::MAX, i64::MAX as u64]).is_ok());
    }

    #[test]
    fn heads_are_compared_and_must_be_elf() {
        let file = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(bytes).expect("written");
            file
        };
        let (elf, mut other) = ([b"\x7fELF", &[7; 5000][..]].concat(), [b"\x7fELF", &[7; 5000][..]].concat());
        other[4095] = 8;
        assert!(same_head(&file(&elf), &file(&elf)));
        assert!(!same_head(&file(&elf), &file(&other)));
        assert!(!same_head(&file(&elf), &file(&elf[..4000])));
        assert!(same_head(&file(&elf), &file(&elf[..4096])), "what lies behind is not looked at");
        assert!(!same_head(&file(b""), &file(b"")) && !same_head(&file(b"#!/bin/sh"), &file(b"#!/bin/sh")));
    }
}
