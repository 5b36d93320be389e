//! Where calls through a PLT lead: slots of the GOT that are filled with the address of a function of this very file.

use std::collections::HashMap;

use object::LittleEndian as LE;
use object::elf::Rela64;

use super::budget::{ElfRefusal, ElfRefusalReason, KEPT};
use super::reader::{ElfReader, EntryAccount, TableExtent, cut_short};

/// GOT address → name, of those symbols alone (by number, in order).
pub(super) fn slots(
    reader: &mut ElfReader<'_>,
    tables: &[TableExtent],
    symbols: &[(u32, &'static str)],
) -> Result<HashMap<u64, &'static str>, ElfRefusal> {
    let mut slots = HashMap::new();
    for table in tables {
        let claimed = table.len / size_of::<Rela64<LE>>() as u64;
        reader.spend(EntryAccount::Relocations, claimed)?;
        let read = reader.records::<Rela64<LE>>(*table, |_, relocation| {
            // On all of 64-bit x86 the upper half is the symbol's number.
            let number = relocation.r_info.get(LE) >> 32;
            let Ok(index) = symbols.binary_search_by_key(&number, |(number, _)| u64::from(*number)) else {
                return Ok(());
            };
            if slots.len() == KEPT {
                let detail = format!("over {KEPT} of its relocations are of the few functions that are looked for");
                return Err(ElfRefusal::new(ElfRefusalReason::TooManyRelocations, detail));
            }
            if let Some((_, name)) = symbols.get(index) {
                slots.insert(relocation.r_offset.get(LE), *name);
            }
            Ok(())
        })?;
        if read < claimed {
            return Err(cut_short("table of relocations"));
        }
    }
    Ok(slots)
}
