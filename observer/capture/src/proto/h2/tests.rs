mod cuts;
mod flow;
mod holes;
mod socket;

use super::*;
use crate::proto::{PROTOCOLS, SniffVerdict, recognise};
use crate::units::Ns;

/// What was said, with its moment.
#[derive(Default)]
struct Log(Vec<(u64, u64, String)>);

impl MessageSink for Log {
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
        self.0.push((exchange.0, at.at.0, text));
    }
}

/// A connection driven by hand: each call is a piece of its own, stamped with its ordinal.
struct Talk {
    parser: Http2Parser,
    log: Log,
    calls: u64,
    client: loona_hpack::Encoder<'static>,
    server: loona_hpack::Encoder<'static>,
}

impl Talk {
    fn new() -> Talk {
        let mut talk = Talk {
            parser: Http2Parser::new(Salt::random()),
            log: Log::default(),
            calls: 0,
            client: loona_hpack::Encoder::new(),
            server: loona_hpack::Encoder::new(),
        };
        talk.write(frame::PREFACE).write(frame(4, 0, 0, [0; 6])).read(frame(4, 0, 0, [])).read(frame(4, 1, 0, []));
        talk
    }

    fn at(&mut self) -> Moment {
        self.calls += 1;
        Moment { at: Ns(self.calls), arrival: None, call: self.calls }
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

    fn close(&mut self, how: ConnClosing) -> &mut Self {
        let at = self.at();
        self.parser.close(how, at, &mut self.log);
        self
    }

    /// A block of the client, in one frame.
    fn head(&mut self, id: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
        frame(1, flags | frame::END_HEADERS, id, block(&mut self.client, fields))
    }

    /// A block of the server, in one frame.
    fn answer(&mut self, id: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
        frame(1, flags | frame::END_HEADERS, id, block(&mut self.server, fields))
    }

    /// A plain request.
    fn get(&mut self, id: u32) -> &mut Self {
        let head = self.head(id, frame::END_STREAM, GET);
        self.write(head)
    }

    /// An event stream begins.
    fn stream(&mut self, id: u32) -> &mut Self {
        let head = self.answer(id, 0, STREAM);
        self.read(head)
    }

    /// What was said since the last time, without moments.
    fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log.0).into_iter().map(|(x, _, text)| format!("{x}: {text}")).collect()
    }
}

const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "https"), (":path", "/v1/models"), ("x-stainless-lang", "js")];
const STREAM: &[(&str, &str)] = &[(":status", "200"), ("content-type", "text/event-stream"), ("x-request-id", "r1")];

fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn block(encoder: &mut loona_hpack::Encoder<'static>, fields: &[(&str, &str)]) -> Vec<u8> {
    encoder.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

fn data(id: u32, text: &str) -> Vec<u8> {
    frame(0, 0, id, text)
}

fn event(id: u32, number: u32) -> Vec<u8> {
    data(id, &format!("data: {id}.{number}\n\n"))
}

fn last(id: u32) -> Vec<u8> {
    frame(0, frame::END_STREAM, id, "")
}

#[test]
fn sniffing_tells_client_from_server() {
    let mut talk = Talk::new();
    let say = |direction, bytes: &[u8]| recognise(direction, bytes).0;
    assert_eq!(say(Direction::Write, frame::PREFACE), SniffVerdict::Yes);
    assert_eq!(say(Direction::Read, frame::PREFACE), SniffVerdict::ServerSide);
    assert_eq!(say(Direction::Write, &frame::PREFACE[..20]), SniffVerdict::NeedMore);
    assert_eq!(say(Direction::Read, &frame(4, 0, 0, [0; 12])), SniffVerdict::Yes);
    assert_eq!(say(Direction::Write, &frame(4, 0, 0, [0; 12])), SniffVerdict::No);
    // In the middle of a connection.
    let (request, answer) = (talk.head(7, 0, GET), talk.answer(7, 0, STREAM));
    let late = [frame(8, 0, 0, [0, 0, 1, 0]), request].concat();
    assert_eq!(
        (say(Direction::Write, &late), say(Direction::Read, &late)),
        (SniffVerdict::Yes, SniffVerdict::ServerSide)
    );
    assert_eq!(
        (say(Direction::Write, &answer), say(Direction::Read, &answer)),
        (SniffVerdict::ServerSide, SniffVerdict::Yes)
    );
    for other in [&data(7, "hello")[..], &[0; 40], b"\x16\x03\x01\x00\x05", b"PROXY TCP4", b"data: x\n\n"] {
        assert_eq!(say(Direction::Write, other), SniffVerdict::No, "{other:?}");
    }
    assert_eq!(PROTOCOLS.iter().filter(|row| row.name == "http/2").count(), 1);
}

#[test]
fn streams_interleave() {
    let mut talk = Talk::new();
    let post = talk.head(1, 0, &[(":method", "POST"), (":path", "/v1/x"), ("content-type", "application/json")]);
    talk.write(post).write(data(1, "{\"a\"")).get(3).write(frame(0, frame::END_STREAM, 1, ":1}"));
    talk.stream(3).stream(1).read([event(1, 1), event(3, 1), event(1, 2)].concat());
    let trailers = talk.answer(1, frame::END_STREAM, &[("grpc-status", "0")]);
    talk.read(last(3)).read(event(1, 3)).read(trailers);
    let expected = "1: POST /v1/x|1: > {\"a\"|3: GET /v1/models|3: request end, lost false|1: > :1}|1: request end, lost \
                    false|3: status 200|1: status 200|1: 1.1|3: 3.1|1: 1.2|3: Complete|1: 1.3|1: \
                    trailers [(\"grpc-status\", \"0\")]|1: Complete";
    assert_eq!(talk.said().join("|"), expected);
}

#[test]
fn messages_carry_the_moment_of_their_byte() {
    let mut talk = Talk::new();
    let head = talk.head(1, frame::END_STREAM, GET);
    let answer = talk.answer(1, 0, STREAM);
    talk.calls = 0;
    talk.write(&head[..3]).write(&head[3..20]).write(&head[20..]).read(&answer[..1]).read(&answer[1..]);
    talk.read("\0\0").read(&event(1, 1)[2..18]).read(&event(1, 1)[18..]).read(last(1));
    let moments: Vec<_> = talk.log.0.iter().map(|(_, at, text)| (*at, text.as_str())).collect();
    let expected =
        [(1, "GET /v1/models"), (3, "request end, lost false"), (4, "status 200"), (8, "1.1"), (9, "Complete")];
    assert_eq!(moments, expected);
}

#[test]
fn padding_priority_and_continuation_are_taken_off() {
    let mut talk = Talk::new();
    let bytes = block(&mut talk.client, GET);
    let (first, rest) = bytes.split_at(5);
    let padded = [&[3, 0, 0, 0, 0, 16][..], first, &[0; 3]].concat();
    talk.write(frame(1, 0x29, 1, padded)).write(frame(9, 0, 1, &rest[..3])).write(frame(9, 4, 1, &rest[3..]));
    talk.write(frame(2, 0, 3, [0; 5])).write(frame(8, 0, 1, [0, 0, 0, 9])).write(frame(0x10, 0, 0, "u=1")); // ignored
    let pushed = block(&mut talk.server, &[(":method", "GET"), ("x-y", "z")]);
    talk.read(frame(5, 4, 1, [&[0, 0, 0, 2][..], &pushed].concat()));
    let early = talk.answer(1, 0, &[(":status", "103"), ("link", "x")]);
    talk.read(early).stream(1).read(frame(0, 8, 1, b"\x05data: 1\n\nPPPPP")).read(frame(0, 9, 1, b"\x00"));
    let expected = ["1: GET /v1/models", "1: request end, lost false", "1: status 200", "1: 1", "1: Complete"];
    assert_eq!(talk.said(), expected);
}

#[test]
fn a_head_keeps_what_http1_keeps_and_no_secret() {
    let salt = Salt::random();
    let mut heads = Heads::default();
    let mut parser = Http2Parser::new(salt.clone());
    let mut encoder = loona_hpack::Encoder::new();
    let fields = [
        (":method", "POST"),
        (":path", "/v1/x?key=sk-secret&alt=sse"),
        (":authority", "API.Example:443"),
        ("authorization", "Bearer sk-secret"),
        ("cookie", "sk-secret"),
        ("x-stainless-lang", "js"),
    ];
    parser.push(Direction::Write, Chunk::Data(frame::PREFACE), Moment::default(), &mut heads);
    for id in [1, 3] {
        let bytes = frame(1, 5, id, block(&mut encoder, &fields));
        parser.push(Direction::Write, Chunk::Data(&bytes), Moment::default(), &mut heads);
    }
    let expected = super::super::RequestHead {
        method: "POST".into(),
        path: "/v1/x".into(),
        query: Some("alt=sse".into()),
        host: Some("api.example".into()),
        headers: vec![("x-stainless-lang".into(), "js".into())],
        credential_hash: Some(salt.hash(b"sk-secret")),
        protocol: "h2",
    };
    assert_eq!(heads.0, [expected.clone(), expected], "the second, from the dynamic table, says the same");
}

#[derive(Default)]
struct Heads(Vec<super::super::RequestHead>);

impl MessageSink for Heads {
    fn message(&mut self, _: ExchangeId, _: Moment, message: Message<'_>) {
        if let Message::Request(head) = message {
            self.0.push(head.clone());
        }
    }
}

#[test]
fn a_reset_says_who_gave_up() {
    let mut talk = Talk::new();
    talk.get(1).get(3).stream(1).stream(3).read(event(1, 1)).said();
    talk.write(frame(3, 0, 1, [0, 0, 0, 8])).read(frame(3, 0, 3, [0, 0, 0, 2])).read(event(1, 2)).read(last(1));
    assert_eq!(talk.said(), ["1: LocalClosed", "3: note reset_internal_error", "3: Reset"]);
}

#[test]
fn an_early_answer_ends_its_request() {
    let mut talk = Talk::new();
    let post = talk.head(1, 0, &[(":method", "POST"), (":path", "/v1/x")]);
    let refusal = talk.answer(1, frame::END_STREAM, &[(":status", "413")]);
    talk.write(post).write(data(1, "x")).read(refusal).read(frame(3, 0, 1, [0; 4])).write(data(1, "y"));
    assert_eq!(talk.said()[2..], ["1: status 413", "1: request end, lost true", "1: Complete"]);
}

#[test]
fn a_goodbye_ends_what_will_not_be_answered() {
    let mut talk = Talk::new();
    talk.get(1).get(3).get(5).stream(1).said();
    talk.read(frame(7, 0, 0, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]));
    assert_eq!(talk.said(), [""; 0]);
    talk.read(frame(7, 0, 0, [0, 0, 0, 1, 0, 0, 0, 0, b'b', b'y', b'e'])).read(event(1, 1)).read(last(1));
    assert_eq!(talk.said(), ["5: Reset", "3: Reset", "1: 1.1", "1: Complete"]);
}

