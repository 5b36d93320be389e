//! Fields of an event that take what fits. Every type here reads any JSON value and never fails but on bad syntax: what
//! is of another type is as if it were absent, and the rest of the event keeps its meaning. None has a `Debug`: they hold people's words.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::limits;

/// The data of an event as text; bytes that are not UTF-8 make it `Err("utf8")`.
pub fn text(data: &[u8]) -> Result<&str, &'static str> {
    std::str::from_utf8(data).map_err(|_| "utf8")
}

/// Reads one event's JSON; `Err("json")` if it is none. `spare` holds a repaired copy where one is needed: JavaScript and
/// Python write and read halves of surrogate pairs (`"\ud83d"`) that a `str` cannot hold, so a client sees text where a
/// strict reader sees an error.
pub fn read<'a, T: Deserialize<'a>>(text: &'a str, spare: &'a mut String) -> Result<T, &'static str> {
    if let Ok(event) = serde_json::from_str(text) {
        return Ok(event);
    }
    *spare = without_lone_halves(text).ok_or("json")?;
    serde_json::from_str(spare).map_err(|_| "json")
}

/// `text` with each lone `\uD8xx`/`\uDCxx` escape replaced by U+FFFD; `None` if there is none.
fn without_lone_halves(text: &str) -> Option<String> {
    let (mut fixed, mut rest, mut found) = (String::with_capacity(text.len()), text, false);
    while let Some((before, after)) = rest.split_once('\\') {
        fixed.push_str(before);
        let Some(unit) = escaped_unit(after) else {
            // Another escape: its second character must not be taken for a backslash of its own.
            let end = after.chars().next().map_or(0, char::len_utf8);
            let (escape, tail) = after.split_at_checked(end)?;
            fixed.push('\\');
            fixed.push_str(escape);
            rest = tail;
            continue;
        };
        let (_, tail) = after.split_at_checked(5)?;
        let low = tail.strip_prefix('\\').and_then(escaped_unit);
        let width = match (char::decode_utf16([unit]).next(), low) {
            (Some(Ok(_)), _) => 5,
            (_, Some(low)) if char::decode_utf16([unit, low]).next().is_some_and(|c| c.is_ok()) => 11,
            _ => 0,
        };
        if width == 0 {
            found = true;
            fixed.push(char::REPLACEMENT_CHARACTER);
            rest = tail;
        } else {
            let (escape, tail) = after.split_at_checked(width)?;
            fixed.push('\\');
            fixed.push_str(escape);
            rest = tail;
        }
    }
    fixed.push_str(rest);
    found.then_some(fixed)
}

/// The code unit of `uXXXX` at the start of `after` (what follows a backslash).
fn escaped_unit(after: &str) -> Option<u16> {
    u16::from_str_radix(after.strip_prefix('u')?.get(..4)?, 16).ok()
}

/// A string.
#[derive(Default)]
pub struct Text<'a>(pub Option<Cow<'a, str>>);

/// A count: a whole number that is not negative (a float such as `12.0` too).
#[derive(Clone, Copy, Debug, Default)]
pub struct Count(pub Option<u64>);

/// A number, such as a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real(pub Option<f64>);

/// A switch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flag(pub bool);

/// Any value as it was written: for arguments that some servers send as text and others as an object.
#[derive(Default)]
pub struct Json<'a>(Option<&'a RawValue>);

/// An object. Boxed, because most of those that an event may have are absent: inline, an event would be kilobytes that are
/// moved from level to level.
pub struct Object<T>(pub Option<Box<T>>);

/// An object that nearly every event has: in place, so that reading it allocates nothing.
pub struct Inline<T>(pub Option<Here<T>>);

/// What a `Box` is to `Object`.
#[derive(Default)]
pub struct Here<T>(T);

/// An array; items past `limits::EVENT_ITEMS` are left out.
pub struct List<T, C = Vec<T>> {
    pub items: C,
    /// Items were left out.
    pub cut: bool,
    item: PhantomData<T>,
}

/// An array that has one item as a rule, which is in place.
pub type Few<T> = List<T, SmallVec<[T; 1]>>;

impl<T> Here<T> {
    /// The object itself.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Here<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A code as providers write it: a word or a number.
#[derive(Default)]
pub struct Code<'a>(pub Option<Cow<'a, str>>);

impl Text<'_> {
    /// The string if it is not empty.
    #[must_use]
    pub fn word(&self) -> Option<&str> {
        self.0.as_deref().filter(|word| !word.is_empty())
    }
}

impl<'a> Json<'a> {
    /// A string's text, or an object's or array's as it was written; of anything else nothing.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'a, str>> {
        let raw = self.0?.get();
        match raw.as_bytes().first() {
            Some(b'"') => serde_json::from_str::<Text<'a>>(raw).ok()?.0,
            Some(b'{' | b'[') => Some(Cow::Borrowed(raw)),
            _ => None,
        }
    }
}

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(items: Vec<T>) -> Self {
        List { items, cut: false, item: PhantomData }
    }
}

