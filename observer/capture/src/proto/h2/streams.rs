//! The streams of a connection: each an exchange, all independent of one another.

use std::collections::{BTreeMap, BTreeSet};

use super::frame::Http2FrameHead;
use super::head::HeaderFields;
use super::stream::{BodyShape, Http2Stream, StreamAnswer};
use super::window::{self, FlowWindows};
use crate::conn::Chunk;
use crate::limits::{HTTP2_HELD, HTTP2_STREAMS, SSE_EVENT_HEAD};
use crate::proto::body::BodyInterpreter;
use crate::proto::{ExchangeEnd, ExchangeId, Message, MessageSink, ProtocolNote, RequestHead, ResponseHead, ws};
use crate::units::{Direction, LossCause, Moment};

/// The open streams.
#[derive(Default)]
pub(super) struct Http2Streams {
    open: BTreeMap<u32, Http2Stream>,
    /// The highest stream the client has begun, and the lowest that we saw begin (0: none yet).
    last: u32,
    first: u32,
    /// Requests may have been missed, for this reason: an answer to none that we know is followed all the same.
    blind: Option<LossCause>,
    /// Streams whose request was seen to be lost, and those whose answer was adopted before: neither is begun twice.
    unseen: BTreeMap<u32, LossCause>,
    adopted: BTreeSet<u32>,
    windows: FlowWindows,
}

/// Where messages about one stream go.
pub(super) struct StreamOutput<'a> {
    pub(super) id: u32,
    pub(super) at: Moment,
    pub(super) sink: &'a mut dyn MessageSink,
}

impl StreamOutput<'_> {
    pub(super) fn emit(&mut self, message: Message<'_>) {
        self.sink.message(ExchangeId(u64::from(self.id)), self.at, message);
    }

    fn note(&mut self, reason: &'static str) {
        self.emit(Message::Note(ProtocolNote { protocol: "http2", reason }));
    }
}

impl Http2Streams {
    /// Whether the client may begin this stream now.
    pub(super) fn is_new(&self, id: u32) -> bool {
        id & 1 == 1 && id > self.last
    }

    pub(super) fn is_open(&self, id: u32) -> bool {
        self.open.contains_key(&id)
    }

    /// Whether an answer on this stream comes before its request, or before that is complete.
    pub(super) fn unasked(&self, id: u32) -> bool {
        match self.open.get(&id) {
            Some(stream) => stream.request.is_some() && matches!(stream.answer, StreamAnswer::Waiting),
            None => self.is_new(id) && self.blind.is_none(),
        }
    }

    pub(super) fn last(&self) -> u32 {
        self.last
    }

    /// The client began a stream, or its block was lost.
    pub(super) fn seen(&mut self, id: u32) {
        self.last = self.last.max(id);
        self.first = if self.first == 0 { id } else { self.first.min(id) };
    }

    /// The client began a stream, with what is not known.
    pub(super) fn open_unseen(&mut self, id: u32, cause: LossCause) {
        if self.unseen.len() < HTTP2_STREAMS {
            self.unseen.insert(id, cause);
        }
    }

    /// Requests may be missing, and what was said of windows.
    pub(super) fn blind(&mut self, cause: LossCause) {
        self.blind = Some(cause);
        self.windows.lose();
    }

    /// Whether an answer on this stream may be to a request that we missed.
    pub(super) fn may_adopt(&self, id: u32) -> bool {
        let missed = self.unseen.contains_key(&id)
            || (self.blind.is_some() && (id > self.last || self.first == 0 || id < self.first));
        id & 1 == 1 && missed && !self.open.contains_key(&id) && !self.adopted.contains(&id)
    }

