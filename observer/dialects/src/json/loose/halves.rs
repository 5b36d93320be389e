//! Halves of surrogate pairs that stand alone in escapes.

/// `text` with each lone `\uD8xx`/`\uDCxx` escape replaced by U+FFFD; `None` if there is none.
pub(super) fn without_lone_halves(text: &str) -> Option<String> {
    let (mut fixed, mut rest, mut found) = (String::with_capacity(text.len()), text, false);
    while let Some((before, after)) = rest.split_once('\\') {
        fixed.push_str(before);
        let Some(unit) = escaped_unit(after) else {
            // Another escape: its second character must not be taken for a backslash of its own.
            let end = after.chars().next().map_or(0, char::len_utf8);
            let (escape, tail) = after.split_at_checked(end)?;
            fixed.push('\\');
            fixed.push_str(escape);
            rest = tail;
            continue;
        };
        let (_, tail) = after.split_at_checked(5)?;
        let low = tail.strip_prefix('\\').and_then(escaped_unit);
        let width = match (char::decode_utf16([unit]).next(), low) {
            (Some(Ok(_)), _) => 5,
            (_, Some(low)) if char::decode_utf16([unit, low]).next().is_some_and(|c| c.is_ok()) => 11,
            _ => 0,
        };
        if width == 0 {
            found = true;
            fixed.push(char::REPLACEMENT_CHARACTER);
            rest = tail;
        } else {
            let (escape, tail) = after.split_at_checked(width)?;
            fixed.push('\\');
            fixed.push_str(escape);
            rest = tail;
        }
    }
    fixed.push_str(rest);
    found.then_some(fixed)
}

/// The code unit of `uXXXX` at the start of `after` (what follows a backslash).
fn escaped_unit(after: &str) -> Option<u16> {
    u16::from_str_radix(after.strip_prefix('u')?.get(..4)?, 16).ok()
}
