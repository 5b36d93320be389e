//! The vtables of rustls's encrypters and decrypters.
//!
//! A vtable is `[drop or 0][size][align][methods as declared]`. An encrypter's second method,
//! `encrypted_payload_len`, is a sum of its argument and a constant, and its compiled body tells it from
//! every other method. The decrypter's vtable stands before it, with the place of one panic between.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::words::{self, DECRYPTER, PairCandidate, WORD};
use crate::elf::{ElfRefusal, FileSurvey};
use crate::stacks::AmbiguousStack;

/// An encrypter and its decrypter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SuitePair {
    pub encrypt: u64,
    pub decrypt: u64,
    /// The path of the source file that the decrypter's panics name.
    pub source: Vec<u8>,
    /// `encrypt` reads its message as that of 0.23 is laid out.
    pub reads_chunks: bool,
}

/// The most pairs of one file: two providers of cryptography have seven, twice the same one eight.
pub(super) const PAIRS: usize = 16;

/// Looks through a file's pointers.
///
/// # Errors
/// Over the budget; more pairs than any program has.
pub(super) fn find(survey: &mut FileSurvey<'_>) -> Result<Vec<SuitePair>, AmbiguousStack> {
    let mut pairs: Vec<SuitePair> = Vec::new();
    for candidate in words::candidates(survey)? {
        let Some(pair) = confirmed(survey, candidate)? else { continue };
        if pairs.iter().any(|known| (known.encrypt, known.decrypt) == (pair.encrypt, pair.decrypt)) {
            continue;
        }
        if pairs.len() == PAIRS {
            return Err(super::unknown(format!(
                "over {PAIRS} pairs of its vtables look like rustls's: no program has so many"
            )));
        }
        pairs.push(pair);
    }
    Ok(pairs)
}

pub(super) fn confirmed(
    survey: &mut FileSurvey<'_>,
    candidate: PairCandidate,
) -> Result<Option<SuitePair>, ElfRefusal> {
    let decrypter = candidate.vtable - DECRYPTER;
    let table = survey.read(decrypter, DECRYPTER + 3 * WORD)?;
    let word = |index: usize| table.as_chunks::<8>().0.get(index).map(|bytes| u64::from_le_bytes(*bytes));
    let (Some(size), Some(align), Some(length)) = (word(1), word(2), word(5)) else { return Ok(None) };
    let (Some(own_size), Some(own_align)) = (word(8), word(9)) else { return Ok(None) };
    let shaped = [size, own_size].iter().all(|size| *size < OBJECT) && align == own_align && ALIGNS.contains(&align);
    if !shaped || !(SUFFIX.len() as u64..PATH).contains(&length) {
        return Ok(None);
    }
    let source = survey.read(candidate.source, length)?;
    if source.len() as u64 != length || !source.ends_with(SUFFIX) || !source.iter().all(u8::is_ascii_graphic) {
        return Ok(None);
    }
    if !adds_overhead(&survey.read(candidate.encrypted_payload_len, BODY)?) {
        return Ok(None);
    }
    let reads_chunks = reads_chunks(&survey.read(candidate.encrypt, PROLOGUE)?);
    Ok(Some(SuitePair { encrypt: candidate.encrypt, decrypt: candidate.decrypt, source, reads_chunks }))
}

/// Bytes of an encrypter: ring's have 560.
const OBJECT: u64 = 4096;
const ALIGNS: [u64; 5] = [1, 2, 4, 8, 16];
/// What a source file of Rust ends with.
const SUFFIX: &[u8] = b".rs";
/// Bytes of a path: as many as Linux takes (`PATH_MAX`).
const PATH: u64 = 4096;
/// Bytes of `encrypted_payload_len`: 14 with frame pointers and a landing pad.
const BODY: u64 = 32;
/// Bytes of `encrypt` looked at.
const PROLOGUE: u64 = 256;

/// TLS 1.2 with `ChaCha20`, TLS 1.3, TLS 1.2 with AES-GCM.
const OVERHEADS: [u64; 3] = [16, 17, 24];

