//! Server-sent events, incrementally: bytes in, events out the moment their blank line is in.
//!
//! By the WHATWG rules, with three deviations that keep what providers really send:
//! - an event still open when the framing *completes* is dispatched (some servers leave the last blank line out);
//! - raw JSON where a field should be (Google's pretty-printed errors, `error: {…}` of old llama.cpp) is an event;
//! - a block without `data` is reported as a keep-alive, because it shows that the stream lives.
//!
//! An event that lies whole in one piece is handed out without a copy.

use memchr::memchr2;

use super::balance::JsonBalance;
use super::body::EventScanner;
use super::{BodyEvent, BodyEventKind, Message, ProtocolNote};
use crate::limits::{SSE_EVENT, SSE_EVENT_HEAD, SSE_IDLE};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The scanner of one stream.
#[derive(Debug, Default)]
pub struct SseScanner {
    mode: Mode,
    /// The stored part of a line whose end has not come. Empty in the modes that skip.
    line: Vec<u8>,
    /// Length of the line in progress, stored or not.
    line_len: usize,
    /// Data of the event in progress, where it could not be borrowed.
    data: Vec<u8>,
    /// Likewise its name.
    name: Vec<u8>,
    has_data: bool,
    has_name: bool,
    /// Bytes of the event's complete lines, their ends included. 0 between events.
    size: usize,
    /// The last byte was `\r`: a `\n` now belongs to it.
    after_cr: bool,
    /// Whether that `\n` counts for the event in progress (the line was not a comment).
    counted: bool,
    /// The last line ended in `\r\n`. A blank line's `\r` is taken for the same kind of end, so that an event need not
    /// wait for the `\n` and its length does not depend on how the bytes were cut.
    crlf: bool,
    /// Past the first line, where a byte order mark may stand.
    begun: bool,
    /// The event in progress is raw JSON.
    raw: Option<JsonBalance>,
}

/// What is done with lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Scan,
    /// The event in progress grew over the cap: to the blank line, then hand out its head.
    Overflow,
    /// Bytes were lost: to the blank line, then scan again.
    Resync,
}

/// The event in progress during one `push`: what can be borrowed from the piece is.
#[derive(Clone, Copy, Default)]
struct PendingEvent<'a> {
    data: Option<&'a [u8]>,
    name: Option<&'a [u8]>,
}

/// What a line is; the number is where its value begins.
enum Line {
    Comment,
    Data(usize),
    Name(usize),
    /// `id:`, `retry:` and unknown fields: part of the event, without meaning here.
    Other,
}

impl EventScanner for SseScanner {
    /// The next bytes of the body.
    fn push(&mut self, mut input: &[u8], out: &mut dyn FnMut(Message<'_>)) {
        let mut pending = PendingEvent::default();
        while !input.is_empty() {
            if std::mem::take(&mut self.after_cr)
                && let Some(rest) = input.strip_prefix(b"\n")
            {
                self.swallow_lf();
                input = rest;
                continue;
            }
            let Some((content, end, rest)) = split_line(input) else {
                self.keep_partial(input, &mut pending, out);
                break;
            };
            input = rest;
            self.after_cr = end == b'\r';
            self.end_line(content, &mut pending, out);
        }
        self.settle(pending);
    }

    /// Bytes are missing: the event in progress is lost, and so is the one the next bytes are in the middle of.
    fn gap(&mut self) {
        *self = SseScanner { mode: Mode::Resync, line_len: 1, begun: true, ..SseScanner::default() };
    }

    /// The body is complete: what is still open is the last event.
    fn finish(&mut self, out: &mut dyn FnMut(Message<'_>)) {
        let mut pending = PendingEvent::default();
        if self.line_len > 0 {
            self.end_line(b"", &mut pending, out);
            self.size = self.size.saturating_sub(1); // the end that was taken for granted
        }
        let open = match self.mode {
            Mode::Scan => self.has_data || pending.data.is_some(),
            Mode::Overflow => true,
            Mode::Resync => false,
        };
        if open {
            out(note("unterminated_event"));
            self.dispatch(pending, self.size, out);
        }
        *self = SseScanner::default();
    }

    /// Bytes held now.
    fn held(&self) -> usize {
        size_of::<Self>() + self.line.capacity() + self.data.capacity() + self.name.capacity()
    }
}

impl SseScanner {
    /// A line's end came; `content` is the line, or the rest of it.
    fn end_line<'a>(&mut self, content: &'a [u8], pending: &mut PendingEvent<'a>, out: &mut dyn FnMut(Message<'_>)) {
        let length = self.line_len + content.len();
        self.line_len = 0;
        if self.mode == Mode::Scan {
            if self.line.is_empty() {
                self.line(content, length, Some(content), pending, out);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(content);
                self.line(&line, length, None, pending, out);
                line.clear();
                line.shrink_to(SSE_IDLE);
                self.line = line;
            }
        } else if length == 0 {
            self.end_skip(*pending, out);
            *pending = PendingEvent::default();
        } else {
            self.count_line(length);
        }
    }

