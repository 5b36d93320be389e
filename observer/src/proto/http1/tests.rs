use proptest::prelude::*;

use super::*;
use crate::proto::check::Checker;
use crate::proto::{PROTOCOLS, Sniff, recognise};
use crate::units::Ns;

/// What was said, with its moment.
#[derive(Default)]
struct Log(Vec<(u64, u64, String)>);

impl Sink for Log {
    fn message(&mut self, exchange: ExchangeId, at: Moment, message: Message<'_>) {
        let text = match message {
            Message::Request(head) => format!("{} {}", head.method, head.path),
            Message::RequestEnd { lost } => format!("request end, lost {lost}"),
            Message::Response(head) => format!("status {}", head.status),
            Message::Event(event) => String::from_utf8_lossy(event.data).into_owned(),
            Message::RequestBody(bytes) => format!("> {}", String::from_utf8_lossy(bytes)),
            Message::Body(bytes) => format!("< {}", String::from_utf8_lossy(bytes)),
            Message::Note(note) => format!("note {}", note.reason),
            Message::Gap { bytes, .. } => format!("gap {bytes:?}"),
            Message::Comment => "comment".into(),
            Message::Sent { message, .. } => format!("sent {}", String::from_utf8_lossy(message.data)),
            Message::Trailers(list) => format!("trailers {list:?}"),
            Message::End(end) => format!("{end:?}"),
        };
        self.0.push((exchange.0, at.read.0, text));
    }
}

/// A connection driven by hand: each call is a piece of its own, stamped with its ordinal.
struct Talk {
    parser: Http1,
    log: Log,
    calls: u64,
}

impl Talk {
    fn new() -> Talk {
        Talk { parser: Http1::new(Salt::random()), log: Log::default(), calls: 0 }
    }

    fn at(&mut self) -> Moment {
        self.calls += 1;
        Moment { read: Ns(self.calls), arrival: None, call: self.calls }
    }

    fn write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let at = self.at();
        self.parser.push(Direction::Write, Chunk::Data(bytes.as_ref()), at, &mut self.log);
        self
    }

    fn read(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let at = self.at();
        self.parser.push(Direction::Read, Chunk::Data(bytes.as_ref()), at, &mut self.log);
        self
    }

    fn gap(&mut self, direction: Direction, bytes: Option<u64>) -> &mut Self {
        let at = self.at();
        let gap = Chunk::Gap { bytes, cause: LossCause::RingFull };
        self.parser.push(direction, gap, at, &mut self.log);
        self
    }

    fn close(&mut self, how: Closing) -> &mut Self {
        let at = self.at();
        self.parser.close(how, at, &mut self.log);
        self
    }

    /// What was said since the last time, without moments.
    fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log.0).into_iter().map(|(x, _, text)| format!("{x}: {text}")).collect()
    }
}

const GET: &str = "GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn event(number: usize) -> String {
    chunk(&format!("data: {{\"n\":{number}}}\n\n"))
}

/// The answer to a plain exchange, whatever its ordinal: used to show that a connection is in order again.
fn plain(talk: &mut Talk) -> Vec<String> {
    talk.said();
    talk.write(GET).read(OK);
    talk.said().iter().map(|line| line.split_once(": ").unwrap().1.to_owned()).collect()
}

const PLAIN: [&str; 5] = ["GET /v1/models", "request end, lost false", "status 200", "< ok", "Complete"];

#[test]
fn sniffing_tells_client_from_server() {
    let say = |direction, bytes: &str| recognise(direction, bytes.as_bytes()).0;
    assert_eq!(say(Direction::Write, "POST /v1/messages HTTP/1.1\r\n"), Sniff::Yes);
    assert_eq!(say(Direction::Read, "HTTP/1.1 200 OK"), Sniff::Yes);
    assert_eq!(say(Direction::Read, "POST /v1/messages HTTP/1.1\r\n"), Sniff::ServerSide);
    assert_eq!(say(Direction::Write, "HTTP/1.1 200 OK"), Sniff::ServerSide);
    assert_eq!(say(Direction::Write, "PO"), Sniff::NeedMore);
    assert_eq!(say(Direction::Write, "POST "), Sniff::NeedMore);
    assert_eq!(say(Direction::Read, "HTT"), Sniff::NeedMore);
    for other in ["POSTGRES", "\x16\x03\x01", "post / HTTP/1.1", "GET  /", "HELO mx", "{\"a\":1}"] {
        assert_eq!(say(Direction::Write, other), Sniff::No, "{other:?}");
    }
    assert_eq!(PROTOCOLS.iter().filter(|row| row.name == "http/1").count(), 1);
}

