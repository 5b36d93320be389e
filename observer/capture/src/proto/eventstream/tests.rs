use proptest::prelude::*;

use super::*;
use crate::proto::body::{line, lines};

/// A message with string headers.
pub(crate) fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(u8::try_from(name.len()).unwrap());
        block.extend_from_slice(name.as_bytes());
        block.push(7);
        block.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        block.extend_from_slice(value.as_bytes());
    }
    let total = u32::try_from(block.len() + payload.len() + 16).unwrap();
    let mut bytes = [total.to_be_bytes(), u32::try_from(block.len()).unwrap().to_be_bytes()].concat();
    bytes.extend_from_slice(&checksum(&bytes).to_be_bytes());
    bytes.extend_from_slice(&block);
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&checksum(&bytes).to_be_bytes());
    bytes
}

fn event(name: &str, payload: &str) -> Vec<u8> {
    let headers = [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
    message(&headers, payload.as_bytes())
}

/// The frame that botocore verified.
#[test]
fn a_frame_of_the_real_service() {
    let bytes = event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"Hi"},"p":"abc"}"#);
    assert_eq!((bytes.len(), &bytes[..12]), (158, b"\0\0\0\x9e\0\0\0\x57\xfe\x1b\x82\x4f".as_slice()));
    assert_eq!(bytes[154..], [0x93, 0x43, 0xf0, 0x10]);
    let expected = [r#"event 158 contentBlockDelta: {"contentBlockIndex":0,"delta":{"text":"Hi"},"p":"abc"}"#];
    assert_eq!(lines::<EventStream>([bytes.as_slice()]), expected);
    assert_eq!(lines::<EventStream>(bytes.chunks(1)), expected);
}

#[test]
fn a_whole_message_is_not_copied() {
    let bytes = event("e", "{}");
    let mut seen = 0;
    let mut stream = EventStream::default();
    stream.push(&bytes, &mut |message| {
        let Message::Event(event) = message else { panic!() };
        assert!(bytes.as_ptr_range().contains(&event.data.as_ptr()));
        seen += 1;
    });
    assert_eq!((seen, stream.held()), (1, size_of::<EventStream>()));
}

#[test]
fn exceptions_and_errors_are_told_apart_from_events() {
    let exception = message(
        &[(":exception-type", "throttlingException"), (":message-type", "exception")],
        br#"{"message":"slow down"}"#,
    );
    let error = message(&[(":error-code", "InternalFailure"), (":message-type", "error")], b"");
    let mut got = Vec::new();
    EventStream::default().push(&[exception, error].concat(), &mut |message| {
        if let Message::Event(event) = message {
            got.push((event.kind, event.name.unwrap().to_owned()));
        }
    });
    let expected = ["throttlingException", "InternalFailure"].map(|name| (BodyEventKind::Exception, name.to_owned()));
    assert_eq!(got, expected);
}

#[test]
fn what_is_damaged_is_skipped_and_counted() {
    let (one, two, three) = (event("a", "{\"x\":1}"), event("b", "{\"x\":2}"), event("c", "{\"x\":3}"));
    let mut bad_payload = two.clone();
    *bad_payload.iter_mut().nth_back(8).unwrap() ^= 1;
    let mut bad_prelude = two.clone();
    bad_prelude[9] ^= 1;
    let bad_headers = message(&[], b"");
    let bad_headers = [&bad_headers[..4], b"\0\0\0\0", &bad_headers[8..]].concat();
    for (middle, expected) in [
        (bad_payload, "eventstream/bad_crc"),
        (bad_prelude, "eventstream/bad_prelude"),
        (b"noise that is none".to_vec(), "eventstream/bad_prelude"),
    ] {
        let stream = [one.as_slice(), &middle, &three].concat();
        let whole = lines::<EventStream>([stream.as_slice()]);
        assert_eq!(whole.len(), 3, "{whole:?}");
        assert!(whole[0].ends_with("a: {\"x\":1}") && whole[1] == expected && whole[2].ends_with("c: {\"x\":3}"));
        assert_eq!(lines::<EventStream>(stream.chunks(1)), whole);
    }
    assert_eq!(lines::<EventStream>([bad_headers.as_slice()]).len(), 1);
    assert_eq!(lines::<EventStream>([&one[..20]]), ["eventstream/truncated"]);
    assert_eq!(lines::<EventStream>([&one[..5]]), ["eventstream/truncated"]);
}

#[test]
fn the_place_is_kept_or_found_again_after_a_hole() {
    let (one, two, three) = (event("a", "{\"x\":1}"), event("b", "{\"x\":2}"), event("c", "{\"x\":3}"));
    let stream = [one.as_slice(), &two, &three].concat();
    for from in 0..stream.len() {
        for (length, told) in [(1, true), (1, false), (30, true), (30, false)] {
            let to = (from + length).min(stream.len());
            let (mut parser, mut got) = (EventStream::default(), Vec::new());
            let mut out = |message: Message<'_>| got.push(line(&message));
            parser.push(&stream[..from], &mut out);
            if told {
                parser.skip(u64::try_from(to - from).unwrap());
            } else {
                parser.gap();
            }
            parser.push(&stream[to..], &mut out);
            parser.finish(&mut out);
            let touched = |begin: usize, end: usize| from < end && to > begin;
            let ends = [0, one.len(), one.len() + two.len(), stream.len()];
            for (index, name) in ["a: ", "b: ", "c: "].iter().enumerate() {
                let heard = got.iter().any(|line| line.contains(name));
                assert_eq!(heard, !touched(ends[index], ends[index + 1]), "{name} {from}..{to} {told}: {got:?}");
            }
        }
    }
}

#[test]
fn a_payload_over_the_cap_leaves_its_head() {
    let large = message(&[(":event-type", "big"), (":message-type", "event")], &vec![b'x'; 2 * SSE_EVENT]);
    let stream = [large.clone(), event("next", "{}")].concat();
    for size in [777, 8 << 20] {
        let (mut parser, mut got, mut most) = (EventStream::default(), Vec::new(), 0);
        for piece in stream.chunks(size) {
            parser.push(piece, &mut |message| {
                if let Message::Event(event) = message {
                    got.push((event.name.unwrap().to_owned(), event.truncated, event.data.len(), event.wire_bytes));
                }
            });
            most = most.max(parser.held());
        }
        let head = ("big".to_owned(), true, SSE_EVENT_HEAD, large.len());
        assert_eq!(got, [head, ("next".to_owned(), false, 2, stream.len() - large.len())], "{size}");
        assert!(most < 16 * 1024, "{most}");
    }
}

proptest! {
    #[test]
    fn any_messages_in_any_pieces(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
        size in 1..400usize,
    ) {
        let bytes: Vec<u8> = payloads.iter().flat_map(|payload| message(&[(":event-type", "e")], payload)).collect();
        let mut got = Vec::new();
        let mut parser = EventStream::default();
        for piece in bytes.chunks(size) {
            parser.push(piece, &mut |message| {
                if let Message::Event(event) = message {
                    got.push(event.data.to_vec());
                }
            });
        }
        prop_assert_eq!(got, payloads);
    }
}
