//! Fuzz targets of the connection parser.

use super::Http1;
use crate::conn::Chunk;
use crate::proto::check::{Checker, HELD, Said};
use crate::proto::{Closing, ExchangeId, Protocol, Salt};
use crate::units::{Direction, LossCause, Moment};

/// A connection as a list of operations: bytes either way, gaps, new calls, ignoring, closing. Whatever they are: no
/// panic, messages in order, every exchange ended at close, memory under the cap.
///
/// Each operation is a byte (bits 0: direction, 1-2: kind, 3: new call) and for data two bytes of length.
pub fn fuzz(mut data: &[u8]) {
    let (mut parser, mut checker) = (Http1::new(Salt::default()), Checker::default());
    let mut at = Moment::default();
    while let [op, rest @ ..] = data {
        data = rest;
        let direction = if op & 1 == 0 { Direction::Write } else { Direction::Read };
        at.call += u64::from(op >> 3 & 1);
        checker.burst = 0;
        match op >> 1 & 3 {
            3 if op >> 4 == 0 => parser.ignore(ExchangeId(u64::from(*op))),
            3 => {
                let cause = if op >> 4 == 1 { LossCause::LateAttach } else { LossCause::RingFull };
                let bytes = (op >> 4 != 2).then_some(u64::from(op >> 4) * 3);
                parser.push(direction, Chunk::Gap { bytes, cause }, at, &mut checker);
            }
            _ => {
                let [high, low, rest @ ..] = data else { break };
                let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
                let (piece, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                data = rest;
                parser.push(direction, Chunk::Data(piece), at, &mut checker);
            }
        }
        assert!(parser.held() <= HELD, "{} bytes are held", parser.held());
    }
    let how = if data.is_empty() { Closing::Peer } else { Closing::Reset };
    parser.close(how, at, &mut checker);
    assert!(checker.all_over(), "an exchange never ended");
}

/// One response after a plain request, whole and cut: the same must be said. The first byte says how to cut.
pub fn fuzz_exchange(data: &[u8]) {
    let Some((cut, response)) = data.split_first() else { return };
    let whole = exchange(response, response.len().max(1));
    let cut = exchange(response, 1 + usize::from(*cut & 63));
    // Where a bomb is stopped, and how corrupt input is cut short, depends on the pieces.
    let undecodable = |said: &[Said]| {
        said.iter().any(|Said(_, message, _)| message.contains("\"bomb\"") || message.contains("\"corrupt\""))
    };
    if !undecodable(&whole) && !undecodable(&cut) {
        assert_eq!(whole, cut);
    }
}

fn exchange(response: &[u8], size: usize) -> Vec<Said> {
    let (mut parser, mut checker) = (Http1::new(Salt::default()), Checker::default());
    let request = b"POST /v1/messages HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";
    parser.push(Direction::Write, Chunk::Data(request), Moment::default(), &mut checker);
    for piece in response.chunks(size) {
        checker.burst = 0;
        parser.push(Direction::Read, Chunk::Data(piece), Moment::default(), &mut checker);
    }
    parser.close(Closing::Peer, Moment::default(), &mut checker);
    assert!(checker.all_over(), "an exchange never ended");
    checker.said
}