#[test]
fn messages_carry_the_moment_of_their_byte() {
    let mut talk = Talk::new();
    talk.write("POST /v1 HT").write("TP/1.1\r\nContent-Length: 4\r\n\r\nab").write("cd");
    talk.read("HTTP/1.1 2")
        .read(&STREAM.as_bytes()[10..])
        .read("f\r\ndata: {\"")
        .read("n\":0}\n\n\r\n")
        .read("0\r\n\r\n");
    let moments: Vec<_> = talk.log.0.iter().map(|(_, at, text)| (*at, text.as_str())).collect();
    let expected = [
        (1, "POST /v1"),
        (2, "> ab"),
        (3, "> cd"),
        (3, "request end, lost false"),
        (4, "status 200"),
        (7, "{\"n\":0}"),
        (8, "Complete"),
    ];
    assert_eq!(moments, expected);
}

#[test]
fn an_event_comes_out_with_the_byte_that_completes_it() {
    let mut talk = Talk::new();
    talk.write(GET).read(STREAM).said();
    let bytes = event(1);
    let complete = bytes.len() - "\r\n".len();
    for (index, byte) in bytes.as_bytes().iter().enumerate() {
        talk.read([*byte]);
        assert_eq!(talk.log.0.len(), usize::from(index + 1 >= complete), "after byte {index}");
    }
}

#[test]
fn a_gap_inside_a_body_of_known_length_is_counted_down() {
    let mut talk = Talk::new();
    talk.write("POST /v1 HTTP/1.1\r\nContent-Length: 10\r\n\r\nab").gap(Direction::Write, Some(6)).write("cd");
    talk.read("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab").gap(Direction::Read, Some(8));
    let said = talk.said();
    // What lies behind a hole in a request is counted down, but not said.
    assert_eq!(said[1..3], ["1: > ab", "1: request end, lost true"]);
    assert_eq!(said[3..], ["1: status 200", "1: < ab", "1: gap Some(8)", "1: Complete"]);
    assert_eq!(plain(&mut talk), PLAIN);
}

#[test]
fn a_gap_inside_a_chunk_loses_the_events_it_touches_and_no_other() {
    let mut talk = Talk::new();
    let body = "data: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n";
    talk.write(GET).read(STREAM).said();
    talk.read(["24\r\n", body.get(..11).unwrap()].concat())
        .gap(Direction::Read, Some(5))
        .read([body.get(16..).unwrap(), "\r\n0\r\n\r\n"].concat());
    assert_eq!(talk.said(), ["1: 1", "1: gap Some(5)", "1: 3", "1: 4", "1: Complete"]);
}

#[test]
fn a_chunked_stream_is_found_again_after_lost_calls() {
    for (first, last, told) in [(3, 3, true), (3, 7, true), (3, 7, false), (0, 9, true)] {
        let mut talk = Talk::new();
        talk.write(GET).read(STREAM).said();
        let mut lost = 0;
        for number in 0..20 {
            if (first..=last).contains(&number) {
                lost += event(number).len() as u64;
                if number == last {
                    talk.gap(Direction::Read, told.then_some(lost));
                }
            } else {
                talk.read(event(number));
            }
        }
        talk.read("0\r\n\r\n");
        let mut expected: Vec<_> = (0..first).map(|number| format!("1: {{\"n\":{number}}}")).collect();
        expected.push(format!("1: gap {:?}", told.then_some(lost)));
        // The first event after a gap is not trusted: it might be the end of a longer one.
        expected.extend((last + 2..20).map(|number| format!("1: {{\"n\":{number}}}")));
        expected.push("1: Complete".into());
        assert_eq!(talk.said(), expected, "{first}..={last}");
        assert_eq!(plain(&mut talk), PLAIN);
    }
}

#[test]
fn a_stream_whose_end_was_lost_is_over_when_the_next_answer_begins() {
    let mut talk = Talk::new();
    talk.write(GET).read(STREAM).read(event(1)).said();
    talk.gap(Direction::Read, Some(20)).write(GET).read(OK);
    let said = talk.said();
    assert_eq!(
        said[..],
        [
            "1: gap Some(20)",
            "2: GET /v1/models",
            "2: request end, lost false",
            "1: Lost",
            "2: status 200",
            "2: < ok",
            "2: Complete"
        ]
    );
}

