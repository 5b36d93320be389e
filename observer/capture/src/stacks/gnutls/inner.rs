//! The function inside both of GnuTLS's reads. They begin with an instruction that the kernel must
//! single-step and end in a jump to `f(session, content type, data, size …)`, which begins with a
//! push: a probe there costs a tenth, and its return is the public function's.

use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::super::LocatedFunction;
use super::super::forwards::{CallTarget, target};
use crate::elf::ElfImage;

/// `content_type_t` of application data (RFC 8446, 5.1).
const APPLICATION_DATA: u64 = 23;

/// The functions of the file that `function(session, data, size …)` hands its arguments on to, as
/// application data: one, and with TLS in the kernel another.
pub(super) fn receivers(image: &ElfImage, function: &LocatedFunction) -> Vec<u64> {
    let size = if function.size == 0 { UNKNOWN_SIZE } else { function.size };
    let body = function.address..function.address.saturating_add(size);
    let mut walk = ArgumentWalk { image, body, found: Vec::new(), budget: MAX_INSTRUCTIONS };
    walk.follow(function.address, Arguments::of_a_read());
    walk.found.sort_unstable();
    walk.found.dedup();
    walk.found
}

/// Bytes of a read whose symbol does not tell its size.
const UNKNOWN_SIZE: u64 = 256;

/// Instructions followed in a read over all its paths: it has under 50.
const MAX_INSTRUCTIONS: usize = 256;

/// What the registers of the first four arguments hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ArgumentValue {
    Session,
    Data,
    Size,
    Constant(u64),
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Arguments {
    rdi: ArgumentValue,
    rsi: ArgumentValue,
    rdx: ArgumentValue,
    rcx: ArgumentValue,
}

impl Arguments {
    fn of_a_read() -> Self {
        Self {
            rdi: ArgumentValue::Session,
            rsi: ArgumentValue::Data,
            rdx: ArgumentValue::Size,
            rcx: ArgumentValue::Other,
        }
    }

    fn are_handed_on(&self) -> bool {
        let wanted = Self {
            rdi: ArgumentValue::Session,
            rsi: ArgumentValue::Constant(APPLICATION_DATA),
            rdx: ArgumentValue::Data,
            rcx: ArgumentValue::Size,
        };
        *self == wanted
    }

    fn register(&mut self, register: Register) -> Option<&mut ArgumentValue> {
        match register.full_register() {
            Register::RDI => Some(&mut self.rdi),
            Register::RSI => Some(&mut self.rsi),
            Register::RDX => Some(&mut self.rdx),
            Register::RCX => Some(&mut self.rcx),
            _ => None,
        }
    }

    fn of(mut self, register: Register) -> ArgumentValue {
        self.register(register).map_or(ArgumentValue::Other, |value| *value)
    }

    /// What one ordinary instruction does to them.
    fn step(&mut self, instruction: &Instruction) {
        let writes = instruction.op_count() > 0 && instruction.op0_kind() == OpKind::Register;
        if !writes || matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push) {
            return;
        }
        let moves = instruction.mnemonic() == Mnemonic::Mov;
        let value = match instruction.op1_kind() {
            OpKind::Register if moves => self.of(instruction.op1_register()),
            OpKind::Immediate32 | OpKind::Immediate32to64 if moves => ArgumentValue::Constant(instruction.immediate(1)),
            _ => ArgumentValue::Other,
        };
        if let Some(held) = self.register(instruction.op0_register()) {
            *held = value;
        }
    }

    /// A call leaves none of them as they were.
    fn clobber(&mut self) {
        let other = ArgumentValue::Other;
        *self = Self { rdi: other, rsi: other, rdx: other, rcx: other };
    }
}

struct ArgumentWalk<'a> {
    image: &'a ElfImage,
    /// The read's own code: a jump out of it is a tail call.
    body: Range<u64>,
    found: Vec<u64>,
    budget: usize,
}

impl ArgumentWalk<'_> {
    /// Follows one path to its return; branches follow both ways.
    fn follow(&mut self, address: u64, mut arguments: Arguments) {
        let code = self.image.code(address);
        let mut decoder = Decoder::with_ip(64, &code, address, DecoderOptions::NONE);
        while decoder.can_decode() {
            if self.budget == 0 {
                return;
            }
            self.budget -= 1;
            let instruction = decoder.decode();
            let inside = self.body.contains(&instruction.near_branch_target());
            match instruction.flow_control() {
                FlowControl::Next => arguments.step(&instruction),
                FlowControl::Call | FlowControl::IndirectCall => {
                    self.consider(&instruction, &arguments);
                    arguments.clobber();
                }
                FlowControl::ConditionalBranch if inside => self.follow(instruction.near_branch_target(), arguments),
                FlowControl::ConditionalBranch => self.consider(&instruction, &arguments),
                FlowControl::UnconditionalBranch if inside => {
                    return self.follow(instruction.near_branch_target(), arguments);
                }
                FlowControl::UnconditionalBranch => return self.consider(&instruction, &arguments),
                _ => return,
            }
        }
    }

    fn consider(&mut self, instruction: &Instruction, arguments: &Arguments) {
        if arguments.are_handed_on()
            && let Some(CallTarget::Address(address)) = target(self.image, instruction)
        {
            self.found.push(address);
        }
    }
}
