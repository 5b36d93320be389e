//! What must hold of the built kernel object, checked without a kernel.

use std::collections::BTreeSet;

use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use observer_common::programs as names;

use super::load::OBJECT;
use super::probes::PROGRAMS;
use capture::stacks;

/// Kernels from 6.13 give a program of this many bytes or more a per-CPU stack, although uprobe
/// programs can be preempted: two tasks would share it (BPF_PRIV_STACK_MIN_SIZE).
const STACK_LIMIT: i64 = 64;

struct Function {
    name: String,
    code: Vec<[u8; 8]>,
}

fn functions() -> Vec<Function> {
    let file = object::File::parse(OBJECT).expect("the object is an ELF file");
    let function = |symbol: object::Symbol<'_, '_>| {
        let section = file.section_by_index(symbol.section_index()?).ok()?;
        let data = section.data().ok()?;
        let from = usize::try_from(symbol.address()).ok()?;
        let code = data.get(from..from + usize::try_from(symbol.size()).ok()?)?.chunks_exact(8);
        Some(Function { name: symbol.name().ok()?.to_string(), code: code.map(|c| c.try_into().unwrap()).collect() })
    };
    file.symbols().filter(|s| s.kind() == SymbolKind::Text && s.size() > 0).filter_map(function).collect()
}

/// The deepest byte below the frame pointer (r10) that a function addresses.
fn stack_depth(code: &[[u8; 8]]) -> i64 {
    let mut depth = 0;
    let mut frame_copies = BTreeSet::new();
    for insn in code {
        let (op, dst, src) = (insn[0], insn[1] & 15, insn[1] >> 4);
        let off = i64::from(i16::from_le_bytes([insn[2], insn[3]]));
        let imm = i64::from(i32::from_le_bytes([insn[4], insn[5], insn[6], insn[7]]));
        match op & 7 {
            1 if src == 10 => depth = depth.max(-off),     // LDX
            2 | 3 if dst == 10 => depth = depth.max(-off), // ST, STX
            7 if op == 0xbf && src == 10 => {
                frame_copies.insert(dst); // rX = r10
            }
            7 if op == 0x07 && frame_copies.remove(&dst) => depth = depth.max(-imm), // rX += imm
            7 => {
                frame_copies.remove(&dst);
            }
            _ => {}
        }
    }
    depth
}

#[test]
fn every_uprobe_programs_stack_is_under_the_limit() {
    let functions = functions();
    for program in stacks::programs() {
        let function = functions.iter().find(|f| f.name == program).expect(program);
        let depth = stack_depth(&function.code);
        assert!(depth > 0 && depth < STACK_LIMIT, "{}: {depth} bytes of stack", program);
        // A call to another BPF function would add its frame.
        let calls = function.code.iter().filter(|insn| insn[0] == 0x85 && insn[1] >> 4 == 1).count();
        assert_eq!(calls, 0, "{} calls other BPF functions", program);
    }
}

#[test]
fn the_measure_of_stack_finds_a_deep_one() {
    // r1 = r10; r1 += -72; *(u64 *)(r10 - 80) = r2
    let code = [
        [0xbf, 0xa1, 0, 0, 0, 0, 0, 0],
        [0x07, 0x01, 0, 0, 0xb8, 0xff, 0xff, 0xff],
        [0x7b, 0x2a, 0xb0, 0xff, 0, 0, 0, 0],
    ];
    assert_eq!(stack_depth(&code[..2]), 72);
    assert_eq!(stack_depth(&code), 80);
}

#[test]
fn the_tables_and_the_object_name_the_same_programs() {
    let file = object::File::parse(OBJECT).expect("the object is an ELF file");
    let is_program = |name: &str| {
        ["uprobe", "uretprobe", "raw_tp", "cgroup", "cgroup_skb", "sockops"].iter().any(|kind| name.starts_with(kind))
    };
    let in_object: BTreeSet<String> = file
        .symbols()
        .filter(|s| s.kind() == SymbolKind::Text && s.is_global())
        .filter(|s| {
            let section = s.section_index().and_then(|i| file.section_by_index(i).ok());
            section.is_some_and(|section| section.name().is_ok_and(is_program))
        })
        .map(|s| s.name().unwrap().to_string())
        .collect();
    let host = PROGRAMS.iter().map(|p| p.name);
    let in_table: BTreeSet<String> = stacks::programs().into_iter().chain(host).map(str::to_string).collect();
    assert_eq!(in_object, in_table);
}

#[test]
fn maps_and_globals_are_there() {
    let file = object::File::parse(OBJECT).expect("the object is an ELF file");
    let symbols: BTreeSet<_> = file.symbols().filter_map(|s| s.name().ok().map(str::to_string)).collect();
    let wanted = [
        names::MAP_RING,
        names::MAP_CONNS,
        names::MAP_VERDICTS,
        names::MAP_CALLS,
        names::MAP_KEYS,
        names::MAP_GO_CALLS,
        names::MAP_SOCKS,
        names::MAP_MARKS,
        names::MAP_MID_MARKS,
        names::MAP_SOCK_VERDICTS,
        names::MAP_OWNERS,
        names::MAP_CROWDED,
        names::MAP_COUNTERS,
        names::GLOBAL_GROUP_LEADER,
        names::GLOBAL_START_BOOTTIME,
        names::GLOBAL_SIGNAL,
        names::GLOBAL_SIGNAL_LIVE,
        names::GLOBAL_SELF,
    ];
    for name in wanted {
        assert!(symbols.contains(name), "{name} is not in the object");
    }
}