#[test]
fn after_any_loss_the_next_exchange_is_read_perfectly() {
    let losses: [fn(&mut Talk) -> &mut Talk; 6] = [
        |talk| talk.gap(Direction::Write, Some(50)).read(OK),
        |talk| talk.gap(Direction::Write, None).write("rest of a body").read(OK),
        |talk| talk.write("POST /v1 HTTP/1.1\r\nHo").gap(Direction::Write, Some(3)).write("ngth: 1\r\n\r\nx").read(OK),
        |talk| talk.write(GET).gap(Direction::Read, Some(9)).read("Content-Length: 2\r\n\r\nok"),
        |talk| talk.write(GET).read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab").gap(Direction::Read, Some(9)),
        |talk| {
            talk.write("POST /v1 HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc")
                .gap(Direction::Write, None)
                .write("hi")
                .read(OK)
        },
    ];
    for (index, lose) in losses.iter().enumerate() {
        let mut talk = Talk::new();
        lose(&mut talk);
        assert_eq!(plain(&mut talk), PLAIN, "loss {index}");
        assert_eq!(plain(&mut talk), PLAIN, "loss {index}, once more");
    }
}

#[test]
fn a_compressed_stream_does_not_survive_a_gap_but_its_connection_does() {
    let mut talk = Talk::new();
    talk.write(GET).read(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nContent-Length: 30\r\n\r\n",
    );
    talk.read([0x1f, 0x8b, 8]).gap(Direction::Read, Some(20)).read([0; 7]);
    assert_eq!(talk.said()[3..], ["1: gap Some(20)", "1: note lost_bytes", "1: Lost"]);
    assert_eq!(plain(&mut talk), PLAIN);
}

#[test]
fn an_ignored_exchange_is_framed_only() {
    let mut talk = Talk::new();
    talk.write("POST /v1 HTTP/1.1\r\nContent-Length: 4\r\n\r\n");
    talk.parser.ignore(ExchangeId(1));
    talk.write("abcd").read(STREAM).read(event(1)).read("0\r\n\r\n");
    assert_eq!(talk.said(), ["1: POST /v1", "1: request end, lost false", "1: status 200", "1: Complete"]);
    assert_eq!(plain(&mut talk), PLAIN);
}

#[test]
fn a_close_ends_every_open_exchange_once() {
    let ends = [
        (Closing::Peer, "PeerClosed"),
        (Closing::Reset, "Reset"),
        (Closing::Local, "LocalClosed"),
        (Closing::ProcessExit, "ProcessExit"),
        (Closing::Abandoned, "Lost"),
    ];
    for (how, end) in ends {
        let mut talk = Talk::new();
        talk.write(GET).write("POST /v1 HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc").read(STREAM).said();
        talk.close(how).close(how).read(OK);
        assert_eq!(talk.said(), [format!("1: {end}"), "2: request end, lost true".into(), format!("2: {end}")]);
        assert!(talk.parser.dead());
    }
}

#[test]
fn a_body_until_close_is_complete_only_if_the_peer_closed() {
    for (how, end) in [(Closing::Peer, "Complete"), (Closing::Local, "LocalClosed"), (Closing::Reset, "Reset")] {
        let mut talk = Talk::new();
        talk.write(GET).read("HTTP/1.1 200 OK\r\n\r\nabc").close(how);
        assert_eq!(talk.said()[2..], ["1: status 200", "1: < abc", &format!("1: {end}")]);
    }
}

#[test]
fn endless_pipelining_is_not_followed() {
    let mut talk = Talk::new();
    for _ in 0..=crate::limits::HTTP1_PIPELINE {
        talk.write(GET);
    }
    let said = talk.said();
    assert!(said.contains(&"0: note pipeline_too_long".to_owned()) && talk.parser.dead());
    assert_eq!(said.iter().filter(|line| line.ends_with("Lost")).count(), crate::limits::HTTP1_PIPELINE);
}

#[test]
fn the_rest_of_a_request_that_was_answered_early_says_nothing() {
    let chunked = "POST /v1 HTTP/1.1\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut talk = Talk::new();
    talk.write(chunked).write("5\r\n").read(OK).said();
    talk.gap(Direction::Write, Some(1)).write("bcde\r\n0\r\n\r\n");
    assert_eq!(talk.said(), [""; 0]);
    assert_eq!(plain(&mut talk), PLAIN);
    talk.write(chunked).read(OK).said();
    talk.write("no chunk");
    assert_eq!(talk.said(), ["0: note bad_chunk_size"]);
    assert!(talk.parser.dead());
}

