//! Where to put a probe. An instruction that the kernel can emulate costs a tenth of one it must
//! single-step, so the prologue is decoded and the cheapest right place chosen: the entry, the
//! entry past `endbr64`, or the function that a thin wrapper passes our arguments on to. Pure: code
//! in, place out.

use std::collections::HashMap;
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::super::forwards::{CallTarget, target};
use super::super::prologue::first_cheap;
use super::super::{LocatedFunction, PlacementStrategy, ProbePlacement, StackLayout};
use super::functions::{FUNCTIONS, FunctionRole, LengthIn, TlsFunction};
use crate::elf::ElfImage;

/// Where a probe goes and what it will find there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProbePlace {
    /// The function that needs it (its probe's name); where one callee serves several, the first.
    pub function: &'static TlsFunction,
    /// Other public functions whose calls pass here too.
    pub serves: Vec<&'static TlsFunction>,
    /// Virtual address of the probed instruction.
    pub address: u64,
    pub length: LengthIn,
    pub how: ProbePlacement,
    /// Why there, in words.
    pub why: String,
}

/// A file, and where its functions are.
#[derive(Clone, Copy)]
pub(super) struct LibraryFile<'a> {
    pub image: &'a ElfImage,
    pub layout: &'a StackLayout,
}

impl LibraryFile<'_> {
    fn function(&self, symbol: &str) -> Option<LocatedFunction> {
        self.layout.functions.iter().find(|function| function.name == symbol).copied()
    }
}

/// The places for a library's functions: each call of a public function passes exactly one of them.
#[must_use]
pub(super) fn places(library: LibraryFile<'_>, strategy: PlacementStrategy) -> Vec<ProbePlace> {
    let present: Vec<_> = FUNCTIONS.iter().filter(|f| library.function(f.symbol).is_some()).collect();
    let (data, rest): (Vec<&'static TlsFunction>, Vec<&'static TlsFunction>) =
        present.into_iter().partition(|f| matches!(f.role, FunctionRole::Read | FunctionRole::Write));
    let mut places = Vec::new();
    // Writes first: what a new connection does first, and its request is what cannot be recovered.
    for role in [FunctionRole::Write, FunctionRole::Read] {
        let group: Vec<_> = data.iter().copied().filter(|f| f.role == role).collect();
        places.extend(place_group(library, &group, strategy));
    }
    // Births and ends are once a connection: their cost does not matter, and only the entry is
    // surely right.
    places.extend(rest.into_iter().filter_map(|f| at_entry(library, f)));
    places
}

/// All functions of one role together: they share callees, and one read must never pass two probes.
fn place_group(
    library: LibraryFile<'_>,
    group: &[&'static TlsFunction],
    strategy: PlacementStrategy,
) -> Vec<ProbePlace> {
    if strategy == PlacementStrategy::Auto {
        let cheap: Option<Vec<_>> = group.iter().map(|f| cheapest(library, f)).collect();
        if let Some(places) = cheap.map(merge)
            && !passes_twice(library, &places)
        {
            return places;
        }
    }
    let places: Vec<_> = group.iter().filter_map(|f| at_entry(library, f)).collect();
    without_forwarders(library, places)
}

/// One place for those that share it.
fn merge(mut places: Vec<ProbePlace>) -> Vec<ProbePlace> {
    places.sort_by_key(|place| place.address);
    places.dedup_by(|later, first| {
        let same = later.address == first.address;
        if same {
            first.serves.push(later.function);
        }
        same
    });
    places
}

/// Would a call pass two of these places (one function forwarding to another that is probed as
/// well)?
fn passes_twice(library: LibraryFile<'_>, places: &[ProbePlace]) -> bool {
    places.iter().any(|place| forwards_into(library, place, places))
}

fn forwards_into(library: LibraryFile<'_>, place: &ProbePlace, places: &[ProbePlace]) -> bool {
    let Some(symbol) = library.function(place.function.symbol) else { return false };
    let Some((callee, _)) = callee(library, symbol.address, place.function.length) else { return false };
    // The callee's own place is within its first bytes (at most an endbr64 in).
    places.iter().any(|other| other.address != place.address && other.address.wrapping_sub(callee) <= 4)
        && place.address.wrapping_sub(symbol.address) <= 4
}

/// At the entries: a function that only forwards to another probed one needs no probe
/// (`SSL_write_ex` → `SSL_write_ex2` in 3.5).
fn without_forwarders(library: LibraryFile<'_>, places: Vec<ProbePlace>) -> Vec<ProbePlace> {
    let all = places.clone();
    places.into_iter().filter(|place| !forwards_into(library, place, &all)).collect()
}

fn at_entry(library: LibraryFile<'_>, function: &'static TlsFunction) -> Option<ProbePlace> {
    let address = library.function(function.symbol)?.address;
    let why = match first_cheap(library.image, address) {
        Some(_) => "the kernel emulates the first instruction",
        None => "the public symbol: certain, though the kernel single-steps its first instruction",
    };
    Some(ProbePlace {
        function,
        serves: Vec::new(),
        address,
        length: function.length,
        how: ProbePlacement::Entry(0),
        why: why.into(),
    })
}

fn cheapest(library: LibraryFile<'_>, function: &'static TlsFunction) -> Option<ProbePlace> {
    let symbol = library.function(function.symbol)?;
    let (mut address, mut length) = (symbol.address, function.length);
    for depth in 0..MAX_WRAPPERS {
        if let Some(skip) = first_cheap(library.image, address) {
            let how = if depth == 0 { ProbePlacement::Entry(skip) } else { ProbePlacement::Callee(skip) };
            let why = reason(depth, skip);
            return Some(ProbePlace {
                function,
                serves: Vec::new(),
                address: address.wrapping_add(skip),
                length,
                how,
                why,
            });
        }
        (address, length) = callee(library, address, length)?;
    }
    None
}

/// Wrappers in wrappers: `SSL_write_ex` → `SSL_write_ex2` → `ssl_write_internal` is the deepest
/// seen.
const MAX_WRAPPERS: usize = 4;

fn reason(depth: usize, skip: u64) -> String {
    let what = if skip == 0 {
        "the kernel emulates the first instruction"
    } else {
        "the kernel emulates the instruction after endbr64"
    };
    if depth == 0 {
        return what.into();
    }
    format!("a thin wrapper passes its arguments on unchanged; {what} of the callee")
}

fn decoder(code: &[u8], address: u64) -> Decoder<'_> {
    Decoder::with_ip(64, code, address, DecoderOptions::NONE)
}

