//! The build id, which linkers put into a note.

use object::LittleEndian as LE;
use object::elf::{ELF_NOTE_GNU, NT_GNU_BUILD_ID, NoteHeader64};

use super::budget::{ElfRefusal, NOTES};
use super::reader::{ElfReader, TableExtent};

/// The build id in hex, from the first table that has one. A table that is broken or cut has none.
pub(super) fn build_id(reader: &mut ElfReader<'_>, tables: &[TableExtent]) -> Result<Option<String>, ElfRefusal> {
    for table in tables {
        let mut notes = Vec::new();
        reader.windows(TableExtent { len: table.len.min(NOTES), ..*table }, 0, |window, _| {
            notes.extend_from_slice(window);
            Ok(window.len())
        })?;
        if let Some(id) = find(&notes) {
            return Ok(Some(id.iter().map(|byte| format!("{byte:02x}")).collect()));
        }
    }
    Ok(None)
}

/// Notes are a header, a name with its NUL and a description, each padded to four bytes.
fn find(mut notes: &[u8]) -> Option<&[u8]> {
    loop {
        let (header, rest) = object::pod::from_bytes::<NoteHeader64<LE>>(notes).ok()?;
        let (name, rest) = padded(rest, header.n_namesz.get(LE))?;
        let (id, rest) = padded(rest, header.n_descsz.get(LE))?;
        if header.n_type.get(LE) == NT_GNU_BUILD_ID && name.strip_suffix(&[0]) == Some(ELF_NOTE_GNU) {
            return Some(id).filter(|id| (1..=LONGEST).contains(&id.len()));
        }
        notes = rest;
    }
}

/// Longest build id believed, bytes: SHA-256 has 32, and people make their own.
const LONGEST: usize = 64;

fn padded(bytes: &[u8], len: u32) -> Option<(&[u8], &[u8])> {
    let len = usize::try_from(len).ok()?;
    let (field, rest) = bytes.split_at_checked(len)?;
    // The last one may lack its padding.
    Some((field, rest.get(len.next_multiple_of(4) - len..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, what: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).expect("short").to_le_bytes();
        note.extend_from_slice(&len(name));
        note.extend_from_slice(&len(what));
        note.extend_from_slice(&kind.to_le_bytes());
        for field in [name, what] {
            note.extend_from_slice(field);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn the_build_id_is_found_behind_other_notes() {
        let notes =
            [note(b"Go\0", 4, b"abc/def"), note(b"GNU\0", 1, &[0; 16]), note(b"GNU\0", 3, &[0xab; 20])].concat();
        assert_eq!(find(&notes), Some(&[0xab; 20][..]));
        assert_eq!(find(&notes[..notes.len() - 1]), None, "cut");
    }

    #[test]
    fn lengths_that_lie_end_the_search() {
        for len in [5, 100, u32::MAX, u32::MAX - 2] {
            let mut notes = note(b"GNU\0", 3, &[1; 4]);
            notes[4..8].copy_from_slice(&len.to_le_bytes());
            assert_eq!(find(&notes), None);
            notes[0..4].copy_from_slice(&len.to_le_bytes());
            assert_eq!(find(&notes), None);
        }
        assert_eq!(find(&note(b"GNU\0", 3, &[])), None, "an empty one is none");
    }
}
