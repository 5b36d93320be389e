//! A strict reader for the shape that nearly every event of a stream has: it stops at the first
//! thing that is not exactly as expected, and then the event is read again by `loose`. What it
//! accepts is valid JSON without escapes in its strings, and nothing is allocated or copied.

use memchr::memchr;

/// A place in a JSON text. Every method moves it past what it read; `None`: something else stands there.
#[derive(Clone, Copy)]
pub struct JsonCursor<'a> {
    rest: &'a str,
}

impl<'a> JsonCursor<'a> {
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// Nothing follows.
    pub fn end(&mut self) -> Option<()> {
        self.blank();
        self.rest.is_empty().then_some(())
    }

    /// One of JSON's own characters.
    pub fn eat(&mut self, byte: u8) -> Option<()> {
        self.blank();
        let (first, rest) = self.rest.split_at_checked(1)?;
        (first.as_bytes() == [byte]).then(|| self.rest = rest)
    }

    pub fn null(&mut self) -> Option<()> {
        self.blank();
        self.rest = self.rest.strip_prefix("null")?;
        Some(())
    }

    /// A string without escapes.
    pub fn string(&mut self) -> Option<&'a str> {
        self.eat(b'"')?;
        let end = memchr(b'"', self.rest.as_bytes())?;
        let (text, rest) = self.rest.split_at_checked(end)?;
        if text.bytes().any(|byte| byte == b'\\' || byte < 0x20) {
            return None;
        }
        self.rest = rest.get(1..)?;
        Some(text)
    }

    /// Such a string, or null.
    pub fn word(&mut self) -> Option<Option<&'a str>> {
        if self.null().is_some() { Some(None) } else { self.string().map(Some) }
    }

    /// A whole number that is not negative.
    pub fn count(&mut self) -> Option<u64> {
        self.blank();
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.rest.split_at_checked(digits)?;
        let more = matches!(rest.bytes().next(), Some(b'.' | b'e' | b'E'));
        if more || digits > 18 || (digits > 1 && number.starts_with('0')) {
            return None;
        }
        self.rest = rest;
        number.parse().ok()
    }

    /// An object; `member` reads the value of each key.
    pub fn object(&mut self, mut member: impl FnMut(&'a str, &mut Self) -> Option<()>) -> Option<()> {
        self.eat(b'{')?;
        if self.eat(b'}').is_some() {
            return Some(());
        }
        loop {
            let key = self.string()?;
            self.eat(b':')?;
            member(key, self)?;
            if self.eat(b',').is_none() {
                return self.eat(b'}');
            }
        }
    }

    fn blank(&mut self) {
        if self.rest.as_bytes().first().is_some_and(|byte| *byte <= b' ') {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        }
    }
}

/// Puts a value where none was: a member that comes twice is not as expected.
pub fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exactly_as_expected_is_read() {
        let mut seen = Vec::new();
        let mut cursor = JsonCursor::new(" {\"a\" : \"xé\", \"n\":12 ,\"z\":0,\"u\":null, \"o\":{} } ");
        let done = cursor.object(|key, cursor| {
            seen.push(match key {
                "a" => cursor.string()?.to_owned(),
                "n" | "z" => cursor.count()?.to_string(),
                "u" => format!("{:?}", cursor.word()?),
                _ => {
                    cursor.object(|_, _| None)?;
                    "{}".to_owned()
                }
            });
            Some(())
        });
        assert_eq!((done, cursor.end()), (Some(()), Some(())));
        assert_eq!(seen, ["xé", "12", "0", "None", "{}"]);
    }

    #[test]
    fn anything_else_is_not() {
        for text in [r#""a\n""#, "\"a\nb\"", "\"a", "a\"", ""] {
            assert_eq!(JsonCursor::new(text).string(), None, "{text}");
        }
        for number in ["01", "1.0", "1e3", "-1", "", "x", "1234567890123456789"] {
            assert_eq!(JsonCursor::new(number).count(), None, "{number}");
        }
        for object in ["{,}", "{\"a\":1,}", "{\"a\" 1}", "{a:1}", "{\"a\":1", "[]", "{\"a\":1 \"b\":2}"] {
            assert_eq!(JsonCursor::new(object).object(|_, cursor| cursor.count().map(|_| ())), None, "{object}");
        }
        assert_eq!(JsonCursor::new("nul").null(), None);
        assert_eq!(JsonCursor::new(" x").end(), None);
    }
}
