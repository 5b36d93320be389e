//! Protocol Buffers' wire format, in pieces: constant memory, cut anywhere, whatever the bytes. It
//! knows no schema: who listens says which fields it wants to look into.

/// Messages inside each other that are entered: a value of an attribute of a span lies in the sixth.
pub(super) const DEPTH: usize = 6;

/// What to do with a field that has a length: a message, text or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldHandling {
    /// It is a message, whose fields are told.
    Enter,
    /// Its bytes are told as they come.
    Bytes,
    Skip,
}

/// Who listens. `at`: the fields that led to the message at hand, outermost first.
pub(super) trait ProtobufVisitor {
    /// A field with a length begins.
    fn begin(&mut self, at: &[u32], field: u32) -> FieldHandling;
    /// A number, fixed or not.
    fn number(&mut self, at: &[u32], field: u32, value: u64);
    /// A piece of the field whose bytes are wanted.
    fn bytes(&mut self, piece: &[u8]);
    /// A field that was entered or whose bytes were wanted is complete.
    fn end(&mut self, at: &[u32], field: u32);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A field's number and type come.
    Tag,
    /// A number.
    Number(u32),
    /// A number of so many bytes that are still to come.
    Fixed { field: u32, shift: u32, left: u8 },
    /// A length.
    Length(u32),
    /// What has a length, to its end.
    Inside { field: u32, end: u64, kept: bool },
    /// It is not this format.
    Bad,
}

/// The scanner of one message.
#[derive(Debug)]
pub(super) struct ProtobufScanner {
    state: State,
    /// Bytes so far.
    pos: u64,
    /// The number that is being read, and how many of its bits came.
    value: u64,
    bits: u32,
    /// Fields that were entered, and where each ends.
    at: [u32; DEPTH],
    ends: [u64; DEPTH],
    depth: usize,
}

impl Default for ProtobufScanner {
    fn default() -> Self {
        ProtobufScanner { state: State::Tag, pos: 0, value: 0, bits: 0, at: [0; DEPTH], ends: [0; DEPTH], depth: 0 }
    }
}

