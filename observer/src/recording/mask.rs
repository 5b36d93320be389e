//! Texts made unreadable, character by character: counts, sentence ends and JSON structure stay. So do not `<think>` tags inside a
//! text: what stands between them counts as visible when such a recording is replayed.

/// Members whose values are names of the API and numbers of its making, not somebody's words.
const PLAIN: [&str; 15] = [
    "type",
    "object",
    "role",
    "model",
    "modelVersion",
    "finish_reason",
    "stop_reason",
    "status",
    "code",
    "error_type",
    "reason",
    "service_tier",
    "system_fingerprint",
    "modality",
    "phase",
];
/// Longest value kept of such a member.
const PLAIN_MAX: usize = 64;

/// An event's data: JSON keeps its structure, member names and the values of `PLAIN`; `[DONE]` stays; of anything else,
/// and of all other strings, only the shape of the text. What was no UTF-8 still is none.
pub(super) fn text(data: &[u8]) -> Vec<u8> {
    let known = String::from_utf8_lossy(data);
    let mut masked = match known.trim() {
        "[DONE]" => "[DONE]".to_owned(),
        text if text.starts_with(['{', '[']) => json(&known),
        _ => known.chars().map(shape).collect(),
    }
    .into_bytes();
    if std::str::from_utf8(data).is_err() {
        masked.push(0xff);
    }
    masked
}

/// An event's name.
pub(super) fn name(name: &str) -> String {
    if is_name(name) { name.into() } else { "x".into() }
}

fn json(data: &str) -> String {
    let mut out = String::with_capacity(data.len());
    let mut rest = data;
    let mut member = "";
    while let Some((before, after)) = rest.split_once('"') {
        outside(before, &mut out);
        let (string, tail) = split_string(after);
        let colon = tail.trim_start().starts_with(':');
        let plain = PLAIN.contains(&member) && before.trim() == ":" && is_name(string);
        if (colon && is_name(string)) || plain {
            out.push_str(&format!("\"{string}\""));
        } else {
            out.push('"');
            inside(string, &mut out);
            out.push('"');
        }
        member = if colon { string } else { "" };
        rest = tail;
    }
    outside(rest, &mut out);
    out
}

/// A string's content up to its closing quote, and what follows the quote.
fn split_string(after: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = after.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.and_then(|end| after.split_at_checked(end))
        .map_or((after, ""), |(string, tail)| (string, tail.strip_prefix('"').unwrap_or(tail)))
}

/// Escapes stay escapes of one character, so that the character count stays.
fn inside(string: &str, out: &mut String) {
    let mut chars = string.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(shape(c));
            continue;
        }
        match chars.next() {
            Some('u') => {
                let unit = u32::from_str_radix(&chars.by_ref().take(4).collect::<String>(), 16).unwrap_or(0);
                // The second half of a pair belongs to the character already written.
                if !(0xdc00..0xe000).contains(&unit) {
                    out.push(char::from_u32(unit).map_or('x', |c| if c.is_control() { 'x' } else { shape(c) }));
                }
            }
            Some(c) => out.extend(['\\', c]),
            None => {}
        }
    }
}

/// Outside strings JSON has structure, numbers and three words; any other word is none of ours.
fn outside(text: &str, out: &mut String) {
    for word in text.split_inclusive(|c: char| !c.is_alphabetic()) {
        let end = word.find(|c: char| !c.is_alphabetic()).unwrap_or(word.len());
        let (letters, mark) = word.split_at_checked(end).unwrap_or((word, ""));
        if matches!(letters, "true" | "false" | "null" | "e" | "E") {
            out.push_str(letters);
        } else {
            out.extend(letters.chars().map(|_| 'x'));
        }
        out.push_str(mark);
    }
}

/// Letters and digits become `x` and `0`; marks that end sentences, spaces and ASCII punctuation stay.
fn shape(c: char) -> char {
    match c {
        '。' | '！' | '？' => c,
        '"' | '\\' => '\'',
        c if c.is_ascii_digit() => '0',
        c if c.is_whitespace() || c.is_ascii_punctuation() => c,
        c if c.is_alphabetic() => 'x',
        _ => '~',
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= PLAIN_MAX && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:/".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_and_structure_stays() {
        let cases = [
            ("[DONE]", "[DONE]"),
            (
                r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi, Bob. 42!"}}"#,
                r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"xx, xxx. 00!"}}"#,
            ),
            (
                r#"{"a": "\"sk-1\\" , "usage":{"output_tokens":12},"stop":null,"ok":true}"#,
                r#"{"a": "\"xx-0\\" , "usage":{"output_tokens":12},"stop":null,"ok":true}"#,
            ),
            (r#"{"model":"gpt-x","model2":"gpt-x"}"#, r#"{"model":"gpt-x","model2":"xxx-x"}"#),
            (r#"{"code":"a secret text"}"#, r#"{"code":"x xxxxxx xxxx"}"#),
            (r#"{"my secret key":1}"#, r#"{"xx xxxxxx xxx":1}"#),
            (r#"{"t":"\ud83d\ude00\u00e9\n你好。"}"#, r#"{"t":"xx\nxx。"}"#),
            (r#"["type","secret"]"#, r#"["xxxx","xxxxxx"]"#),
            ("plain secret text", "xxxxx xxxxxx xxxx"),
            (r#"{"cut":"off here"#, r#"{"cut":"xxx xxxx""#),
            (r#"{"cut":"esc\"#, r#"{"cut":"xxx""#),
            ("{secret: 1e5, true}", "{xxxxxx: 1e5, true}"),
        ];
        for (data, want) in cases {
            let got = String::from_utf8(text(data.as_bytes())).unwrap();
            assert_eq!(got, want);
            assert!(!got.contains("secret") && !got.contains("sk-1") && !got.contains("Bob"), "{got}");
        }
    }

    #[test]
    fn bytes_of_any_kind_do_no_harm() {
        for data in [&b"\xff\xfe{\"\\"[..], b"{\"\\u12", b"\"\"\"\"", b"", b"\\", b"{\"a\":\"\\ud800"] {
            assert_eq!(std::str::from_utf8(&text(data)).is_ok(), std::str::from_utf8(data).is_ok());
        }
        assert_eq!(name("message_start"), "message_start");
        assert_eq!(name("my secret"), "x");
    }
}
