//! Finds symbols in a symbol table by their names.

use std::collections::HashMap;

use object::LittleEndian as LE;
use object::elf::{SHN_UNDEF, Sym64};

use super::FunctionSymbol;
use super::budget::{ElfRefusal, ElfRefusalReason, KEPT};
use super::headers::SymbolTable;
use super::names::{self, SymbolNames};
use super::reader::{ElfReader, EntryAccount, cut_short};

/// What a symbol table has of the symbols that are looked for.
#[derive(Debug, Default)]
pub(super) struct FoundSymbols {
    pub functions: HashMap<&'static str, FunctionSymbol>,
    /// Numbers of their symbols, in order: of those that it takes from other files, too.
    pub numbers: Vec<(u32, &'static str)>,
}

/// Finds the functions that this very file defines. Where one name is defined twice, the later
/// wins: file-local symbols come before global ones. The size that the section gives its entries is
/// not believed: the ABI has but one.
pub(super) fn find(
    reader: &mut ElfReader<'_>,
    tables: &SymbolTable,
    wanted: &[SymbolNames],
) -> Result<FoundSymbols, ElfRefusal> {
    let claimed = tables.symbols.len / size_of::<Sym64<LE>>() as u64;
    let places = names::find(reader, tables.strings, wanted)?;
    let mut found = FoundSymbols::default();
    if places.is_empty() {
        return Ok(found);
    }
    reader.spend(EntryAccount::Symbols, claimed)?;
    let read = reader.records::<Sym64<LE>>(tables.symbols, |number, symbol| {
        let defined = symbol.st_shndx.get(LE) != SHN_UNDEF && symbol.st_value.get(LE) != 0;
        let Some(name) = places.get(symbol.st_name.get(LE)) else { return Ok(()) };
        if found.numbers.len() == KEPT {
            let detail = format!("over {KEPT} of its symbols have one of the few names that are looked for");
            return Err(ElfRefusal::new(ElfRefusalReason::TooManyNames, detail));
        }
        if defined {
            let function = FunctionSymbol { address: symbol.st_value.get(LE), size: symbol.st_size.get(LE) };
            found.functions.insert(name, function);
        }
        // The budget has symbols counted below 2³².
        found.numbers.push((u32::try_from(number).unwrap_or(u32::MAX), name));
        Ok(())
    })?;
    if read < claimed { Err(cut_short("symbol table")) } else { Ok(found) }
}
