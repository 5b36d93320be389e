//! Where in a function its probe goes: at the first `push`, which the kernel emulates, if all before it
//! leaves the arguments and the stack as the caller made them.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use crate::elf::ElfImage;
use crate::stacks::PlacementStrategy;

/// How far into a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Skip {
    pub bytes: u64,
    /// The kernel emulates the instruction there.
    pub cheap: bool,
}

/// Instructions before the first `push`: those seen have one (`mov rax, rdi`).
const INSTRUCTIONS: usize = 8;

pub(super) fn skip(image: &ElfImage, address: u64, strategy: PlacementStrategy) -> Skip {
    let code = image.code(address);
    let mut decoder = Decoder::with_ip(64, &code, address, DecoderOptions::NONE);
    let mut bytes = 0;
    for _ in 0..INSTRUCTIONS {
        if !decoder.can_decode() {
            break;
        }
        let instruction = decoder.decode();
        if instruction.code() == Code::Push_r64 {
            return Skip { bytes, cheap: true };
        }
        if strategy == PlacementStrategy::Symbol || !may_pass(&instruction) {
            break;
        }
        bytes = instruction.next_ip().wrapping_sub(address);
    }
    // The entry is right whatever comes.
    Skip { bytes: 0, cheap: false }
}

fn may_pass(instruction: &Instruction) -> bool {
    if instruction.code() == Code::Endbr64 {
        return true;
    }
    let between_registers = instruction.mnemonic() == Mnemonic::Mov
        && instruction.op0_kind() == OpKind::Register
        && instruction.op1_kind() == OpKind::Register;
    between_registers && !KEPT.contains(&instruction.op0_register().full_register())
}

/// The arguments, the stack, and the registers among which the caller's record layer is.
const KEPT: [Register; 11] = [
    Register::RDI,
    Register::RSI,
    Register::RDX,
    Register::RCX,
    Register::RSP,
    Register::RBX,
    Register::RBP,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn skip_of(code: &[u8], strategy: PlacementStrategy) -> (u64, bool) {
        let image = ElfImage::of_code(&[(0x1000, code.to_vec())], &[], &[]);
        let skip = skip(&image, 0x1000, strategy);
        (skip.bytes, skip.cheap)
    }

    #[test]
    fn the_first_push_is_taken_while_nothing_has_moved() {
        let mov = [0x48, 0x89, 0xf8];
        let auto = |code: &[u8]| skip_of(code, PlacementStrategy::Auto);
        assert_eq!(auto(&[0x55, 0xc3]), (0, true));
        assert_eq!(auto(&[&mov[..], &[0x41, 0x57]].concat()), (3, true));
        assert_eq!(auto(&[&[0xf3, 0x0f, 0x1e, 0xfa][..], &mov, &[0x53]].concat()), (7, true));
        // sub rsp, 24; mov rdi, rax; mov rbx, rax; add al, 1: the push behind it comes too late.
        for moved in [&[0x48, 0x83, 0xec, 0x18][..], &[0x48, 0x89, 0xc7], &[0x48, 0x89, 0xc3], &[0x04, 0x01]] {
            assert_eq!(auto(&[moved, &[0x53]].concat()), (0, false), "{moved:x?}");
        }
        assert_eq!(skip_of(&[&mov[..], &[0x53]].concat(), PlacementStrategy::Symbol), (0, false));
        assert_eq!(skip_of(&[], PlacementStrategy::Auto), (0, false));
    }
}
