use proptest::prelude::*;

use super::*;
use crate::limits::{SSE_EVENT, SSE_EVENT_HEAD};
use crate::proto::BodyEventKind;
use crate::proto::body::line;

/// What was said, a line a message; the client's behind `>`.
#[derive(Default)]
struct Ear(Vec<String>);

impl MessageSink for Ear {
    fn message(&mut self, id: ExchangeId, _: Moment, message: Message<'_>) {
        assert_eq!(id, ExchangeId(7));
        self.0.push(match message {
            Message::Sent { message, .. } => format!("> {}", line(&Message::Event(message))),
            other => line(&other),
        });
    }
}

fn socket(extensions: &str) -> WebSocketParser {
    let headers = vec![("sec-websocket-extensions".to_owned(), extensions.to_owned())];
    WebSocketParser::new(ExchangeId(7), &ResponseHead { status: 101, headers, ..ResponseHead::default() })
}

fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        short @ ..=125 => bytes.push(masked | u8::try_from(short).unwrap()),
        middle @ ..=0xffff => {
            bytes.push(masked | 126);
            bytes.extend(u16::try_from(middle).unwrap().to_be_bytes());
        }
        long => {
            bytes.push(masked | 127);
            bytes.extend(u64::try_from(long).unwrap().to_be_bytes());
        }
    }
    let mut payload = payload.to_vec();
    if let Some(mask) = mask {
        bytes.extend(mask);
        unmask(&mut payload, mask, 0);
    }
    [bytes, payload].concat()
}

fn hear(extensions: &str, direction: Direction, pieces: &[&[u8]]) -> Vec<String> {
    let (mut socket, mut ear) = (socket(extensions), Ear::default());
    for piece in pieces {
        socket.push(direction, Chunk::Data(piece), Moment::default(), &mut ear);
    }
    ear.0
}

/// Frames of real peers.
#[test]
fn frames_as_they_are_sent() {
    let client = b"\x81\x9a\x01\x02\x03\x04\x7a\x20\x77\x7d\x71\x67\x21\x3e\x23\x70\x66\x77\x71\x6d\x6d\x77\x64\x2c\x60\x76\x64\x63\x77\x61\x23\x7f";
    assert_eq!(hear("", Direction::Write, &[client]), ["> event 32 {\"type\":\"response.create\"}"]);
    let json = br#"{"type":"response.output_text.delta","delta":"Hi"}"#;
    let plain = frame(0x81, None, json);
    assert_eq!(&plain[..2], b"\x81\x32");
    assert_eq!(hear("", Direction::Read, &[&plain]), [format!("event 52 {}", String::from_utf8_lossy(json))]);
}

#[test]
fn a_message_in_one_piece_is_not_copied() {
    struct Same<'a>(&'a [u8], usize);
    impl MessageSink for Same<'_> {
        fn message(&mut self, _: ExchangeId, _: Moment, message: Message<'_>) {
            let Message::Event(event) = message else { panic!() };
            assert!(self.0.as_ptr_range().contains(&event.data.as_ptr()));
            self.1 += 1;
        }
    }
    let bytes = frame(0x81, None, b"{}");
    let mut same = Same(&bytes, 0);
    let mut socket = socket("");
    socket.push(Direction::Read, Chunk::Data(&bytes), Moment::default(), &mut same);
    assert_eq!((same.1, socket.held()), (1, size_of::<WebSocketParser>()));
}

#[test]
fn fragments_with_control_frames_between_them() {
    for mask in [None, Some([9, 8, 7, 6])] {
        let stream = [
            frame(0x01, mask, b"{\"a\":"),
            frame(0x89, mask, b"ping"),
            frame(0x00, mask, b""),
            frame(0x8a, mask, b""),
            frame(0x80, mask, b"1}"),
            frame(0x82, mask, &[0, 255]),
            frame(0x81, mask, b""),
            frame(0x88, mask, &[3, 0xf3, b'x']), // 1011
            frame(0x81, mask, b"after the end"),
        ]
        .concat();
        let direction = if mask.is_some() { Direction::Write } else { Direction::Read };
        let whole = hear("", direction, &[&stream]);
        let heads = if mask.is_some() { [25, 8, 6] } else { [13, 4, 2] };
        let mut expected: Vec<String> = match direction {
            Direction::Read => vec!["Comment".into(), "Comment".into()],
            Direction::Write => vec![],
        };
        let prefix = if mask.is_some() { "> " } else { "" };
        let binary = String::from_utf8_lossy(&[0, 255]).into_owned();
        for (head, text) in heads.iter().zip(["{\"a\":1}", &binary, ""]) {
            expected.push(format!("{prefix}event {head} {text}"));
        }
        expected.push("websocket/close_internal_error".into());
        expected.push(if mask.is_some() { "End(LocalClosed)" } else { "End(PeerClosed)" }.into());
        assert_eq!(whole, expected);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(hear("", direction, &bytes), whole);
    }
}

