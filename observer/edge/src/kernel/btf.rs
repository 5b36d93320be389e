//! Offsets of a few fields of `task_struct`, from the kernel's own BTF. Pure: bytes in, offsets out.
//! Format: Documentation/bpf/btf.rst; only what leads to a structure's members is read.

use std::collections::HashMap;

/// Byte offsets in `struct task_struct`, and of one field behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TaskOffsets {
    pub group_leader: u32,
    pub start_boottime: u32,
    pub signal: u32,
    /// `live` in `struct signal_struct`: threads of the process that have not begun to exit.
    pub signal_live: u32,
}

/// Reads the offsets from the contents of `/sys/kernel/btf/vmlinux`. `None`: not BTF, or the fields are not there.
#[must_use]
pub(super) fn task_offsets(btf: &[u8]) -> Option<TaskOffsets> {
    let types = Types::parse(btf)?;
    let task = types.fields_of("task_struct")?;
    Some(TaskOffsets {
        group_leader: *task.get("group_leader")?,
        start_boottime: *task.get("start_boottime")?,
        signal: *task.get("signal")?,
        signal_live: *types.fields_of("signal_struct")?.get("live")?,
    })
}

/// Anonymous structures inside each other: two levels exist (randomised layout).
const MAX_NESTING: usize = 4;

struct Types<'a> {
    strings: &'a [u8],
    structs: Vec<Struct<'a>>,
    by_id: HashMap<u32, usize>,
}

struct Struct<'a> {
    name: u32,
    bitfields: bool,
    members: &'a [u8],
}

impl<'a> Types<'a> {
    fn parse(btf: &'a [u8]) -> Option<Self> {
        if word16(btf, 0)? != 0xeb9f {
            return None;
        }
        let body = btf.get(word(btf, 4)? as usize..)?;
        let (type_at, type_len) = (word(btf, 8)? as usize, word(btf, 12)? as usize);
        let (text_at, text_len) = (word(btf, 16)? as usize, word(btf, 20)? as usize);
        let mut types =
            Self { strings: body.get(text_at..)?.get(..text_len)?, structs: Vec::new(), by_id: HashMap::new() };
        types.walk(body.get(type_at..)?.get(..type_len)?)?;
        Some(types)
    }

    fn walk(&mut self, mut rest: &'a [u8]) -> Option<()> {
        let mut id = 1;
        while rest.len() >= 12 {
            let (name, info) = (word(rest, 0)?, word(rest, 4)?);
            let (kind, count) = ((info >> 24) & 0x1f, (info & 0xffff) as usize);
            let tail = tail_len(kind, count)?;
            let members = rest.get(12..12 + tail)?;
            if kind == STRUCT || kind == UNION {
                self.by_id.insert(id, self.structs.len());
                self.structs.push(Struct { name, bitfields: info >> 31 != 0, members });
            }
            rest = rest.get(12 + tail..)?;
            id += 1;
        }
        Some(())
    }

    /// Offsets of a structure's fields, by name.
    fn fields_of(&self, name: &str) -> Option<HashMap<&'a str, u32>> {
        let found = self.structs.iter().find(|s| self.name(s.name) == Some(name))?;
        let mut fields = HashMap::new();
        self.members(found, 0, &mut fields, 0);
        Some(fields)
    }

    /// Offsets of all named members, those of anonymous members included.
    fn members(&self, of: &Struct<'a>, base: u32, into: &mut HashMap<&'a str, u32>, depth: usize) {
        for member in of.members.chunks_exact(12) {
            let (Some(name), Some(id), Some(bits)) = (word(member, 0), word(member, 4), word(member, 8)) else {
                return;
            };
            let bits = if of.bitfields { bits & 0x00ff_ffff } else { bits };
            let at = base + bits / 8;
            match self.name(name) {
                Some("") | None if depth < MAX_NESTING => {
                    if let Some(inner) = self.by_id.get(&id).and_then(|i| self.structs.get(*i)) {
                        self.members(inner, at, into, depth + 1);
                    }
                }
                Some(name) => {
                    into.insert(name, at);
                }
                None => {}
            }
        }
    }

    fn name(&self, offset: u32) -> Option<&'a str> {
        let text = self.strings.get(offset as usize..)?;
        let end = text.iter().position(|b| *b == 0)?;
        std::str::from_utf8(text.get(..end)?).ok()
    }
}

const STRUCT: u32 = 4;
const UNION: u32 = 5;

/// Bytes after the 12-byte head of a type, by kind.
fn tail_len(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        1 | 14 | 17 => 4,
        3 => 12,
        STRUCT | UNION | 15 | 19 => count * 12,
        6 | 13 => count * 8,
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn word16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernels_offsets_are_plausible() {
        let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            println!("SKIPPED: this kernel shows no BTF");
            return;
        };
        let offsets = task_offsets(&btf).expect("task_struct has both fields");
        assert!(offsets.signal.is_multiple_of(8) && offsets.signal_live.is_multiple_of(4), "{offsets:?}");
        assert!(offsets.group_leader > 0 && offsets.start_boottime > 0 && offsets.group_leader.is_multiple_of(8));
    }

    #[test]
    fn garbage_is_refused() {
        assert_eq!(task_offsets(b""), None);
        assert_eq!(task_offsets(&[0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
