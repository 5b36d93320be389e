//! The dynamic table, which the loader goes by: it tells a program from a library, and leads to the
//! dynamic symbols of a file whose section headers were taken off.

use object::elf::{
    DF_1_PIE, DT_FLAGS_1, DT_GNU_HASH, DT_HASH, DT_JMPREL, DT_NULL, DT_PLTRELSZ, DT_RELA, DT_RELASZ, DT_RELR,
    DT_RELRSZ, DT_STRSZ, DT_STRTAB, DT_SYMTAB, Dyn64, GnuHashHeader, HashHeader, Sym64,
};
use object::{LittleEndian as LE, U32};

use super::budget::{DYNAMIC, ElfRefusal, ElfRefusalReason};
use super::headers::{ProgramHeaders, SymbolTable};
use super::reader::{ElfReader, EntryAccount, TableExtent};

/// What is wanted of the dynamic table; addresses, not file offsets.
#[derive(Debug, Default)]
pub(super) struct DynamicTable {
    /// A program that can be loaded anywhere. One that needs no loader names none, and tells itself
    /// from a library here alone.
    pub program: bool,
    symbols: Option<u64>,
    strings: (Option<u64>, u64),
    /// Those with addends.
    pub relocations: (Option<u64>, u64),
    /// Those of RELR, which tell slots alone.
    pub packed_relocations: (Option<u64>, u64),
    plt_relocations: (Option<u64>, u64),
    hash: Option<u64>,
    gnu_hash: Option<u64>,
}

/// Reads it; what lies behind its first `DYNAMIC` entries is not looked at.
pub(super) fn read(reader: &mut ElfReader<'_>, table: TableExtent) -> Result<DynamicTable, ElfRefusal> {
    let (mut dynamic, mut ended) = (DynamicTable::default(), false);
    let table = TableExtent { len: table.len.min(DYNAMIC * size_of::<Dyn64<LE>>() as u64), ..table };
    reader.records::<Dyn64<LE>>(table, |_, entry| {
        let value = entry.d_val.get(LE);
        let tag = entry.d_tag.get(LE);
        ended |= tag == DT_NULL;
        match tag {
            _ if ended => {}
            DT_FLAGS_1 => dynamic.program = value & u64::from(DF_1_PIE) != 0,
            DT_SYMTAB => dynamic.symbols = Some(value),
            DT_STRTAB => dynamic.strings.0 = Some(value),
            DT_STRSZ => dynamic.strings.1 = value,
            DT_RELA => dynamic.relocations.0 = Some(value),
            DT_RELASZ => dynamic.relocations.1 = value,
            DT_RELR => dynamic.packed_relocations.0 = Some(value),
            DT_RELRSZ => dynamic.packed_relocations.1 = value,
            DT_JMPREL => dynamic.plt_relocations.0 = Some(value),
            DT_PLTRELSZ => dynamic.plt_relocations.1 = value,
            DT_HASH => dynamic.hash = Some(value),
            DT_GNU_HASH => dynamic.gnu_hash = Some(value),
            _ => {}
        }
        Ok(())
    })?;
    Ok(dynamic)
}

impl DynamicTable {
    /// The dynamic symbols, found as the loader finds them. `None`: it has none, or none that can be counted.
    pub(super) fn symbols(
        &self,
        reader: &mut ElfReader<'_>,
        program: &ProgramHeaders,
    ) -> Result<Option<SymbolTable>, ElfRefusal> {
        let at = |address: Option<u64>| address.and_then(|address| program.file_offset(address));
        let table = |(address, len): (Option<u64>, u64)| at(address).map(|offset| TableExtent { offset, len });
        let (Some(offset), Some(strings)) = (at(self.symbols), table(self.strings)) else { return Ok(None) };
        let count = match (at(self.hash), at(self.gnu_hash)) {
            (Some(hash), _) => {
                reader.record::<HashHeader<LE>>(hash)?.map(|header| u64::from(header.chain_count.get(LE)))
            }
            (None, Some(hash)) => Some(counted_by_gnu_hash(reader, hash)?),
            (None, None) => None,
        };
        let Some(count) = count else { return Ok(None) };
        let symbols = TableExtent { offset, len: count * size_of::<Sym64<LE>>() as u64 };
        let relocations = [self.relocations, self.plt_relocations].into_iter().filter_map(table).collect();
        Ok(Some(SymbolTable { symbols, strings, relocations }))
    }
}

/// The number of symbols, by the table that finds them by hash: its buckets say where the chains of
/// symbols begin, and the last chain ends with the last symbol.
fn counted_by_gnu_hash(reader: &mut ElfReader<'_>, offset: u64) -> Result<u64, ElfRefusal> {
    let Some(header) = reader.record::<GnuHashHeader<LE>>(offset)? else { return Ok(0) };
    let (buckets, first) = (u64::from(header.bucket_count.get(LE)), u64::from(header.symbol_base.get(LE)));
    reader.spend(EntryAccount::Symbols, buckets)?;
    let bloom = u64::from(header.bloom_count.get(LE)) * 8;
    let buckets = TableExtent { offset: offset.saturating_add(16 + bloom), len: buckets * WORD };
    let mut highest = 0;
    reader.records::<U32<LE>>(buckets, |_, symbol| {
        highest = highest.max(u64::from(symbol.get(LE)));
        Ok(())
    })?;
    // No chain: no symbol is found by name, and those below the base are what others define. An empty bucket says 0.
    let Some(into) = highest.checked_sub(first).filter(|_| highest > 0) else { return Ok(first) };
    let limit = reader.budget().symbols;
    let chain = buckets.offset.saturating_add(buckets.len).saturating_add(into * WORD);
    let mut end = None;
    let mut left = limit + 1;
    let mut at = chain;
    // In small pieces: the end is near, and a claim of 8 million would have as many read.
    while end.is_none() && left > 0 {
        let piece = left.min(PIECE);
        let read = reader.records::<U32<LE>>(TableExtent { offset: at, len: piece * WORD }, |number, hash| {
            if end.is_none() && hash.get(LE) & 1 == 1 {
                end = Some(number + (at - chain) / WORD);
            }
            Ok(())
        })?;
        if read < piece && end.is_none() {
            return Ok(0);
        }
        at += piece * WORD;
        left -= piece;
    }
    match end {
        Some(end) => Ok(highest + end + 1),
        None => Err(ElfRefusal::new(
            ElfRefusalReason::TooManySymbols,
            format!("over {limit} of its symbols share a bucket"),
        )),
    }
}

/// Bytes of a word of the hash tables.
const WORD: u64 = 4;

/// Words of a chain read at a time.
const PIECE: u64 = 1024;
