//! Conversations of any kind, cut and holed anywhere.

use proptest::prelude::*;

use super::*;
use crate::proto::check::OrderChecker;

/// Conversations: requests and answers of several kinds, well formed. Chunks have at least `smallest` bytes, except the
/// last.
fn conversation(smallest: usize) -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let texts = prop::collection::vec("[ -~é\n]{0,80}", 0..8);
    let chunks = prop::option::of(smallest..60);
    let exchange = (chunks, any::<bool>(), any::<bool>(), texts).prop_map(|(chunks, stream, interim, texts)| {
        let event = |text: &String| format!("data: {}\n\n", text.replace('\n', "\ndata: "));
        let (content_type, answer) = match stream {
            true => ("text/event-stream", texts.iter().map(event).collect()),
            false => ("application/json", texts.concat()),
        };
        let request = framed("POST /v1/x HTTP/1.1\r\nhost: h\r\n", &texts.concat(), chunks);
        let interim = if interim { "HTTP/1.1 100 Continue\r\n\r\n" } else { "" };
        let head = format!("{interim}HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n");
        (request, framed(&head, &answer, chunks))
    });
    prop::collection::vec(exchange, 1..4).prop_map(|list| {
        let (requests, responses): (Vec<_>, Vec<_>) = list.into_iter().unzip();
        (requests.concat(), responses.concat())
    })
}

/// A message with its body in chunks of a size, or with its length.
fn framed(head: &str, body: &str, chunks: Option<usize>) -> Vec<u8> {
    let Some(size) = chunks else { return format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes() };
    let mut message = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for part in body.as_bytes().chunks(size) {
        message.extend_from_slice(format!("{:X};a=b\r\n", part.len()).as_bytes());
        message.extend_from_slice(part);
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b"0\r\nx-trailer: 1\r\n\r\n");
    message
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn drive(client: &[&[u8]], server: &[&[u8]], gap: Option<(usize, Option<u64>)>) -> OrderChecker {
    let (mut parser, mut checker) = (Http1Parser::new(Salt::random()), OrderChecker::default());
    let mut call = 0;
    for (direction, list) in [(Direction::Write, client), (Direction::Read, server)] {
        for (index, piece) in list.iter().enumerate() {
            call += 1;
            let at = Moment { call, ..Moment::default() };
            let lost = gap.is_some_and(|(lost, _)| direction == Direction::Read && lost == index);
            let gap = Chunk::Gap {
                bytes: gap.and_then(|(_, told)| told).map(|_| piece.len() as u64),
                cause: LossCause::Fault,
            };
            checker.burst = 0;
            parser.push(direction, if lost { gap } else { Chunk::Data(piece) }, at, &mut checker);
            assert!(parser.held() < 256 * 1024, "{} held", parser.held());
        }
    }
    parser.close(ConnClosing::Peer, Moment::default(), &mut checker);
    assert!(checker.all_over());
    checker
}

proptest! {
    #[test]
    fn any_cut_says_the_same(
        (client, server) in conversation(1),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let whole = drive(&[&client], &[&server], None);
        let cut = drive(&pieces(&client, &cuts), &pieces(&server, &cuts), None);
        prop_assert_eq!(&whole.said, &cut.said);
        let complete = whole.said.iter().filter(|said| said.1 == "End(Complete)").count();
        let begun = whole.said.iter().filter(|said| said.1.starts_with("RequestHead")).count();
        prop_assert_eq!(complete, begun, "an exchange did not complete");
    }

    #[test]
    fn a_gap_makes_up_no_event(
        // A chunk of up to eight hex digits looks like a chunk's size: no event is that short.
        (client, server) in conversation(9),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
        lost in any::<prop::sample::Index>(),
        told in prop::option::of(Just(0)),
    ) {
        let whole = drive(&[&client], &[&server], None);
        let parts = pieces(&server, &cuts);
        let holed = drive(&[&client], &parts, Some((lost.index(parts.len()), told)));
        for said in holed.said.iter().filter(|said| said.1.starts_with("event")) {
            prop_assert!(whole.said.iter().any(|other| other.1 == said.1 && other.2 == said.2), "{:?}", said);
        }
    }

    #[test]
    fn no_operation_panics(data in prop::collection::vec(any::<u8>(), 0..2000)) {
        super::fuzz(&data);
        super::fuzz_exchange(&data);
    }
}
