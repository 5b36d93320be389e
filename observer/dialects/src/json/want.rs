//! What a scanner is to look for in a document, and what it finds.

/// One thing to look for.
#[derive(Debug)]
pub struct JsonQuery<T: 'static> {
    /// Keys from the root; `[]` is any item of an array. At most `PATH` long.
    pub path: &'static [&'static str],
    /// What to take there.
    pub take: JsonExtract,
    /// The caller's name for it.
    pub what: T,
}

/// What to take at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonExtract {
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
pub enum JsonMatch<'a> {
    Text(&'a str),
    Number(JsonNumber<'a>),
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
pub struct JsonNumber<'a>(pub &'a str);

impl JsonNumber<'_> {
    /// As a count; `None` if it is negative, has a fraction or is too large.
    #[must_use]
    pub fn count(self) -> Option<u64> {
        self.0.parse().ok().or_else(|| super::loose::whole(self.0.parse().ok()?))
    }
}

/// Longest path of a `JsonQuery`: that of an attribute's text in exported spans.
pub const PATH: usize = 10;
