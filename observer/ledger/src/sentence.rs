//! Where the first visible sentence ends.
//!
//! The rule: a sentence has at least one letter or digit-free script character (`char::is_alphabetic`) and ends
//! - at a line feed, or at `。` `！` `？` (no space follows in those scripts), or
//! - at `.` `!` `?`, closing quotes and brackets allowed after it, when white space or the end of the answer follows.
//!
//! So `3.14` and `example.com` do not end one, `1. ` does not (no letter yet), and abbreviations such as `e.g. ` do:
//! a voice front end that splits on the same marks would cut there too.

/// Feeds on visible text, piece by piece; holds three flags and no text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SentenceState<T> {
    letters: bool,
    /// Moment of a `.` `!` `?` of which the follower is awaited.
    pending: Option<T>,
}

impl<T: Copy> SentenceState<T> {
    /// More text, which came at `at`. The moment at which the sentence ended, once that is known.
    pub(super) fn push(&mut self, text: &str, at: T) -> Option<T> {
        text.chars().find_map(|c| self.step(c, at))
    }

    /// The answer is over: a mark at its very end counts.
    pub(super) fn finish(&mut self) -> Option<T> {
        self.pending.take()
    }

    /// Text is missing here: what went before can no longer be judged.
    pub(super) fn gap(&mut self) {
        self.pending = None;
    }

    fn step(&mut self, c: char, at: T) -> Option<T> {
        match c {
            '\n' | '。' | '！' | '？' if self.letters => return Some(self.pending.unwrap_or(at)),
            '.' | '!' | '?' if self.letters => self.pending = Some(at),
            '"' | '\'' | ')' | ']' | '”' | '’' | '»' | '*' | '_' => {}
            c if c.is_whitespace() => return self.pending,
            c => {
                self.pending = None;
                self.letters |= c.is_alphabetic();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Index of the piece in which the first sentence ended, by the rule.
    fn ends_in(pieces: &[&str]) -> Option<usize> {
        let mut sentence = SentenceState::default();
        pieces.iter().enumerate().find_map(|(i, p)| sentence.push(p, i)).or_else(|| sentence.finish())
    }

    #[test]
    fn vectors() {
        let cases: &[(&[&str], Option<usize>)] = &[
            (&["Hello", " world", ".", " Next"], Some(2)),
            (&["Hello", " world.", " Next"], Some(1)),
            (&["Hello world"], None),
            (&["Hello world", "."], Some(1)),
            (&["Pi is 3", ".", "14 and more", "! ", "x"], Some(3)),
            (&["see example.com", " now"], None),
            (&["He said \"no", ".", "\"", " Then"], Some(1)),
            (&["Wait", "..", ". ", "x"], Some(2)),
            (&["\n\n", "Title", "\n", "body"], Some(2)),
            (&["1", ". ", "First", "? "], Some(3)),
            (&["你好", "。", "再见"], Some(1)),
            (&["Really", "?!", "\n"], Some(1)),
            (&[" ", ". ", "\n"], None),
            (&[], None),
        ];
        for (pieces, want) in cases {
            assert_eq!(ends_in(pieces), *want, "{pieces:?}");
        }
    }

    #[test]
    fn splitting_the_text_changes_nothing_but_the_index() {
        let text = "Sure - version 1.2 works.) Then";
        let whole = ends_in(&[text]).is_some();
        let chars: Vec<String> = text.chars().map(String::from).collect();
        let single: Vec<&str> = chars.iter().map(String::as_str).collect();
        assert!(whole);
        assert_eq!(ends_in(&single), Some(text.find("works.").unwrap() + 5));
    }

    #[test]
    fn a_gap_forgets_the_pending_mark() {
        let mut sentence = SentenceState::default();
        assert_eq!(sentence.push("Done.", 1), None);
        sentence.gap();
        assert_eq!(sentence.push(" ", 2), None);
        assert_eq!(sentence.finish(), None);
    }
}
