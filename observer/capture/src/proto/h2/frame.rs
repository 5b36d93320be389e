//! Frames (RFC 9113, 4): their heads, and what every peer must refuse.

use crate::limits::HTTP2_HUNT_FRAME;
use crate::units::Moment;

/// What a client sends first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 0x01;
pub(super) const END_HEADERS: u8 = 0x04;
const PADDED: u8 = 0x08;
pub(super) const HAS_PRIORITY: u8 = 0x20;

/// Size of a frame's head.
pub(super) const HEAD: usize = 9;

/// The head of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Http2FrameHead {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// When its first byte came.
    pub(super) began: Moment,
}

impl Http2FrameHead {
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The head of a frame at the beginning of some bytes.
    pub(super) fn read(bytes: &[u8]) -> Option<Http2FrameHead> {
        let &[l2, l1, l0, kind, flags, s3, s2, s1, s0, ..] = bytes else { return None };
        Some(Http2FrameHead {
            length: u32::from_be_bytes([0, l2, l1, l0]),
            kind,
            flags,
            stream: u32::from_be_bytes([s3 & 0x7f, s2, s1, s0]),
            began: Moment::default(),
        })
    }

    /// Whether a frame may look so: what every peer must refuse is none.
    pub(super) fn valid(&self) -> bool {
        let (length, on_stream) = (self.length, self.stream != 0);
        match self.kind {
            DATA | HEADERS | PUSH_PROMISE | CONTINUATION => on_stream && !(self.padded() && length == 0),
            PRIORITY => on_stream && length == 5,
            RST_STREAM => on_stream && length == 4,
            SETTINGS => !on_stream && length % 6 == 0,
            PING => !on_stream && length == 8,
            GOAWAY => !on_stream && length >= 8,
            WINDOW_UPDATE => length == 4,
            _ => length <= HTTP2_HUNT_FRAME, // extensions are to be ignored, but none is large
        }
    }

    /// Whether bytes of unknown origin are the head of a frame: nothing unusual is believed.
    pub(super) fn plausible(&self, expects: FrameExpectation<'_>) -> bool {
        let flags = match self.kind {
            DATA => END_STREAM | PADDED,
            HEADERS => END_STREAM | END_HEADERS | PADDED | HAS_PRIORITY,
            SETTINGS | PING => 1,
            PRIORITY | RST_STREAM | GOAWAY | WINDOW_UPDATE => 0,
            _ => return false,
        };
        let small = self.length <= if self.kind == SETTINGS { 120 } else { HTTP2_HUNT_FRAME };
        self.valid() && small && self.flags & !flags == 0 && (self.stream == 0 || expects(self))
    }

    /// What a peer says first.
    pub(super) fn is_settings(&self) -> bool {
        self.kind == SETTINGS && self.flags == 0 && self.plausible(&|_| false)
    }

    /// The payload of a frame at the beginning of some bytes, as far as it is there, and what follows it.
    pub(super) fn payload<'a>(&self, bytes: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let bytes = bytes.get(HEAD..).unwrap_or_default();
        bytes.split_at_checked(self.length as usize).unwrap_or((bytes, &[]))
    }

    /// Bytes before the payload proper that tell the padding behind it.
    pub(super) fn pad_bytes(&self) -> usize {
        usize::from(self.padded())
    }

    pub(super) fn padded(&self) -> bool {
        matches!(self.kind, DATA | HEADERS | PUSH_PROMISE) && self.has(PADDED)
    }
}

/// Whether a frame on this stream is to be expected now.
pub(super) type FrameExpectation<'a> = &'a dyn Fn(&Http2FrameHead) -> bool;