#[test]
fn what_no_peer_may_send_ends_it() {
    let long = [&[0x81, 126, 0, 3][..], b"abc"].concat();
    for (what, bytes) in [
        ("a length not in its shortest form", long),
        ("a reserved opcode", frame(0x83, None, b"")),
        ("a reserved bit", frame(0xa1, None, b"")),
        ("a control frame in parts", frame(0x09, None, b"")),
        ("a large control frame", frame(0x89, None, &[0; 126])),
        ("a continuation of nothing", frame(0x80, None, b"x")),
        ("a message inside another", [frame(0x01, None, b"a"), frame(0x81, None, b"b")].concat()),
        ("compression that nobody agreed on", frame(0xc1, None, b"x")),
    ] {
        assert_eq!(hear("", Direction::Read, &[&bytes]), ["websocket/bad_frame", "End(Lost)"], "{what}");
    }
}

/// Compresses as a peer does.
struct Deflater(flate2::Compress, bool);

impl Deflater {
    fn message(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() + 128);
        self.0.compress_vec(text, &mut out, flate2::FlushCompress::Sync).unwrap();
        assert_eq!(out.split_off(out.len() - 4), [0, 0, 0xff, 0xff]);
        if self.1 {
            self.0.reset();
        }
        out
    }
}

const TEXTS: [&[u8]; 3] = [
    br#"{"type":"response.output_text.delta","delta":"Hi"}"#,
    br#"{"type":"response.output_text.delta","delta":" there"}"#,
    br#"{"type":"response.output_text.delta","delta":"!"}"#,
];

#[test]
fn compressed_messages_with_and_without_the_window_of_those_before() {
    for (extensions, forgets) in [
        ("permessage-deflate", false),
        ("permessage-deflate; client_max_window_bits=12; server_max_window_bits=10", false),
        ("permessage-deflate; server_no_context_takeover", true),
        ("permessage-deflate;client_no_context_takeover ; server_no_context_takeover", true),
    ] {
        let mut deflater = Deflater(flate2::Compress::new(flate2::Compression::default(), false), forgets);
        let compressed: Vec<Vec<u8>> = TEXTS.iter().map(|text| deflater.message(text)).collect();
        let (a, b) = compressed[1].split_at(3);
        let stream = [
            frame(0xc1, None, &compressed[0]),
            frame(0x41, None, a),
            frame(0x89, None, b""),
            frame(0x80, None, b),
            frame(0x81, None, b"{}"),
            frame(0xc1, None, &compressed[2]),
        ]
        .concat();
        let whole = hear(extensions, Direction::Read, &[&stream]);
        let texts: Vec<_> = whole.iter().filter_map(|line| line.strip_prefix("event ")?.split_once(' ')).collect();
        let texts: Vec<_> = texts.iter().map(|(_, text)| text.as_bytes()).collect();
        assert_eq!(texts, [TEXTS[0], TEXTS[1], b"{}", TEXTS[2]], "{extensions}: {whole:?}");
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(hear(extensions, Direction::Read, &bytes), whole);
    }
}