    /// A whole line. `borrow` is the same line where it lies whole in the piece.
    fn line<'a>(
        &mut self,
        line: &[u8],
        mut length: usize,
        borrow: Option<&'a [u8]>,
        pending: &mut PendingEvent<'a>,
        out: &mut dyn FnMut(Message<'_>),
    ) {
        let (mut line, mut borrow) = (line, borrow);
        if !std::mem::replace(&mut self.begun, true)
            && let Some(rest) = line.strip_prefix(BOM)
        {
            line = rest;
            length = rest.len();
            borrow = borrow.and_then(|whole| whole.strip_prefix(BOM));
        }
        if line.is_empty() {
            return self.blank_line(pending, out);
        }
        if self.size + length > SSE_EVENT {
            self.overflow(line, pending, out);
            return self.count_line(length);
        }
        let kind = self.classify(line, pending);
        if matches!(kind, Line::Comment) {
            self.counted = false;
            return out(Message::Comment);
        }
        self.count_line(length);
        match kind {
            Line::Data(at) => self.add_data(tail(line, at), borrow.map(|whole| tail(whole, at)), pending),
            Line::Name(at) => self.set_name(tail(line, at), borrow.map(|whole| tail(whole, at)), pending),
            Line::Comment | Line::Other => {}
        }
        if self.raw.as_mut().is_some_and(|balance| balance.closed_by(line)) {
            out(note("raw_json"));
            self.dispatch(std::mem::take(pending), self.size, out);
        }
    }

    fn count_line(&mut self, length: usize) {
        self.size += length + 1;
        self.crlf = false;
        self.counted = true;
    }

    /// The `\n` of a `\r\n` whose `\r` already ended the line.
    fn swallow_lf(&mut self) {
        if std::mem::take(&mut self.counted) && self.size > 0 {
            self.size += 1;
            self.crlf = true;
        }
    }

