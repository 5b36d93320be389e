//! Instructions that refer to texts, and calls: one pass over the code.

use std::collections::BTreeMap;
use std::ops::Range;

use memchr::memmem::Finder;

use super::starts::FunctionStarts;

/// The longest instruction that is looked for less one byte, twice: seen whole in one of two windows.
pub(super) const OVERLAP: usize = 16;

/// References kept: those of all texts together that are allowed, and one more to tell that there are too many.
const KEPT: usize = 16 << 10;

/// Instructions by what they refer to.
#[derive(Debug, Default)]
pub(super) struct References {
    /// By the instruction: the address in it.
    found: BTreeMap<u64, u64>,
}

impl References {
    /// The instructions that refer to one of these addresses.
    pub(super) fn to(&self, targets: &[u64]) -> Vec<u64> {
        self.found.iter().filter(|(_, target)| targets.contains(target)).map(|(place, _)| *place).collect()
    }

    fn add(&mut self, place: u64, target: u64) {
        if self.found.len() < KEPT {
            self.found.insert(place, target);
        }
    }
}

/// What is looked for in one segment.
pub(super) struct CodePass<'a> {
    targets: &'a [u64],
    first: u64,
    last: u64,
    /// In a file of a fixed address: the addresses as they stand in an instruction.
    fixed: Vec<(Finder<'static>, u64)>,
    code: Range<u64>,
}

impl<'a> CodePass<'a> {
    /// `targets`: in order.
    pub(super) fn new(targets: &'a [u64], fixed: bool, code: Range<u64>) -> Self {
        let (first, last) = (targets.first().copied().unwrap_or(1), targets.last().copied().unwrap_or(0));
        let short =
            |target: &u64| Some((Finder::new(&u32::try_from(*target).ok()?.to_le_bytes()).into_owned(), *target));
        let fixed = if fixed { targets.iter().filter_map(short).collect() } else { Vec::new() };
        Self { targets, first, last, fixed, code }
    }

    /// Looks through a piece of it.
    pub(super) fn window(
        &mut self,
        address: u64,
        window: &[u8],
        references: &mut References,
        starts: &mut FunctionStarts,
    ) {
        self.relative(address, window, references);
        self.absolute(address, window, references);
        self.calls(address, window, starts);
    }

    /// `lea r64, [rip+d]`: 48 or 4c, 8d, a byte of the form 00···101, the distance.
    fn relative(&self, address: u64, window: &[u8], references: &mut References) {
        for opcode in memchr::memchr_iter(LEA, window) {
            let Some([modrm, distance @ ..]) = window.get(opcode + 1..).and_then(|rest| rest.first_chunk::<5>()) else {
                continue;
            };
            if modrm & 0xc7 != 0x05 {
                continue;
            }
            let end = address.wrapping_add(opcode as u64 + 6);
            let target = end.wrapping_add_signed(i64::from(i32::from_le_bytes(*distance)));
            if target < self.first || target > self.last || self.targets.binary_search(&target).is_err() {
                continue;
            }
            let prefix = opcode.checked_sub(1).and_then(|at| window.get(at));
            if matches!(prefix, Some(0x48 | 0x4c)) {
                references.add(address.wrapping_add(opcode as u64 - 1), target);
            }
        }
    }

    /// `mov r32, imm32`: b8 to bf, the address; 41 before it for the upper registers.
    fn absolute(&self, address: u64, window: &[u8], references: &mut References) {
        for (finder, target) in &self.fixed {
            for at in finder.find_iter(window) {
                let before = |back: usize| at.checked_sub(back).and_then(|at| window.get(at)).copied();
                let Some(0xb8..=0xbf) = before(1) else { continue };
                let long = u64::from(before(2) == Some(0x41));
                references.add(address.wrapping_add(at as u64 - 1 - long), *target);
            }
        }
    }

    /// `call rel32` to where functions begin. Most bytes e8 are such calls, a few are parts of others:
    /// an aligned place within the code is called by chance once in a million bytes.
    fn calls(&self, address: u64, window: &[u8], starts: &mut FunctionStarts) {
        for opcode in memchr::memchr_iter(CALL, window) {
            let Some(distance) = window.get(opcode + 1..).and_then(|rest| rest.first_chunk::<4>()) else { continue };
            let end = address.wrapping_add(opcode as u64 + 5);
            let target = end.wrapping_add_signed(i64::from(i32::from_le_bytes(*distance)));
            if target & 15 == 0 && self.code.contains(&target) {
                starts.called(target);
            }
        }
    }
}

const LEA: u8 = 0x8d;

const CALL: u8 = 0xe8;
