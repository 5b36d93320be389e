//! How each type is read: what fits is taken, a value of any other type is passed over.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};

use super::{
    BoxedObject, InPlace, InlineObject, LooseCode, LooseCount, LooseFlag, LooseList, LooseNumber, LooseText, RawJson,
    whole,
};
use capture::limits;

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

impl<'de: 'a, 'a> Deserialize<'de> for LooseText<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Strings<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Strings<'a> {
            type Value = LooseText<'a>;
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<LooseText<'a>, E> {
                Ok(LooseText(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<LooseText<'a>, E> {
                Ok(LooseText(Some(Cow::Owned(text.to_owned()))))
            }
            forget!(expecting, unit, bool, number, seq, map);
        }
        from.deserialize_any(Strings(PhantomData))
    }
}

impl<'de> Deserialize<'de> for LooseCount {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Counts;
        impl<'de> Visitor<'de> for Counts {
            type Value = LooseCount;
            fn visit_u64<E>(self, count: u64) -> Result<LooseCount, E> {
                Ok(LooseCount(Some(count)))
            }
            fn visit_i64<E>(self, count: i64) -> Result<LooseCount, E> {
                Ok(LooseCount(u64::try_from(count).ok()))
            }
            fn visit_f64<E>(self, count: f64) -> Result<LooseCount, E> {
                Ok(LooseCount(whole(count)))
            }
            forget!(expecting, unit, bool, str, seq, map);
        }
        from.deserialize_any(Counts)
    }
}

impl<'de> Deserialize<'de> for LooseNumber {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reals;
        impl<'de> Visitor<'de> for Reals {
            type Value = LooseNumber;
            #[expect(clippy::cast_precision_loss, reason = "nobody's time has 16 digits")]
            fn visit_u64<E>(self, number: u64) -> Result<LooseNumber, E> {
                Ok(LooseNumber(Some(number as f64)))
            }
            #[expect(clippy::cast_precision_loss, reason = "nobody's time has 16 digits")]
            fn visit_i64<E>(self, number: i64) -> Result<LooseNumber, E> {
                Ok(LooseNumber(Some(number as f64)))
            }
            fn visit_f64<E>(self, number: f64) -> Result<LooseNumber, E> {
                Ok(LooseNumber(Some(number)))
            }
            forget!(expecting, unit, bool, str, seq, map);
        }
        from.deserialize_any(Reals)
    }
}

impl<'de> Deserialize<'de> for LooseFlag {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Flags;
        impl<'de> Visitor<'de> for Flags {
            type Value = LooseFlag;
            fn visit_bool<E>(self, is: bool) -> Result<LooseFlag, E> {
                Ok(LooseFlag(is))
            }
            forget!(expecting, unit, number, str, seq, map);
        }
        from.deserialize_any(Flags)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawJson<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::deserialize(from).map(RawJson)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for LooseCode<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Codes<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Codes<'a> {
            type Value = LooseCode<'a>;
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<LooseCode<'a>, E> {
                Ok(LooseCode(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<LooseCode<'a>, E> {
                Ok(LooseCode(Some(Cow::Owned(text.to_owned()))))
            }
            fn visit_u64<E>(self, code: u64) -> Result<LooseCode<'a>, E> {
                Ok(LooseCode(Some(Cow::Owned(code.to_string()))))
            }
            fn visit_i64<E>(self, code: i64) -> Result<LooseCode<'a>, E> {
                Ok(LooseCode(Some(Cow::Owned(code.to_string()))))
            }
            fn visit_f64<E>(self, _: f64) -> Result<LooseCode<'a>, E> {
                Ok(LooseCode(None))
            }
            forget!(expecting, unit, bool, seq, map);
        }
        from.deserialize_any(Codes(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for BoxedObject<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Objects<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Objects<T> {
            type Value = BoxedObject<T>;
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<BoxedObject<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|object| BoxedObject(Some(Box::new(object))))
            }
            forget!(expecting, unit, bool, number, str, seq);
        }
        from.deserialize_any(Objects(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InlineObject<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Inlines<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Inlines<T> {
            type Value = InlineObject<T>;
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<InlineObject<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|object| InlineObject(Some(InPlace(object))))
            }
            forget!(expecting, unit, bool, number, str, seq);
        }
        from.deserialize_any(Inlines(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>, C: Default + Extend<T>> Deserialize<'de> for LooseList<T, C> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Lists<T, C>(PhantomData<(T, C)>);
        impl<'de, T: Deserialize<'de>, C: Default + Extend<T>> Visitor<'de> for Lists<T, C> {
            type Value = LooseList<T, C>;
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<LooseList<T, C>, A::Error> {
                let mut list = LooseList::<T, C>::default();
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
