//! Fuzz targets of HTTP/2.

use super::hpack::HpackDecoder;
use super::{Http2Parser, frame};
use crate::conn::Chunk;
use crate::proto::check::{OrderChecker, operations};
use crate::proto::{ProtocolParser, Salt};
use crate::units::{Direction, Moment};

/// A connection as a list of operations, see `check::operations`; it begins with the preface if the first byte is even.
pub fn fuzz(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let mut parser = Http2Parser::new(Salt::default());
    if first & 1 == 0 {
        parser.push(Direction::Write, Chunk::Data(frame::PREFACE), Moment::default(), &mut OrderChecker::default());
    }
    operations(&mut parser, data);
}

/// Header blocks, each behind two bytes of length: never a panic, and never more held than the table may be.
pub fn fuzz_hpack(mut data: &[u8]) {
    let mut table = HpackDecoder::default();
    while let [high, low, rest @ ..] = data {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (block, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        data = rest;
        let mut fields = 0;
        let _ = table.block(block, &|name, value| name.len() + value.len(), &mut |_| fields += 1);
        assert!(fields <= block.len(), "a field takes a byte");
        assert!(table.held() <= 4 * crate::limits::HTTP2_TABLE, "{} bytes are held", table.held());
    }
}