impl ProtobufScanner {
    /// The next bytes.
    pub(super) fn push(&mut self, mut bytes: &[u8], visitor: &mut dyn ProtobufVisitor) {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.state {
                State::Bad => return,
                State::Inside { field, end, kept } => bytes = self.inside(bytes, field, end, kept, visitor),
                _ => {
                    bytes = rest;
                    self.pos += 1;
                    self.byte(byte, visitor);
                }
            }
        }
    }

    /// The message may end here.
    #[must_use]
    pub(super) fn complete(&self) -> bool {
        self.state == State::Tag && self.bits == 0 && self.depth == 0
    }

    fn inside<'b>(
        &mut self,
        bytes: &'b [u8],
        field: u32,
        end: u64,
        kept: bool,
        visitor: &mut dyn ProtobufVisitor,
    ) -> &'b [u8] {
        let left = usize::try_from(end - self.pos).unwrap_or(usize::MAX);
        let (piece, rest) = bytes.split_at_checked(left).unwrap_or((bytes, &[]));
        self.pos += piece.len() as u64;
        if kept {
            visitor.bytes(piece);
        }
        if self.pos == end {
            if kept {
                visitor.end(self.path(), field);
            }
            self.next(visitor);
        }
        rest
    }

    fn byte(&mut self, byte: u8, visitor: &mut dyn ProtobufVisitor) {
        if let State::Fixed { field, shift, left } = self.state {
            self.value |= u64::from(byte) << shift;
            if left > 1 {
                self.state = State::Fixed { field, shift: shift + 8, left: left - 1 };
                return self.not_beyond();
            }
            visitor.number(self.path(), field, self.value);
            return self.next(visitor);
        }
        // Ten bytes of seven bits hold the longest number.
        if self.bits >= 70 {
            self.state = State::Bad;
            return;
        }
        self.value |= u64::from(byte & 0x7f).checked_shl(self.bits).unwrap_or(0);
        self.bits += 7;
        if byte & 0x80 != 0 {
            return self.not_beyond();
        }
        let value = self.value;
        (self.value, self.bits) = (0, 0);
        match self.state {
            State::Tag => self.tag(value),
            State::Number(field) => {
                visitor.number(self.path(), field, value);
                self.next(visitor);
            }
            State::Length(field) => self.length(field, value, visitor),
            State::Fixed { .. } | State::Inside { .. } | State::Bad => {}
        }
    }

    fn tag(&mut self, tag: u64) {
        let field = u32::try_from(tag >> 3).unwrap_or(0);
        self.state = match tag & 7 {
            _ if field == 0 => State::Bad,
            0 => State::Number(field),
            1 => State::Fixed { field, shift: 0, left: 8 },
            2 => State::Length(field),
            5 => State::Fixed { field, shift: 0, left: 4 },
            // Groups went out of use before the formats read here came into it.
            _ => State::Bad,
        };
        self.not_beyond();
    }

    fn length(&mut self, field: u32, length: u64, visitor: &mut dyn ProtobufVisitor) {
        let end = self.pos.saturating_add(length);
        if end > self.limit() {
            self.state = State::Bad;
            return;
        }
        let take = visitor.begin(self.path(), field);
        let room = self.at.get_mut(self.depth).zip(self.ends.get_mut(self.depth));
        match (take, room) {
            (FieldHandling::Enter, Some((at, ends))) => {
                (*at, *ends) = (field, end);
                self.depth += 1;
                self.next(visitor);
            }
            (take, _) => {
                let kept = take == FieldHandling::Bytes;
                self.state = State::Inside { field, end, kept };
                if length == 0 {
                    self.inside(&[], field, end, kept, visitor);
                }
            }
        }
    }

    /// A field is complete, and with it what it was the last of.
    fn next(&mut self, visitor: &mut dyn ProtobufVisitor) {
        (self.state, self.value, self.bits) = (State::Tag, 0, 0);
        while self.depth > 0 && self.limit() == self.pos {
            self.depth -= 1;
            let field = self.at.get(self.depth).copied().unwrap_or_default();
            visitor.end(self.path(), field);
        }
    }

    /// More must come inside the message at hand.
    fn not_beyond(&mut self) {
        if self.pos >= self.limit() {
            self.state = State::Bad;
        }
    }

    /// Where the message at hand ends.
    fn limit(&self) -> u64 {
        self.depth.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(u64::MAX)
    }

    fn path(&self) -> &[u32] {
        self.at.get(..self.depth).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes down what it is told.
    #[derive(Default)]
    struct RecordingVisitor {
        said: String,
    }

    impl ProtobufVisitor for RecordingVisitor {
        fn begin(&mut self, at: &[u32], field: u32) -> FieldHandling {
            self.said += &format!("{at:?}{field}[");
            match field {
                1 => FieldHandling::Enter,
                2 => FieldHandling::Bytes,
                _ => {
                    self.said += "]";
                    FieldHandling::Skip
                }
            }
        }

        fn number(&mut self, at: &[u32], field: u32, value: u64) {
            self.said += &format!("{at:?}{field}={value} ");
        }

        fn bytes(&mut self, piece: &[u8]) {
            self.said += &piece.iter().map(|byte| format!("{byte},")).collect::<String>();
        }

        fn end(&mut self, at: &[u32], field: u32) {
            self.said += &format!("]{at:?}{field} ");
        }
    }

    fn said(pieces: &mut dyn Iterator<Item = &[u8]>) -> (String, bool, bool) {
        let (mut scanner, mut ear) = (ProtobufScanner::default(), RecordingVisitor::default());
        pieces.for_each(|piece| scanner.push(piece, &mut ear));
        (ear.said, scanner.complete(), scanner.state == State::Bad)
    }

    fn whole(bytes: &[u8]) -> (String, bool, bool) {
        let whole = said(&mut std::iter::once(bytes));
        assert_eq!(whole, said(&mut bytes.chunks(1)), "the cut changed what was found");
        whole
    }

    #[test]
    fn fields_of_all_kinds_come_out_with_their_places() {
        let inner = b"\x08\x96\x01\x12\x02hi\x1a\x03xyz";
        let mut bytes = vec![0x0a, 12];
        bytes.extend(inner);
        bytes.extend(b"\x11\x01\0\0\0\0\0\0\x80\x1d\x02\0\0\0\x0a\x00\x12\x00");
        let (said, complete, bad) = whole(&bytes);
        assert_eq!(said, "[]1[[1]1=150 [1]2[104,105,][1]2 [1]3[]][]1 []2=9223372036854775809 []3=2 []1[][]1 []2[][]2 ");
        assert!(complete && !bad);
        assert!(!whole(&bytes[..10]).1, "in the middle of a message");
    }

    #[test]
    fn what_breaks_the_format_is_bad_and_nothing_follows() {
        for (bytes, why) in [
            (&b"\x00\x01"[..], "field 0"),
            (b"\x0b\x0c", "a group"),
            (b"\x0f", "type 7"),
            (b"\x0a\x02\x0a\x05hello", "longer than what it lies in"),
            (b"\x0a\x02\x08\x96\x01", "a number across the end"),
            (b"\x0a\x03\x09\x01\x02\x03\x04\x05\x06\x07\x08", "a fixed one across the end"),
            (b"\x0a\x01\x08\x01", "a tag at the end"),
            (b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "eleven bytes"),
        ] {
            let (_, complete, bad) = whole(bytes);
            assert!(bad && !complete, "{why}");
        }
    }

    #[test]
    fn what_lies_too_deep_is_passed_over() {
        let mut bytes = b"\x10\x07".to_vec();
        for _ in 0..DEPTH + 2 {
            bytes = [&[0x0a, u8::try_from(bytes.len()).unwrap()][..], &bytes].concat();
        }
        let (said, complete, _) = whole(&bytes);
        assert!(complete && !said.contains("=7"), "{said}");
    }
}
