//! Whether code is a function from its first instruction on: on no way through it more is taken off
//! the stack than was put there, and when it returns all of that is off again.
//!
//! A place that is called may be none: bytes that look like a call are parts of other instructions,
//! too, and some lead into the midst of a function. A probe there would destroy an instruction; a
//! return probe would destroy a word of the stack.

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};

/// What a walk through a function showed.
#[derive(Clone, Debug, Default)]
pub(super) struct StackWalk {
    /// Ways end with the stack as it was, and none takes more off it.
    pub balanced: bool,
    /// Which instructions were come by.
    pub reached: Vec<bool>,
}

/// The stack at one place, bytes below the return address.
#[derive(Clone, Copy, Debug)]
struct StackDepth {
    /// `None`: it was aligned, or made larger by a number that is not known here.
    now: Option<i64>,
    /// Where the frame pointer points.
    frame: Option<i64>,
}

/// Walks all ways from the first instruction.
pub(super) fn walk(instructions: &[Instruction]) -> StackWalk {
    let mut walk = StackWalk { balanced: false, reached: vec![false; instructions.len()] };
    let (mut ways, mut returns) = (vec![(0, StackDepth { now: Some(0), frame: None })], 0);
    while let Some((number, depth)) = ways.pop() {
        let Some((instruction, reached)) = instructions.get(number).zip(walk.reached.get_mut(number)) else { continue };
        if std::mem::replace(reached, true) {
            continue;
        }
        let Some(depth) = step(instruction, depth) else { return walk };
        let target = target(instructions, instruction);
        match instruction.flow_control() {
            // With more on it the way went on behind a call that never returns, into the next function.
            FlowControl::Return => returns += usize::from(depth.now == Some(0)),
            FlowControl::UnconditionalBranch => match target {
                Some(target) => ways.push((target, depth)),
                // To another function, in place of a return; or to a part of this one that lies elsewhere.
                None => returns += usize::from(depth.now == Some(0)),
            },
            FlowControl::ConditionalBranch => {
                ways.push((number + 1, depth));
                ways.extend(target.map(|target| (target, depth)));
            }
            FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => ways.push((number + 1, depth)),
            _ => {}
        }
    }
    walk.balanced = returns > 0;
    walk
}

fn target(instructions: &[Instruction], instruction: &Instruction) -> Option<usize> {
    let target = instruction.near_branch_target();
    let near = instruction.op0_kind() == OpKind::NearBranch64;
    near.then(|| instructions.binary_search_by_key(&target, Instruction::ip).ok()).flatten()
}

/// The stack behind an instruction; `None`: more is taken off it than was put there.
fn step(instruction: &Instruction, depth: StackDepth) -> Option<StackDepth> {
    let StackDepth { now, frame } = depth;
    let to = if instruction.op0_kind() == OpKind::Register { instruction.op0_register() } else { Register::None };
    let from = if instruction.op1_kind() == OpKind::Register { instruction.op1_register() } else { Register::None };
    let displacement = instruction.memory_displacement64().cast_signed();
    let immediate = instruction.try_immediate(1).ok().map(u64::cast_signed);
    let after = match (instruction.mnemonic(), to) {
        (Mnemonic::Push | Mnemonic::Pushfq, _) => StackDepth { now: now.map(|now| now + WORD), frame },
        (Mnemonic::Pop, Register::RBP) => StackDepth { now: now.map(|now| now - WORD), frame: None },
        (Mnemonic::Pop | Mnemonic::Popfq, _) => StackDepth { now: now.map(|now| now - WORD), frame },
        (Mnemonic::Leave, _) => StackDepth { now: frame.map(|frame| frame - WORD), frame: None },
        (Mnemonic::Sub, Register::RSP) => {
            StackDepth { now: now.zip(immediate).map(|(now, by)| now.wrapping_add(by)), frame }
        }
        (Mnemonic::Add, Register::RSP) => {
            StackDepth { now: now.zip(immediate).map(|(now, by)| now.wrapping_sub(by)), frame }
        }
        (Mnemonic::Mov, Register::RBP) if from == Register::RSP => StackDepth { now, frame: now },
        (Mnemonic::Mov, Register::RSP) if from == Register::RBP => StackDepth { now: frame, frame },
        (Mnemonic::Lea, Register::RSP | Register::RBP) => {
            let base = match instruction.memory_base() {
                Register::RSP => now,
                Register::RBP => frame,
                _ => None,
            };
            let place = base
                .filter(|_| instruction.memory_index() == Register::None)
                .map(|base| base.wrapping_sub(displacement));
            if to == Register::RSP { StackDepth { now: place, frame } } else { StackDepth { now, frame: place } }
        }
        (Mnemonic::Cmp | Mnemonic::Test, _) => depth,
        (_, Register::RSP) => StackDepth { now: None, frame },
        (_, Register::RBP | Register::EBP) => StackDepth { now, frame: None },
        _ => depth,
    };
    after.now.is_none_or(|now| now >= 0).then_some(after)
}

const WORD: i64 = 8;
