//! Where a JSON text without framing ends.

use memchr::memchr2;

/// Whether a JSON text is closed: brackets counted outside strings.
#[derive(Debug, Default)]
pub(super) struct JsonBalance {
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl JsonBalance {
    /// Feeds one line; true when the outermost bracket is closed.
    pub(super) fn closed_by(&mut self, line: &[u8]) -> bool {
        let mut rest = line;
        while let Some(end) = self.end_in(rest) {
            rest = rest.get(end..).unwrap_or_default();
        }
        self.depth == 0 && !self.in_string
    }

    /// Feeds bytes up to the outermost bracket's end: the offset behind it, if it is there.
    pub(super) fn end_in(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
            if std::mem::take(&mut self.escaped) {
                at += 1;
            } else if self.in_string {
                let stop = memchr2(b'"', b'\\', rest)?;
                self.escaped = rest.get(stop) == Some(&b'\\');
                self.in_string = self.escaped;
                at += stop + 1;
            } else {
                let stop = rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']'))?;
                at += stop + 1;
                match rest.get(stop) {
                    Some(b'"') => self.in_string = true,
                    Some(b'{' | b'[') => self.depth = self.depth.saturating_add(1),
                    _ if self.depth == 1 => {
                        self.depth = 0;
                        return Some(at);
                    }
                    _ => self.depth = self.depth.saturating_sub(1),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_wherever_it_is_cut() {
        let text = br#"{"a":"} \" ]{","b":[{"c":"\\"},[]],"d":{}} tail"#;
        let end = text.len() - 5;
        assert_eq!(JsonBalance::default().end_in(text), Some(end));
        for cut in 0..end {
            let mut balance = JsonBalance::default();
            assert_eq!(balance.end_in(&text[..cut]), None, "{cut}");
            assert_eq!(balance.end_in(&text[cut..]), Some(end - cut), "{cut}");
        }
    }

    #[test]
    fn lines_close_when_the_last_bracket_does() {
        let mut balance = JsonBalance::default();
        assert!(!balance.closed_by(b"{ \"a\": ["));
        assert!(!balance.closed_by(b"\"]}\"]"));
        assert!(balance.closed_by(b"}"));
        assert!(!JsonBalance::default().closed_by(b"{}{"));
    }
}
