mod cuts;
mod holes;

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
    parser: Http1Parser,
    log: Log,
    calls: u64,
}

impl Talk {
    fn new() -> Talk {
        Talk { parser: Http1Parser::new(Salt::random()), log: Log::default(), calls: 0 }
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
    assert_eq!(say(Direction::Write, "POST /v1/messages HTTP/1.1\r\n"), SniffVerdict::Yes);
    assert_eq!(say(Direction::Read, "HTTP/1.1 200 OK"), SniffVerdict::Yes);
    assert_eq!(say(Direction::Read, "POST /v1/messages HTTP/1.1\r\n"), SniffVerdict::ServerSide);
    assert_eq!(say(Direction::Write, "HTTP/1.1 200 OK"), SniffVerdict::ServerSide);
    assert_eq!(say(Direction::Write, "PO"), SniffVerdict::NeedMore);
    assert_eq!(say(Direction::Write, "POST "), SniffVerdict::NeedMore);
    assert_eq!(say(Direction::Read, "HTT"), SniffVerdict::NeedMore);
    for other in ["POSTGRES", "\x16\x03\x01", "post / HTTP/1.1", "GET  /", "HELO mx", "{\"a\":1}"] {
        assert_eq!(say(Direction::Write, other), SniffVerdict::No, "{other:?}");
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
        (ConnClosing::Peer, "PeerClosed"),
        (ConnClosing::Reset, "Reset"),
        (ConnClosing::Local, "LocalClosed"),
        (ConnClosing::ProcessExit, "ProcessExit"),
        (ConnClosing::Abandoned, "Lost"),
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
    for (how, end) in
        [(ConnClosing::Peer, "Complete"), (ConnClosing::Local, "LocalClosed"), (ConnClosing::Reset, "Reset")]
    {
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

/// Bytes behind a request for an upgrade may look like another request: every exchange that began
/// ends, though the socket takes the connection over. Found by fuzzing.
#[test]
fn what_was_asked_behind_an_upgrade_ends_with_it() {
    let mut talk = Talk::new();
    talk.write("GET /v1/realtime HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .write("POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab")
        .read("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    let said = talk.said();
    assert_eq!(said[said.len() - 3..], ["1: status 101", "2: request end, lost true", "2: Lost"]);
    talk.close(ConnClosing::Peer);
    assert_eq!(talk.said(), ["1: PeerClosed"]);

    // The same where the connection becomes something that is not followed.
    let mut talk = Talk::new();
    talk.write("GET /v1/x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
        .write(GET)
        .read("HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n");
    let said = talk.said();
    assert_eq!(said[said.len() - 3..], ["1: note upgraded", "1: Complete", "2: Lost"]);
}
