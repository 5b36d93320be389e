//! WebSockets on streams (RFC 8441).

use proptest::prelude::*;

use super::*;
use crate::limits::HTTP2_EARLY;

const ASK: &[(&str, &str)] = &[
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":path", "/v1/realtime?model=m"),
    (":authority", "api.example"),
    ("sec-websocket-version", "13"),
];
const GRANTED: &[(&str, &str)] = &[(":status", "200")];
const ENABLED: [u8; 6] = [0, 8, 0, 0, 0, 1];

/// A message of the server.
fn heard(text: &str) -> Vec<u8> {
    [&[0x81, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// A message of the client.
fn told(text: &str) -> Vec<u8> {
    let masked = text.bytes().zip([1, 2, 3, 4].into_iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [0x81, 0x80 | u8::try_from(text.len()).unwrap(), 1, 2, 3, 4].into_iter().chain(masked).collect()
}

fn goodbye(mask: bool) -> Vec<u8> {
    if mask { vec![0x88, 0x82, 0, 0, 0, 0, 3, 0xe8] } else { vec![0x88, 2, 3, 0xe8] }
}

fn bytes(id: u32, payload: &[u8]) -> Vec<u8> {
    super::frame(0, 0, id, payload)
}

impl Talk {
    fn socket(id: u32) -> Talk {
        let mut talk = Talk::new();
        talk.read(super::frame(4, 0, 0, ENABLED));
        let ask = talk.head(id, 0, ASK);
        talk.write(ask);
        talk
    }

    fn granted(id: u32) -> Talk {
        let mut talk = Talk::socket(id);
        let granted = talk.answer(id, 0, GRANTED);
        talk.read(granted);
        talk
    }
}

#[test]
fn a_stream_becomes_a_socket_beside_other_streams() {
    let mut talk = Talk::granted(1);
    talk.get(3).stream(3).write(bytes(1, &told("hello")));
    // A message in pieces, over two padded frames, and one between them of another stream.
    let message = heard("in three");
    let padded = [&[2], &message[4..], &[0, 0]].concat();
    talk.read(bytes(1, &message[..4])).read(event(3, 1)).read(super::frame(0, 8, 1, padded));
    talk.read(bytes(1, &[0x89, 0])).read(last(3)).write(bytes(1, &goodbye(true))).write(last(1));
    talk.read(bytes(1, &goodbye(false))).read(last(1));
    let expected = "1: CONNECT /v1/realtime|1: request end, lost false|1: status 200|3: GET /v1/models|3: request end, \
                    lost false|3: status 200|1: sent hello|3: 3.1|1: in three|1: comment|3: Complete|1: LocalClosed";
    assert_eq!(talk.said().join("|"), expected);
    assert_eq!(talk.parser.streams.held(), 0);
}

#[test]
fn what_is_not_granted_is_answered_like_any_request() {
    let mut talk = Talk::socket(1);
    let refused = talk.answer(1, 0, &[(":status", "401"), ("content-type", "application/json")]);
    talk.read(refused).read(data(1, "{}")).read(last(1));
    let end = "1: request end, lost false|1: status 401|1: < {}|1: Complete";
    assert_eq!(talk.said().join("|"), format!("1: CONNECT /v1/realtime|{end}"));
    // A tunnel, and another protocol, are no sockets: their bytes are a body's.
    for other in [None, Some("connect-udp")] {
        let mut talk = Talk::new();
        let fields: Vec<(&str, &str)> = ASK
            .iter()
            .filter_map(|&(n, v)| if n == ":protocol" { other.map(|v| (n, v)) } else { Some((n, v)) })
            .collect();
        let (ask, granted) = (talk.head(1, 0, &fields), talk.answer(1, 0, GRANTED));
        talk.write(ask).read(granted).read(bytes(1, &heard("x")));
        assert!(talk.said().iter().any(|line| line.starts_with("1: < ")), "{other:?}");
    }
}

#[test]
fn what_the_client_says_before_it_is_granted_is_held_and_capped() {
    let mut talk = Talk::socket(1);
    talk.write(bytes(1, &told("first")[..3])).write(bytes(1, &told("first")[3..]));
    let granted = talk.answer(1, 0, GRANTED);
    talk.read(granted).write(bytes(1, &told("then")));
    assert_eq!(talk.said()[2..], ["1: status 200", "1: sent first", "1: sent then"]);
    // Of more than is held, the rest is a gap, behind which the next message is found.
    let mut talk = Talk::socket(1);
    for _ in 0..=HTTP2_EARLY / 16_384 {
        talk.write(bytes(1, &told(&"x".repeat(100)).repeat(16_384 / 106)));
    }
    assert!(talk.parser.held() < 2 * HTTP2_EARLY + 4096, "{}", talk.parser.held());
    let granted = talk.answer(1, 0, GRANTED);
    talk.read(granted).write(bytes(1, &told("found")));
    let said = talk.said();
    assert!(said.contains(&"1: gap None".to_owned()), "counted by its cause");
    assert_eq!(said.last().map(String::as_str), Some("1: sent found"));
    // Lost before the answer.
    let mut talk = Talk::socket(1);
    talk.write(&bytes(1, &told("lost"))[..12]).gap(Direction::Write, Some(7));
    let granted = talk.answer(1, 0, GRANTED);
    talk.read(granted).write(bytes(1, &told("kept")));
    assert_eq!(talk.said()[2..], ["1: status 200", "1: gap None", "1: sent kept"]);
}

#[test]
fn every_end_of_a_socket() {
    type End = fn(&mut Talk) -> &mut Talk;
    let ends: [(&str, End); 6] = [
        ("PeerClosed", |talk| talk.read(last(1))),
        ("LocalClosed", |talk| talk.write(last(1))),
        ("LocalClosed", |talk| talk.write(super::frame(3, 0, 1, [0, 0, 0, 8]))),
        ("Reset", |talk| talk.read(super::frame(3, 0, 1, [0, 0, 0, 8]))),
        ("PeerClosed", |talk| talk.read(bytes(1, &goodbye(false))).read(last(1))),
        ("PeerClosed", |talk| talk.close(ConnClosing::Peer)),
    ];
    for (expected, end) in ends {
        let mut talk = Talk::granted(1);
        talk.read(bytes(1, &heard("x")));
        end(&mut talk);
        let said = talk.said();
        assert_eq!(said.last(), Some(&format!("1: {expected}")), "{said:?}");
        assert_eq!(said.iter().filter(|line| line.ends_with(expected)).count(), 1, "{said:?}");
    }
    let mut talk = Talk::granted(1);
    talk.parser.ignore(ExchangeId(1));
    talk.read(bytes(1, &heard("x"))).write(bytes(1, &told("x"))).read(last(1));
    assert_eq!(talk.said()[3..], ["1: PeerClosed"]);
}

#[test]
fn a_hole_concerns_its_socket_and_no_other() {
    let mut talk = Talk::granted(1);
    let (ask, granted) = (talk.head(3, 0, ASK), talk.answer(3, 0, GRANTED));
    talk.write(ask).read(granted).said();
    let message = bytes(1, &heard("swallowed"));
    talk.read(&message[..14])
        .gap(Direction::Read, Some(6))
        .read(bytes(3, &heard("third")))
        .read(bytes(1, &heard("next")));
    assert_eq!(talk.said(), ["1: gap Some(6)", "3: third", "1: note lost_bytes", "1: next"]);
}

proptest! {
    /// However its bytes are cut into frames, and the frames into calls: what is said on it is the same.
    #[test]
    fn a_socket_says_the_same_however_it_is_cut(
        texts in prop::collection::vec("[a-zé]{0,40}", 1..8),
        frames in prop::collection::vec(1..60_usize, 1..40),
        calls in prop::collection::vec(1..50_usize, 1..60),
    ) {
        let mut talk = Talk::granted(1);
        talk.said();
        for (direction, message, word) in [(Direction::Read, heard as fn(&str) -> Vec<u8>, ""), (Direction::Write, told, "sent ")] {
            let all: Vec<u8> = texts.iter().flat_map(|text| message(text)).collect();
            let (mut rest, mut sizes, mut framed) = (all.as_slice(), frames.iter().cycle(), Vec::new());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                framed.extend(bytes(1, piece));
                rest = after;
            }
            let (mut rest, mut sizes) = (framed.as_slice(), calls.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                if direction == Direction::Read { talk.read(piece) } else { talk.write(piece) };
                rest = after;
            }
            let expected: Vec<String> = texts.iter().map(|text| format!("1: {word}{text}")).collect();
            prop_assert_eq!(talk.said(), expected);
        }
    }
}

/// Sockets with half a large message each, as many as streams may be open: the one that grows is given up.
#[test]
fn sockets_that_hold_too_much_are_given_up() {
    let mut talk = Talk::new();
    let half = [&[0x82, 127][..], &(crate::limits::SSE_EVENT as u64).to_be_bytes(), &[b'x'; 16_000]].concat();
    let mut lost = 0;
    for id in (1..).step_by(2).take(200) {
        let (ask, granted) = (talk.head(id, 0, ASK), talk.answer(id, 0, GRANTED));
        talk.write(ask).read(granted).read(bytes(id, &half));
        for _ in 0..40 {
            talk.read(bytes(id, &[b'x'; 16_000]));
        }
        lost += talk.said().iter().filter(|line| line.ends_with(": Lost")).count();
        assert!(talk.parser.held() < crate::limits::HTTP2_HELD + 4 * crate::limits::SSE_EVENT);
    }
    assert!(lost > 50, "{lost}");
}
