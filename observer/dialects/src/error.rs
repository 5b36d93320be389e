//! Errors in every shape that servers give them: the provider's word for what failed, never its text.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};

use super::json::loose::{BoxedObject, LooseCode};
use capture::limits;

/// The `error` member of an event.
#[derive(Default)]
pub(crate) struct ErrorMember<'a> {
    /// It is there, and truthy in the sense that SDKs give it.
    pub present: bool,
    words: Words<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Words<'a> {
    #[serde(borrow)]
    code: LooseCode<'a>,
    #[serde(borrow, rename = "type")]
    class: LooseCode<'a>,
    #[serde(borrow)]
    metadata: BoxedObject<Metadata<'a>>,
    /// Google's: its `code` is an HTTP status, the word is here.
    #[serde(borrow)]
    status: LooseCode<'a>,
}

/// OpenRouter's: its `code` is an HTTP status, the word is here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata<'a> {
    #[serde(borrow)]
    error_type: LooseCode<'a>,
}

impl ErrorMember<'_> {
    /// The provider's word.
    #[must_use]
    pub(crate) fn kind(&self) -> Option<&str> {
        let Words { code, class, metadata, status } = &self.words;
        let class = class.0.as_deref().or_else(|| metadata.0.as_deref()?.error_type.0.as_deref());
        let class = class.or(status.0.as_deref());
        kind(code.0.as_deref(), class)
    }
}

/// The most telling word of an error: its code if that is a word, else its type, else the code's number. What does not
/// look like a word is somebody's text and not passed on.
#[must_use]
pub(crate) fn kind<'a>(code: Option<&'a str>, class: Option<&'a str>) -> Option<&'a str> {
    let code = code.filter(|code| is_word(code));
    let numeric = code.is_some_and(|code| code.bytes().all(|b| b.is_ascii_digit() || b == b'-'));
    let class = class.filter(|class| is_word(class));
    if numeric { class.or(code) } else { code.or(class) }
}

fn is_word(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= limits::NAME
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':' | b'/' | b'#'))
}

impl<'de: 'a, 'a> Deserialize<'de> for ErrorMember<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Failures(std::marker::PhantomData))
    }
}

struct Failures<'a>(std::marker::PhantomData<Cow<'a, str>>);

/// An error without words.
fn bare<'a, E>(present: bool) -> Result<ErrorMember<'a>, E> {
    Ok(ErrorMember { present, words: Words::default() })
}

impl<'de: 'a, 'a> Visitor<'de> for Failures<'a> {
    type Value = ErrorMember<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_unit<E>(self) -> Result<ErrorMember<'a>, E> {
        bare(false)
    }
    fn visit_bool<E>(self, present: bool) -> Result<ErrorMember<'a>, E> {
        bare(present)
    }
    fn visit_u64<E>(self, number: u64) -> Result<ErrorMember<'a>, E> {
        bare(number != 0)
    }
    fn visit_i64<E>(self, _: i64) -> Result<ErrorMember<'a>, E> {
        bare(true)
    }
    fn visit_f64<E>(self, number: f64) -> Result<ErrorMember<'a>, E> {
        bare(number != 0.0)
    }
    fn visit_str<E>(self, text: &str) -> Result<ErrorMember<'a>, E> {
        bare(!text.is_empty())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ErrorMember<'a>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        bare(true)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ErrorMember<'a>, A::Error> {
        let words = Words::deserialize(MapAccessDeserializer::new(map))?;
        Ok(ErrorMember { present: true, words })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_every_shape() {
        for (json, present, word) in [
            ("null", false, None),
            ("false", false, None),
            (r#""""#, false, None),
            (r#""the key sk-123 is wrong""#, true, None),
            (r#"{"message":"m","type":"server_error","param":null,"code":null}"#, true, Some("server_error")),
            (r#"{"type":"requests","code":"rate_limit_exceeded"}"#, true, Some("rate_limit_exceeded")),
            (r#"{"type":"BadRequestError","code":400}"#, true, Some("BadRequestError")),
            (r#"{"code":"429","message":"m"}"#, true, Some("429")),
            (r#"{"code":502,"message":"m","metadata":{"error_type":"provider_error"}}"#, true, Some("provider_error")),
            (r#"{"type":"overloaded_error","message":"m"}"#, true, Some("overloaded_error")),
            (r#"{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}"#, true, Some("RESOURCE_EXHAUSTED")),
            (r#"{"code":"a text, not a word","type":{"odd":1}}"#, true, None),
            (r#"{}"#, true, None),
            (r#"[]"#, true, None),
        ] {
            let failure: ErrorMember<'_> = serde_json::from_str(json).unwrap();
            assert_eq!((failure.present, failure.kind()), (present, word), "{json}");
        }
    }
}
