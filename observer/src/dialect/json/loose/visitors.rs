//! How each type is read: what fits is taken, a value of any other type is passed over.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};

use super::{Code, Count, Flag, Here, Inline, Json, List, Object, Real, Text, whole};
use crate::limits;

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
