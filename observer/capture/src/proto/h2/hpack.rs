//! HPACK (RFC 7541), reading only. Unlike a peer's decoder it outlives what it has not seen: an index into the part of
//! the dynamic table that we do not know is a placeholder (`None`), and reading goes on.
//!
//! That is sound because indices count from the newest entry: those added since we watch keep their
//! right index, whatever lies behind them, and a peer never refers to an entry that it evicted
//! itself. So keeping too much does no harm; only an addition that the peer's table did *not* take
//! would (one larger than the whole table), see `insert`.

use std::collections::VecDeque;
use std::sync::Arc;

use super::huffman;
use crate::limits::HTTP2_TABLE;

/// A table begins with this size (RFC 9113, SETTINGS_HEADER_TABLE_SIZE); what differs is said in a block.
const DEFAULT_LIMIT: usize = 4096;

/// Largest addition believed while the table's size is not known. Tables smaller than this are used only as "none".
const UNSURE_ENTRY: usize = 1024;

/// What an entry costs beside its bytes.
const OVERHEAD: usize = 32;

/// The dynamic table of one direction. Entries hold what was made of a field, never the field: a secret does not stay.
pub(super) struct HpackDecoder<T> {
    /// Newest first.
    entries: VecDeque<Entry<T>>,
    size: usize,
    /// Entries are kept up to this size.
    limit: usize,
    /// Larger entries may not have been taken by the peer's table.
    believed: usize,
    desynced: bool,
}

struct Entry<T> {
    /// `None`: not known, as it was itself taken from an unknown entry.
    name: Option<Arc<[u8]>>,
    value: Option<Arc<T>>,
    size: usize,
}

/// Makes of a field what is kept of it.
pub(super) type MakeField<'a, T> = &'a dyn Fn(&[u8], &[u8]) -> T;

impl<T> Default for HpackDecoder<T> {
    fn default() -> Self {
        HpackDecoder {
            entries: VecDeque::new(),
            size: 0,
            limit: DEFAULT_LIMIT,
            believed: DEFAULT_LIMIT,
            desynced: false,
        }
    }
}

impl<T> HpackDecoder<T> {
    /// Reads a whole header block; a field that cannot be known is `None`.
    ///
    /// # Errors
    /// The block is broken. What follows it is read as after `lose`.
    pub(super) fn block(
        &mut self,
        block: &[u8],
        make: MakeField<'_, T>,
        out: &mut dyn FnMut(Option<&T>),
    ) -> Result<(), &'static str> {
        let result = self.fields(block, make, out);
        if result.is_err() {
            self.lose();
        }
        result
    }

    /// A block was not seen: entries may have been added that we do not know, so the others have other indices now.
    pub(super) fn lose(&mut self) {
        self.entries = VecDeque::new();
        self.size = 0;
        self.limit = HTTP2_TABLE;
        self.believed = UNSURE_ENTRY;
        self.desynced = true;
    }

    /// Part of the table is not known.
    pub(super) fn desynced(&self) -> bool {
        self.desynced
    }

    /// Bytes held, about: what is kept of a field is no larger than the field.
    pub(super) fn held(&self) -> usize {
        self.size + self.entries.capacity() * size_of::<Entry<T>>()
    }

    fn fields(
        &mut self,
        mut input: &[u8],
        make: MakeField<'_, T>,
        out: &mut dyn FnMut(Option<&T>),
    ) -> Result<(), &'static str> {
        while let Some(&first) = input.first() {
            match first {
                0x80.. => {
                    let index = integer(&mut input, 7)?;
                    self.indexed(index, make, out)?;
                }
                0x40..0x80 => {
                    let (name, value, size) = self.literal(&mut input, 6, make)?;
                    out(value.as_deref());
                    self.insert(Entry { name, value, size });
                }
                0x20..0x40 => self.resize(integer(&mut input, 5)?),
                _ => {
                    let (_, value, _) = self.literal(&mut input, 4, make)?;
                    out(value.as_deref());
                }
            }
        }
        Ok(())
    }

    fn indexed(
        &mut self,
        index: usize,
        make: MakeField<'_, T>,
        out: &mut dyn FnMut(Option<&T>),
    ) -> Result<(), &'static str> {
        let dynamic = index.checked_sub(STATIC.len() + 1);
        match dynamic {
            _ if index == 0 => return Err("bad_index"),
            None => {
                let field = STATIC.get(index - 1).map(|(name, value)| make(name.as_bytes(), value.as_bytes()));
                out(field.as_ref());
            }
            Some(dynamic) => {
                let entry = self.entries.get(dynamic);
                out(entry.and_then(|entry| entry.value.as_deref()));
                self.desynced |= entry.is_none();
            }
        }
        Ok(())
    }

    /// A literal: its name, what was made of it, and its size in a table.
    #[expect(clippy::type_complexity, reason = "the parts of an entry, which not every literal becomes")]
    fn literal(
        &mut self,
        input: &mut &[u8],
        prefix: u32,
        make: MakeField<'_, T>,
    ) -> Result<(Option<Arc<[u8]>>, Option<Arc<T>>, usize), &'static str> {
        let index = integer(input, prefix)?;
        let name = if index == 0 { Some(Arc::from(string(input)?)) } else { self.name(index) };
        let value = string(input)?;
        let size = name.as_ref().map_or(0, |name| name.len()) + value.len() + OVERHEAD;
        let made = name.as_ref().map(|name| Arc::new(make(name, &value)));
        Ok((name, made, size))
    }

    fn name(&mut self, index: usize) -> Option<Arc<[u8]>> {
        let Some(dynamic) = index.checked_sub(STATIC.len() + 1) else {
            return STATIC.get(index - 1).map(|(name, _)| Arc::from(name.as_bytes()));
        };
        let entry = self.entries.get(dynamic);
        self.desynced |= entry.is_none();
        entry.and_then(|entry| entry.name.clone())
    }

    /// An entry larger than the table empties it (RFC 7541, 4.4). Where that is not sure,
    /// forgetting the older entries is right either way: they are unknown then, not wrong.
    fn insert(&mut self, entry: Entry<T>) {
        if entry.size > self.believed {
            self.entries.clear();
            self.size = 0;
            return;
        }
        self.size += entry.size;
        self.entries.push_front(entry);
        self.evict();
    }

    fn resize(&mut self, limit: usize) {
        self.limit = limit.min(HTTP2_TABLE);
        self.believed = self.limit;
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.limit {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.size;
        }
    }
}

/// A prefixed integer. More than four further bytes are refused: nothing real is that large.
fn integer(input: &mut &[u8], prefix: u32) -> Result<usize, &'static str> {
    let mask = (1_u8 << prefix) - 1;
    let mut value = usize::from(byte(input)? & mask);
    if value < usize::from(mask) {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let next = byte(input)?;
        value += usize::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("bad_integer")
}

fn string(input: &mut &[u8]) -> Result<Vec<u8>, &'static str> {
    let coded = input.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(input, 7)?;
    let (text, rest) = input.split_at_checked(length).ok_or("bad_string")?;
    *input = rest;
    if coded { huffman::decode(text) } else { Ok(text.to_vec()) }
}

fn byte(input: &mut &[u8]) -> Result<u8, &'static str> {
    let (&first, rest) = input.split_first().ok_or("short_block")?;
    *input = rest;
    Ok(first)
}

/// The static table (RFC 7541, appendix A); indices count from 1.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests;
