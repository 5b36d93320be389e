//! Base64 (RFC 4648), with or without padding.

/// Adds what `text` stands for to `out`; `None` if it is no base64.
pub fn decode(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let end = text.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    let text = text.get(..end)?;
    out.reserve(text.len() / 4 * 3 + 3);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for &byte in group {
            bits = bits << 6 | u32::from(value(byte)?);
        }
        let [_, a, b, c] = (bits << (24 - 6 * u32::try_from(group.len()).ok()?.min(4))).to_be_bytes();
        match group.len() {
            4 => out.extend([a, b, c]),
            3 => out.extend([a, b]),
            2 => out.push(a),
            _ => return None,
        }
    }
    Some(())
}

fn value(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_specification_has_it() {
        for (text, plain) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg==", b"foob"),
            ("Zm9vYmE", b"fooba"),
            ("Zm9vYmFy", b"foobar"),
            ("//79", b"\xff\xfe\xfd"),
        ] {
            let mut out = Vec::new();
            assert!(decode(text.as_bytes(), &mut out).is_some(), "{text}");
            assert_eq!(out, plain, "{text}");
        }
        for bad in ["Z", "Zm9v!A==", "Zm 9v", "é"] {
            assert!(decode(bad.as_bytes(), &mut Vec::new()).is_none(), "{bad}");
        }
    }
}
