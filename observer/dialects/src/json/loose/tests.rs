use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use capture::limits;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Odd<'a> {
    #[serde(borrow)]
    text: LooseText<'a>,
    count: LooseCount,
    #[serde(borrow)]
    code: LooseCode<'a>,
    real: LooseNumber,
    flag: LooseFlag,
    #[serde(borrow)]
    json: RawJson<'a>,
    #[serde(borrow)]
    object: BoxedObject<Inner<'a>>,
    #[serde(borrow)]
    list: LooseList<BoxedObject<Inner<'a>>>,
    #[serde(borrow)]
    last: LooseText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Inner<'a> {
    #[serde(borrow)]
    x: LooseText<'a>,
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
