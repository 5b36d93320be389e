//! An incremental JSON scanner: constant memory, cut anywhere, aware of paths.

mod paths;

use super::merkle::JsonMerkle;
use super::text::{StringExtract, StringReader, StringStep};
use super::want::{JsonExtract, JsonMatch, JsonNumber, JsonQuery, PATH};
use capture::limits;
use capture::proto::Salt;

/// Longest key that is compared; a longer one is no wanted key.
const KEY: usize = 64;

/// Longest number that is kept; a longer one is no count.
const WORD: usize = 40;

/// Bits of `limits::JSON_DEPTH`.
const KINDS: usize = limits::JSON_DEPTH.div_ceil(64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value must come; `first`: or the end of the array just opened.
    Value { first: bool },
    /// A key must come; `first`: or the end of the object just opened.
    Key { first: bool },
    /// A colon must come.
    Colon,
    /// A comma or the end of the container must come.
    After,
    /// Inside a string.
    Text { key: bool },
    /// Inside a number or literal.
    Word,
    /// The document is complete.
    Done,
    /// It is not JSON, or is nested too deep.
    Bad(&'static str),
}

/// Wants by bit: the ones whose path begins like the place we are at.
type Mask = u64;

/// The scanner of one document.
pub struct JsonScanner<T: 'static> {
    wants: &'static [JsonQuery<T>],
    state: State,
    /// Open containers; a value inside has a path of as many segments.
    depth: usize,
    /// One bit a container: set for an array.
    arrays: [u64; KINDS],
    /// Per container (to the depth of the longest path): the wants still possible in it, and items so far.
    masks: [Mask; PATH + 1],
    items: [u64; PATH + 1],
    /// The wants still possible for the value that comes or is being read.
    child: Mask,
    text: StringReader,
    word: Vec<u8>,
    hashes: Option<(Salt, JsonMerkle)>,
    raw: Option<Raw>,
}

/// A value being kept as written.
struct Raw {
    /// Open containers around it.
    depth: usize,
    bytes: Vec<u8>,
    /// It ended: the byte that tells may be its own (`}`) or the next one.
    ended: bool,
}

impl<T: Copy> JsonScanner<T> {
    /// A scanner for `wants` (at most 64; more are not looked for).
    #[must_use]
    pub fn new(wants: &'static [JsonQuery<T>]) -> Self {
        let all = if wants.len() >= 64 { Mask::MAX } else { (1 << wants.len()) - 1 };
        Self {
            wants,
            state: State::Value { first: false },
            depth: 0,
            arrays: [0; KINDS],
            masks: [0; PATH + 1],
            items: [0; PATH + 1],
            child: all,
            text: StringReader::new(),
            word: Vec::new(),
            hashes: None,
            raw: None,
        }
    }

    /// The same, for wants of `JsonExtract::Hash`.
    #[must_use]
    pub fn with_hashes(wants: &'static [JsonQuery<T>], salt: &Salt) -> Self {
        Self { hashes: Some((salt.clone(), JsonMerkle::new(salt))), ..Self::new(wants) }
    }