impl<T> Default for Inline<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T, C: Default> Default for List<T, C> {
    fn default() -> Self {
        Self { items: C::default(), cut: false, item: PhantomData }
    }
}

/// A float that is a count.
#[must_use]
pub fn whole(number: f64) -> Option<u64> {
    // 2^53: up to here every whole number is exact.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, not negative and below 2^53")]
    ((0.0..=9_007_199_254_740_992.0).contains(&number) && number.fract() == 0.0).then_some(number as u64)
}

/// `visit_*` methods that take a value of another type and forget it.
macro_rules! forget {
    ($($what:ident),*) => { $(forget!(@ $what);)* };
    (@ unit) => { fn visit_unit<E>(self) -> Result<Self::Value, E> { Ok(Default::default()) } };
    (@ bool) => { fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> { Ok(Default::default()) } };
    (@ number) => {
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> { Ok(Default::default()) }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> { Ok(Default::default()) }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> { Ok(Default::default()) }
    };
    (@ str) => { fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> { Ok(Default::default()) } };
    (@ seq) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Default::default())
        }
    };
    (@ map) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Default::default())
        }
    };
    (@ expecting) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str("any JSON value") }
    };
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Strings<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Strings<'a> {
            type Value = Text<'a>;
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'a>, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'a>, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }
            forget!(expecting, unit, bool, number, seq, map);
        }
        from.deserialize_any(Strings(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Counts;
        impl<'de> Visitor<'de> for Counts {
            type Value = Count;
            fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
                Ok(Count(Some(count)))
            }
            fn visit_i64<E>(self, count: i64) -> Result<Count, E> {
                Ok(Count(u64::try_from(count).ok()))
            }
            fn visit_f64<E>(self, count: f64) -> Result<Count, E> {
                Ok(Count(whole(count)))
            }
            forget!(expecting, unit, bool, str, seq, map);
        }
        from.deserialize_any(Counts)
    }
}