    /// Follows an answer whose request was missed: all that is known of it is its stream.
    fn adopt(&mut self, out: &mut StreamOutput<'_>) {
        if !self.may_adopt(out.id) || self.adopted.len() >= HTTP2_STREAMS {
            return;
        }
        if self.open.len() >= HTTP2_STREAMS {
            self.make_room(out);
        }
        self.adopted.insert(out.id);
        let cause = self.unseen.remove(&out.id).or(self.blind).unwrap_or(LossCause::LateAttach);
        self.last = self.last.max(out.id);
        self.open.insert(out.id, Http2Stream::adopted(cause, self.windows.open()));
        out.emit(Message::Request(&RequestHead { protocol: "h2", ..RequestHead::default() }));
        out.note("unknown_path");
        out.emit(Message::RequestEnd { lost: true });
    }

    /// A note of a stream; of one that is not open, of the connection.
    pub(super) fn note(&self, reason: &'static str, out: &mut StreamOutput<'_>) {
        let id = if self.is_open(out.id) { out.id } else { 0 };
        StreamOutput { id, at: out.at, sink: out.sink }.note(reason);
    }

    /// A frame of data went one way.
    pub(super) fn sent(&mut self, direction: Direction, frame: &Http2FrameHead, out: &mut StreamOutput<'_>) {
        let Some(stream) = self.open.get_mut(&out.id) else {
            return self.windows.sent_elsewhere(direction, frame.length);
        };
        let used_up = self.windows.sent(direction, frame.length, &mut stream.windows);
        if used_up && !frame.has(super::frame::END_STREAM) {
            out.note(if direction == Direction::Read { "window_exhausted" } else { "upload_window_exhausted" });
        }
    }

    pub(super) fn settings(&mut self, direction: Direction, payload: &[u8]) {
        if let Some(by) = self.windows.settings(direction, payload) {
            self.open.values_mut().for_each(|stream| window::change(&mut stream.windows, direction, by));
        }
    }

    pub(super) fn update(&mut self, direction: Direction, id: u32, payload: &[u8]) {
        match (id, self.open.get_mut(&id)) {
            (0, _) => self.windows.update(direction, payload, None),
            (_, Some(stream)) => self.windows.update(direction, payload, Some(&mut stream.windows)),
            (_, None) => {}
        }
    }

    /// What was said of windows was not heard.
    pub(super) fn forget_windows(&mut self) {
        self.windows.lose();
    }

    /// A request's head, the first byte of which came at `began`.
    pub(super) fn request(&mut self, fields: HeaderFields, began: Moment, out: &mut StreamOutput<'_>) {
        if self.open.len() >= HTTP2_STREAMS {
            self.make_room(out);
        }
        let (codings, has_path, unknown) = (fields.codings(), fields.has_path(), fields.unknown);
        let head = fields.request();
        let asks = ws::is_requested(&head);
        let windows = self.windows.open();
        let stream = if asks {
            Http2Stream::asking(windows)
        } else {
            Http2Stream::new(Some(BodyInterpreter::request(codings.as_deref())), windows)
        };
        self.open.insert(out.id, stream);
        out.sink.message(ExchangeId(u64::from(out.id)), began, Message::Request(&head));
        match (codings, unknown) {
            (None, _) => out.emit(Message::Note(ProtocolNote { protocol: "content", reason: "unknown_coding" })),
            (_, true) => out.note(if has_path { "unknown_headers" } else { "unknown_path" }),
            _ => {}
        }
        if asks {
            out.emit(Message::RequestEnd { lost: false });
        }
    }

    /// A response's head.
    pub(super) fn response(&mut self, fields: HeaderFields, began: Moment, out: &mut StreamOutput<'_>) {
        self.adopt(out);
        let Some(stream) = self.open.get_mut(&out.id) else { return };
        if !matches!(stream.answer, StreamAnswer::Waiting) {
            if fields.unknown {
                out.note("unknown_headers");
            }
            return self.trailers(&fields.trailers(), out);
        }
        let (codings, unknown) = (fields.codings(), fields.unknown);
        let Some(head) = fields.response() else {
            out.note("unknown_status");
            return self.end(ExchangeEnd::Lost, out);
        };
        if matches!(head.status, 100..=199) {
            return; // an interim answer: the final one follows
        }
        if stream.unsure {
            stream.end_request(true, out); // it was written, whatever we saw of it
        }
        if unknown {
            out.note("unknown_headers");
        }
        if stream.granted(&head, began, out) {
            return self.after_socket_bytes(out);
        }
        if unknown && (head.content_type.is_none() || head.header("content-encoding").is_none()) {
            stream.answer = StreamAnswer::Held(head, began, Vec::new());
            return;
        }
        stream.answer = StreamAnswer::Body(BodyInterpreter::response(&head, codings.as_deref(), stream.json_stream));
        out.sink.message(ExchangeId(u64::from(out.id)), began, Message::Response(&head));
        if codings.is_none() {
            out.emit(Message::Note(ProtocolNote { protocol: "content", reason: "unknown_coding" }));
        }
    }

