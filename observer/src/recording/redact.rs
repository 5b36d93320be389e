//! The recorder, and what makes `PayloadMode::Sse` safe: nothing is masked *out of* the raw bytes.
//! The records go through a pipeline of their own, and what it understood of each model call is
//! written down afresh as a connection of its own, with every text masked. What it did not
//! understand is not there.

use std::collections::HashMap;
use std::io::{self, Write};

use super::frames::{self, EventFraming};
use super::{PayloadMode, RecordingWriter, mask};
use capture::proto::{ExchangeEnd, Message, RequestHead, ResponseHead};
use capture::record::{ConnKey, Record, TlsData};
use capture::units::{Direction, LossCause, Moment, Ns};
use dialects::{self, RequestFacts};
use ledger::pipeline::{Pipeline, PipelineSettings, Verdict};
use ledger::{Entry, MessageTap};

/// Longest payload of one record, well under `MAX_FRAME`.
const PIECE: usize = 64 * 1024;

/// Writes the records it is given, as its `PayloadMode` allows.
pub struct Recorder<W: Write>(Mode<W>);

enum Mode<W: Write> {
    Raw(RecordingWriter<W>),
    Redacted(Box<Pipeline<(), MessageScribe<W>>>),
}

impl<W: Write> Recorder<W> {
    /// Begins a recording. `wall`: wall clock minus CLOCK_BOOTTIME, nanoseconds. `settings`: what
    /// counts as a model call, for `PayloadMode::Sse`.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn new(to: W, payload: PayloadMode, wall: i64, settings: PipelineSettings) -> io::Result<Self> {
        let writer = RecordingWriter::new(to, payload, wall)?;
        Ok(Recorder(match payload {
            PayloadMode::None | PayloadMode::Full => Mode::Raw(writer),
            PayloadMode::Sse => Mode::Redacted(Box::new(Pipeline::with_tap(settings, (), MessageScribe::new(writer)))),
        }))
    }

    /// One record.
    ///
    /// # Errors
    /// Those of the sink, from now or from an earlier record.
    pub fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        match &mut self.0 {
            Mode::Raw(writer) => writer.record(record),
            Mode::Redacted(pipeline) => {
                if let Record::Process { .. } = record {
                    pipeline.tap_mut().write(record);
                }
                pipeline.record(record);
                if let Record::Exit { .. } | Record::Started { .. } = record {
                    pipeline.tap_mut().write(record);
                }
                pipeline.tap_mut().check()
            }
        }
    }

    /// Time passed: see `Pipeline::tick`.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn tick(&mut self, now: Ns) -> io::Result<()> {
        match &mut self.0 {
            Mode::Raw(_) => Ok(()),
            Mode::Redacted(pipeline) => {
                pipeline.tick(now);
                pipeline.tap_mut().check()
            }
        }
    }

    /// Hands on what is buffered, so that a recording that is cut off holds all but its last moments.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Mode::Raw(writer) => writer.flush(),
            Mode::Redacted(pipeline) => pipeline.tap_mut().writer.flush(),
        }
    }

    /// Verdicts for the kernel: what will not be recorded need not come up. None unless `PayloadMode::Sse`.
    pub fn verdicts(&mut self) -> Vec<(ConnKey, Verdict)> {
        match &mut self.0 {
            Mode::Raw(_) => Vec::new(),
            Mode::Redacted(pipeline) => pipeline.verdicts().collect(),
        }
    }

    /// Flushes, and gives the sink back.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Mode::Raw(writer) => writer.finish(),
            Mode::Redacted(pipeline) => {
                let ((), mut scribe) = pipeline.into_parts();
                scribe.check()?;
                scribe.writer.finish()
            }
        }
    }
}

/// Writes down the messages it is shown.
struct MessageScribe<W> {
    writer: RecordingWriter<W>,
    calls: HashMap<(ConnKey, u64), CallRewriter>,
    failed: Option<io::Error>,
}

impl<W: Write> MessageTap for MessageScribe<W> {
    fn on_message(&mut self, entry: &Entry, at: Moment, message: &Message<'_>) {
        let name = (entry.conn, entry.exchange);
        let tape = self.calls.entry(name).or_insert_with(|| CallRewriter::new(entry));
        let mut out = Vec::new();
        tape.message(entry, at, message, &mut out);
        if matches!(message, Message::End(_)) {
            self.calls.remove(&name);
        }
        out.iter().for_each(|line| self.write(&line.record()));
    }
}

impl<W: Write> MessageScribe<W> {
    fn new(writer: RecordingWriter<W>) -> Self {
        MessageScribe { writer, calls: HashMap::new(), failed: None }
    }

    fn write(&mut self, record: &Record<'_>) {
        if self.failed.is_none() {
            self.failed = self.writer.record(record).err();
        }
    }

