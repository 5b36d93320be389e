//! Texts made unreadable, character by character: counts, sentence ends and JSON structure stay. So
//! do not `<think>` tags inside a text: what stands between them counts as visible when such a
//! recording is replayed.

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

/// A run of letters and digits of this length and more that has both is no word but an id, a token or a key.
const SECRET_RUN: usize = 20;
/// Members that name a model: long ids in them (of fine-tuned ones) say which it is.
const MODELS: [&str; 2] = ["model", "modelVersion"];

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
    if is_name(name) { secrets(name) } else { "x".into() }
}

/// A URL's path or a name, less what looks like a key: long runs of letters and digits, and UUIDs.
pub(super) fn secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for part in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_') {
        if is_uuid(part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric())) {
            out.extend(part.chars().map(shape));
            continue;
        }
        for run in part.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
            if is_secret(run.trim_end_matches(|c: char| !c.is_ascii_alphanumeric())) {
                out.extend(run.chars().map(shape));
            } else {
                out.push_str(run);
            }
        }
    }
    out
}

fn is_secret(run: &str) -> bool {
    run.len() >= SECRET_RUN && run.bytes().any(|b| b.is_ascii_digit()) && run.bytes().any(|b| b.is_ascii_alphabetic())
}

fn is_uuid(part: &str) -> bool {
    let lengths = part.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && part.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
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
            let kept = if plain && MODELS.contains(&member) { string.to_owned() } else { secrets(string) };
            out.push_str(&format!("\"{kept}\""));
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
    fn what_looks_like_a_key_goes_from_paths_and_names_too() {
        for (path, want) in [
            ("/v1/chat/completions", "/v1/chat/completions"),
            (
                "/model/anthropic.claude-3-5-sonnet-20241022-v2%3A0/invoke",
                "/model/anthropic.claude-3-5-sonnet-20241022-v2%3A0/invoke",
            ),
            (
                "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
                "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
            ),
            ("/v1/sk-abcdefghij0123456789KLM/chat", "/v1/sk-xxxxxxxxxx0000000000xxx/chat"),
            ("/v1/0123456789abcdef0123456789abcdef", "/v1/0000000000xxxxxx0000000000xxxxxx"),
            ("/t/6f9619ff-8b86-d011-b42d-00cf4fc964ff/x", "/t/0x0000xx-0x00-x000-x00x-00xx0xx000xx/x"),
            ("/projects/my-project-123456/locations/x", "/projects/my-project-123456/locations/x"),
            ("", ""),
        ] {
            assert_eq!(secrets(path), want);
        }
        assert_eq!(name("sk_abcdefghij0123456789KLM"), "xx_xxxxxxxxxx0000000000xxx".replacen("xx", "sk", 1));
        let masked =
            text(br#"{"type":"abcdefghij0123456789","model":"ft-abcdefghij0123456789","abcdefghij0123456789":1}"#);
        let want = r#"{"type":"xxxxxxxxxx0000000000","model":"ft-abcdefghij0123456789","xxxxxxxxxx0000000000":1}"#;
        assert_eq!(String::from_utf8(masked).unwrap(), want);
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