impl<'de> Deserialize<'de> for Real {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reals;
        impl<'de> Visitor<'de> for Reals {
            type Value = Real;
            #[expect(clippy::cast_precision_loss, reason = "nobody's time has 16 digits")]
            fn visit_u64<E>(self, number: u64) -> Result<Real, E> {
                Ok(Real(Some(number as f64)))
            }
            #[expect(clippy::cast_precision_loss, reason = "nobody's time has 16 digits")]
            fn visit_i64<E>(self, number: i64) -> Result<Real, E> {
                Ok(Real(Some(number as f64)))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Real, E> {
                Ok(Real(Some(number)))
            }
            forget!(expecting, unit, bool, str, seq, map);
        }
        from.deserialize_any(Reals)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Flags;
        impl<'de> Visitor<'de> for Flags {
            type Value = Flag;
            fn visit_bool<E>(self, is: bool) -> Result<Flag, E> {
                Ok(Flag(is))
            }
            forget!(expecting, unit, number, str, seq, map);
        }
        from.deserialize_any(Flags)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::deserialize(from).map(Json)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Code<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Codes<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Codes<'a> {
            type Value = Code<'a>;
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Code<'a>, E> {
                Ok(Code(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Code<'a>, E> {
                Ok(Code(Some(Cow::Owned(text.to_owned()))))
            }
            fn visit_u64<E>(self, code: u64) -> Result<Code<'a>, E> {
                Ok(Code(Some(Cow::Owned(code.to_string()))))
            }
            fn visit_i64<E>(self, code: i64) -> Result<Code<'a>, E> {
                Ok(Code(Some(Cow::Owned(code.to_string()))))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Code<'a>, E> {
                Ok(Code(None))
            }
            forget!(expecting, unit, bool, seq, map);
        }
        from.deserialize_any(Codes(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Objects<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Objects<T> {
            type Value = Object<T>;
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|object| Object(Some(Box::new(object))))
            }
            forget!(expecting, unit, bool, number, str, seq);
        }
        from.deserialize_any(Objects(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Inline<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Inlines<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Inlines<T> {
            type Value = Inline<T>;
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Inline<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|object| Inline(Some(Here(object))))
            }
            forget!(expecting, unit, bool, number, str, seq);
        }
        from.deserialize_any(Inlines(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>, C: Default + Extend<T>> Deserialize<'de> for List<T, C> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Lists<T, C>(PhantomData<(T, C)>);
        impl<'de, T: Deserialize<'de>, C: Default + Extend<T>> Visitor<'de> for Lists<T, C> {
            type Value = List<T, C>;
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T, C>, A::Error> {
                let mut list = List::<T, C>::default();
                for _ in 0..limits::EVENT_ITEMS {
                    match seq.next_element()? {
                        Some(item) => list.items.extend(Some(item)),
                        None => return Ok(list),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    list.cut = true;
                }
                Ok(list)
            }
            forget!(expecting, unit, bool, number, str, map);
        }
        from.deserialize_any(Lists(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Odd<'a> {
        #[serde(borrow)]
        text: Text<'a>,
        count: Count,
        #[serde(borrow)]
        code: Code<'a>,
        real: Real,
        flag: Flag,
        #[serde(borrow)]
        json: Json<'a>,
        #[serde(borrow)]
        object: Object<Inner<'a>>,
        #[serde(borrow)]
        list: List<Object<Inner<'a>>>,
        #[serde(borrow)]
        last: Text<'a>,
    }

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Inner<'a> {
        #[serde(borrow)]
        x: Text<'a>,
    }

    #[test]
    fn a_field_of_another_type_costs_no_other() {
        for value in
            ["null", "true", "-7", "1.5", "18446744073709551615", r#""t""#, r#""é\n""#, "[1,[2]]", r#"{"k":{"l":[]}}"#]
        {
            let json = format!(
                r#"{{"text":{value},"unknown":{value},"count":{value},"code":{value},"real":{value},"flag":{value},"json":{value},"object":{value},"list":{value},"last":"x"}}"#
            );
            let mut spare = String::new();
            let odd: Odd<'_> = read(&json, &mut spare).unwrap();
            assert_eq!(odd.last.word(), Some("x"), "{json}");
            assert_eq!(odd.text.0.is_some(), value.starts_with('"'), "{json}");
            assert_eq!(odd.object.0.is_some(), value.starts_with('{'), "{json}");
            assert_eq!(odd.list.items.len(), if value.starts_with('[') { 2 } else { 0 }, "{json}");
            assert_eq!(odd.count.0, (value == "18446744073709551615").then_some(u64::MAX), "{json}");
            assert_eq!(odd.real.0.is_some(), value.parse::<f64>().is_ok(), "{json}");
            assert_eq!(odd.flag.0, value == "true", "{json}");
            assert_eq!(odd.json.text().is_some(), value.starts_with(['"', '[', '{']), "{json}");
            assert_eq!(
                odd.code.0.is_some(),
                matches!(value, "-7" | "18446744073709551615") || value.starts_with('"'),
                "{json}"
            );
        }
    }

    #[test]
    fn arguments_come_as_text_or_as_an_object() {
        for (json, text) in
            [(r#"{"json":"{\"a\":1}"}"#, r#"{"a":1}"#), (r#"{"json": {"a": "\u00e9"} }"#, r#"{"a": "\u00e9"}"#)]
        {
            let mut spare = String::new();
            let odd: Odd<'_> = read(json, &mut spare).unwrap();
            assert_eq!(odd.json.text().as_deref(), Some(text));
        }
    }

    #[test]
    fn strings_without_escapes_are_borrowed() {
        let odd: Odd<'_> = read(r#"{"text":"plain é","last":"a\nb"}"#, &mut String::new())
            .map(|odd: Odd<'_>| {
                assert!(matches!(odd.text.0, Some(Cow::Borrowed("plain é"))));
                assert!(matches!(odd.last.0, Some(Cow::Owned(_))));
                Odd::default()
            })
            .unwrap();
        assert!(odd.object.0.is_none_or(|inner| inner.x.0.is_none()));
    }

    #[test]
    fn a_lone_surrogate_is_a_replacement_character() {
        for (json, text) in [
            (r#"{"text":"\ud83d"}"#, "\u{fffd}"),
            (r#"{"text":"a\\\ud83d\\ud83d\n"}"#, "a\\\u{fffd}\\ud83d\n"),
            (r#"{"text":"\ude00\ud83d\ude00é"}"#, "\u{fffd}😀é"),
            (r#"{"text":"\ud83d\ud83d\ude00"}"#, "\u{fffd}😀"),
        ] {
            let mut spare = String::new();
            let odd: Odd<'_> = read(json, &mut spare).unwrap();
            assert_eq!(odd.text.word(), Some(text), "{json}");
        }
        assert_eq!(read::<Odd<'_>>(r#"{"text":"\ud83d"#, &mut String::new()).err(), Some("json"));
    }

    #[test]
    fn a_list_has_a_cap() {
        let json = format!(r#"{{"list":[{}{{}}],"last":"x"}}"#, "{},".repeat(limits::EVENT_ITEMS));
        let mut spare = String::new();
        let odd: Odd<'_> = read(&json, &mut spare).unwrap();
        assert_eq!((odd.list.items.len(), odd.list.cut, odd.last.word()), (limits::EVENT_ITEMS, true, Some("x")));
    }

    proptest! {
        #[test]
        fn reads_any_text_without_panic(text in "\\PC{0,60}", json in r#"\{"text":"([a-c\\"u]|\\\\ud8[0-9a-f]{2}|\\\\udc00){0,8}"\}"#) {
            let _ = read::<Odd<'_>>(&text, &mut String::new());
            let _ = read::<Odd<'_>>(&json, &mut String::new());
            if serde_json::from_str::<serde_json::Value>(&json).is_ok() {
                prop_assert!(read::<Odd<'_>>(&json, &mut String::new()).is_ok());
            }
        }
    }
}
