//! HTTP/2: both directions of one connection, each stream an exchange. Reads only: windows, settings, pings and
//! priorities concern the peers alone. A stream may turn into a WebSocket (RFC 8441): then `ws` reads it.
//!
//! What is lost stays with those it may concern. Inside a payload, a hole is counted down and belongs to its stream. A
//! hole that swallows the head of a frame may have hit any stream: each is told of a gap, header blocks may be missing,
//! so the dynamic table starts anew, and frames are looked for again where nothing else can be meant (`framer::hunt`).

mod block;
mod codes;
mod frame;
mod framer;
mod fuzz;
mod head;
mod hpack;
mod huffman;
mod sniff;
mod stream;
mod streams;
mod window;

pub use fuzz::{fuzz, fuzz_hpack};

use block::HeaderBlock;
use codes::{code, goaway, reset};
use frame::Http2FrameHead;
use framer::{Http2FrameStep, Http2Framer, Http2HoleOutcome};
use head::HeaderField;
use hpack::HpackDecoder;
use streams::{Http2Streams, StreamOutput};

use super::{
    ConnClosing, ExchangeEnd, ExchangeId, Message, MessageSink, ProtocolNote, ProtocolParser, ProtocolRow, Salt,
};
use crate::conn::Chunk;
use crate::limits::HTTP2_BLOCK;
use crate::units::{Direction, LossCause, Moment};

/// The row of the protocol table.
pub(super) const ROW: ProtocolRow = ProtocolRow {
    name: "http/2",
    whole: true,
    sniff: sniff::sniff,
    make: |salt| Box::new(Http2Parser::new(salt.clone())),
    mid_stream: |_, _| None,
};

/// One connection.
pub struct Http2Parser {
    salt: Salt,
    requests: Half,
    responses: Half,
    streams: Http2Streams,
    dead: bool,
}

/// One direction.
#[derive(Default)]
struct Half {
    framer: Http2Framer,
    table: HpackDecoder<HeaderField>,
    /// The header block in progress.
    block: Option<HeaderBlock>,
    /// Payload of the frame in progress, if it is a header block's or a small one that is read whole.
    payload: Vec<u8>,
    /// Bytes of that are missing.
    torn: bool,
    /// Why the place, or a block, was lost last.
    cause: Option<LossCause>,
    /// The note that the table is not whole was emitted.
    noted: bool,
}

impl ProtocolParser for Http2Parser {
    fn push(&mut self, direction: Direction, chunk: Chunk<'_>, at: Moment, sink: &mut dyn MessageSink) {
        if self.dead {
            return;
        }
        match chunk {
            Chunk::Gap { cause: LossCause::LateAttach, .. } if self.half(direction).framer.untouched() => {
                self.half(direction).lose();
                self.streams.blind(LossCause::LateAttach);
                note(at, "late_attach", sink);
            }
            Chunk::Gap { bytes, cause } => {
                self.gap(direction, bytes, cause, at, sink);
                self.data(direction, &[], at, sink);
            }
            Chunk::Data(bytes) => {
                if direction == Direction::Write && self.requests.framer.untouched() && !bytes.starts_with(b"P") {
                    self.begin_mid_stream(at, sink);
                }
                self.half(direction).framer.enter(at.call);
                self.data(direction, bytes, at, sink);
            }
        }
    }

    fn close(&mut self, how: ConnClosing, at: Moment, sink: &mut dyn MessageSink) {
        let end = match how {
            ConnClosing::Peer => ExchangeEnd::PeerClosed,
            ConnClosing::Reset => ExchangeEnd::Reset,
            ConnClosing::Local => ExchangeEnd::LocalClosed,
            ConnClosing::ProcessExit => ExchangeEnd::ProcessExit,
            ConnClosing::Abandoned => ExchangeEnd::Lost,
        };
        self.die(end, at, sink);
    }

    fn ignore(&mut self, exchange: ExchangeId) {
        if let Ok(id) = u32::try_from(exchange.0) {
            self.streams.ignore(id);
        }
    }

    fn expect_json_stream(&mut self, exchange: ExchangeId) {
        if let Ok(id) = u32::try_from(exchange.0) {
            self.streams.expect_json_stream(id);
        }
    }

    fn early(&self, bytes: &[u8]) -> bool {
        self.responses
            .framer
            .ahead(bytes)
            .any(|frame| frame.kind == frame::HEADERS && self.streams.unasked(frame.stream))
    }