    fn check(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }
}

/// One call as a connection of its own.
struct CallRewriter {
    conn: ConnKey,
    read: RewrittenDirection,
    write: RewrittenDirection,
    bodiless: bool,
    remote: bool,
    framing: EventFraming,
}

/// One direction of it. Bytes understood from one call of the application become one call again.
#[derive(Default)]
struct RewrittenDirection {
    pos: u64,
    call: u64,
    start: u64,
}

/// A record to be written.
enum RecordingLine {
    Plain(Record<'static>),
    Data(TlsData<'static>, Vec<u8>),
}

impl RecordingLine {
    fn record(&self) -> Record<'_> {
        match self {
            RecordingLine::Plain(record) => record.clone(),
            RecordingLine::Data(data, bytes) => Record::Data(TlsData { bytes, ..*data }),
        }
    }
}

impl CallRewriter {
    fn new(entry: &Entry) -> Self {
        let ConnKey { handle, start_ns, tgid, generation } = entry.conn;
        // Another address for each call, so that calls of one connection do not displace each other.
        let mixed = handle ^ entry.exchange.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let conn = ConnKey { handle: mixed, start_ns, tgid, generation };
        CallRewriter {
            conn,
            read: RewrittenDirection::default(),
            write: RewrittenDirection::default(),
            bodiless: true,
            remote: false,
            framing: EventFraming::default(),
        }
    }

    fn message(&mut self, entry: &Entry, at: Moment, message: &Message<'_>, out: &mut Vec<RecordingLine>) {
        match message {
            Message::Request(head) => {
                out.push(RecordingLine::Plain(Record::Open { conn: self.conn, at: at.at }));
                self.put(Direction::Write, request(entry.api, head), at, out);
                if frames::is_socket(head) {
                    self.framing = EventFraming::Socket;
                    self.put(Direction::Read, SWITCH, at, out);
                }
            }
            Message::RequestEnd { .. } | Message::Response(_) if self.framing == EventFraming::Socket => {}
            Message::RequestEnd { .. } => {
                let body = facts(entry);
                self.put(Direction::Write, [&chunk(body.as_bytes())[..], b"0\r\n\r\n"].concat(), at, out);
            }
            Message::Response(head) => {
                self.bodiless = matches!(head.status, 204 | 304);
                self.framing = head.content_type.as_deref().map(EventFraming::of).unwrap_or_default();
                self.put(Direction::Read, response(head), at, out);
            }
            Message::Sent { message, began: _ } => self.put(Direction::Write, frames::frame(message, true), at, out),
            Message::Event(event) if self.framing == EventFraming::Socket => {
                self.put(Direction::Read, self.framing.event(event), at, out);
            }
            Message::Event(event) => self.put(Direction::Read, chunk(&self.framing.event(event)), at, out),
            Message::Body(bytes) if self.framing == EventFraming::Media => {
                self.put(Direction::Read, chunk(&vec![0; bytes.len()]), at, out);
            }
            Message::Comment if self.framing == EventFraming::Socket => self.put(Direction::Read, [0x89, 0], at, out),
            Message::Comment => self.put(Direction::Read, chunk(b":\n\n"), at, out),
            Message::Gap { bytes, cause } => self.gap(*bytes, *cause, at, out),
            Message::End(how) => {
                self.remote(entry, out);
                self.end(*how, at, out);
            }
            // The status of gRPC has no place in HTTP/1 as it is written here.
            Message::RequestBody(_) | Message::Body(_) | Message::Trailers(_) | Message::Note(_) => {}
        }
    }

    /// The peer's address, as soon as it is known.
    fn remote(&mut self, entry: &Entry, out: &mut Vec<RecordingLine>) {
        if let Some(peer) = entry.remote.filter(|_| !std::mem::replace(&mut self.remote, entry.remote.is_some())) {
            out.push(RecordingLine::Plain(Record::Remote { conn: self.conn, peer }));
        }
    }

    fn put(&mut self, direction: Direction, text: impl Into<Vec<u8>>, at: Moment, out: &mut Vec<RecordingLine>) {
        for piece in text.into().chunks(PIECE) {
            self.piece(direction, piece.to_vec(), at, None, out);
        }
    }

    /// One record. `lost`: so many bytes are missing after the text.
    fn piece(
        &mut self,
        direction: Direction,
        text: Vec<u8>,
        at: Moment,
        lost: Option<(u32, LossCause)>,
        out: &mut Vec<RecordingLine>,
    ) {
        let way = match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        };
        if way.call != at.call {
            (way.call, way.start) = (at.call, way.pos);
        }
        let offset = way.pos - way.start;
        let len = text.len() as u64 + lost.map_or(0, |(bytes, _)| u64::from(bytes));
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let data = TlsData {
            conn: self.conn,
            direction,
            at: at.at,
            entered: at.at,
            pos: way.pos,
            call_len: small(offset + len),
            offset: small(offset),
            born: true,
            lost: lost.map(|(_, cause)| cause),
            bytes: &[],
        };
        way.pos += len;
        out.push(RecordingLine::Data(data, text));
    }

