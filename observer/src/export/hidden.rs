//! Characters that a terminal would obey or that nobody sees, in names that strangers choose
//! (executables, hosts, models): shown as their number wherever text leaves the daemon.

use std::borrow::Cow;
use std::fmt::Write;

/// How an escape in a label's value begins.
const ESCAPE: &str = "\\u{";

/// Control characters, those that turn the direction of writing, and those that take no room.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A label's value without them: each becomes `\u{1b}`, its number. So that no two values become
/// the same, and a scrape with two equal series is refused as a whole, a `\u{` of the value's own
/// becomes `\u{5c}u{`. Line feeds stay: the exposition format escapes them itself.
#[must_use]
pub fn label(value: &str) -> Cow<'_, str> {
    // What most values are made of, told a byte at a time: a scrape asks this of tens of thousands of them.
    if value.bytes().all(|byte| matches!(byte, b' '..=b'[' | b']'..=b'~')) {
        return Cow::Borrowed(value);
    }
    let hides = |c: char| c != '\n' && is_hidden(c);
    if !value.chars().any(hides) && !value.contains(ESCAPE) {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len() + 16);
    for (at, c) in value.char_indices() {
        let own = c == '\\' && value.get(at..).is_some_and(|rest| rest.starts_with(ESCAPE));
        if own || hides(c) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// JSON without them: they can stand only inside its strings, where `\u009b` means the same. Line
/// feeds between values stay.
#[must_use]
pub fn json(text: String) -> String {
    let hides = |c: char| c != '\n' && is_hidden(c);
    if !text.chars().any(hides) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hides(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(shown: &str) -> String {
        let mut parts = shown.split(ESCAPE);
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (number, rest) = part.split_once('}').unwrap();
            out.push(char::from_u32(u32::from_str_radix(number, 16).unwrap()).unwrap());
            out.push_str(rest);
        }
        out
    }

    #[test]
    fn labels_show_what_hides_and_can_be_had_back() {
        for (value, shown) in [
            ("gpt-x", "gpt-x"),
            ("模型-😀", "模型-😀"),
            ("C:\\models\\x", "C:\\models\\x"),
            ("two\nlines", "two\nlines"),
            ("\u{1b}[31m", "\\u{1b}[31m"),
            ("\\u{1b}[31m", "\\u{5c}u{1b}[31m"),
            ("\\u{5c}u{1b}[31m", "\\u{5c}u{5c}u{1b}[31m"),
            ("\u{9b}31m\u{7f}\0\t\r", "\\u{9b}31m\\u{7f}\\u{0}\\u{9}\\u{d}"),
            ("a\u{202e}b\u{200b}\u{feff}\u{e0041}", "a\\u{202e}b\\u{200b}\\u{feff}\\u{e0041}"),
            ("\\", "\\"),
            ("\\\\u{", "\\\\u{5c}u{"),
        ] {
            assert_eq!(label(value), shown);
            assert_eq!(back(shown), value);
        }
    }

    proptest::proptest! {
        /// Whatever two values are: different ones stay different, and nothing hides.
        #[test]
        fn labels_are_never_mixed_up(value in "[\\\\u{}5c1b\u{1b}\u{9b}\u{202e}a]{0,12}") {
            let shown = label(&value);
            proptest::prop_assert!(!shown.chars().any(is_hidden));
            proptest::prop_assert_eq!(back(&shown), value);
        }

        #[test]
        fn json_means_the_same(value in "\\PC*[\u{1b}\u{7f}\u{9b}\u{202e}\u{e0041}]\\PC*") {
            let text = json(serde_json::to_string(&value).unwrap());
            proptest::prop_assert!(!text.chars().any(is_hidden));
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
        }
    }
}