    fn trailers(&mut self, list: &[(String, String)], out: &mut StreamOutput<'_>) {
        let Some(stream) = self.open.get_mut(&out.id) else { return };
        stream.emit_held_answer(None, out);
        if !stream.ignored && !list.is_empty() {
            out.emit(Message::Trailers(list));
        }
    }

    /// A piece of a body.
    pub(super) fn data(&mut self, direction: Direction, bytes: &[u8], out: &mut StreamOutput<'_>) {
        if direction == Direction::Read {
            self.adopt(out);
        }
        let Some(stream) = self.open.get_mut(&out.id) else { return };
        if direction == Direction::Read && matches!(stream.answer, StreamAnswer::Waiting) {
            out.note("lost_response_head");
            if !self.adopted.contains(&out.id) {
                return self.end(ExchangeEnd::Lost, out);
            }
            // We are in the middle of it: its first bytes tell what it is.
            stream.answer = StreamAnswer::Held(ResponseHead::default(), out.at, Vec::new());
        }
        if direction == Direction::Read {
            stream.unsure = false; // it goes on
        }
        if stream.spoken(direction, Chunk::Data(bytes), out) {
            return self.after_socket_bytes(out);
        }
        let Some(bytes) = stream.release_held(direction, bytes, out) else { return };
        let ignored = stream.ignored;
        if let Some(body) = stream.body(direction).filter(|_| !ignored) {
            body.push(&bytes, &mut |message| out.emit(message));
            // All are only counted where one is large: most hold next to nothing.
            if body.held() > 8 * SSE_EVENT_HEAD && self.held() > HTTP2_HELD {
                out.note("too_much_held");
                self.end(ExchangeEnd::Lost, out);
            }
        }
    }

    /// Bytes of a body are missing.
    pub(super) fn gap(
        &mut self,
        direction: Direction,
        bytes: Option<u64>,
        cause: LossCause,
        out: &mut StreamOutput<'_>,
    ) {
        let Some(stream) = self.open.get_mut(&out.id) else { return };
        if stream.spoken(direction, Chunk::Gap { bytes, cause }, out) {
            return;
        }
        if direction == Direction::Read {
            stream.emit_held_answer(None, out);
        }
        match stream.body(direction) {
            Some(body) => body.gap(bytes, cause, &mut |message| out.emit(message)),
            None if direction == Direction::Read => out.emit(Message::Gap { bytes, cause }),
            None => {}
        }
    }

    /// Frames are missing: any stream may lack some, its end included.
    pub(super) fn gap_in_all(
        &mut self,
        direction: Direction,
        cause: LossCause,
        at: Moment,
        sink: &mut dyn MessageSink,
    ) {
        let ids: Vec<u32> = self.open.keys().copied().collect();
        for id in ids {
            self.gap(direction, None, cause, &mut StreamOutput { id, at, sink });
        }
        self.unsure();
    }

    /// Bytes went by that may be any stream's.
    pub(super) fn unsure(&mut self) {
        self.open.values_mut().for_each(|stream| stream.unsure = true);
    }

