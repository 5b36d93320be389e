//! Where a JSON text without framing ends.

/// Whether a JSON text is closed: brackets counted outside strings.
#[derive(Debug, Default)]
pub(super) struct Balance {
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl Balance {
    /// Feeds one line; true when the outermost bracket is closed.
    pub(super) fn closed_by(&mut self, line: &[u8]) -> bool {
        for &byte in line {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.depth == 0 && !self.in_string
    }
}
