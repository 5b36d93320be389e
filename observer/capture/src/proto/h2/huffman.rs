//! The Huffman code of HPACK (RFC 7541, appendix B). It is canonical: symbols of one length have consecutive codes, in
//! order, so the lengths are the whole table.

/// Code length of each symbol, in bits; the last is the end-of-string symbol, which never occurs in a valid string.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

/// Longest code, in bits.
const LONGEST: usize = 30;

/// The symbols of one code length.
#[derive(Clone, Copy)]
struct Group {
    /// The code of the first.
    first: u32,
    count: u32,
    /// Where they lie in `SYMBOLS`.
    at: u32,
}

/// Groups by length, and symbols in the order of their codes.
const TABLE: ([Group; LONGEST + 1], [u16; 257]) = table();
static GROUPS: [Group; LONGEST + 1] = TABLE.0;
static SYMBOLS: [u16; 257] = TABLE.1;

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which would refuse a bad index")]
#[expect(clippy::cast_possible_truncation, reason = "symbols are below 257")]
const fn table() -> ([Group; LONGEST + 1], [u16; 257]) {
    let mut groups = [Group { first: 0, count: 0, at: 0 }; LONGEST + 1];
    let mut symbols = [0; 257];
    let (mut code, mut at, mut length) = (0, 0, 1);
    while length <= LONGEST {
        code <<= 1;
        groups[length] = Group { first: code, count: 0, at };
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                symbols[at as usize] = symbol as u16;
                groups[length].count += 1;
                at += 1;
                code += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    (groups, symbols)
}

/// Decodes a string; at most 8/5 of its length comes out.
///
/// # Errors
/// It is no valid code, holds the end-of-string symbol, or is padded by something else than a few ones.
pub(super) fn decode(input: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(input.len() + input.len() / 2);
    let (mut code, mut length) = (0_u32, 0);
    for byte in input {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(byte >> bit & 1);
            length += 1;
            if let Some(symbol) = symbol(code, length) {
                out.push(u8::try_from(symbol).map_err(|_| "bad_huffman")?);
                (code, length) = (0, 0);
            } else if length >= LONGEST {
                return Err("bad_huffman");
            }
        }
    }
    let padding = length < 8 && code == (1 << length) - 1;
    if padding { Ok(out) } else { Err("bad_huffman") }
}

fn symbol(code: u32, length: usize) -> Option<u16> {
    let group = GROUPS.get(length)?;
    let rank = code.checked_sub(group.first).filter(|rank| *rank < group.count)?;
    SYMBOLS.get((group.at + rank) as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_complete() {
        let sum: u64 = LENGTHS.iter().map(|&length| 1 << (LONGEST - usize::from(length))).sum();
        assert_eq!(sum, 1 << LONGEST, "Kraft's sum");
        assert_eq!(symbol(0x1ff8, 13), Some(0));
        assert_eq!(symbol(0x3fff_ffff, 30), Some(256));
    }

    #[test]
    fn padding_is_a_few_ones() {
        assert_eq!(decode(&[0b0001_1111]).as_deref(), Ok(&b"a"[..]));
        assert_eq!(decode(&[]).as_deref(), Ok(&b""[..]));
        for bad in [&[0b0001_1110][..], &[0b0001_1111, 0xff], &[0xff], &[0xff; 4]] {
            assert_eq!(decode(bad), Err("bad_huffman"), "{bad:x?}");
        }
    }
}
