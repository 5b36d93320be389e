//! Where a function leads: to which others it hands on, directly or through the file's PLT.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind};

use super::LocatedFunction;
use crate::elf::ElfImage;

/// Where a call or jump out of a function leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallTarget {
    /// To this address of the same file.
    Address(u64),
    /// To this function of another file, one of those that stacks are recognised by.
    Import(&'static str),
}

/// Bytes of a function whose symbol does not tell its size that are looked through.
const UNKNOWN_SIZE: u64 = 256;

/// Instructions of one function that are looked through: what only forwards has under 100.
const MAX_INSTRUCTIONS: usize = 512;

/// Where the calls and jumps of a function lead, from its first byte to its last.
pub(super) fn targets(image: &ElfImage, function: &LocatedFunction) -> Vec<CallTarget> {
    let size = if function.size == 0 { UNKNOWN_SIZE } else { function.size };
    let code = image.code_up_to(function.address, usize::try_from(size).unwrap_or(usize::MAX));
    let own = function.address..function.address.saturating_add(code.len() as u64);
    let decoder = Decoder::with_ip(64, &code, function.address, DecoderOptions::NONE);
    let leads = decoder.into_iter().take(MAX_INSTRUCTIONS).filter_map(|instruction| target(image, &instruction));
    leads.filter(|target| !matches!(target, CallTarget::Address(address) if own.contains(address))).collect()
}

/// Where an instruction leads, if it is a direct call or jump, or one through a slot of the GOT.
pub(super) fn target(image: &ElfImage, instruction: &Instruction) -> Option<CallTarget> {
    match instruction.flow_control() {
        FlowControl::Call | FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
            let target = instruction.near_branch_target();
            match plt_slot(image, target) {
                Some(got) => through(image, got),
                None => Some(CallTarget::Address(target)),
            }
        }
        FlowControl::IndirectCall | FlowControl::IndirectBranch => {
            let slot = instruction.op0_kind() == OpKind::Memory && instruction.is_ip_rel_memory_operand();
            slot.then(|| instruction.ip_rel_memory_address()).and_then(|got| through(image, got))
        }
        _ => None,
    }
}

fn through(image: &ElfImage, got: u64) -> Option<CallTarget> {
    let own = image.plt_target(got).map(|symbol| CallTarget::Address(symbol.address));
    own.or_else(|| image.plt_import(got).map(CallTarget::Import))
}

/// The GOT address if the code at `address` is a PLT stub: `[endbr64] [bnd] jmp [rip+x]`.
fn plt_slot(image: &ElfImage, address: u64) -> Option<u64> {
    let code = image.code_up_to(address, LONGEST_STUB);
    let mut decoder = Decoder::with_ip(64, &code, address, DecoderOptions::NONE);
    let mut instruction = decoder.decode();
    if instruction.mnemonic() == Mnemonic::Endbr64 {
        instruction = decoder.decode();
    }
    let stub = instruction.mnemonic() == Mnemonic::Jmp && instruction.is_ip_rel_memory_operand();
    stub.then(|| instruction.ip_rel_memory_address())
}

/// Bytes of an `endbr64` and a jump through memory, with a prefix.
const LONGEST_STUB: usize = 16;