/// Is this the body of `n + 16`, `n + 17` or `n + 24`, with or without a frame?
fn adds_overhead(body: &[u8]) -> bool {
    let mut decoder = Decoder::with_ip(64, body, 0, DecoderOptions::NONE);
    let (mut sum, mut instruction) = (false, Instruction::default());
    for _ in 0..7 {
        if !decoder.can_decode() {
            return false;
        }
        decoder.decode_out(&mut instruction);
        match instruction.code() {
            Code::Endbr64 | Code::Push_r64 | Code::Pop_r64 if !sum || instruction.code() == Code::Pop_r64 => {}
            Code::Mov_rm64_r64 | Code::Mov_r64_rm64 if is_frame(&instruction) => {}
            Code::Lea_r64_m if !sum && is_sum(&instruction) => sum = true,
            Code::Retnq => return sum,
            _ => return false,
        }
    }
    false
}

fn is_frame(instruction: &Instruction) -> bool {
    instruction.op0_kind() == OpKind::Register
        && instruction.op1_kind() == OpKind::Register
        && (instruction.op0_register(), instruction.op1_register()) == (Register::RBP, Register::RSP)
}

/// `lea rax, [rsi + overhead]`
fn is_sum(instruction: &Instruction) -> bool {
    instruction.op0_register() == Register::RAX
        && instruction.memory_base() == Register::RSI
        && instruction.memory_index() == Register::None
        && OVERHEADS.contains(&instruction.memory_displacement64())
}

/// Does a function begin with `if message.chunks == 0 { message.len } else { message.end - message.start }`? It
/// compares the first word of what `rdx` points at with 0 and reads the third and the fourth.
fn reads_chunks(code: &[u8]) -> bool {
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut holders = vec![Register::RDX];
    let (mut compared, mut read) = (false, [false; 2]);
    for _ in 0..PROLOGUE_INSTRUCTIONS {
        if !decoder.can_decode() {
            break;
        }
        let instruction = decoder.decode();
        if holders.contains(&instruction.memory_base()) && instruction.memory_index() == Register::None {
            match instruction.memory_displacement64() {
                0 if instruction.mnemonic() == Mnemonic::Cmp || instruction.mnemonic() == Mnemonic::Mov => {
                    compared = true;
                }
                0x10 => read[0] = true,
                0x18 => read[1] = true,
                _ => {}
            }
        }
        follow(&instruction, &mut holders);
    }
    compared && read == [true; 2]
}

/// Which registers hold the message's address after an instruction.
fn follow(instruction: &Instruction, holders: &mut Vec<Register>) {
    if instruction.op_count() == 0 || instruction.op0_kind() != OpKind::Register {
        return;
    }
    if matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push) {
        return;
    }
    let moved = instruction.mnemonic() == Mnemonic::Mov
        && instruction.op1_kind() == OpKind::Register
        && holders.contains(&instruction.op1_register());
    let to = instruction.op0_register().full_register();
    holders.retain(|holder| *holder != to);
    if moved {
        holders.push(to);
    }
}

/// Instructions of a prologue looked at: those seen had read it all by the thirtieth.
const PROLOGUE_INSTRUCTIONS: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_told_from_other_bodies() {
        let bodies: [(&[u8], bool); 10] = [
            (&[0x48, 0x8d, 0x46, 0x11, 0xc3], true),
            (&[0x48, 0x8d, 0x46, 0x18, 0xc3, 0xcc], true),
            (&[0x55, 0x48, 0x89, 0xe5, 0x48, 0x8d, 0x46, 0x10, 0x5d, 0xc3], true),
            (&[0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x8d, 0x46, 0x11, 0xc3], true),
            (&[0x48, 0x8d, 0x46, 0x12, 0xc3], false),
            (&[0x48, 0x8d, 0x47, 0x11, 0xc3], false),
            (&[0x48, 0x8d, 0x44, 0x36, 0x11, 0xc3], false),
            (&[0x48, 0x8d, 0x46, 0x11], false),
            (&[0x48, 0x8d, 0x46, 0x11, 0x90, 0xc3], false),
            (&[0xc3], false),
        ];
        for (body, is) in bodies {
            assert_eq!(adds_overhead(body), is, "{body:x?}");
        }
    }
}
