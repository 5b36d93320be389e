//! What first bytes look like.

use super::frame::{HAS_PRIORITY, HEADERS, Http2FrameHead, PREFACE};
use super::hpack::HpackDecoder;
use crate::proto::SniffVerdict;
use crate::units::Direction;

/// What the first bytes of a direction say. The server may speak first, with its settings; in the
/// middle of a connection, a header block tells who asks.
pub(super) fn sniff(direction: Direction, bytes: &[u8]) -> SniffVerdict {
    let (client, server) = match direction {
        Direction::Write => (SniffVerdict::Yes, SniffVerdict::ServerSide),
        Direction::Read => (SniffVerdict::ServerSide, SniffVerdict::Yes),
    };
    if bytes.starts_with(PREFACE) {
        return client;
    }
    if PREFACE.starts_with(bytes) {
        return SniffVerdict::NeedMore;
    }
    match first_block(bytes) {
        Some(true) => client,
        Some(false) => server,
        None if direction == Direction::Read
            && Http2FrameHead::read(bytes).is_some_and(|frame| frame.is_settings()) =>
        {
            server
        }
        None => SniffVerdict::No,
    }
}

/// Whose the first header block is, of whole frames at the beginning of some bytes: `true` a client's, `false` a
/// server's; `None`: there is none.
fn first_block(mut bytes: &[u8]) -> Option<bool> {
    loop {
        let frame = Http2FrameHead::read(bytes).filter(|frame| frame.plausible(&|frame| frame.stream & 1 == 1))?;
        let (payload, rest) = frame.payload(bytes);
        if frame.kind == HEADERS {
            let block = payload.get(frame.pad_bytes() + if frame.has(HAS_PRIORITY) { 5 } else { 0 }..)?;
            let mut whose = None;
            // A block that is cut short, or broken, has told enough.
            let _ = HpackDecoder::default().block(
                block,
                &|name, _| match name {
                    b":method" => Some(true),
                    b":status" => Some(false),
                    _ => None,
                },
                &mut |field| whose = whose.or(field.copied().flatten()),
            );
            return whose;
        }
        bytes = rest;
    }
}
