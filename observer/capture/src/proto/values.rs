//! JSON texts one after another, incrementally: a text a line (NDJSON), the elements of an array
//! that grows, or texts merely put side by side. An event is a text, out the moment its last
//! bracket is in: it waits for no line end, and may be spread over lines.
//!
//! After lost bytes nothing says whether we are inside a string; but a line end never stands in
//! one, so a line that begins with a bracket is where it goes on. A stream without line ends stays
//! lost.

use super::balance::JsonBalance;
use super::body::EventScanner;
use super::{BodyEvent, Message, ProtocolNote};
use crate::limits::{SSE_EVENT, SSE_EVENT_HEAD, SSE_IDLE};

/// The scanner of one body.
#[derive(Debug, Default)]
pub struct JsonValuesScanner {
    mode: Mode,
    balance: JsonBalance,
    /// The text in progress, where it could not be borrowed.
    text: Vec<u8>,
    /// Bytes of the text in progress so far.
    size: usize,
    /// Past the first bracket, which may open an array of texts.
    begun: bool,
    /// The texts are the elements of an array.
    listed: bool,
}

/// What is done with bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// Between texts.
    #[default]
    Between,
    Text,
    /// In a text that grew over the cap.
    Overflow,
    /// In something that is no text: to the end of the line.
    Junk,
    /// Bytes were lost: to a line that begins with a bracket. `true`: at the beginning of a line.
    Resync(bool),
}

