//! One member of a JSON object, found without reading the rest: for telling messages apart before they are interpreted.

use memchr::memchr2;

/// The text of the top-level member `name`, if it is a string without escapes. Of an object that is
/// cut short, what stands before the cut is found.
#[must_use]
pub fn text<'a>(object: &'a [u8], name: &str) -> Option<&'a str> {
    let mut rest = skip_blank(object).strip_prefix(b"{")?;
    loop {
        rest = skip_blank(rest);
        let (key, after) = string(rest.strip_prefix(b"\"")?)?;
        rest = skip_blank(skip_blank(after).strip_prefix(b":")?);
        let wanted = key == name.as_bytes();
        match rest.strip_prefix(b"\"") {
            Some(inside) => {
                let (value, after) = string(inside)?;
                if wanted {
                    return std::str::from_utf8(value).ok().filter(|value| !value.contains('\\'));
                }
                rest = after;
            }
            None if wanted => return None,
            None => rest = skip_value(rest)?,
        }
        rest = skip_blank(rest).strip_prefix(b",")?;
    }
}

fn skip_blank(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii_start()
}

/// The inside of a string whose opening quote was read, and what follows it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some((bytes.get(..at)?, bytes.get(at + 1..)?));
        }
        at += 2;
    }
}

/// Past a value that is no string.
fn skip_value(mut bytes: &[u8]) -> Option<&[u8]> {
    let mut depth = 0_u32;
    loop {
        let at = bytes.iter().position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']' | b','))?;
        let here = bytes.get(at..)?;
        match here.first()? {
            b'"' => {
                bytes = string(here.get(1..)?)?.1;
                continue;
            }
            b'{' | b'[' => depth = depth.saturating_add(1),
            b',' if depth == 0 => return Some(here),
            b',' => {}
            _ if depth == 0 => return Some(here),
            _ => depth -= 1,
        }
        bytes = here.get(1..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn the_top_level_member_alone() {
        for (json, expected) in [
            (r#"{"type":"a"}"#, Some("a")),
            (r#" { "x" : {"type":"no","y":[1,"}"]} , "n":-1.5e3,"t":true, "type" : "b" , "z":0}"#, Some("b")),
            (r#"{"s":"\"type\":\"no\"","type":"c"}"#, Some("c")),
            (r#"{"list":["type",{"type":"no"}],"type":"d","cut":"and no en"#, Some("d")),
            (r#"{"x":{"type":"no"}}"#, None),
            (r#"{"type":7}"#, None),
            (r#"{"type":"\u0061"}"#, None),
            (r#"["type","no"]"#, None),
            (r#"{"type""#, None),
            (r#"{"a":[}"#, None),
            ("", None),
        ] {
            assert_eq!(text(json.as_bytes(), "type"), expected, "{json}");
        }
    }
}