    fn held(&self) -> usize {
        size_of::<Self>() + self.requests.held() + self.responses.held() + self.streams.held()
    }

    fn dead(&self) -> bool {
        self.dead
    }
}

impl Http2Parser {
    /// A parser for a connection that begins now (or is seen from the middle, if the first chunk says so).
    #[must_use]
    pub fn new(salt: Salt) -> Self {
        Http2Parser {
            salt,
            requests: Half { framer: Http2Framer::client(), ..Half::default() },
            responses: Half::default(),
            streams: Http2Streams::default(),
            dead: false,
        }
    }

    fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Write => &mut self.requests,
            Direction::Read => &mut self.responses,
        }
    }

    /// The client begins with a frame: its preface was before our time.
    fn begin_mid_stream(&mut self, at: Moment, sink: &mut dyn MessageSink) {
        if self.requests.framer.hurt() {
            return;
        }
        note(at, "late_attach", sink);
        self.requests.lose();
        self.requests.framer.skip_preface();
        self.streams.blind(LossCause::LateAttach);
        self.responses.lose();
    }

    fn data(&mut self, direction: Direction, mut input: &[u8], at: Moment, sink: &mut dyn MessageSink) {
        while !self.dead {
            let missed = direction == Direction::Read && !input.is_empty();
            let streams = &self.streams;
            let half = match direction {
                Direction::Write => &mut self.requests,
                Direction::Read => &mut self.responses,
            };
            match half.framer.next(&mut input, at, &|frame| expects(streams, direction, frame)) {
                Ok(Http2FrameStep::More) => {
                    if missed && half.framer.hunting() {
                        self.streams.unsure();
                    }
                    return;
                }
                Ok(Http2FrameStep::Payload(frame, bytes)) => self.payload(direction, frame, bytes, at, sink),
                Ok(Http2FrameStep::End(frame)) => self.frame(direction, frame, at, sink),
                Err(_) if half.framer.hurt() => {
                    // Our own loss is no error of the peer.
                    let cause = half.cause.unwrap_or(LossCause::LateAttach);
                    self.lost_place(direction, cause, at, sink);
                }
                Err(reason) => {
                    note(at, reason, sink);
                    return self.die(ExchangeEnd::Lost, at, sink);
                }
            }
        }
    }

    /// A piece of a frame's payload.
    fn payload(
        &mut self,
        direction: Direction,
        frame: Http2FrameHead,
        bytes: &[u8],
        at: Moment,
        sink: &mut dyn MessageSink,
    ) {
        let half = self.half(direction);
        match frame.kind {
            // What is not believed adds to the gap that its stream was told of.
            frame::DATA if !half.framer.sure() => {}
            frame::DATA => self.streams.data(direction, bytes, &mut StreamOutput { id: frame.stream, at, sink }),
            frame::HEADERS
            | frame::CONTINUATION
            | frame::PUSH_PROMISE
            | frame::RST_STREAM
            | frame::GOAWAY
            | frame::SETTINGS
            | frame::WINDOW_UPDATE => {
                if half.payload.len() + bytes.len() <= HTTP2_BLOCK {
                    half.payload.extend_from_slice(bytes);
                } else {
                    half.torn = true;
                }
            }
            _ => {}
        }
    }

    /// A frame is complete.
    fn frame(&mut self, direction: Direction, frame: Http2FrameHead, at: Moment, sink: &mut dyn MessageSink) {
        let half = self.half(direction);
        if frame.kind == frame::DATA && !half.framer.sure() {
            return;
        }
        let payload = std::mem::take(&mut half.payload);
        let torn = std::mem::take(&mut half.torn);
        if half.block.is_some() && frame.kind != frame::CONTINUATION {
            // Nothing may come between: what was begun is not to be had.
            self.end_block(direction, true, at, sink);
        }
        let out = &mut StreamOutput { id: frame.stream, at, sink };
        match frame.kind {
            frame::DATA => {
                self.streams.sent(direction, &frame, out);
                if frame.has(frame::END_STREAM) {
                    self.streams.end_of(direction, out);
                }
            }
            frame::SETTINGS if !torn => self.streams.settings(direction, &payload),
            frame::WINDOW_UPDATE if !torn => self.streams.update(direction, frame.stream, &payload),
            frame::SETTINGS | frame::WINDOW_UPDATE => self.streams.forget_windows(),
            frame::HEADERS | frame::PUSH_PROMISE => self.begin_block(direction, frame, &payload, torn, at, sink),
            frame::CONTINUATION => self.go_on(direction, frame, &payload, torn, at, sink),
            frame::RST_STREAM if direction == Direction::Write => self.streams.end(ExchangeEnd::LocalClosed, out),
            frame::RST_STREAM => {
                let code = if torn { None } else { code(&payload) };
                if let Some(reason) = code.map_or(Some("reset_unknown"), reset) {
                    self.streams.note(reason, out);
                }
                self.streams.end(ExchangeEnd::Reset, out);
            }
            frame::GOAWAY if direction == Direction::Read && !torn => {
                if let Some(reason) = payload.get(4..).and_then(code).and_then(goaway) {
                    note(at, reason, sink);
                }
                if let Some(last) = code(&payload) {
                    self.streams.end_above(last & 0x7fff_ffff, ExchangeEnd::Reset, at, sink);
                }
            }
            _ => {}
        }
    }

    fn gap(
        &mut self,
        direction: Direction,
        bytes: Option<u64>,
        cause: LossCause,
        at: Moment,
        sink: &mut dyn MessageSink,
    ) {
        let half = self.half(direction);
        match half.framer.gap(bytes) {
            Http2HoleOutcome::Nothing => {}
            Http2HoleOutcome::Lost => self.lost_place(direction, cause, at, sink),
            Http2HoleOutcome::In(frame, 0) if frame.kind == frame::DATA => {}
            Http2HoleOutcome::In(frame, lost) if frame.kind == frame::DATA => {
                self.streams.gap(direction, Some(lost), cause, &mut StreamOutput { id: frame.stream, at, sink });
            }
            Http2HoleOutcome::In(..) => {
                half.torn = true;
                half.cause = Some(cause);
            }
        }
    }

    /// Frames are missing, nobody knows whose.
    fn lost_place(&mut self, direction: Direction, cause: LossCause, at: Moment, sink: &mut dyn MessageSink) {
        let half = self.half(direction);
        half.lose();
        half.cause = Some(cause);
        half.note_desynced(at, sink);
        self.streams.gap_in_all(direction, cause, at, sink);
        if direction == Direction::Write {
            self.streams.blind(cause);
        }
    }

    fn die(&mut self, end: ExchangeEnd, at: Moment, sink: &mut dyn MessageSink) {
        self.streams.end_above(0, end, at, sink);
        self.dead = true;
        self.requests = Half::default();
        self.responses = Half::default();
    }
}

