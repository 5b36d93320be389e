//! What a probe at the beginning of a function costs.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic};

use crate::elf::ElfImage;

/// Offset of the first instruction if the kernel emulates it: 0, or 4 past an `endbr64` (the stack
/// is untouched there, so a return probe is still right).
pub(super) fn first_cheap(image: &ElfImage, address: u64) -> Option<u64> {
    let code = image.code(address);
    let mut decoder = Decoder::with_ip(64, &code, address, DecoderOptions::NONE);
    let first = decoder.decode();
    if emulated(&first) {
        return Some(0);
    }
    if first.mnemonic() == Mnemonic::Endbr64 && emulated(&decoder.decode()) {
        return Some(4);
    }
    None
}

/// assumes: 3.16+ arch/x86/kernel/uprobes.c branch_setup_xol_ops(), push_setup_xol_ops(): push reg,
/// nop, jmp, jcc, call rel32.
fn emulated(instruction: &Instruction) -> bool {
    matches!(
        instruction.code(),
        Code::Push_r64 | Code::Nopd | Code::Jmp_rel8_64 | Code::Jmp_rel32_64 | Code::Call_rel32_64
    ) || instruction.is_jcc_short_or_near()
}