#[test]
fn a_close_ends_every_open_stream_once() {
    let ends = [
        (ConnClosing::Peer, "PeerClosed"),
        (ConnClosing::Reset, "Reset"),
        (ConnClosing::Local, "LocalClosed"),
        (ConnClosing::ProcessExit, "ProcessExit"),
        (ConnClosing::Abandoned, "Lost"),
    ];
    for (how, end) in ends {
        let mut talk = Talk::new();
        let post = talk.head(3, 0, &[(":method", "POST"), (":path", "/v1/x")]);
        talk.get(1).write(post).stream(1).said();
        talk.close(how).close(how).read(last(1));
        assert_eq!(talk.said(), ["3: request end, lost true".into(), format!("3: {end}"), format!("1: {end}")]);
        assert!(talk.parser.dead());
    }
}

#[test]
fn an_ignored_stream_is_framed_only() {
    let mut talk = Talk::new();
    talk.get(1).get(3);
    talk.parser.ignore(ExchangeId(1));
    talk.said();
    talk.stream(1).stream(3).read([event(1, 1), event(3, 1), last(1), last(3)].concat());
    assert_eq!(talk.said(), ["1: status 200", "3: status 200", "3: 3.1", "1: Complete", "3: Complete"]);
}

#[test]
fn no_http2_is_given_up() {
    let mut talk = Talk::new();
    talk.get(1).read("HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_eq!(talk.said()[2..], ["0: note bad_frame", "1: Lost"]);
    assert!(talk.parser.dead());
    let mut parser = Http2Parser::new(Salt::random());
    parser.push(Direction::Write, Chunk::Data(b"PRI * HTTP/3.0\r\n"), Moment::default(), &mut Log::default());
    assert!(parser.dead());
}

#[test]
fn streams_and_blocks_are_bounded() {
    let mut talk = Talk::new();
    for number in 0..=u32::try_from(crate::limits::HTTP2_STREAMS).unwrap() {
        talk.get(1 + 2 * number);
    }
    let said = talk.said();
    assert!(said.contains(&"1: note too_many_streams".into()) && said.contains(&"1: Lost".into()));
    talk.write(frame(1, 0, 9001, vec![0; 60_000])).write(frame(9, 0, 9001, vec![0; 60_000]));
    assert!(talk.parser.requests.held() < 2 * HTTP2_BLOCK, "{}", talk.parser.requests.held());
    talk.write(frame(9, 4, 9001, "")).said();
    talk.get(9003);
    assert!(talk.said().contains(&"9003: request end, lost false".into()));
}

#[test]
fn large_events_of_many_streams_are_bounded() {
    let mut talk = Talk::new();
    let piece = "x".repeat(900_000);
    for id in (1..200).step_by(2) {
        talk.get(id).stream(id).read(data(id, "data: ")).read(data(id, &piece));
        assert!(talk.parser.held() < crate::limits::HTTP2_HELD + (4 << 20), "{}", talk.parser.held());
    }
    assert!(talk.said().iter().any(|line| line.contains("too_much_held")));
}

#[test]
fn an_open_stream_holds_little() {
    let mut talk = Talk::new();
    talk.get(1).stream(1);
    for number in 0..1000 {
        let bytes = data(1, &format!("data: {{\"n\":{number},\"text\":\"{}\"}}\n\n", "word ".repeat(60)));
        let (before, after) = bytes.split_at(bytes.len() / 2);
        talk.read(before).read(after);
        assert!(talk.parser.held() < 16 * 1024, "{} bytes at event {number}", talk.parser.held());
    }
}
