//! An incremental JSON scanner: constant memory, cut anywhere, aware of paths.

use super::merkle::Merkle;
use super::text::{Keep, Step, Text};
use crate::limits;
use crate::proto::Salt;

/// One thing to look for.
#[derive(Debug)]
pub struct Want<T: 'static> {
    /// Keys from the root; `[]` is any item of an array. At most `PATH` long.
    pub path: &'static [&'static str],
    /// What to take there.
    pub take: Take,
    /// The caller's name for it.
    pub what: T,
}

/// What to take at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The scalar itself; a string at most `limits::NAME` bytes long.
    Value,
    /// The number of characters of a string, whose text is forgotten.
    Chars,
    /// The number of items of an array; a lone string is one.
    Items,
    /// The end of an object or array, to settle what came in it.
    Close,
    /// A hash of the value, whatever it is (only of a scanner made `with_hashes`).
    Hash,
    /// The value as written, if it is not longer than `limits::RAW_VALUE`.
    Raw,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found<'a> {
    Text(&'a str),
    Number(Number<'a>),
    Bool(bool),
    Null,
    /// Unicode scalar values.
    Chars(u64),
    Items(u64),
    Close,
    Hash(u64),
    Raw(&'a str),
}

/// A number as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number<'a>(pub &'a str);

impl Number<'_> {
    /// As a count; `None` if it is negative, has a fraction or is too large.
    #[must_use]
    pub fn count(self) -> Option<u64> {
        self.0.parse().ok().or_else(|| super::loose::whole(self.0.parse().ok()?))
    }
}

/// Longest path of a `Want`: that of an attribute's text in exported spans.
pub const PATH: usize = 10;

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
pub struct Scanner<T: 'static> {
    wants: &'static [Want<T>],
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
    text: Text,
    word: Vec<u8>,
    hashes: Option<(Salt, Merkle)>,
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

impl<T: Copy> Scanner<T> {
    /// A scanner for `wants` (at most 64; more are not looked for).
    #[must_use]
    pub fn new(wants: &'static [Want<T>]) -> Self {
        let all = if wants.len() >= 64 { Mask::MAX } else { (1 << wants.len()) - 1 };
        Self {
            wants,
            state: State::Value { first: false },
            depth: 0,
            arrays: [0; KINDS],
            masks: [0; PATH + 1],
            items: [0; PATH + 1],
            child: all,
            text: Text::new(),
            word: Vec::new(),
            hashes: None,
            raw: None,
        }
    }

    /// The same, for wants of `Take::Hash`.
    #[must_use]
    pub fn with_hashes(wants: &'static [Want<T>], salt: &Salt) -> Self {
        Self { hashes: Some((salt.clone(), Merkle::new(salt))), ..Self::new(wants) }
    }

    /// The next piece of the document.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut dyn FnMut(T, Found<'_>)) {
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
    fn between<'b>(&mut self, bytes: &'b [u8], out: &mut dyn FnMut(T, Found<'_>)) -> &'b [u8] {
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
                self.text.open(Keep { bytes: KEY, count: false });
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
        if self.raw.is_none() && self.here().any(|want| want.take == Take::Raw) {
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

    fn close(&mut self, byte: u8, out: &mut dyn FnMut(T, Found<'_>)) {
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
            Take::Items if array => Some(Found::Items(items)),
            Take::Close => Some(Found::Close),
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
    fn keep_raw(&mut self, bytes: &[u8], out: &mut dyn FnMut(T, Found<'_>)) {
        let Some(raw) = &mut self.raw else { return };
        let room = (limits::RAW_VALUE + 1).saturating_sub(raw.bytes.len());
        raw.bytes.extend(bytes.iter().take(room));
        if !raw.ended {
            return;
        }
        let Some(raw) = self.raw.take().filter(|raw| raw.bytes.len() <= limits::RAW_VALUE) else { return };
        let Ok(text) = std::str::from_utf8(&raw.bytes) else { return };
        for want in self.here().filter(|want| want.take == Take::Raw) {
            out(want.what, Found::Raw(text));
        }
    }

    fn in_text<'b>(&mut self, key: bool, bytes: &'b [u8], out: &mut dyn FnMut(T, Found<'_>)) -> &'b [u8] {
        match self.text.push(bytes) {
            Step::Inside => return &[],
            Step::Bad => self.state = State::Bad("json"),
            Step::Closed(rest) if key => {
                if let (Some((_, merkle)), Some(hash)) = (&mut self.hashes, self.text.hash()) {
                    merkle.key(hash, |name| self.text.is(name));
                }
                self.child = self.step_into(|segment, text| segment != "[]" && text.is(segment));
                self.state = State::Colon;
                return rest;
            }
            Step::Closed(rest) => {
                if let (Some((_, merkle)), Some(hash)) = (&mut self.hashes, self.text.hash()) {
                    merkle.value(hash);
                }
                let text = &self.text;
                self.found(out, |take| match take {
                    Take::Value => text.kept().map(Found::Text),
                    Take::Chars => Some(Found::Chars(text.chars())),
                    Take::Items => Some(Found::Items(1)),
                    Take::Close | Take::Hash | Take::Raw => None,
                });
                self.ended();
                return rest;
            }
        }
        &[]
    }

    fn in_word<'b>(&mut self, bytes: &'b [u8], out: &mut dyn FnMut(T, Found<'_>)) -> &'b [u8] {
        let end = bytes.iter().position(|b| !matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'a'..=b'z' | b'E'));
        let (run, rest) = bytes.split_at_checked(end.unwrap_or(bytes.len())).unwrap_or((bytes, &[]));
        // One byte over the longest word tells that it is longer.
        self.word.extend(run.iter().take((WORD + 1).saturating_sub(self.word.len())));
        if end.is_some() {
            self.word_ended(out);
        }
        rest
    }

    fn word_ended(&mut self, out: &mut dyn FnMut(T, Found<'_>)) {
        let word = std::str::from_utf8(&self.word).unwrap_or("");
        let value = match word {
            "true" => Found::Bool(true),
            "false" => Found::Bool(false),
            "null" => Found::Null,
            _ if is_number(word) => Found::Number(Number(word)),
            _ => {
                self.state = State::Bad("json");
                return;
            }
        };
        if let Some((_, merkle)) = &mut self.hashes {
            merkle.word(&self.word);
        }
        if word.len() <= WORD {
            self.found(out, |take| (take == Take::Value).then_some(value));
        }
        self.ended();
    }

    /// Tells the caller what the value that just ended has for each want whose path leads exactly here.
    fn found<'a>(&self, out: &mut dyn FnMut(T, Found<'_>), take: impl Fn(Take) -> Option<Found<'a>>) {
        for want in self.here() {
            let found = match (want.take, &self.hashes) {
                (Take::Hash, Some((_, merkle))) => Some(Found::Hash(merkle.last())),
                (other, _) => take(other),
            };
            if let Some(found) = found {
                out(want.what, found);
            }
        }
    }

    /// The wants whose path leads exactly to the current value.
    fn here(&self) -> impl Iterator<Item = &'static Want<T>> + use<T> {
        let depth = self.depth;
        bits(self.child, self.wants).map(|(_, want)| want).filter(move |want| want.path.len() == depth)
    }

    /// The string just opened counts for the hashes.
    fn hash_text(&mut self) {
        if let Some((salt, _)) = &self.hashes {
            self.text.hash_with(salt.hasher());
        }
    }

    /// What the current value's wants need of its text.
    fn keep(&self) -> Keep {
        let mut keep = Keep { bytes: 0, count: false };
        for want in self.here() {
            match want.take {
                Take::Value => keep.bytes = limits::NAME,
                Take::Chars => keep.count = true,
                Take::Items | Take::Close | Take::Hash | Take::Raw => {}
            }
        }
        keep
    }

    /// The wants of the innermost container whose next segment fits.
    fn step_into(&self, fits: impl Fn(&str, &Text) -> bool) -> Mask {
        let Some(outer) = self.depth.checked_sub(1) else { return 0 };
        let mask = self.masks.get(outer).copied().unwrap_or(0);
        bits(mask, self.wants)
            .filter(|(_, want)| want.path.get(outer).is_some_and(|segment| fits(segment, &self.text)))
            .fold(0, |mask, (bit, _)| mask | bit)
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

/// The wants of a mask, each with its bit.
fn bits<T>(mut mask: Mask, wants: &'static [Want<T>]) -> impl Iterator<Item = (Mask, &'static Want<T>)> {
    std::iter::from_fn(move || {
        while mask != 0 {
            let at = mask.trailing_zeros();
            mask &= mask - 1;
            if let Some(want) = wants.get(at as usize) {
                return Some((1 << at, want));
            }
        }
        None
    })
}

/// Never panics, and any splitting gives what the whole gives.
pub fn fuzz(data: &[u8]) {
    static WANTS: &[Want<u8>] = &[
        Want { path: &["a"], take: Take::Value, what: 0 },
        Want { path: &["a"], take: Take::Chars, what: 1 },
        Want { path: &["a", "[]", "b"], take: Take::Items, what: 2 },
        Want { path: &["[]", "a"], take: Take::Close, what: 3 },
    ];
    let facts = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut scanner, mut facts) = (Scanner::new(WANTS), String::new());
        for piece in pieces {
            scanner.push(piece, &mut |what, found| facts.push_str(&format!("{what}{found:?}")));
        }
        (facts, scanner.complete(), scanner.bad())
    };
    assert_eq!(facts(&mut std::iter::once(data)), facts(&mut data.chunks(1)), "the cut changed what was found");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    static WANTS: &[Want<usize>] = &[
        Want { path: &["a"], take: Take::Value, what: 0 },
        Want { path: &["a"], take: Take::Chars, what: 1 },
        Want { path: &["a"], take: Take::Items, what: 2 },
        Want { path: &["a", "[]", "b"], take: Take::Value, what: 3 },
        Want { path: &["a", "[]", "b"], take: Take::Chars, what: 4 },
        Want { path: &["b", "a"], take: Take::Value, what: 5 },
        Want { path: &["b", "a", "[]"], take: Take::Close, what: 6 },
        Want { path: &["[]", "a"], take: Take::Value, what: 7 },
        Want { path: &["[]"], take: Take::Close, what: 8 },
        Want { path: &["c", "c", "c", "c", "c", "c", "c", "c"], take: Take::Value, what: 9 },
        Want { path: &[], take: Take::Close, what: 10 },
        Want { path: &["é\n"], take: Take::Value, what: 11 },
    ];

    /// What the scanner finds when fed in `pieces`.
    fn scanned<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<(usize, String)>, bool, Option<&'static str>) {
        let (mut scanner, mut facts) = (Scanner::new(WANTS), Vec::new());
        for piece in pieces {
            scanner.push(piece, &mut |what, found| facts.push((what, format!("{found:?}"))));
        }
        (facts, scanner.complete(), scanner.bad())
    }

    /// The same from a tree of values.
    fn oracle(value: &Value) -> Vec<(usize, String)> {
        fn walk(value: &Value, want: &Want<usize>, path: &[&str], facts: &mut Vec<(usize, String)>) {
            match (path.split_first(), value) {
                (None, _) => facts.extend(expected(value, want.take).map(|found| (want.what, format!("{found:?}")))),
                (Some((&"[]", rest)), Value::Array(items)) => {
                    items.iter().for_each(|item| walk(item, want, rest, facts));
                }
                (Some((key, rest)), Value::Object(members)) if *key != "[]" => {
                    members.get(*key).into_iter().for_each(|member| walk(member, want, rest, facts));
                }
                _ => {}
            }
        }
        let mut facts = Vec::new();
        WANTS.iter().for_each(|want| walk(value, want, want.path, &mut facts));
        facts
    }

    fn expected(value: &Value, take: Take) -> Option<Found<'_>> {
        Some(match (take, value) {
            (Take::Value, Value::String(text)) => Found::Text(crate::dialect::cap(text)),
            (Take::Value, Value::Bool(is)) => Found::Bool(*is),
            (Take::Value, Value::Null) => Found::Null,
            (Take::Value, Value::Number(n)) => Found::Number(Number(Box::leak(n.to_string().into_boxed_str()))),
            (Take::Chars, Value::String(text)) => Found::Chars(text.chars().count() as u64),
            (Take::Items, Value::String(_)) => Found::Items(1),
            (Take::Items, Value::Array(items)) => Found::Items(items.len() as u64),
            (Take::Close, Value::Array(_) | Value::Object(_)) => Found::Close,
            _ => return None,
        })
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof!["\\PC{0,12}", r#"[\\"/{}\[\],: \n\t\u{0}\u{e9}\u{20ac}\u{1f600}a-c]{0,20}"#, "[a-z€]{250,300}",]
    }

    fn values() -> impl Strategy<Value = Value> {
        let keys = prop_oneof![
            6 => Just("a".to_owned()), 6 => Just("b".to_owned()), 6 => Just("c".to_owned()),
            1 => Just("é\n".to_owned()), 1 => Just("[]".to_owned()), 1 => texts(),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            texts().prop_map(Value::from),
        ];
        leaf.prop_recursive(10, 60, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(keys.clone(), inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// The document with every character of its strings escaped, as `json.dumps` writes it.
    fn ascii(json: &str) -> String {
        json.chars()
            .map(|c| {
                if c.is_ascii() {
                    c.to_string()
                } else {
                    c.encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")).collect()
                }
            })
            .collect()
    }

    fn sorted(mut facts: Vec<(usize, String)>) -> Vec<(usize, String)> {
        facts.sort();
        facts
    }

    proptest! {
        #[test]
        fn finds_what_a_tree_of_values_has(value in values(), pretty in any::<bool>(), escaped in any::<bool>(), cut in 1..40usize) {
            let json = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let json = if escaped { ascii(&json) } else { json };
            // A scalar at the root ends only where something follows.
            let json = json + "\n";
            let (facts, complete, bad) = scanned(json.as_bytes().chunks(cut));
            prop_assert_eq!((complete, bad), (true, None), "{}", json);
            prop_assert_eq!(sorted(facts), sorted(oracle(&value)), "{}", json);
        }

        #[test]
        fn any_cut_of_any_bytes_gives_the_same(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
            fuzz(&bytes);
            let (head, tail) = bytes.split_at(at.index(bytes.len() + 1));
            prop_assert_eq!(scanned([head, tail]), scanned([&*bytes]));
        }

        #[test]
        fn damaged_json_is_cut_the_same(value in values(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = serde_json::to_vec(&value).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            prop_assert_eq!(scanned(bytes.chunks(1)), scanned([&*bytes]));
            if serde_json::from_slice::<Value>(&bytes).is_ok() {
                prop_assert_eq!(scanned([&*bytes]).2, None, "{:?}", String::from_utf8_lossy(&bytes));
            }
        }
    }

    #[test]
    fn raw_values_come_as_written() {
        static RAW: &[Want<u8>] = &[Want { path: &["a", "[]"], take: Take::Raw, what: 0 }];
        let long = format!("\"{}\"", "x".repeat(limits::RAW_VALUE));
        let values = ["{ \"a\": [1, {}] }", "\"\\u00e9 é\"", "-1.5e3", "null", "[ ]", "true"];
        let text = format!("{{\"a\":[{}, {long}],\"b\":[1]}}", values.join(" , "));
        for cut in [1, 3, text.len()] {
            let (mut scanner, mut found) = (Scanner::new(RAW), Vec::new());
            for piece in text.as_bytes().chunks(cut) {
                scanner.push(piece, &mut |_, value| {
                    if let Found::Raw(raw) = value {
                        found.push(raw.to_owned());
                    }
                });
                assert!(scanner.held() < 3 * limits::RAW_VALUE);
            }
            assert_eq!(found, values, "cut into {cut}");
        }
    }

    #[test]
    fn surrogate_halves_count_as_one_character_each() {
        for (json, chars, text) in [
            (r#"{"a":"\ud83d\ude00"}"#, 1, "😀"),
            (r#"{"a":"\ud83d"}"#, 1, "\u{fffd}"),
            (r#"{"a":"\ud83dx\ude00"}"#, 3, "\u{fffd}x\u{fffd}"),
            (r#"{"a":"\ud83d\ud83d\ude00\n"}"#, 3, "\u{fffd}😀\n"),
            (r#"{"\u0061":"\u00e9"}"#, 1, "é"),
        ] {
            let (facts, complete, _) = scanned(json.as_bytes().chunks(1));
            assert!(complete);
            let expected = [
                (0, format!("Text({text:?})")),
                (1, format!("Chars({chars})")),
                (2, "Items(1)".into()),
                (10, "Close".into()),
            ];
            assert_eq!(facts, expected, "{json}");
        }
    }

    #[test]
    fn gives_up_where_it_is_no_json() {
        for bad in [
            "x",
            "{,}",
            "[1,]",
            "{\"a\" 1}",
            "[}",
            "{]",
            "\"\\x\"",
            "\"\\u12g4\"",
            "{} {}",
            "nul ",
            "{'a':1}",
            "[tru]",
            "@",
        ] {
            assert_eq!(scanned([bad.as_bytes(), b"\n"]).2, Some("json"), "{bad}");
        }
        assert_eq!(scanned(["[".repeat(10_000).as_bytes()]).2, Some("json_depth"));
        assert_eq!(scanned(["[".repeat(128).as_bytes(), "]".repeat(128).as_bytes()]).2, None);
    }

    #[test]
    fn memory_is_constant() {
        let mut scanner = Scanner::new(WANTS);
        let mut most = 0;
        scanner.push(br#"{"a":"#, &mut |_, _| {});
        for piece in [&br#"""#[..], &[b'x'; 4096]] {
            for _ in 0..if piece.len() == 1 { 1 } else { 1000 } {
                scanner.push(piece, &mut |_, _| {});
                most = most.max(scanner.held());
            }
        }
        assert!(most <= 2 * limits::NAME, "{most}");
        scanner.push(b"\",\"", &mut |_, _| {});
        (0..1000).for_each(|_| scanner.push(&[b'9'; 4096], &mut |_, _| {}));
        scanner.push(b"\":", &mut |_, _| {});
        (0..1000).for_each(|_| scanner.push(&[b'9'; 4096], &mut |_, _| {}));
        assert!(scanner.held() <= 2 * limits::NAME, "{}", scanner.held());
    }
}