impl Half {
    /// The place is lost, and blocks with it.
    fn lose(&mut self) {
        self.framer.lose();
        self.table.lose();
        self.block = None;
        self.payload = Vec::new();
        self.torn = false;
    }

    fn lose_table(&mut self, at: Moment, sink: &mut dyn MessageSink) {
        self.table.lose();
        self.note_desynced(at, sink);
    }

    /// Notes once that header fields will be missing.
    fn note_desynced(&mut self, at: Moment, sink: &mut dyn MessageSink) {
        if !std::mem::replace(&mut self.noted, true) {
            note(at, "desynced", sink);
        }
    }

    fn held(&self) -> usize {
        let block = self.block.as_ref().map_or(0, HeaderBlock::held);
        self.table.held() + self.payload.capacity() + block
    }
}

/// Whether a frame on this stream is to be expected: what a hunt for frames believes.
fn expects(streams: &Http2Streams, direction: Direction, frame: &Http2FrameHead) -> bool {
    let begun = streams.last() == 0 || frame.stream <= streams.last();
    match frame.kind {
        frame::DATA => {
            streams.is_open(frame.stream) || (direction == Direction::Read && streams.may_adopt(frame.stream))
        }
        frame::HEADERS if direction == Direction::Write => {
            streams.is_open(frame.stream) || streams.is_new(frame.stream)
        }
        frame::HEADERS => streams.is_open(frame.stream) || streams.may_adopt(frame.stream),
        _ => begun && frame.stream & 1 == 1,
    }
}

/// A note of the connection.
fn note(at: Moment, reason: &'static str, sink: &mut dyn MessageSink) {
    sink.message(ExchangeId::CONNECTION, at, Message::Note(ProtocolNote { protocol: "http2", reason }));
}

#[cfg(test)]
mod tests;