#[test]
fn a_hole_costs_the_messages_that_need_it_and_no_other() {
    for (extensions, forgets, after) in [
        ("permessage-deflate", false, &["websocket/lost_bytes", "websocket/lost_window"][..]),
        ("permessage-deflate; server_no_context_takeover", true, &["websocket/lost_bytes", "event"]),
    ] {
        let mut deflater = Deflater(flate2::Compress::new(flate2::Compression::default(), false), forgets);
        let frames: Vec<Vec<u8>> = TEXTS.iter().map(|text| frame(0xc1, None, &deflater.message(text))).collect();
        let (mut socket, mut ear) = (socket(extensions), Ear::default());
        let mut say = |chunk| socket.push(Direction::Read, chunk, Moment::default(), &mut ear);
        say(Chunk::Data(&frames[0]));
        say(Chunk::Data(&frames[1][..4]));
        say(Chunk::Gap { bytes: Some(3), cause: LossCause::RingFull });
        say(Chunk::Data(&frames[1][7..]));
        say(Chunk::Data(&frames[2]));
        assert!(ear.0[0].starts_with("event") && ear.0[1].starts_with("Gap"), "{:?}", ear.0);
        for (line, expected) in ear.0[2..].iter().zip(after) {
            assert!(line.starts_with(expected), "{extensions}: {:?}", ear.0);
        }
        assert_eq!(ear.0.len(), 4);
    }
}

#[test]
fn a_lost_place_is_found_again_at_the_beginning_of_a_call() {
    let (mut socket, mut ear) = (socket(""), Ear::default());
    let mut call = 0;
    let mut say = |chunk| {
        call += 1;
        socket.push(Direction::Read, chunk, Moment { call, ..Moment::default() }, &mut ear);
    };
    let text = frame(0x81, None, br#"{"n":1}"#);
    say(Chunk::Data(&text));
    say(Chunk::Gap { bytes: None, cause: LossCause::RingFull });
    say(Chunk::Data(b"rest of some frame"));
    let twice = [text.as_slice(), &text].concat();
    say(Chunk::Data(&twice));
    say(Chunk::Data(&text));
    let expected = ["event 9 {\"n\":1}"; 3];
    let events: Vec<&String> = ear.0.iter().filter(|line| line.starts_with("event")).collect();
    assert_eq!(events.len(), 4, "{:?}", ear.0);
    assert!(events.iter().all(|event| **event == expected[0]));
}

#[test]
fn a_message_over_the_cap_leaves_its_head_and_a_bomb_is_stopped() {
    let large = vec![b'x'; 2 * SSE_EVENT];
    let mask = Some([1, 2, 3, 4]);
    for (direction, mask) in [(Direction::Read, None), (Direction::Write, mask)] {
        let stream = [frame(0x81, mask, &large), frame(0x81, mask, b"{}")].concat();
        for size in [1000, 8 << 20] {
            let (mut socket, mut ear, mut most) = (socket(""), Ear::default(), 0);
            for piece in stream.chunks(size) {
                socket.push(direction, Chunk::Data(piece), Moment::default(), &mut ear);
                most = most.max(socket.held());
            }
            assert_eq!(ear.0[0], "websocket/event_too_large");
            assert!(ear.0[1].ends_with("x cut") && ear.0[1].len() < SSE_EVENT_HEAD + 40, "{}", ear.0[1].len());
            assert!(ear.0[2].ends_with("{}"));
            assert!(most < 2 * SSE_EVENT + 4096, "{most}");
        }
    }
    let mut deflater = Deflater(flate2::Compress::new(flate2::Compression::best(), false), false);
    let bomb = frame(0xc1, None, &deflater.message(&vec![0; 64 << 20]));
    assert_eq!(hear("permessage-deflate", Direction::Read, &[&bomb]), ["websocket/bomb"]);
}

#[test]
fn an_unknown_extension_leaves_sizes_and_times() {
    let (mut socket, mut kinds) = (socket("x-zip"), Vec::new());
    struct Kinds<'a>(&'a mut Vec<(BodyEventKind, usize, usize)>);
    impl MessageSink for Kinds<'_> {
        fn message(&mut self, _: ExchangeId, _: Moment, message: Message<'_>) {
            if let Message::Event(event) = message {
                self.0.push((event.kind, event.data.len(), event.wire_bytes));
            }
        }
    }
    let bytes = frame(0xc1, None, b"zipped");
    socket.push(Direction::Read, Chunk::Data(&bytes), Moment::default(), &mut Kinds(&mut kinds));
    assert_eq!(kinds, [(BodyEventKind::Opaque, 0, 8)]);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz(&data);
    }
}