    /// The next piece of the document.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut dyn FnMut(T, JsonMatch<'_>)) {
        while !bytes.is_empty() {
            let before = bytes;
            bytes = match self.state {
                State::Text { key } => self.in_text(key, bytes, out),
                State::Word => self.in_word(bytes, out),
                State::Bad(_) => return,
                _ => self.between(bytes, out),
            };
            if self.raw.is_some() {
                self.keep_raw(before.get(..before.len() - bytes.len()).unwrap_or_default(), out);
            }
        }
    }

    /// The document came whole.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.state == State::Done
    }

    /// Why the scanner gave up, if it did: `json`, `json_depth`.
    #[must_use]
    pub fn bad(&self) -> Option<&'static str> {
        if let State::Bad(reason) = self.state { Some(reason) } else { None }
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.text.held()
            + self.word.capacity()
            + self.raw.as_ref().map_or(0, |raw| raw.bytes.capacity())
            + self.hashes.as_ref().map_or(0, |(_, merkle)| merkle.held())
    }

    /// Structure: white space, brackets, commas, colons and the first byte of a value.
    fn between<'b>(&mut self, bytes: &'b [u8], out: &mut dyn FnMut(T, JsonMatch<'_>)) -> &'b [u8] {
        let Some((&byte, rest)) = bytes.split_first() else { return bytes };
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            return rest;
        }
        match (self.state, byte) {
            (State::Value { first: true }, b']') | (State::Key { first: true }, b'}') => self.close(byte, out),
            (State::After, b']' | b'}') => self.close(byte, out),
            (State::After, b',') => self.next(),
            (State::Colon, b':') => self.state = State::Value { first: false },
            (State::Key { .. }, b'"') => {
                self.text.open(StringExtract { bytes: KEY, count: false });
                self.hash_text();
                self.state = State::Text { key: true };
            }
            (State::Value { .. }, _) => return self.value(byte, bytes, rest),
            _ => self.state = State::Bad("json"),
        }
        rest
    }

    fn next(&mut self) {
        self.state = if self.in_array() { State::Value { first: false } } else { State::Key { first: false } };
    }

    /// The first byte of a value; returns what is still to be read.
    fn value<'b>(&mut self, byte: u8, bytes: &'b [u8], rest: &'b [u8]) -> &'b [u8] {
        if self.depth > 0 && self.in_array() {
            self.item();
        }
        if self.raw.is_none() && self.here().any(|want| want.take == JsonExtract::Raw) {
            self.raw = Some(Raw { depth: self.depth, bytes: Vec::new(), ended: false });
        }
        match byte {
            b'{' | b'[' => self.open(byte == b'['),
            b'"' => {
                self.text.open(self.keep());
                self.hash_text();
                self.state = State::Text { key: false };
            }
            _ => {
                self.word.clear();
                self.state = State::Word;
                return bytes;
            }
        }
        rest
    }

    /// An array's next item begins.
    fn item(&mut self) {
        let Some(outer) = self.depth.checked_sub(1) else { return };
        if let Some(items) = self.items.get_mut(outer) {
            *items += 1;
        }
        self.child = self.step_into(|segment, _| segment == "[]");
    }

    fn open(&mut self, array: bool) {
        let Some(bits) = self.arrays.get_mut(self.depth / 64) else {
            self.state = State::Bad("json_depth");
            return;
        };
        let bit = 1 << (self.depth % 64);
        *bits = if array { *bits | bit } else { *bits & !bit };
        if let (Some(mask), Some(items)) = (self.masks.get_mut(self.depth), self.items.get_mut(self.depth)) {
            *mask = self.child;
            *items = 0;
        }
        self.depth += 1;
        if let Some((_, merkle)) = &mut self.hashes {
            merkle.open(array);
        }
        self.state = if array { State::Value { first: true } } else { State::Key { first: true } };
    }

    fn close(&mut self, byte: u8, out: &mut dyn FnMut(T, JsonMatch<'_>)) {
        let array = self.in_array();
        if array != (byte == b']') {
            self.state = State::Bad("json");
            return;
        }
        self.depth = self.depth.saturating_sub(1);
        self.child = self.masks.get(self.depth).copied().unwrap_or(0);
        let items = self.items.get(self.depth).copied().unwrap_or(0);
        if let Some((_, merkle)) = &mut self.hashes {
            merkle.close();
        }
        self.found(out, |take| match take {
            JsonExtract::Items if array => Some(JsonMatch::Items(items)),
            JsonExtract::Close => Some(JsonMatch::Close),
            _ => None,
        });
        self.ended();
    }

    /// A value ended.
    fn ended(&mut self) {
        if let Some(raw) = self.raw.as_mut().filter(|raw| raw.depth == self.depth) {
            raw.ended = true;
        }
        self.state = if self.depth == 0 { State::Done } else { State::After };
    }

    /// More of a value that is kept as written; told when it is whole.
    fn keep_raw(&mut self, bytes: &[u8], out: &mut dyn FnMut(T, JsonMatch<'_>)) {
        let Some(raw) = &mut self.raw else { return };
        let room = (limits::RAW_VALUE + 1).saturating_sub(raw.bytes.len());
        raw.bytes.extend(bytes.iter().take(room));
        if !raw.ended {
            return;
        }
        let Some(raw) = self.raw.take().filter(|raw| raw.bytes.len() <= limits::RAW_VALUE) else { return };
        let Ok(text) = std::str::from_utf8(&raw.bytes) else { return };
        for want in self.here().filter(|want| want.take == JsonExtract::Raw) {
            out(want.what, JsonMatch::Raw(text));
        }
    }

    fn in_text<'b>(&mut self, key: bool, bytes: &'b [u8], out: &mut dyn FnMut(T, JsonMatch<'_>)) -> &'b [u8] {
        match self.text.push(bytes) {
            StringStep::Inside => return &[],
            StringStep::Bad => self.state = State::Bad("json"),
            StringStep::Closed(rest) if key => {
                if let (Some((_, merkle)), Some(hash)) = (&mut self.hashes, self.text.hash()) {
                    merkle.key(hash, |name| self.text.is(name));
                }
                self.child = self.step_into(|segment, text| segment != "[]" && text.is(segment));
                self.state = State::Colon;
                return rest;
            }
            StringStep::Closed(rest) => {
                if let (Some((_, merkle)), Some(hash)) = (&mut self.hashes, self.text.hash()) {
                    merkle.value(hash);
                }
                let text = &self.text;
                self.found(out, |take| match take {
                    JsonExtract::Value => text.kept().map(JsonMatch::Text),
                    JsonExtract::Chars => Some(JsonMatch::Chars(text.chars())),
                    JsonExtract::Items => Some(JsonMatch::Items(1)),
                    JsonExtract::Close | JsonExtract::Hash | JsonExtract::Raw => None,
                });
                self.ended();
                return rest;
            }
        }
        &[]
    }

    fn in_word<'b>(&mut self, bytes: &'b [u8], out: &mut dyn FnMut(T, JsonMatch<'_>)) -> &'b [u8] {
        let end = bytes.iter().position(|b| !matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'a'..=b'z' | b'E'));
        let (run, rest) = bytes.split_at_checked(end.unwrap_or(bytes.len())).unwrap_or((bytes, &[]));
        // One byte over the longest word tells that it is longer.
        self.word.extend(run.iter().take((WORD + 1).saturating_sub(self.word.len())));
        if end.is_some() {
            self.word_ended(out);
        }
        rest
    }

    fn word_ended(&mut self, out: &mut dyn FnMut(T, JsonMatch<'_>)) {
        let word = std::str::from_utf8(&self.word).unwrap_or("");
        let value = match word {
            "true" => JsonMatch::Bool(true),
            "false" => JsonMatch::Bool(false),
            "null" => JsonMatch::Null,
            _ if is_number(word) => JsonMatch::Number(JsonNumber(word)),
            _ => {
                self.state = State::Bad("json");
                return;
            }
        };
        if let Some((_, merkle)) = &mut self.hashes {
            merkle.word(&self.word);
        }
        if word.len() <= WORD {
            self.found(out, |take| (take == JsonExtract::Value).then_some(value));
        }
        self.ended();
    }

    /// The string just opened counts for the hashes.
    fn hash_text(&mut self) {
        if let Some((salt, _)) = &self.hashes {
            self.text.hash_with(salt.hasher());
        }
    }

    fn in_array(&self) -> bool {
        let Some(inner) = self.depth.checked_sub(1) else { return false };
        self.arrays.get(inner / 64).is_some_and(|bits| bits >> (inner % 64) & 1 == 1)
    }
}

/// Near enough: begins like a number and has no other letters.
fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix('-').unwrap_or(word);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
}

/// Never panics, and any splitting gives what the whole gives.
pub fn fuzz(data: &[u8]) {
    static WANTS: &[JsonQuery<u8>] = &[
        JsonQuery { path: &["a"], take: JsonExtract::Value, what: 0 },
        JsonQuery { path: &["a"], take: JsonExtract::Chars, what: 1 },
        JsonQuery { path: &["a", "[]", "b"], take: JsonExtract::Items, what: 2 },
        JsonQuery { path: &["[]", "a"], take: JsonExtract::Close, what: 3 },
    ];
    let facts = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut scanner, mut facts) = (JsonScanner::new(WANTS), String::new());
        for piece in pieces {
            scanner.push(piece, &mut |what, found| facts.push_str(&format!("{what}{found:?}")));
        }
        (facts, scanner.complete(), scanner.bad())
    };
    assert_eq!(facts(&mut std::iter::once(data)), facts(&mut data.chunks(1)), "the cut changed what was found");
}

#[cfg(test)]
mod tests;
