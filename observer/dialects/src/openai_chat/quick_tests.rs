//! The quick reader against the thorough one: whatever it accepts means the same.

use proptest::prelude::*;

use super::*;

/// What one event means, each way; the tags and names of a stream live on.
fn said(data: &str, quick: bool) -> Vec<String> {
    let (mut chat, mut said) = (OpenAiChat::default(), Vec::new());
    let mut out = |utterance: Utterance<'_>| {
        said.push(match utterance {
            Utterance::Delta { kind, text } => format!("{kind:?} {text}"),
            other => format!("{other:?}"),
        });
    };
    let done = if quick { chat.event(None, data, &mut out) } else { chat.read(data, &mut out) };
    chat.end(ExchangeEnd::Complete, &mut out);
    said.push(format!("{done:?}"));
    said
}

const PLAIN: &str = r#"{"id":"c1","object":"chat.completion.chunk","created":1741569952,"model":"m","service_tier":"default","system_fingerprint":"fp","choices":[{"index":0,"delta":{"role":"assistant","content":" wörd <b>"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"a8K"}"#;

fn members() -> impl Strategy<Value = String> {
    let top = prop::sample::select(vec![
        r#""id":"c1""#,
        r#""id":null"#,
        r#""id":"""#,
        r#""id":7"#,
        r#""model":"m""#,
        r#""model":"m\n""#,
        r#""object":"x""#,
        r#""object":null"#,
        r#""created":1"#,
        r#""created":1.5"#,
        r#""service_tier":"flex""#,
        r#""system_fingerprint":null"#,
        r#""provider":"P""#,
        r#""usage":null"#,
        r#""usage":{"prompt_tokens":3}"#,
        r#""obfuscation":"""#,
        r#""x_groq":null"#,
        r#""x_groq":{"id":"g"}"#,
        r#""error":null"#,
        r#""error":{"type":"t"}"#,
        r#""choices":null"#,
        r#""choices":[]"#,
        r#""other":[1,{"a":"}"}]"#,
    ]);
    let choice = prop::sample::select(vec![
        r#""index":0"#,
        r#""index":2"#,
        r#""index":null"#,
        r#""logprobs":null"#,
        r#""logprobs":{}"#,
        r#""finish_reason":null"#,
        r#""finish_reason":"stop""#,
        r#""text":"t""#,
        r#""delta":null"#,
    ]);
    let delta = prop::sample::select(vec![
        r#""content":"Hi""#,
        r#""content":"""#,
        r#""content":"a\u00e9""#,
        r#""content":null"#,
        r#""content":[{"type":"text","text":"p"}]"#,
        r#""content":"<think>x""#,
        r#""role":"assistant""#,
        r#""role":null"#,
        r#""refusal":null"#,
        r#""refusal":"no""#,
        r#""reasoning":"r""#,
        r#""tool_calls":[{"function":{"name":"f"}}]"#,
        r#""content":"two""#,
    ]);
    let list = |one: prop::sample::Select<&'static str>, most: usize| prop::collection::vec(one, 0..most);
    let blank = prop::sample::select(vec![",", " , ", ",\n\t"]);
    (list(top, 6), list(choice, 4), list(delta, 3), blank, any::<bool>(), any::<bool>()).prop_map(
        |(top, choice, delta, comma, twice, late)| {
            let delta = format!("\"delta\":{{{}}}", delta.join(comma));
            let choice: Vec<&str> = choice.into_iter().chain([delta.as_str()]).collect();
            let choice = format!("{{{}}}", choice.join(comma));
            let choices =
                if twice { format!("\"choices\":[{choice},{choice}]") } else { format!("\"choices\":[{choice}]") };
            let mut all = top;
            all.insert(if late { all.len() } else { 0 }, &choices);
            format!("{{{}}}", all.join(comma))
        },
    )
}

#[test]
fn the_usual_chunk_is_read_quickly() {
    assert!(QuickChunk::read(PLAIN).is_some());
    assert_eq!(said(PLAIN, true), said(PLAIN, false));
    let twice = PLAIN.replace("\"index\":0", "\"index\":0,\"index\":0");
    assert_eq!(
        (QuickChunk::read(&twice), said(&twice, false).last().map(String::as_str)),
        (None, Some("Err(\"json\")"))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn both_readers_agree_on_chunks(data in members()) {
        prop_assert_eq!(said(&data, true), said(&data, false));
    }

    #[test]
    fn both_readers_agree_on_damaged_chunks(at in any::<prop::sample::Index>(), byte in 0..128u8, cut: bool) {
        let mut bytes = PLAIN.as_bytes().to_vec();
        let at = at.index(bytes.len());
        if cut {
            bytes.remove(at);
        } else {
            bytes[at] = byte;
        }
        if let Ok(data) = String::from_utf8(bytes) {
            prop_assert_eq!(said(&data, true), said(&data, false), "{}", data);
        }
    }
}
