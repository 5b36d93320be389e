//! Base64 (RFC 4648), with or without padding. Bits that are left over in the last digit are not looked at.

use ::base64::Engine;
use ::base64::alphabet::{self, Alphabet};
use ::base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const STANDARD: GeneralPurpose = lenient(&alphabet::STANDARD);
const URL_SAFE: GeneralPurpose = lenient(&alphabet::URL_SAFE);

const fn lenient(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config.with_decode_allow_trailing_bits(true))
}

/// Adds what `text` stands for, in either alphabet, to `out`; `None` if it is no base64.
pub fn decode(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let is_url_safe = memchr::memchr2(b'-', b'_', text).is_some();
    decode_with(if is_url_safe { &URL_SAFE } else { &STANDARD }, text, out)
}

/// Adds what `text` stands for in the standard alphabet to `out`; `None` for anything else.
pub fn decode_standard(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    decode_with(&STANDARD, text, out)
}

fn decode_with(engine: &GeneralPurpose, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let end = text.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    engine.decode_vec(text.get(..end)?, out).ok()
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
            ("__79", b"\xff\xfe\xfd"),
        ] {
            let mut out = Vec::new();
            assert!(decode(text.as_bytes(), &mut out).is_some(), "{text}");
            assert_eq!(out, plain, "{text}");
        }
        assert!(
            decode_standard(b"__79", &mut Vec::new()).is_none() && decode_standard(b"//79", &mut Vec::new()).is_some()
        );
        for bad in ["Z", "Zm9v!A==", "Zm 9v", "é"] {
            assert!(decode(bad.as_bytes(), &mut Vec::new()).is_none(), "{bad}");
        }
    }
}
