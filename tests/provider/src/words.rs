//! Made-up texts: a function of the position in the answer alone, so that every run says the same.

/// One, two, three and four byte characters and a character JSON escapes; full stops make sentences end.
const PROSE: &str = "The river keeps its own counsel. Élan, 世界 and \"quotes\" 🎈 pass by; nothing stays. ";

/// Hands out text, piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Words {
    at: usize,
}

impl Words {
    /// The next `chars` characters.
    pub(crate) fn take(&mut self, chars: u32) -> String {
        let chars = chars as usize;
        let text = PROSE.chars().cycle().skip(self.at).take(chars).collect();
        self.at = (self.at + chars) % PROSE.chars().count();
        text
    }
}