    /// A hole inside an HTTP chunk, so that the framing survives; an empty line after it, so that the next event does.
    fn gap(&mut self, bytes: Option<u64>, cause: LossCause, at: Moment, out: &mut Vec<RecordingLine>) {
        let bytes = u32::try_from(bytes.unwrap_or(1)).unwrap_or(u32::MAX).clamp(1, 1 << 30);
        self.piece(Direction::Read, format!("{bytes:x}\r\n").into_bytes(), at, Some((bytes, cause)), out);
        self.put(Direction::Read, [b"\r\n", &chunk(b"\n\n")[..]].concat(), at, out);
    }

    fn end(&mut self, how: ExchangeEnd, at: Moment, out: &mut Vec<RecordingLine>) {
        let conn = self.conn;
        let mut lost = 0;
        match how {
            ExchangeEnd::Complete if !self.bodiless && self.framing != EventFraming::Socket => {
                self.put(Direction::Read, "0\r\n\r\n", at, out);
            }
            ExchangeEnd::PeerClosed => out.push(RecordingLine::Plain(Record::ReadEnd { conn, at: at.at, clean: true })),
            ExchangeEnd::Reset => out.push(RecordingLine::Plain(Record::ReadEnd { conn, at: at.at, clean: false })),
            ExchangeEnd::ProcessExit => return,
            // A lost tail says the same again.
            ExchangeEnd::Lost => lost = 1,
            ExchangeEnd::Complete | ExchangeEnd::LocalClosed => {}
        }
        let (read_pos, write_pos) = (self.read.pos + lost, self.write.pos);
        out.push(RecordingLine::Plain(Record::Close { conn, at: at.at, read_pos, write_pos }));
    }
}

/// The answer to an upgrade.
const SWITCH: &str = "HTTP/1.1 101 -\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

/// The request headers that the ledger reads; all others, and the query, stay behind.
const KEPT: [&str; 2] = ["x-stainless-retry-count", "amz-sdk-request"];

fn request(api: &str, head: &RequestHead) -> String {
    // A socket on a stream of HTTP/2 comes back as an upgrade.
    let method = if frames::is_socket(head) { "GET".to_owned() } else { word(&head.method) };
    let mut text = format!("{method} {} HTTP/1.1\r\n", word(&mask::secrets(&head.path)));
    if let Some(host) = &head.host {
        text += &format!("host: {}\r\n", word(host));
    }
    for name in KEPT {
        if let Some(value) = head.header(name) {
            text += &format!("{name}: {}\r\n", line(value));
        }
    }
    // Whose it is was told by an answer that stays behind, or by words that do.
    if let Some(agent) = dialects::look::agent(api) {
        text += &format!("user-agent: {agent}\r\n");
    }
    if frames::is_socket(head) {
        return text + "connection: upgrade\r\nupgrade: websocket\r\n\r\n";
    }
    let grpc = head.header("content-type").filter(|kind| kind.starts_with("application/grpc"));
    let kind = line(grpc.unwrap_or("application/json"));
    text + &format!("content-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n")
}

fn response(head: &ResponseHead) -> String {
    let kind = head.content_type.as_deref().map(|kind| format!("content-type: {}\r\n", line(kind))).unwrap_or_default();
    format!("HTTP/1.1 {} -\r\n{kind}transfer-encoding: chunked\r\n\r\n", head.status.clamp(100, 999))
}

/// What the dialects read of a request, less its words, and what tells that it is theirs.
fn facts(entry: &Entry) -> String {
    let none = RequestFacts::default();
    let facts = entry.request.as_ref().unwrap_or(&none);
    let sign = dialects::look::sign(entry.api).map(|sign| (sign, serde_json::Value::from("")));
    let model = facts.model.as_ref().map(|model| ("model", serde_json::Value::from(model.as_str())));
    let stream = facts.stream.map(|stream| ("stream", serde_json::Value::from(stream)));
    let max = facts.max_tokens.map(|max| ("max_tokens", serde_json::Value::from(max)));
    let fields: serde_json::Map<String, serde_json::Value> =
        [sign, model, stream, max].into_iter().flatten().map(|(name, value)| (name.into(), value)).collect();
    serde_json::Value::Object(fields).to_string()
}

fn chunk(body: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat()
}

/// Without what would break a request line.
fn word(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).collect()
}

/// Without what would break a header.
fn line(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect()
}