    /// One side has said its last.
    pub(super) fn end_of(&mut self, direction: Direction, out: &mut StreamOutput<'_>) {
        let Some(stream) = self.open.get_mut(&out.id) else { return };
        match (direction, &stream.answer) {
            // Without a word of goodbye.
            (Direction::Write, StreamAnswer::Socket(_)) => self.end(ExchangeEnd::LocalClosed, out),
            (Direction::Read, StreamAnswer::Socket(_)) => self.end(ExchangeEnd::PeerClosed, out),
            (Direction::Write, _) => stream.end_request(false, out),
            (Direction::Read, StreamAnswer::Waiting) => {
                out.note("lost_response_head");
                self.end(ExchangeEnd::Lost, out);
            }
            (Direction::Read, _) => {
                stream.unsure = false;
                self.end(ExchangeEnd::Complete, out);
            }
        }
    }

    /// The block that would have been a stream's answer was lost. Behind an answer, it was trailers.
    pub(super) fn lost_block(&mut self, out: &mut StreamOutput<'_>) {
        match self.open.get(&out.id).map(|stream| &stream.answer) {
            Some(StreamAnswer::Waiting) => {
                out.note("lost_response_head");
                self.end(ExchangeEnd::Lost, out);
            }
            Some(_) => out.note("lost_trailers"),
            None => {}
        }
    }

    /// A stream is over.
    pub(super) fn end(&mut self, end: ExchangeEnd, out: &mut StreamOutput<'_>) {
        let Some(mut stream) = self.open.remove(&out.id) else { return };
        if let StreamAnswer::Socket(socket) = &mut stream.answer {
            return socket.close(end, out.at, out.sink);
        }
        stream.end_request(true, out);
        let empty = matches!(&stream.answer, StreamAnswer::Held(.., first) if first.is_empty());
        stream.emit_held_answer(empty.then_some(BodyShape::Plain), out);
        let mut end = end;
        if let StreamAnswer::Body(body) = &mut stream.answer {
            if end == ExchangeEnd::Complete && !stream.ignored {
                body.finish(&mut |message| out.emit(message));
            }
            if body.blind() {
                end = ExchangeEnd::Lost;
            }
        }
        out.emit(Message::End(end));
    }

    /// A WebSocket took some bytes: one that said goodbye has no further ones, and none may hold too much.
    fn after_socket_bytes(&mut self, out: &mut StreamOutput<'_>) {
        let Some(stream) = self.open.get(&out.id) else { return };
        if stream.is_closed_socket() {
            self.open.remove(&out.id);
        } else if stream.held() > 8 * SSE_EVENT_HEAD && self.held() > HTTP2_HELD {
            out.note("too_much_held");
            self.end(ExchangeEnd::Lost, out);
        }
    }

    /// Every stream above `id` is over; one whose end may have been missed has ended somehow before.
    pub(super) fn end_above(&mut self, id: u32, end: ExchangeEnd, at: Moment, sink: &mut dyn MessageSink) {
        while let Some((&id, stream)) = self.open.last_key_value().filter(|(open, _)| **open > id) {
            let end = if stream.unsure { ExchangeEnd::Lost } else { end };
            self.end(end, &mut StreamOutput { id, at, sink });
        }
    }

    pub(super) fn ignore(&mut self, id: u32) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.ignored = true;
        }
    }

    pub(super) fn expect_json_stream(&mut self, id: u32) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.json_stream = true;
        }
    }

    pub(super) fn held(&self) -> usize {
        let ids = (self.unseen.len() + self.adopted.len()) * 2 * size_of::<u32>();
        ids + self.open.values().map(Http2Stream::held).sum::<usize>()
    }

    /// Of too many streams, one goes whose end may have been missed, or else the oldest.
    fn make_room(&mut self, out: &mut StreamOutput<'_>) {
        let unsure = self.open.iter().find(|(_, stream)| stream.unsure).map(|(id, _)| *id);
        let Some(id) = unsure.or_else(|| self.open.keys().next().copied()) else { return };
        let mut out = StreamOutput { id, at: out.at, sink: out.sink };
        out.note("too_many_streams");
        self.end(ExchangeEnd::Lost, &mut out);
    }
}
