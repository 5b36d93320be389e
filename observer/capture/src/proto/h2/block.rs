//! Header blocks: put together of their frames, read, and handed to their streams.

use super::frame::{self, Http2FrameHead};
use super::head::{self, HeaderFields};
use super::streams::StreamOutput;
use super::{Http2Parser, note};
use crate::limits::HTTP2_BLOCK;
use crate::proto::MessageSink;
use crate::units::{Direction, LossCause, Moment};

/// A header block: a HEADERS or PUSH_PROMISE frame and its continuations.
pub(super) struct HeaderBlock {
    first: Http2FrameHead,
    bytes: Vec<u8>,
    /// Part of it is missing.
    torn: bool,
}

impl HeaderBlock {
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }
}

impl Http2Parser {
    pub(super) fn begin_block(
        &mut self,
        direction: Direction,
        frame: Http2FrameHead,
        payload: &[u8],
        torn: bool,
        at: Moment,
        sink: &mut dyn MessageSink,
    ) {
        let before = match frame.kind {
            frame::PUSH_PROMISE => 4,
            _ if frame.has(frame::HAS_PRIORITY) => 5,
            _ => 0,
        };
        let fragment = payload.get(before..);
        let torn = torn || fragment.is_none();
        self.half(direction).block =
            Some(HeaderBlock { first: frame, bytes: fragment.unwrap_or_default().to_vec(), torn });
        if frame.has(frame::END_HEADERS) {
            self.end_block(direction, false, at, sink);
        }
    }

    pub(super) fn go_on(
        &mut self,
        direction: Direction,
        frame: Http2FrameHead,
        payload: &[u8],
        torn: bool,
        at: Moment,
        sink: &mut dyn MessageSink,
    ) {
        let half = self.half(direction);
        let Some(block) = half.block.as_mut().filter(|block| block.first.stream == frame.stream) else {
            return self.half(direction).lose_table(at, sink);
        };
        block.torn |= torn || block.bytes.len() + payload.len() > HTTP2_BLOCK;
        if !block.torn {
            block.bytes.extend_from_slice(payload);
        }
        if frame.has(frame::END_HEADERS) {
            self.end_block(direction, false, at, sink);
        }
    }

    /// A header block is complete, or will never be.
    pub(super) fn end_block(&mut self, direction: Direction, cut: bool, at: Moment, sink: &mut dyn MessageSink) {
        let salt = self.salt.clone();
        let half = self.half(direction);
        let Some(HeaderBlock { first, bytes, torn }) = half.block.take() else { return };
        let mut fields = HeaderFields::default();
        if torn || cut {
            half.lose_table(at, sink);
        } else if let Err(reason) =
            half.table.block(&bytes, &|name, value| head::field(direction, name, value, &salt), &mut |f| fields.add(f))
        {
            note(at, reason, sink);
            fields.unknown = true;
        }
        if half.table.desynced() {
            half.note_desynced(at, sink);
        }
        if first.kind == frame::PUSH_PROMISE {
            return; // it belongs to a stream that we do not follow, but its fields are in the table now
        }
        let out = &mut StreamOutput { id: first.stream, at, sink };
        match direction {
            Direction::Write => self.request(fields, first, torn || cut, out),
            Direction::Read if torn || cut => self.streams.lost_block(out),
            Direction::Read => self.streams.response(fields, first.began, out),
        }
        if first.has(frame::END_STREAM) {
            self.streams.end_of(direction, out);
        }
    }

    /// A block of the client: a request's head, or trailers.
    fn request(&mut self, fields: HeaderFields, first: Http2FrameHead, lost: bool, out: &mut StreamOutput<'_>) {
        if !self.streams.is_new(first.stream) {
            return;
        }
        self.streams.seen(first.stream);
        match (&fields.method, lost) {
            (Some(_), false) => self.streams.request(fields, first.began, out),
            // Trailers of a request from before our time, it seems.
            (None, false) if !fields.unknown => {}
            _ => {
                let cause = self.requests.cause.unwrap_or(LossCause::LateAttach);
                self.streams.open_unseen(first.stream, cause);
                note(out.at, "lost_request_head", out.sink);
            }
        }
    }
}
