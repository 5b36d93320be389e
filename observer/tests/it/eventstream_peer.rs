//! AWS event streams as AWS's own encoder writes them, and as its decoder reads them, cut at random
//! and with parts lost.
#![expect(clippy::unwrap_used, reason = "a test")]

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder, write_message_to};
use aws_smithy_types::event_stream::{Header, HeaderValue, Message as Peer};
use aws_smithy_types::{DateTime, str_bytes::StrBytes};
use bytes::{Bytes, BytesMut};
use capture::proto::body::EventScanner;
use capture::proto::eventstream::EventStream;
use capture::proto::{BodyEventKind, Message};
use proptest::prelude::*;

/// What one message says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    kind: BodyEventKind,
    name: Option<String>,
    payload: Vec<u8>,
}

fn text(text: &str) -> HeaderValue {
    HeaderValue::String(StrBytes::copy_from_str(text))
}

/// Any header that is none of those that tell what the message is.
fn noise() -> impl Strategy<Value = Header> {
    let value = prop_oneof![
        any::<bool>().prop_map(HeaderValue::Bool),
        any::<i8>().prop_map(HeaderValue::Byte),
        any::<i16>().prop_map(HeaderValue::Int16),
        any::<i32>().prop_map(HeaderValue::Int32),
        any::<i64>().prop_map(HeaderValue::Int64),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| HeaderValue::ByteArray(Bytes::from(bytes))),
        "[a-zé]{0,30}".prop_map(|word| text(&word)),
        (0..4_000_000_000_i64).prop_map(|at| HeaderValue::Timestamp(DateTime::from_secs(at))),
        any::<u128>().prop_map(HeaderValue::Uuid),
    ];
    ("[a-z]{1,12}", value).prop_map(|(name, value)| Header::new(name, value))
}

fn messages() -> impl Strategy<Value = Vec<(Said, Peer)>> {
    let kinds = prop::sample::select(vec![
        ("event", ":event-type", BodyEventKind::Text),
        ("exception", ":exception-type", BodyEventKind::Exception),
        ("error", ":error-code", BodyEventKind::Exception),
    ]);
    let one = (kinds, prop::option::of("[A-Za-z]{1,20}"), prop::collection::vec(any::<u8>(), 0..600));
    let one = (one, prop::collection::vec(noise(), 0..6), any::<prop::sample::Index>());
    let one = one.prop_map(|(((class, key, kind), name, payload), mut headers, at)| {
        headers.insert(at.index(headers.len() + 1), Header::new(":message-type", text(class)));
        if let Some(name) = &name {
            headers.insert(at.index(headers.len() + 1), Header::new(key, text(name)));
        }
        let peer = headers.into_iter().fold(Peer::new(payload.clone()), Peer::add_header);
        (Said { kind, name, payload }, peer)
    });
    prop::collection::vec(one, 1..12)
}

fn encode(messages: &[(Said, Peer)]) -> Vec<Vec<u8>> {
    let encode = |(_, peer): &(Said, Peer)| {
        let mut bytes = Vec::new();
        write_message_to(peer, &mut bytes).unwrap();
        bytes
    };
    messages.iter().map(encode).collect()
}

/// Notes what a scanner says.
fn hear(said: &mut Vec<Said>, message: &Message<'_>) {
    if let Message::Event(event) = message {
        let name = event.name.map(str::to_owned);
        said.push(Said { kind: event.kind, name, payload: event.data.to_vec() });
    }
}

proptest! {
    #[test]
    fn what_the_peers_encoder_writes_is_read(messages in messages(), size in 1..700usize) {
        let (mut stream, mut said) = (EventStream::default(), Vec::new());
        for piece in encode(&messages).concat().chunks(size) {
            stream.push(piece, &mut |message| hear(&mut said, &message));
        }
        let mut odd = Vec::new();
        stream.finish(&mut |message| odd.push(format!("{message:?}")));
        prop_assert_eq!(odd, Vec::<String>::new());
        let meant: Vec<Said> = messages.into_iter().map(|(said, _)| said).collect();
        prop_assert_eq!(said, meant);
    }

    /// Up to the first damage both read the same; the peer stops there, and what we read behind it was really sent.
    #[test]
    fn damage_costs_what_it_hits(messages in messages(), at in any::<prop::sample::Index>(), by in 1..=255u8, size in 1..200usize) {
        let frames = encode(&messages);
        let mut bytes = frames.concat();
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        let (mut stream, mut said) = (EventStream::default(), Vec::new());
        for piece in bytes.chunks(size) {
            stream.push(piece, &mut |message| hear(&mut said, &message));
        }
        let (mut decoder, mut buffer, mut peers) = (MessageFrameDecoder::new(), BytesMut::from(&bytes[..]), 0);
        while let Ok(DecodedFrame::Complete(_)) = decoder.decode_frame(&mut buffer) {
            peers += 1;
        }
        let meant: Vec<&Said> = messages.iter().map(|(said, _)| said).collect();
        prop_assert!(said.len() >= peers, "{} of {peers}", said.len());
        let hit = frames.iter().scan(0, |end, frame| { *end += frame.len(); Some(*end) }).position(|end| at < end).unwrap();
        prop_assert_eq!(peers, hit);
        let mut kept = meant.clone();
        kept.remove(hit);
        prop_assert_eq!(said.iter().collect::<Vec<_>>(), kept);
    }

    #[test]
    fn after_losses_only_what_was_sent_is_read(
        messages in messages(),
        lost in prop::collection::vec(prop::bool::weighted(0.1), 60),
        told: bool,
        size in 1..200usize,
    ) {
        let bytes = encode(&messages).concat();
        let (mut stream, mut said, mut lost) = (EventStream::default(), Vec::new(), lost.iter().cycle());
        for piece in bytes.chunks(size) {
            match (lost.next().unwrap(), told) {
                (true, true) => stream.skip(piece.len() as u64),
                (true, false) => stream.gap(),
                (false, _) => stream.push(piece, &mut |message| hear(&mut said, &message)),
            }
        }
        let mut meant = messages.iter().map(|(said, _)| said);
        for one in &said {
            prop_assert!(meant.any(|other| other == one), "{one:?} was not sent, or not then");
        }
    }
}