/// What a register holds, as far as the placement cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RegisterValue {
    /// The n-th argument of the public function (or its low half, extended).
    Arg(u8),
    /// An address in the wrapper's own frame: where it wants the length.
    Frame,
    Other,
}

type Registers = HashMap<Register, RegisterValue>;

/// The one function that `address` hands its arguments on to, with the place of the length there.
/// `None`: there is none, or more than one.
fn callee(library: LibraryFile<'_>, address: u64, length: LengthIn) -> Option<(u64, LengthIn)> {
    let arguments = [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];
    let mut registers: Registers =
        arguments.iter().zip(0..).map(|(register, n)| (*register, RegisterValue::Arg(n))).collect();
    registers.insert(Register::RSP, RegisterValue::Frame);
    let known = library.layout.functions.iter().find(|function| function.address == address);
    let size = known.map_or(MAX_WRAPPER, |function| function.size);
    let mut walk = InstructionWalk {
        image: library.image,
        length,
        body: address..address.saturating_add(size),
        found: Vec::new(),
        budget: MAX_INSTRUCTIONS,
    };
    walk.follow(address, registers);
    let mut found = walk.found;
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}

/// Instructions followed in a wrapper over all its paths; a thin wrapper has under 60.
const MAX_INSTRUCTIONS: usize = 256;

struct InstructionWalk<'a> {
    image: &'a ElfImage,
    length: LengthIn,
    /// The wrapper's own code: a jump out of it is a tail call.
    body: Range<u64>,
    found: Vec<(u64, LengthIn)>,
    budget: usize,
}

impl InstructionWalk<'_> {
    /// Follows one path to its return; branches follow both ways.
    fn follow(&mut self, address: u64, mut registers: Registers) {
        let code = self.image.code(address);
        let mut decoder = decoder(&code, address);
        while decoder.can_decode() {
            if self.budget == 0 {
                return;
            }
            self.budget -= 1;
            let instruction = decoder.decode();
            match instruction.flow_control() {
                FlowControl::Next => step(&instruction, &mut registers),
                FlowControl::Call => {
                    self.consider(&instruction, &registers);
                    clobber(&mut registers);
                }
                FlowControl::ConditionalBranch if self.body.contains(&instruction.near_branch_target()) => {
                    self.follow(instruction.near_branch_target(), registers.clone());
                }
                FlowControl::ConditionalBranch => self.consider(&instruction, &registers),
                FlowControl::UnconditionalBranch => {
                    let inside = instruction.op0_kind() == OpKind::NearBranch64
                        && self.body.contains(&instruction.near_branch_target());
                    if inside {
                        return self.follow(instruction.near_branch_target(), registers);
                    }
                    return self.consider(&instruction, &registers);
                }
                _ => return,
            }
        }
    }

    /// Is this call or jump the one that hands our arguments on?
    fn consider(&mut self, instruction: &Instruction, registers: &Registers) {
        let holds = |register, value| registers.get(&register) == Some(&value);
        if !(holds(Register::RDI, RegisterValue::Arg(0))
            && holds(Register::RSI, RegisterValue::Arg(1))
            && holds(Register::RDX, RegisterValue::Arg(2)))
        {
            return;
        }
        let wanted = match self.length {
            LengthIn::Result => RegisterValue::Frame,
            LengthIn::Rcx => RegisterValue::Arg(3),
            LengthIn::R8 => RegisterValue::Arg(4),
        };
        let length = match (holds(Register::RCX, wanted), holds(Register::R8, wanted)) {
            (true, false) => LengthIn::Rcx,
            (false, true) => LengthIn::R8,
            _ => return,
        };
        // Calls into other files lead nowhere we can follow.
        if let Some(CallTarget::Address(address)) = target(self.image, instruction) {
            self.found.push((address, length));
        }
    }
}

/// Size of a wrapper whose symbol does not tell it.
const MAX_WRAPPER: u64 = 256;

/// What one ordinary instruction does to the registers we follow.
fn step(instruction: &Instruction, registers: &mut Registers) {
    let writes_register = instruction.op_count() > 0 && instruction.op0_kind() == OpKind::Register;
    if !writes_register || matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push) {
        return;
    }
    let to = instruction.op0_register().full_register();
    if to == Register::RSP {
        return;
    }
    let value = match instruction.mnemonic() {
        Mnemonic::Mov | Mnemonic::Movsxd if instruction.op1_kind() == OpKind::Register => {
            registers.get(&instruction.op1_register().full_register()).copied().unwrap_or(RegisterValue::Other)
        }
        Mnemonic::Lea if registers.get(&instruction.memory_base()) == Some(&RegisterValue::Frame) => {
            RegisterValue::Frame
        }
        _ => RegisterValue::Other,
    };
    registers.insert(to, value);
}

/// A call leaves only the callee-saved registers as they were.
fn clobber(registers: &mut Registers) {
    let kept =
        [Register::RSP, Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];
    registers.retain(|register, _| kept.contains(register));
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
