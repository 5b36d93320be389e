//! A function of which nothing is known but its code.

use std::collections::BTreeSet;

use super::walk::{StackWalk, walk};
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
    UsedRegister,
};

/// A function, decoded from its first instruction on.
#[derive(Clone, Debug)]
pub(crate) struct CodeFunction {
    pub(crate) start: u64,
    instructions: Vec<Instruction>,
    walk: StackWalk,
}

/// How far from a reference the numbers stand that are reported with it, bytes before and behind.
const NEAR: (u64, u64) = (28, 30);

impl CodeFunction {
    /// Decodes up to what is no instruction.
    pub(super) fn decode(start: u64, code: &[u8]) -> Self {
        let decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
        let instructions: Vec<_> = decoder.into_iter().take_while(|instruction| !instruction.is_invalid()).collect();
        let walk = walk(&instructions);
        Self { start, instructions, walk }
    }

    /// Of a function whose end is not known, what its ways come by.
    pub(super) fn trimmed(mut self) -> Self {
        let mut reached = std::mem::take(&mut self.walk.reached).into_iter();
        self.instructions.retain(|_| reached.next().unwrap_or(false));
        self.walk.reached = vec![true; self.instructions.len()];
        self
    }

    /// Is it a function from its first instruction on?
    pub(super) fn is_whole(&self) -> bool {
        self.walk.balanced
    }

    /// Does an instruction begin here?
    pub(crate) fn has(&self, place: u64) -> bool {
        self.instructions.binary_search_by_key(&place, Instruction::ip).is_ok()
    }

    /// The numbers that instructions near a place put into registers. Which register is which argument differs:
    /// arguments that are the same everywhere are optimised away.
    pub(crate) fn numbers_near(&self, place: u64) -> BTreeSet<u32> {
        self.near(place).filter_map(number_of).collect()
    }

    /// Does an instruction near a place put this number into this register?
    pub(crate) fn puts_near(&self, place: u64, register: Register, number: u32) -> bool {
        self.near(place)
            .any(|instruction| number_of(instruction) == Some(number) && instruction.op0_register() == register)
    }

    fn near(&self, place: u64) -> impl Iterator<Item = &Instruction> {
        let near = place.saturating_sub(NEAR.0)..=place.saturating_add(NEAR.1);
        self.instructions.iter().filter(move |instruction| near.contains(&instruction.ip()))
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

    /// Is this register an argument: does a way through the function read it before it is written, or lost in a call?
    pub(crate) fn takes(&self, register: Register) -> bool {
        let mut factory = InstructionInfoFactory::new();
        let (mut ways, mut seen) = (vec![0], vec![false; self.instructions.len()]);
        while let Some(number) = ways.pop() {
            let Some((instruction, seen)) = self.instructions.get(number).zip(seen.get_mut(number)) else { continue };
            if std::mem::replace(seen, true) {
                continue;
            }
            let used = factory.info(instruction).used_registers();
            let access = used.iter().find(|used| used.register().full_register() == register).map(UsedRegister::access);
            match access {
                Some(OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite | OpAccess::ReadCondWrite) => {
                    return true;
                }
                Some(OpAccess::Write) => {}
                _ => ways.extend(self.next(number, instruction)),
            }
        }
        false
    }

    /// The instructions that may come after one that is no call.
    fn next(&self, number: usize, instruction: &Instruction) -> impl Iterator<Item = usize> + use<> {
        let flow = instruction.flow_control();
        let goes_on = matches!(flow, FlowControl::Next | FlowControl::ConditionalBranch).then_some(number + 1);
        let jumps = matches!(flow, FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch)
            && instruction.op0_kind() == OpKind::NearBranch64;
        let target = instruction.near_branch_target();
        let target = jumps.then(|| self.instructions.binary_search_by_key(&target, Instruction::ip).ok()).flatten();
        goes_on.into_iter().chain(target)
    }

    /// How many of its instructions change memory that is not of its own frame.
    pub(crate) fn stores(&self) -> usize {
        self.instructions.iter().filter(|instruction| is_store(instruction)).count()
    }
}

fn number_of(instruction: &Instruction) -> Option<u32> {
    match instruction.mnemonic() {
        Mnemonic::Mov
            if instruction.op0_kind() == OpKind::Register && instruction.op1_kind() == OpKind::Immediate32 =>
        {
            Some(instruction.immediate32())
        }
        Mnemonic::Push if instruction.op0_kind() == OpKind::Immediate8to64 => {
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
