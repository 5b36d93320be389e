//! Files that are made to be dear, or to lead astray.

use super::super::super::{UnseenReason, hidden};
use super::crafted::{BUDGET, Crafted, boringssl, image};
use crate::elf::{ElfBudget, ElfImage, ElfRefusalReason, RandomAccess};

/// Claims more than it has, and may be read only so far.
#[derive(Debug)]
struct Holes {
    file: Vec<u8>,
    limit: u64,
}

impl RandomAccess for Holes {
    fn read_at(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
        assert!(offset < self.limit, "read at {offset:#x}");
        into.fill(0);
        RandomAccess::read_at(&self.file, into, offset)?;
        Ok(into.len())
    }
}

fn with_len(mut file: Vec<u8>, part: usize, len: u64) -> Vec<u8> {
    let at = 64 + part * 56 + 32;
    file[at..at + 8].copy_from_slice(&len.to_le_bytes());
    file
}

#[test]
fn a_file_that_maps_more_than_is_looked_through_is_not_read() {
    let mut file = Crafted::default();
    boringssl(&mut file);
    let file = with_len(file.file(), 1, (1 << 30) + 1);
    let image = ElfImage::read(Holes { file, limit: 0x1000 }, &super::super::super::symbols(), &BUDGET);
    let doubt = hidden(&image.expect("readable").expect("an ELF file"), &BUDGET).expect_err("too large");
    assert_eq!(doubt.reason, UnseenReason::Elf(ElfRefusalReason::TooManyBytes));
    assert!(doubt.detail.starts_with("it maps 1073"), "{}", doubt.detail);
}

#[test]
fn holes_are_read_within_the_budget() {
    let mut file = Crafted::default();
    boringssl(&mut file);
    let file = with_len(file.file(), 1, 1 << 30);
    let budget = ElfBudget { bytes: 4 << 20, ..BUDGET };
    let image = ElfImage::read(Holes { file, limit: 8 << 20 }, &super::super::super::symbols(), &BUDGET);
    let doubt = hidden(&image.expect("readable").expect("an ELF file"), &budget).expect_err("over the budget");
    assert_eq!(doubt.reason, UnseenReason::Elf(ElfRefusalReason::TooManyBytes));
}

#[test]
fn a_file_that_ends_anywhere_is_survived() {
    let mut file = Crafted::default();
    boringssl(&mut file);
    let whole = file.file();
    for end in (0x100..whole.len()).step_by(97) {
        let Ok(Some(image)) = ElfImage::read(whole[..end].to_vec(), &super::super::super::symbols(), &BUDGET) else {
            continue;
        };
        let _ = hidden(&image, &BUDGET);
    }
}

#[test]
fn a_text_that_everything_refers_to_is_told() {
    let mut file = Crafted::default();
    let text = file.text(b"ssl_read_internal");
    for _ in 0..100 {
        file.function();
        file.report(20, 0, 276, text);
        file.ret();
    }
    let doubt = hidden(&image(file.file()), &BUDGET).expect_err("too many");
    assert_eq!(doubt.reason, UnseenReason::AnchorAmbiguous);
    assert!(doubt.detail.starts_with("over 64 instructions refer to \"ssl_read_internal\""), "{}", doubt.detail);
}

/// Names of files everywhere: only so many are kept.
#[test]
fn many_texts_are_survived() {
    let mut file = Crafted::default();
    for _ in 0..10_000 {
        file.text(b"ssl_lib.cc");
    }
    boringssl(&mut file);
    let _ = hidden(&image(file.file()), &BUDGET);
}