impl EventScanner for JsonValuesScanner {
    fn push(&mut self, mut input: &[u8], out: &mut dyn FnMut(Message<'_>)) {
        while !input.is_empty() {
            let used = match self.mode {
                Mode::Between => self.between(input, out),
                Mode::Text | Mode::Overflow => self.text(input, out),
                Mode::Junk => self.junk(input),
                Mode::Resync(fresh) => self.resync(input, fresh),
            };
            input = input.get(used..).unwrap_or_default();
        }
    }

    fn gap(&mut self) {
        *self = JsonValuesScanner {
            mode: Mode::Resync(false),
            begun: true,
            listed: self.listed,
            ..JsonValuesScanner::default()
        };
    }

    fn finish(&mut self, out: &mut dyn FnMut(Message<'_>)) {
        if matches!(self.mode, Mode::Text | Mode::Overflow) {
            out(note("unterminated_event")); // a JSON text that is cut says nothing
        }
        *self = JsonValuesScanner::default();
    }

    fn held(&self) -> usize {
        size_of::<Self>() + self.text.capacity()
    }
}

impl JsonValuesScanner {
    /// Up to where a text begins.
    fn between(&mut self, input: &[u8], out: &mut dyn FnMut(Message<'_>)) -> usize {
        // 0x1e begins each text of a JSON text sequence (RFC 7464).
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | 0x1e);
        let Some(at) = input.iter().position(|byte| !blank(byte)) else { return input.len() };
        match input.get(at) {
            Some(b'[') if !self.begun => (self.begun, self.listed) = (true, true),
            Some(b']') if self.listed => self.listed = false,
            Some(b'{' | b'[') => {
                (self.mode, self.begun) = (Mode::Text, true);
                return at;
            }
            _ => {
                out(note("not_json"));
                (self.mode, self.begun) = (Mode::Junk, true);
                return at;
            }
        }
        at + 1
    }

    /// Up to the end of the text.
    fn text(&mut self, input: &[u8], out: &mut dyn FnMut(Message<'_>)) -> usize {
        let Some(end) = self.balance.end_in(input) else {
            self.keep(input, out);
            return input.len();
        };
        let last = input.get(..end).unwrap_or(input);
        if self.text.is_empty() && self.mode == Mode::Text && last.len() <= SSE_EVENT {
            out(Message::Event(BodyEvent { data: last, wire_bytes: end, ..BodyEvent::default() }));
        } else {
            self.keep(last, out);
            let truncated = self.mode == Mode::Overflow;
            out(Message::Event(BodyEvent {
                data: &self.text,
                wire_bytes: self.size,
                truncated,
                ..BodyEvent::default()
            }));
        }
        self.text.clear();
        self.text.shrink_to(SSE_IDLE);
        (self.mode, self.size) = (Mode::Between, 0);
        end
    }

    fn keep(&mut self, bytes: &[u8], out: &mut dyn FnMut(Message<'_>)) {
        self.size = self.size.saturating_add(bytes.len());
        if self.mode == Mode::Overflow {
            return;
        }
        if self.text.len() + bytes.len() <= SSE_EVENT {
            return self.text.extend_from_slice(bytes);
        }
        out(note("event_too_large"));
        let room = SSE_EVENT_HEAD.saturating_sub(self.text.len());
        self.text.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.text.truncate(SSE_EVENT_HEAD);
        self.text.shrink_to(SSE_IDLE);
        self.mode = Mode::Overflow;
    }

    fn junk(&mut self, input: &[u8]) -> usize {
        let Some(at) = memchr::memchr(b'\n', input) else { return input.len() };
        self.mode = Mode::Between;
        at + 1
    }

    fn resync(&mut self, input: &[u8], fresh: bool) -> usize {
        if fresh && matches!(input, [b'{' | b'[', ..]) {
            self.mode = Mode::Text;
            return 0;
        }
        // `,\n{` and `\n,{` both separate elements.
        if fresh && matches!(input, [b',' | b'\r' | b'\n' | 0x1e, ..]) {
            return 1;
        }
        let at = memchr::memchr(b'\n', input);
        self.mode = Mode::Resync(at.is_some());
        at.map_or(input.len(), |at| at + 1)
    }
}

fn note(reason: &'static str) -> Message<'static> {
    Message::Note(ProtocolNote { protocol: "json_stream", reason })
}

/// Fuzz target: a stream must come out the same whole and cut. See `body::fuzz`.
pub fn fuzz(data: &[u8]) {
    super::body::fuzz::<JsonValuesScanner>(data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::body::lines;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        lines::<JsonValuesScanner>(pieces.iter().copied())
    }

    fn data(pieces: &[&[u8]]) -> Vec<String> {
        let said = events(pieces);
        said.iter().filter_map(|line| Some(line.strip_prefix("event ")?.split_once(' ')?.1.to_owned())).collect()
    }

    #[test]
    fn lines_arrays_and_neighbours_are_the_same_texts() {
        let expected = [r#"{"a":"}\n"}"#, r#"{"b":[1,{}]}"#];
        for stream in [
            "{\"a\":\"}\\n\"}\n{\"b\":[1,{}]}\n",
            "{\"a\":\"}\\n\"}\r\n{\"b\":[1,{}]}",
            "[{\"a\":\"}\\n\"},\n{\"b\":[1,{}]}]",
            " [ {\"a\":\"}\\n\"}\n,\r\n{\"b\":[1,{}]}\n]\n",
            "{\"a\":\"}\\n\"}{\"b\":[1,{}]}",
            "\u{1e}{\"a\":\"}\\n\"}\n\u{1e}{\"b\":[1,{}]}\n",
        ] {
            assert_eq!(data(&[stream.as_bytes()]), expected, "{stream}");
            let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
            assert_eq!(events(&bytes), events(&[stream.as_bytes()]), "{stream}");
        }
    }

    #[test]
    fn a_text_is_out_with_its_last_bracket_and_is_not_copied() {
        let mut values = JsonValuesScanner::default();
        let input = b"[{\"a\":1}".as_slice();
        let mut seen = 0;
        values.push(input, &mut |message| {
            let Message::Event(event) = message else { panic!() };
            assert!(input.as_ptr_range().contains(&event.data.as_ptr()));
            assert_eq!((event.data, event.wire_bytes), (b"{\"a\":1}".as_slice(), 7));
            seen += 1;
        });
        assert_eq!(seen, 1);
        assert_eq!(values.held(), size_of::<JsonValuesScanner>());
    }

    #[test]
    fn what_is_no_text_is_skipped_to_the_end_of_its_line() {
        assert_eq!(
            events(&[b"oops {\n{\"a\":1}\nnull\n[2]\n"]),
            ["json_stream/not_json", "event 7 {\"a\":1}", "json_stream/not_json", "event 3 [2]",]
        );
        assert_eq!(events(&[b"{\"a\":"]), ["json_stream/unterminated_event"]);
    }

    #[test]
    fn after_a_gap_a_line_that_begins_with_a_bracket_goes_on() {
        for (before, after, expected) in [
            ("[{\"a\":\"", "x\"},{\"no\":1}\n,\n{\"b\":2},\n{\"c\":3}]", &["{\"b\":2}", "{\"c\":3}"][..]),
            ("{\"a\"", ":1}\n{\"b\":2}\n", &["{\"b\":2}"]),
            ("{\"a\"", ":1}\r\n{\"b\":\n\"2\"}\n", &["{\"b\":\n\"2\"}"]),
            ("[{\"a\":1}", ",{\"b\":2},{\"c\":3}]", &[]),
        ] {
            let (mut values, mut got) = (JsonValuesScanner::default(), Vec::new());
            values.push(before.as_bytes(), &mut |_| {});
            values.gap();
            values.push(after.as_bytes(), &mut |message| {
                if let Message::Event(event) = message {
                    got.push(String::from_utf8(event.data.to_vec()).unwrap());
                }
            });
            assert_eq!(got, expected, "{before} … {after}");
        }
    }

    #[test]
    fn a_text_over_the_cap_leaves_its_head() {
        let large = format!("{{\"type\":\"big\",\"x\":\"{}\"}}\n{{\"next\":1}}\n", "y".repeat(2 * SSE_EVENT));
        for size in [1000, 1 << 20, 4 << 20] {
            let (mut values, mut seen, mut most) = (JsonValuesScanner::default(), Vec::new(), 0);
            for piece in large.as_bytes().chunks(size) {
                values.push(piece, &mut |message| {
                    if let Message::Event(event) = message {
                        seen.push((event.truncated, event.data.len(), event.wire_bytes));
                    }
                });
                most = most.max(values.held());
            }
            assert_eq!(seen, [(true, SSE_EVENT_HEAD, large.len() - 12), (false, 10, 10)], "{size}");
            assert!(most <= 2 * SSE_EVENT + 4096, "{most}");
        }
    }
}