#[test]
fn a_tunnel_is_not_followed() {
    let mut talk = Talk::new();
    talk.write("CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n")
        .read("HTTP/1.1 200 Established\r\n\r\n");
    assert_eq!(talk.said()[2..], ["1: status 200", "1: note tunnel", "1: Complete"]);
    assert!(talk.parser.dead());
}

#[test]
fn an_open_stream_holds_little() {
    let mut talk = Talk::new();
    talk.write(format!("POST /v1 HTTP/1.1\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(100_000))).read(STREAM);
    for number in 0..1000 {
        let bytes = chunk(&format!("data: {{\"n\":{number},\"text\":\"{}\"}}\n\n", "word ".repeat(60)));
        let (before, after) = bytes.split_at(bytes.len() / 2);
        talk.read(before).read(after);
        assert!(talk.parser.held() < 16 * 1024, "{} bytes at event {number}", talk.parser.held());
    }
    talk.read(chunk(&format!("data: {}", "y".repeat(900_000)))).read(chunk("\n\n"));
    assert!(talk.parser.held() < 16 * 1024, "a large event's buffer is kept: {}", talk.parser.held());
}

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

fn drive(client: &[&[u8]], server: &[&[u8]], gap: Option<(usize, Option<u64>)>) -> Checker {
    let (mut parser, mut checker) = (Http1::new(Salt::random()), Checker::default());
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
    parser.close(Closing::Peer, Moment::default(), &mut checker);
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

/// Bytes behind a request for an upgrade may look like another request: every exchange that began ends, though the socket
/// takes the connection over. Found by fuzzing.
#[test]
fn what_was_asked_behind_an_upgrade_ends_with_it() {
    let mut talk = Talk::new();
    talk.write("GET /v1/realtime HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .write("POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab")
        .read("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    let said = talk.said();
    assert_eq!(said[said.len() - 3..], ["1: status 101", "2: request end, lost true", "2: Lost"]);
    talk.close(Closing::Peer);
    assert_eq!(talk.said(), ["1: PeerClosed"]);

    // The same where the connection becomes something that is not followed.
    let mut talk = Talk::new();
    talk.write("GET /v1/x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
        .write(GET)
        .read("HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n");
    let said = talk.said();
    assert_eq!(said[said.len() - 3..], ["1: note upgraded", "1: Complete", "2: Lost"]);
}

/// What lay in a hole, or was passed over behind it, is our loss and not the peer's doing.
#[test]
fn an_answer_that_may_lie_in_a_hole_is_lost_and_not_refused() {
    let ask = "GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n";
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let ends = |talk: &mut Talk, how| {
        let said = talk.close(how).said();
        said.into_iter()
            .filter(|line| line.ends_with("Lost") || line.ends_with("Closed") || line.ends_with("Reset"))
            .collect::<Vec<_>>()
    };
    // Both answers are in it.
    let mut talk = Talk::new();
    talk.write(ask.repeat(2)).gap(Direction::Read, Some(200));
    assert_eq!(ends(&mut talk, Closing::Peer), ["1: Lost", "2: Lost"]);
    // The second comes in pieces, none of which begins it.
    let mut talk = Talk::new();
    talk.write(ask.repeat(2))
        .gap(Direction::Read, Some(20))
        .read("TP/1.1 200 OK\r\n")
        .read("Content-Length: 2\r\n\r\nok");
    assert_eq!(ends(&mut talk, Closing::Reset), ["1: Lost", "2: Lost"]);
    // In a stream whose end may be missing too.
    let mut talk = Talk::new();
    talk.write(ask.repeat(2)).read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").gap(Direction::Read, None);
    assert_eq!(ends(&mut talk, Closing::Peer), ["1: PeerClosed", "2: Lost"], "the first was told of its hole");
    // One that is found is found, and what is asked later is not in doubt.
    let mut talk = Talk::new();
    talk.write(ask.repeat(3)).gap(Direction::Read, Some(20)).read(whole);
    assert!(talk.said().contains(&"2: note doubtful_answer".to_owned()), "the second's or the third's");
    let mut talk = Talk::new();
    talk.write(ask).gap(Direction::Read, Some(20)).write(ask).read(whole).write(ask);
    assert_eq!(ends(&mut talk, Closing::Peer), ["1: Lost", "3: PeerClosed"]);
}
