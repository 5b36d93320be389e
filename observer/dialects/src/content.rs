//! The content of a message or delta as OpenAI and Mistral write it: a text, or a part or a list of
//! parts, of which some are thoughts.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{
    Deserializer, MapAccess, SeqAccess, Visitor,
    value::{MapAccessDeserializer, SeqAccessDeserializer},
};

use super::DeltaKind;
use super::json::loose::{BoxedObject, LooseList, LooseText};

/// What fits; anything else is as if absent.
#[derive(Default)]
pub(crate) enum LooseContent<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Parts(Box<LooseList<BoxedObject<ContentPart<'a>>>>),
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct ContentPart<'a> {
    #[serde(borrow, rename = "type")]
    class: LooseText<'a>,
    #[serde(borrow)]
    text: LooseText<'a>,
    #[serde(borrow)]
    thinking: LooseContent<'a>,
    /// Of a `reasoning` part (Databricks): a list of parts.
    #[serde(borrow)]
    summary: LooseContent<'a>,
}

impl LooseContent<'_> {
    /// Emits each text with its kind.
    pub(crate) fn emit(&self, kind: DeltaKind, out: &mut dyn FnMut(DeltaKind, &str)) {
        match self {
            Self::Absent => {}
            Self::Text(text) => out(kind, text),
            Self::Parts(parts) => {
                parts.items.iter().filter_map(|part| part.0.as_deref()).for_each(|part| match part.class.word() {
                    Some("thinking") => part.thinking.emit(DeltaKind::Reasoning, out),
                    Some("reasoning") => part.summary.emit(DeltaKind::Reasoning, out),
                    _ => part.text.0.iter().for_each(|text| out(kind, text)),
                });
            }
        }
    }

    /// Whether it is a text that begins so; with nothing, none does.
    pub(crate) fn begins_with(&self, text: &str) -> bool {
        !text.is_empty() && matches!(self, Self::Text(whole) if whole.starts_with(text))
    }

    /// Whether there is a text in it that is not empty, or a part.
    pub(crate) fn says_something(&self) -> bool {
        match self {
            Self::Absent => false,
            Self::Text(text) => !text.is_empty(),
            Self::Parts(parts) => !parts.items.is_empty(),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for LooseContent<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Contents(PhantomData))
    }
}

struct Contents<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for Contents<'a> {
    type Value = LooseContent<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<LooseContent<'a>, E> {
        Ok(LooseContent::Text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<LooseContent<'a>, E> {
        Ok(LooseContent::Text(Cow::Owned(text.to_owned())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<LooseContent<'a>, A::Error> {
        LooseList::deserialize(SeqAccessDeserializer::new(seq)).map(|parts| LooseContent::Parts(Box::new(parts)))
    }
    fn visit_unit<E>(self) -> Result<LooseContent<'a>, E> {
        Ok(LooseContent::Absent)
    }
    fn visit_bool<E>(self, _: bool) -> Result<LooseContent<'a>, E> {
        Ok(LooseContent::Absent)
    }
    fn visit_u64<E>(self, _: u64) -> Result<LooseContent<'a>, E> {
        Ok(LooseContent::Absent)
    }
    fn visit_i64<E>(self, _: i64) -> Result<LooseContent<'a>, E> {
        Ok(LooseContent::Absent)
    }
    fn visit_f64<E>(self, _: f64) -> Result<LooseContent<'a>, E> {
        Ok(LooseContent::Absent)
    }
    /// A part alone, as Mistral's conversations send it.
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LooseContent<'a>, A::Error> {
        let part = ContentPart::deserialize(MapAccessDeserializer::new(map))?;
        Ok(LooseContent::Parts(Box::new(LooseList::from(vec![BoxedObject(Some(Box::new(part)))]))))
    }
}
