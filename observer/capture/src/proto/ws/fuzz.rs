//! Fuzz target of sockets.

use super::WebSocketParser;
use crate::conn::Chunk;
use crate::proto::check::{HELD, OrderChecker, OwnedMessage};
use crate::proto::{ExchangeEnd, ExchangeId, Message, MessageSink, RequestHead, ResponseHead};
use crate::units::{Direction, LossCause, Moment};

/// One direction of a socket, whole and cut: the same must be said; then with holes, which nothing
/// may survive but whole messages. The first byte picks the extensions and the direction, the
/// second how to cut.
pub fn fuzz(data: &[u8]) {
    let [pick, cut, stream @ ..] = data else { return };
    let extensions = match pick & 3 {
        0 => None,
        1 => Some("permessage-deflate"),
        2 => Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        _ => Some("x-unknown"),
    };
    let direction = if pick & 4 == 0 { Direction::Read } else { Direction::Write };
    let run = |size: usize, holes: bool| {
        let (mut socket, mut checker) = begin(extensions);
        let mut at = Moment::default();
        for (index, piece) in stream.chunks(size.max(1)).enumerate() {
            checker.burst = 0;
            at.call += u64::from(holes);
            let chunk = match index % 5 {
                3 if holes => Chunk::Gap { bytes: Some(piece.len() as u64), cause: LossCause::RingFull },
                4 if holes && cut & 0x80 != 0 => Chunk::Gap { bytes: None, cause: LossCause::RingFull },
                _ => Chunk::Data(piece),
            };
            if !socket.over() {
                socket.push(direction, chunk, at, &mut checker);
            }
            assert!(socket.held() <= HELD, "{} bytes are held", socket.held());
        }
        socket.close(ExchangeEnd::Reset, at, &mut checker);
        checker.said
    };
    let (whole, pieces) = (run(stream.len(), false), run(1 + usize::from(cut & 63), false));
    // Where a bomb is stopped, and how corrupt input is cut short, depends on the pieces.
    let bomb = |said: &[OwnedMessage]| said.iter().any(|OwnedMessage(_, message, _)| message.contains("\"bomb\""));
    if !bomb(&whole) && !bomb(&pieces) {
        assert_eq!(whole, pieces);
    }
    run(1 + usize::from(cut & 63), true);
}

fn begin(extensions: Option<&str>) -> (WebSocketParser, OrderChecker) {
    let mut checker = OrderChecker::default();
    let id = ExchangeId(1);
    let mut head = ResponseHead { status: 101, ..ResponseHead::default() };
    head.headers.extend(extensions.map(|value| ("sec-websocket-extensions".to_owned(), value.to_owned())));
    for message in
        [Message::Request(&RequestHead::default()), Message::RequestEnd { lost: false }, Message::Response(&head)]
    {
        checker.message(id, Moment::default(), message);
    }
    (WebSocketParser::new(id, &head), checker)
}
