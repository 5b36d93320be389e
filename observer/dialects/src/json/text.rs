//! The inside of one JSON string, in pieces: unescaped, counted, hashed, and kept as far as asked.

use std::hash::{DefaultHasher, Hasher};

/// What is wanted of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StringExtract {
    /// Bytes of its (unescaped) text to keep.
    pub bytes: usize,
    /// Whether to count its characters.
    pub count: bool,
}

/// Where in an escape sequence the bytes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    No,
    Backslash,
    /// `digits` hex digits of `\uXXXX` were read.
    Hex {
        digits: u8,
        unit: u16,
    },
}

/// What a piece brought.
pub(super) enum StringStep<'b> {
    /// All bytes were inside the string.
    Inside,
    /// The closing quote came; the rest follows it.
    Closed(&'b [u8]),
    /// An escape sequence that JSON does not know.
    Bad,
}

/// A string being read. Holds at most `keep.bytes`, the same buffer for every string of a document.
pub(super) struct StringReader {
    keep: StringExtract,
    kept: Vec<u8>,
    /// Text was left out of `kept`.
    cut: bool,
    chars: u64,
    escape: Escape,
    /// First half of a surrogate pair, waiting for the second.
    high: Option<u16>,
    /// The text so far, for who compares texts without keeping them.
    hash: Option<DefaultHasher>,
}

impl StringReader {
    pub(super) fn new() -> Self {
        let keep = StringExtract { bytes: 0, count: false };
        Self { keep, kept: Vec::new(), cut: false, chars: 0, escape: Escape::No, high: None, hash: None }
    }

    /// An opening quote was read.
    pub(super) fn open(&mut self, keep: StringExtract) {
        self.keep = keep;
        self.kept.clear();
        self.cut = false;
        self.chars = 0;
        self.escape = Escape::No;
        self.high = None;
        self.hash = None;
    }

    /// The string just opened is to be hashed.
    pub(super) fn hash_with(&mut self, hasher: DefaultHasher) {
        self.hash = Some(hasher);
    }

    /// The hash of the text, if it was asked for.
    pub(super) fn hash(&self) -> Option<u64> {
        self.hash.as_ref().map(Hasher::finish)
    }

    pub(super) fn push<'b>(&mut self, mut bytes: &'b [u8]) -> StringStep<'b> {
        while !bytes.is_empty() {
            match self.escape {
                Escape::No => match self.plain(bytes) {
                    Some((b'\\', rest)) => {
                        self.escape = Escape::Backslash;
                        bytes = rest;
                    }
                    Some((_, rest)) => {
                        self.lone_half();
                        return StringStep::Closed(rest);
                    }
                    None => return StringStep::Inside,
                },
                escape => {
                    let Some((&byte, rest)) = bytes.split_first() else { break };
                    if !self.escaped(escape, byte) {
                        return StringStep::Bad;
                    }
                    bytes = rest;
                }
            }
        }
        StringStep::Inside
    }

    /// Characters (Unicode scalar values) of the string, if they were counted. A lone surrogate half is one.
    pub(super) fn chars(&self) -> u64 {
        self.chars
    }

    /// The kept text, at most `keep.bytes` long; `None` if it is not UTF-8.
    pub(super) fn kept(&self) -> Option<&str> {
        match std::str::from_utf8(&self.kept) {
            Ok(text) => Some(text),
            // The cut fell into a character.
            Err(e) if self.cut && e.error_len().is_none() => {
                self.kept.get(..e.valid_up_to()).and_then(|whole| std::str::from_utf8(whole).ok())
            }
            Err(_) => None,
        }
    }

    /// Whether the string is exactly `name`.
    pub(super) fn is(&self, name: &str) -> bool {
        !self.cut && self.kept == name.as_bytes()
    }

    pub(super) fn held(&self) -> usize {
        self.kept.capacity()
    }

    /// Takes plain text up to a quote or backslash; returns that byte and what follows it.
    fn plain<'b>(&mut self, bytes: &'b [u8]) -> Option<(u8, &'b [u8])> {
        let end = memchr::memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
        let (run, rest) = bytes.split_at_checked(end)?;
        if !run.is_empty() {
            self.lone_half();
            if self.keep.count {
                self.chars += scalars(run);
            }
            self.store(run);
        }
        rest.split_first().map(|(&byte, rest)| (byte, rest))
    }

    /// One byte of an escape sequence; `false` if it cannot be one.
    fn escaped(&mut self, escape: Escape, byte: u8) -> bool {
        let Escape::Hex { digits, unit } = escape else { return self.short_escape(byte) };
        let Some(digit) = char::from(byte).to_digit(16).and_then(|d| u16::try_from(d).ok()) else { return false };
        let unit = (unit << 4) | digit;
        if digits < 3 {
            self.escape = Escape::Hex { digits: digits + 1, unit };
        } else {
            self.escape = Escape::No;
            self.unit(unit);
        }
        true
    }

    fn short_escape(&mut self, byte: u8) -> bool {
        let plain = match byte {
            b'u' => {
                self.escape = Escape::Hex { digits: 0, unit: 0 };
                return true;
            }
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            _ => return false,
        };
        self.escape = Escape::No;
        self.lone_half();
        self.character(plain);
        true
    }

    /// One UTF-16 code unit from `\uXXXX`.
    fn unit(&mut self, unit: u16) {
        if let Some(high) = self.high.take() {
            match char::decode_utf16([high, unit]).next() {
                Some(Ok(pair)) => return self.character(pair),
                _ => self.character(char::REPLACEMENT_CHARACTER),
            }
        }
        match char::from_u32(u32::from(unit)) {
            Some(single) => self.character(single),
            None if unit < 0xdc00 => self.high = Some(unit),
            None => self.character(char::REPLACEMENT_CHARACTER),
        }
    }

    /// The second half of a surrogate pair did not come.
    fn lone_half(&mut self) {
        if self.high.take().is_some() {
            self.character(char::REPLACEMENT_CHARACTER);
        }
    }

    fn character(&mut self, c: char) {
        self.chars += 1;
        self.store(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn store(&mut self, run: &[u8]) {
        if let Some(hash) = &mut self.hash {
            hash.write(run);
        }
        let room = self.keep.bytes.saturating_sub(self.kept.len());
        self.cut |= run.len() > room;
        self.kept.extend(run.iter().take(room));
    }
}

/// Unicode scalar values in (a piece of) UTF-8: every byte that does not continue a character begins one.
fn scalars(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&b| b & 0xc0 != 0x80).count() as u64
}
