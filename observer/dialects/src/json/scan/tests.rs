use proptest::prelude::*;
use serde_json::Value;

use super::*;

static WANTS: &[JsonQuery<usize>] = &[
    JsonQuery { path: &["a"], take: JsonExtract::Value, what: 0 },
    JsonQuery { path: &["a"], take: JsonExtract::Chars, what: 1 },
    JsonQuery { path: &["a"], take: JsonExtract::Items, what: 2 },
    JsonQuery { path: &["a", "[]", "b"], take: JsonExtract::Value, what: 3 },
    JsonQuery { path: &["a", "[]", "b"], take: JsonExtract::Chars, what: 4 },
    JsonQuery { path: &["b", "a"], take: JsonExtract::Value, what: 5 },
    JsonQuery { path: &["b", "a", "[]"], take: JsonExtract::Close, what: 6 },
    JsonQuery { path: &["[]", "a"], take: JsonExtract::Value, what: 7 },
    JsonQuery { path: &["[]"], take: JsonExtract::Close, what: 8 },
    JsonQuery { path: &["c", "c", "c", "c", "c", "c", "c", "c"], take: JsonExtract::Value, what: 9 },
    JsonQuery { path: &[], take: JsonExtract::Close, what: 10 },
    JsonQuery { path: &["é\n"], take: JsonExtract::Value, what: 11 },
];

/// What the scanner finds when fed in `pieces`.
fn scanned<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<(usize, String)>, bool, Option<&'static str>) {
    let (mut scanner, mut facts) = (JsonScanner::new(WANTS), Vec::new());
    for piece in pieces {
        scanner.push(piece, &mut |what, found| facts.push((what, format!("{found:?}"))));
    }
    (facts, scanner.complete(), scanner.bad())
}

/// The same from a tree of values.
fn oracle(value: &Value) -> Vec<(usize, String)> {
    fn walk(value: &Value, want: &JsonQuery<usize>, path: &[&str], facts: &mut Vec<(usize, String)>) {
        match (path.split_first(), value) {
            (None, _) => facts.extend(expected(value, want.take).map(|found| (want.what, format!("{found:?}")))),
            (Some((&"[]", rest)), Value::Array(items)) => {
                items.iter().for_each(|item| walk(item, want, rest, facts));
            }
            (Some((key, rest)), Value::Object(members)) if *key != "[]" => {
                if let Some(member) = members.get(*key) {
                    walk(member, want, rest, facts);
                }
            }
            _ => {}
        }
    }
    let mut facts = Vec::new();
    WANTS.iter().for_each(|want| walk(value, want, want.path, &mut facts));
    facts
}

fn expected(value: &Value, take: JsonExtract) -> Option<JsonMatch<'_>> {
    Some(match (take, value) {
        (JsonExtract::Value, Value::String(text)) => JsonMatch::Text(crate::cap(text)),
        (JsonExtract::Value, Value::Bool(is)) => JsonMatch::Bool(*is),
        (JsonExtract::Value, Value::Null) => JsonMatch::Null,
        (JsonExtract::Value, Value::Number(n)) => {
            JsonMatch::Number(JsonNumber(Box::leak(n.to_string().into_boxed_str())))
        }
        (JsonExtract::Chars, Value::String(text)) => JsonMatch::Chars(text.chars().count() as u64),
        (JsonExtract::Items, Value::String(_)) => JsonMatch::Items(1),
        (JsonExtract::Items, Value::Array(items)) => JsonMatch::Items(items.len() as u64),
        (JsonExtract::Close, Value::Array(_) | Value::Object(_)) => JsonMatch::Close,
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
    static RAW: &[JsonQuery<u8>] = &[JsonQuery { path: &["a", "[]"], take: JsonExtract::Raw, what: 0 }];
    let long = format!("\"{}\"", "x".repeat(limits::RAW_VALUE));
    let values = ["{ \"a\": [1, {}] }", "\"\\u00e9 é\"", "-1.5e3", "null", "[ ]", "true"];
    let text = format!("{{\"a\":[{}, {long}],\"b\":[1]}}", values.join(" , "));
    for cut in [1, 3, text.len()] {
        let (mut scanner, mut found) = (JsonScanner::new(RAW), Vec::new());
        for piece in text.as_bytes().chunks(cut) {
            scanner.push(piece, &mut |_, value| {
                if let JsonMatch::Raw(raw) = value {
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
    let mut scanner = JsonScanner::new(WANTS);
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
