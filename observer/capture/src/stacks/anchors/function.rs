//! A function of which nothing is known but its code.

use std::collections::BTreeSet;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

/// A function, decoded from its first instruction on.
#[derive(Clone, Debug)]
pub(crate) struct CodeFunction {
    pub(crate) start: u64,
    instructions: Vec<Instruction>,
}

/// How far from a reference the numbers stand that are reported with it, bytes before and behind.
const NEAR: (u64, u64) = (28, 30);

impl CodeFunction {
    /// Decodes up to what is no instruction.
    pub(super) fn decode(start: u64, code: &[u8]) -> Self {
        let decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
        Self { start, instructions: decoder.into_iter().take_while(|instruction| !instruction.is_invalid()).collect() }
    }

    /// Does an instruction begin here?
    pub(crate) fn has(&self, place: u64) -> bool {
        self.instructions.binary_search_by_key(&place, Instruction::ip).is_ok()
    }

    /// The numbers that instructions near a place put into registers. Which register is which argument differs:
    /// arguments that are the same everywhere are optimised away.
    pub(crate) fn numbers_near(&self, place: u64) -> BTreeSet<u32> {
        let near = place.saturating_sub(NEAR.0)..=place.saturating_add(NEAR.1);
        self.instructions.iter().filter(|instruction| near.contains(&instruction.ip())).filter_map(number).collect()
    }

    /// Where it calls or jumps to, itself included.
    pub(crate) fn leads_to(&self, function: u64) -> bool {
        let leads = |instruction: &Instruction| {
            matches!(
                instruction.flow_control(),
                FlowControl::Call | FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
            ) && instruction.op0_kind() == OpKind::NearBranch64
                && instruction.near_branch_target() == function
        };
        self.instructions.iter().any(leads)
    }

    /// How many of its instructions change memory that is not of its own frame.
    pub(crate) fn stores(&self) -> usize {
        self.instructions.iter().filter(|instruction| is_store(instruction)).count()
    }
}

fn number(instruction: &Instruction) -> Option<u32> {
    let pushed = instruction.mnemonic() == Mnemonic::Push;
    match instruction.mnemonic() {
        Mnemonic::Mov
            if instruction.op0_kind() == OpKind::Register && instruction.op1_kind() == OpKind::Immediate32 =>
        {
            Some(instruction.immediate32())
        }
        Mnemonic::Push if instruction.op0_kind() == OpKind::Immediate8to64 && pushed => {
            u32::try_from(instruction.immediate8to64()).ok()
        }
        _ => None,
    }
}

fn is_store(instruction: &Instruction) -> bool {
    let reads = matches!(
        instruction.mnemonic(),
        Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Call | Mnemonic::Jmp | Mnemonic::Push | Mnemonic::Nop | Mnemonic::Bt
    );
    let own = matches!(instruction.memory_base(), Register::RSP | Register::RBP | Register::RIP | Register::None);
    instruction.op_count() > 0 && instruction.op0_kind() == OpKind::Memory && !reads && !own
}
