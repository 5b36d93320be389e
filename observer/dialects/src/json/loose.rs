//! Fields of an event that take what fits. Every type here reads any JSON value and never fails but
//! on bad syntax: what is of another type is as if it were absent, and the rest of the event keeps
//! its meaning. None has a `Debug`: they hold people's words.

mod halves;
mod visitors;

use std::borrow::Cow;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use halves::without_lone_halves;

/// The data of an event as text; bytes that are not UTF-8 make it `Err("utf8")`.
pub fn text(data: &[u8]) -> Result<&str, &'static str> {
    std::str::from_utf8(data).map_err(|_| "utf8")
}

/// Reads one event's JSON; `Err("json")` if it is none. `spare` holds a repaired copy where one is
/// needed: JavaScript and Python write and read halves of surrogate pairs (`"\ud83d"`) that a `str`
/// cannot hold, so a client sees text where a strict reader sees an error.
pub fn read<'a, T: Deserialize<'a>>(text: &'a str, spare: &'a mut String) -> Result<T, &'static str> {
    if let Ok(event) = serde_json::from_str(text) {
        return Ok(event);
    }
    *spare = without_lone_halves(text).ok_or("json")?;
    serde_json::from_str(spare).map_err(|_| "json")
}

/// A string.
#[derive(Default)]
pub struct LooseText<'a>(pub Option<Cow<'a, str>>);

/// A count: a whole number that is not negative (a float such as `12.0` too).
#[derive(Clone, Copy, Debug, Default)]
pub struct LooseCount(pub Option<u64>);

/// A number, such as a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct LooseNumber(pub Option<f64>);

/// A switch.
#[derive(Clone, Copy, Debug, Default)]
pub struct LooseFlag(pub bool);

/// Any value as it was written: for arguments that some servers send as text and others as an object.
#[derive(Default)]
pub struct RawJson<'a>(Option<&'a RawValue>);

/// An object. Boxed, because most of those that an event may have are absent: inline, an event
/// would be kilobytes that are moved from level to level.
pub struct BoxedObject<T>(pub Option<Box<T>>);

/// An object that nearly every event has: in place, so that reading it allocates nothing.
pub struct InlineObject<T>(pub Option<InPlace<T>>);

/// What a `Box` is to `BoxedObject`.
#[derive(Default)]
pub struct InPlace<T>(T);

/// An array; items past `limits::EVENT_ITEMS` are left out.
pub struct LooseList<T, C = Vec<T>> {
    pub items: C,
    /// Items were left out.
    pub cut: bool,
    item: PhantomData<T>,
}

/// An array that has one item as a rule, which is in place.
pub type ShortList<T> = LooseList<T, SmallVec<[T; 1]>>;

impl<T> InPlace<T> {
    /// The object itself.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for InPlace<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A code as providers write it: a word or a number.
#[derive(Default)]
pub struct LooseCode<'a>(pub Option<Cow<'a, str>>);

impl LooseText<'_> {
    /// The string if it is not empty.
    #[must_use]
    pub fn word(&self) -> Option<&str> {
        self.0.as_deref().filter(|word| !word.is_empty())
    }
}

impl<'a> RawJson<'a> {
    /// A string's text, or an object's or array's as it was written; of anything else nothing.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'a, str>> {
        let raw = self.0?.get();
        match raw.as_bytes().first() {
            Some(b'"') => serde_json::from_str::<LooseText<'a>>(raw).ok()?.0,
            Some(b'{' | b'[') => Some(Cow::Borrowed(raw)),
            _ => None,
        }
    }
}

impl<T> Default for BoxedObject<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> From<Vec<T>> for LooseList<T> {
    fn from(items: Vec<T>) -> Self {
        LooseList { items, cut: false, item: PhantomData }
    }
}

impl<T> Default for InlineObject<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T, C: Default> Default for LooseList<T, C> {
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

#[cfg(test)]
mod tests;
