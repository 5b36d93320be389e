//! Where in a Go function probes go. Pure: code in, places out.
//!
//! A function with a stack check begins with a comparison of the stack pointer (or of where it will
//! be) with the goroutine's limit and a conditional jump to where the stack is made larger, after
//! which the function begins anew. At that jump all arguments are where the caller put them, and
//! the kernel emulates it. There is no place for a return probe: Go moves stacks, with the return
//! addresses on them. So each `ret` has a probe of its own.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

/// Places in a function, by distance from its first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallPlaces {
    /// The stack check's jump.
    pub check: u64,
    /// Its return instructions.
    pub returns: Vec<u64>,
}

/// Why a function has no places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodeFault {
    /// It takes its arguments on the stack: Go 1.16 or older.
    StackArguments,
    /// It does not begin with a stack check as all of these functions do.
    NoStackCheck,
    /// Its bytes are not instructions to its end.
    NotCode,
    /// It has none, or more than `RETURNS`.
    Returns,
}

impl CodeFault {
    /// In words, behind the function's name.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::StackArguments => "takes its arguments on the stack, as Go did up to 1.16",
            Self::NoStackCheck => "does not begin with a stack check",
            Self::NotCode => "is not made of instructions to its end",
            Self::Returns => "has no return instruction, or too many",
        }
    }
}

/// Return instructions of one function. `Read` has 7, `Write` 8.
const RETURNS: usize = 64;

/// Instructions up to the stack check's jump: 2, or 5 where the frame is large.
const CHECK: usize = 8;

/// Bytes of a function. `Write` has under 3,000.
pub(super) const LONGEST: u64 = 64 << 10;

/// The goroutine's limit lies behind the two ends of its stack, which the kernel side reads.
const STACK_GUARD: u64 = 0x10;

/// Finds the places of the function that these bytes are.
pub(super) fn places(code: &[u8], address: u64) -> Result<CallPlaces, CodeFault> {
    let check = stack_check(code, address)?;
    let mut decoder = decoder(code, address);
    let (mut returns, mut instruction) = (Vec::new(), Instruction::default());
    while decoder.can_decode() {
        let at = decoder.position() as u64;
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            return Err(CodeFault::NotCode);
        }
        if instruction.flow_control() == FlowControl::Return {
            // Another kind of return than a plain one is none of Go's.
            if instruction.code() != Code::Retnq || returns.len() == RETURNS {
                return Err(CodeFault::Returns);
            }
            returns.push(at);
        }
    }
    if returns.is_empty() { Err(CodeFault::Returns) } else { Ok(CallPlaces { check, returns }) }
}

/// Where the stack check's jump is.
fn stack_check(code: &[u8], address: u64) -> Result<u64, CodeFault> {
    let mut decoder = decoder(code, address);
    let mut compared = false;
    for _ in 0..CHECK {
        let at = decoder.position() as u64;
        let instruction = decoder.decode();
        if instruction.is_jcc_short_or_near() {
            if compared {
                return Ok(at);
            }
        } else if let Some(goroutine) = compares_with_guard(&instruction) {
            if goroutine != Register::R14 {
                return Err(CodeFault::StackArguments);
            }
            compared = true;
        } else if loads_goroutine(&instruction) {
            return Err(CodeFault::StackArguments);
        } else if !is_of_check(&instruction) {
            return Err(CodeFault::NoStackCheck);
        }
    }
    Err(CodeFault::NoStackCheck)
}

/// The register with the goroutine, if this compares with its limit.
fn compares_with_guard(instruction: &Instruction) -> Option<Register> {
    let compares = instruction.mnemonic() == Mnemonic::Cmp
        && instruction.op1_kind() == OpKind::Memory
        && instruction.memory_displacement64() == STACK_GUARD
        && instruction.memory_index() == Register::None
        && matches!(instruction.op0_register(), Register::RSP | Register::R12 | Register::RAX);
    compares.then(|| instruction.memory_base())
}

/// Up to Go 1.16 the goroutine is not in a register: `mov rcx, fs:[-8]`.
fn loads_goroutine(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Mov && instruction.memory_segment() == Register::FS
}

/// Reckons where the stack will end, in a register that carries no argument.
fn is_of_check(instruction: &Instruction) -> bool {
    let reckons = matches!(instruction.mnemonic(), Mnemonic::Lea | Mnemonic::Mov | Mnemonic::Sub)
        && instruction.op0_kind() == OpKind::Register
        && instruction.op0_register() == Register::R12;
    reckons || matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Endbr64)
}

fn decoder(code: &[u8], address: u64) -> Decoder<'_> {
    Decoder::with_ip(64, code, address, DecoderOptions::NONE)
}
