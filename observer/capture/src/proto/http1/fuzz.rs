//! Fuzz targets of the connection parser.

use super::Http1Parser;
use crate::conn::Chunk;
use crate::proto::check::{OrderChecker, OwnedMessage, operations};
use crate::proto::{ConnClosing, ProtocolParser, Salt};
use crate::units::{Direction, Moment};

/// A connection as a list of operations, see `check::operations`.
pub fn fuzz(data: &[u8]) {
    operations(&mut Http1Parser::new(Salt::default()), data);
}

/// One response after a plain request, whole and cut: the same must be said. The first byte says how to cut.
pub fn fuzz_exchange(data: &[u8]) {
    let Some((cut, response)) = data.split_first() else { return };
    let whole = exchange(response, response.len().max(1));
    let cut = exchange(response, 1 + usize::from(*cut & 63));
    // Where a bomb is stopped, and how corrupt input is cut short, depends on the pieces.
    let undecodable = |said: &[OwnedMessage]| {
        said.iter().any(|OwnedMessage(_, message, _)| message.contains("\"bomb\"") || message.contains("\"corrupt\""))
    };
    if !undecodable(&whole) && !undecodable(&cut) {
        assert_eq!(whole, cut);
    }
}

fn exchange(response: &[u8], size: usize) -> Vec<OwnedMessage> {
    let (mut parser, mut checker) = (Http1Parser::new(Salt::default()), OrderChecker::default());
    let request = b"POST /v1/messages HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";
    parser.push(Direction::Write, Chunk::Data(request), Moment::default(), &mut checker);
    for piece in response.chunks(size) {
        checker.burst = 0;
        parser.push(Direction::Read, Chunk::Data(piece), Moment::default(), &mut checker);
    }
    parser.close(ConnClosing::Peer, Moment::default(), &mut checker);
    assert!(checker.all_over(), "an exchange never ended");
    checker.said
}