    fn blank_line(&mut self, pending: &mut PendingEvent<'_>, out: &mut dyn FnMut(Message<'_>)) {
        let wire_bytes = self.size + self.end_len();
        let pending = std::mem::take(pending);
        if self.has_data || pending.data.is_some() {
            self.dispatch(pending, wire_bytes, out);
        } else if self.size > 0 {
            self.reset();
            out(Message::Comment);
        }
    }

    /// The blank line that ends skipping.
    fn end_skip(&mut self, pending: PendingEvent<'_>, out: &mut dyn FnMut(Message<'_>)) {
        match self.mode {
            Mode::Overflow => self.dispatch(pending, self.size + self.end_len(), out),
            Mode::Scan | Mode::Resync => self.reset(),
        }
    }

    /// Length of a blank line in this event's kind of line ends.
    fn end_len(&self) -> usize {
        1 + usize::from(self.crlf)
    }

    /// Hands the event out and makes ready for the next one.
    fn dispatch(&mut self, pending: PendingEvent<'_>, wire_bytes: usize, out: &mut dyn FnMut(Message<'_>)) {
        let name = pending.name.or(self.has_name.then_some(self.name.as_slice()));
        let event = BodyEvent {
            kind: BodyEventKind::Text,
            name: name.and_then(|bytes| std::str::from_utf8(bytes).ok()),
            data: pending.data.unwrap_or(&self.data),
            wire_bytes,
            truncated: self.mode == Mode::Overflow,
        };
        out(Message::Event(event));
        self.reset();
    }

    fn reset(&mut self) {
        for buffer in [&mut self.data, &mut self.name] {
            buffer.clear();
            buffer.shrink_to(SSE_IDLE);
        }
        self.mode = Mode::Scan;
        self.has_data = false;
        self.has_name = false;
        self.size = 0;
        self.crlf = false;
        self.counted = false;
        self.raw = None;
    }

    fn classify(&mut self, line: &[u8], pending: &PendingEvent<'_>) -> Line {
        if self.raw.is_some() {
            return Line::Data(0);
        }
        if let Some(at) = value_at(line, b"data") {
            return Line::Data(at);
        }
        if let Some(at) = value_at(line, b"event") {
            return Line::Name(at);
        }
        let fresh = !self.has_data && pending.data.is_none();
        match line.first() {
            Some(b':') => Line::Comment,
            Some(b'{' | b'[') if fresh => {
                self.raw = Some(JsonBalance::default());
                Line::Data(0)
            }
            Some(b'e') if fresh => match value_at(line, b"error") {
                Some(at) if tail(line, at).starts_with(b"{") => Line::Data(at),
                _ => Line::Other,
            },
            _ => Line::Other,
        }
    }

    fn add_data<'a>(&mut self, value: &[u8], borrow: Option<&'a [u8]>, pending: &mut PendingEvent<'a>) {
        if !self.has_data && pending.data.is_none() && borrow.is_some() {
            pending.data = borrow;
            return;
        }
        self.own_data(pending);
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(value);
    }

    fn own_data(&mut self, pending: &mut PendingEvent<'_>) {
        if let Some(first) = pending.data.take() {
            self.data.extend_from_slice(first);
            self.has_data = true;
        }
    }

    fn set_name<'a>(&mut self, value: &[u8], borrow: Option<&'a [u8]>, pending: &mut PendingEvent<'a>) {
        pending.name = borrow;
        self.has_name = borrow.is_none();
        if self.has_name {
            self.name.clear();
            self.name.extend_from_slice(value);
        }
    }

    /// The piece ended inside a line.
    fn keep_partial(&mut self, rest: &[u8], pending: &mut PendingEvent<'_>, out: &mut dyn FnMut(Message<'_>)) {
        self.line_len += rest.len();
        if self.mode != Mode::Scan {
            return;
        }
        self.line.extend_from_slice(rest);
        if self.size + self.line_len > SSE_EVENT {
            let line = std::mem::take(&mut self.line);
            self.overflow(&line, pending, out);
        }
    }

    /// The event is too large: keep its head and skip the rest. `line` is the line that was too much.
    fn overflow(&mut self, line: &[u8], pending: &mut PendingEvent<'_>, out: &mut dyn FnMut(Message<'_>)) {
        out(note("event_too_large"));
        if !self.has_data
            && pending.data.is_none()
            && let Some(at) = value_at(line, b"data").or(self.raw.is_some().then_some(0))
        {
            let value = tail(line, at);
            self.data.extend_from_slice(value.get(..SSE_EVENT_HEAD).unwrap_or(value));
            self.has_data = true;
        }
        self.own_data(pending);
        self.data.truncate(SSE_EVENT_HEAD);
        self.data.shrink_to(SSE_IDLE);
        self.mode = Mode::Overflow;
    }

    /// The piece is over: what was borrowed from it is copied.
    fn settle(&mut self, mut pending: PendingEvent<'_>) {
        self.own_data(&mut pending);
        if let Some(name) = pending.name {
            self.set_name(name, None, &mut PendingEvent::default());
        }
    }
}

fn note(reason: &'static str) -> Message<'static> {
    Message::Note(ProtocolNote { protocol: "sse", reason })
}

/// The first line, the byte that ends it, and what follows.
fn split_line(input: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let at = memchr2(b'\n', b'\r', input)?;
    let (content, rest) = input.split_at_checked(at)?;
    let (end, rest) = rest.split_first()?;
    Some((content, *end, rest))
}

/// Where the value of field `name` begins, if the line is that field. One space after the colon does not count.
fn value_at(line: &[u8], name: &[u8]) -> Option<usize> {
    match line.strip_prefix(name)? {
        [] => Some(name.len()),
        [b':', b' ', ..] => Some(name.len() + 2),
        [b':', ..] => Some(name.len() + 1),
        _ => None,
    }
}

fn tail(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at..).unwrap_or_default()
}

/// Fuzz target: a stream must come out the same whole and cut. See `body::fuzz`.
pub fn fuzz(data: &[u8]) {
    super::body::fuzz::<SseScanner>(data);
}

#[cfg(test)]
mod tests;
