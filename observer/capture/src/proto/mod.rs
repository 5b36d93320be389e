//! Stage 4: ordered bytes to HTTP messages and stream events. `Chunk` in, `Message` out.
//!
//! A protocol is one row of `PROTOCOLS` and one folder. What several protocols need lies beside
//! them: which headers are kept (`headers`), content coding (`content`), and a body's way from
//! bytes to messages (`body`), which cuts it into events by content type: server-sent events
//! (`sse`), JSON texts in lines or arrays (`values`), AWS event streams (`eventstream`), gRPC
//! messages (`grpc`). Each is a row of `body::FRAMINGS` and a file.
//!
//! Order of an exchange's messages: `Request`, `RequestBody`*, `RequestEnd`, `Response`, (`Event` |
//! `Comment` | `Body` | `Gap` | `Note` | `Sent` | `Trailers`)*, `End`. A server may answer before
//! the request is complete, so `Response` may come before `RequestEnd`; but `RequestEnd` always
//! comes before `End`, and nothing comes after `End`.

#![deny(
    clippy::disallowed_methods,
    reason = "a pure stage: time is an argument, and nothing here reads files or sockets"
)]

mod balance;
pub mod body;
pub mod check;
pub mod content;
pub mod eventstream;
pub mod grpc;
pub mod h2;
pub mod headers;
pub mod http1;
pub mod sse;
pub mod values;
pub mod ws;

pub use headers::Salt;

use std::fmt;

use crate::conn::Chunk;
use crate::units::{Direction, LossCause, Moment};

/// One exchange (request and its response) on a connection: its ordinal, or the HTTP/2 stream id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(pub u64);

impl ExchangeId {
    /// The connection itself: notes that belong to no exchange carry it. Exchanges count from 1.
    pub const CONNECTION: ExchangeId = ExchangeId(0);
}

/// What a protocol parser says. Borrowed from the parser's buffer for the length of the call.
pub enum Message<'a> {
    /// A request began. `Moment` is that of the head's *first* byte.
    Request(&'a RequestHead),
    /// A piece of the request body, decoded from its transfer and content coding. Once bytes of a body are lost, no
    /// further piece of it follows: what lies behind a hole cannot be told from text inside a message.
    RequestBody(&'a [u8]),
    /// The request is complete (its last byte was written). `lost` when bytes of its body are missing.
    RequestEnd { lost: bool },
    /// The final response head (never a 1xx). `Moment` is that of its first byte.
    Response(&'a ResponseHead),
    /// One unit of a stream: a server-sent event, a line of JSON, a message of an AWS event stream or of gRPC.
    Event(BodyEvent<'a>),
    /// A message of the client on an open socket (see `ws`). The moment of its first byte was `began`.
    Sent { message: BodyEvent<'a>, began: Moment },
    /// A keep-alive: an SSE comment, an event block without data, or a ping.
    Comment,
    /// A piece of a body that is not a stream of events, decoded.
    Body(&'a [u8]),
    /// What stands behind the body: kept headers, as in a head.
    Trailers(&'a [(String, String)]),
    /// Bytes of the response are missing before what follows.
    Gap { bytes: Option<u64>, cause: LossCause },
    /// Something odd that does not stop the stream: counted, and shown as a note.
    Note(ProtocolNote),
    /// The exchange is over as far as the protocol is concerned.
    End(ExchangeEnd),
}

/// Names and sizes only: payload must not reach a log.
impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Request(head) => f.debug_tuple("Request").field(head).finish(),
            Message::RequestBody(bytes) => write!(f, "RequestBody({} bytes)", bytes.len()),
            Message::RequestEnd { lost } => f.debug_struct("RequestEnd").field("lost", lost).finish(),
            Message::Response(head) => f.debug_tuple("Response").field(head).finish(),
            Message::Event(event) => event.fmt(f),
            Message::Sent { message, began: _ } => f.debug_tuple("Sent").field(message).finish(),
            Message::Comment => f.write_str("Comment"),
            Message::Body(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Message::Trailers(list) => f.debug_tuple("Trailers").field(list).finish(),
            Message::Gap { bytes, cause } => f.debug_struct("Gap").field("bytes", bytes).field("cause", cause).finish(),
            Message::Note(note) => note.fmt(f),
            Message::End(end) => f.debug_tuple("End").field(end).finish(),
        }
    }
}

/// One unit of a stream.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct BodyEvent<'a> {
    /// What its framing says that it is.
    pub kind: BodyEventKind,
    /// The `event:` field, or the event, exception or error type of an AWS event stream, if there was one.
    pub name: Option<&'a str>,
    /// The `data:` field(s), joined with `\n`; the JSON text; the payload.
    pub data: &'a [u8],
    /// Bytes the event took in the body, what frames it included (before content coding was applied); of a JSON text,
    /// those between its brackets and they alone.
    pub wire_bytes: usize,
    /// The event was larger than `limits::SSE_EVENT`: `data` is only its beginning.
    pub truncated: bool,
}

/// What kind of event it is, as far as the framing says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyEventKind {
    /// Text, JSON as a rule.
    #[default]
    Text,
    /// Text that is an exception: it ends the stream (`:message-type` of an AWS event stream).
    Exception,
    /// Bytes that are no text.
    Binary,
    /// Bytes that are compressed, or otherwise not to be read.
    Opaque,
}

/// Sizes only: payload must not reach a log.
impl fmt::Debug for BodyEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BodyEvent { kind, name: _, data, wire_bytes, truncated } = self;
        f.debug_struct("Event")
            .field("kind", kind)
            .field("data", &data.len())
            .field("wire_bytes", wire_bytes)
            .field("truncated", truncated)
            .finish()
    }
}

/// How the protocol says that an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeEnd {
    /// The framing is complete (last chunk, Content-Length reached, END_STREAM, or close of a close-delimited body).
    Complete,
    /// The peer closed in an orderly way before the framing was complete.
    PeerClosed,
    /// The connection broke (reset, TLS error) before the framing was complete.
    Reset,
    /// The application closed or freed the connection before the framing was complete.
    LocalClosed,
    /// The process ended.
    ProcessExit,
    /// The parser cannot go on (malformed, or bytes lost that cannot be skipped).
    Lost,
}

/// A peculiarity of the peer or a limit of ours, by its wire name (label `reason` of
/// `llm_observer_parse_errors_total`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProtocolNote {
    /// `http1`, `sse`, `gzip` …
    pub protocol: &'static str,
    /// Low-cardinality reason.
    pub reason: &'static str,
}

/// The facts of a request head. Secrets (`authorization`, keys, cookies, query keys) are dropped before this exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// `POST`, `GET` …
    pub method: String,
    /// Path without the query, capped. Empty if not known (HTTP/2, seen from the middle).
    pub path: String,
    /// Query without secrets (`key`, `api-key` … removed), capped.
    pub query: Option<String>,
    /// `Host` / `:authority`, lower case, without a default port.
    pub host: Option<String>,
    /// Headers that a dialect or detector reads, lower-case names (see `headers::KEPT_REQUEST`), values capped.
    pub headers: Vec<(String, String)>,
    /// Salted hash of the credential, to tell tenants apart. Never the credential.
    pub credential_hash: Option<u64>,
    /// `http/1.1`, `h2`, `websocket` (calls behind an upgrade) …
    pub protocol: &'static str,
}

/// The facts of a response head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// Status code; 0 if it was not seen (HTTP/2, seen from the middle of an answer).
    pub status: u16,
    /// `content-type` without parameters, lower case.
    pub content_type: Option<String>,
    /// Headers that a dialect or detector reads, lower-case names (see `headers::KEPT_RESPONSE`), values capped.
    pub headers: Vec<(String, String)>,
}

impl RequestHead {
    /// The value of a kept header; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

impl ResponseHead {
    /// The value of a kept header; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Where a parser puts what it found.
pub trait MessageSink {
    /// One message of one exchange. `at` is the moment of the byte that completed it (or of the first byte, where the
    /// variant says so).
    fn message(&mut self, exchange: ExchangeId, at: Moment, message: Message<'_>);
}

/// How a connection ended, as seen below the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnClosing {
    /// The peer closed its side in an orderly way (close_notify, FIN).
    Peer,
    /// The connection broke.
    Reset,
    /// The application closed or freed it.
    Local,
    /// The process ended.
    ProcessExit,
    /// We stopped following it (table full, observer stopping).
    Abandoned,
}

/// One connection's parser. Sans-IO: bytes in, messages out; never panics, holds at most its named caps.
pub trait ProtocolParser: Send {
    /// The next piece of one direction. Bytes of one call of the application share `at.call`, which
    /// is how a parser that lost its place finds a message's beginning again.
    fn push(&mut self, direction: Direction, chunk: Chunk<'_>, at: Moment, sink: &mut dyn MessageSink);
    /// The connection ended (or its read side did, for `ConnClosing::Peer`). Ends every open exchange.
    fn close(&mut self, how: ConnClosing, at: Moment, sink: &mut dyn MessageSink);
    /// Nobody wants this exchange's bodies: they are only framed from now on, neither decoded nor scanned.
    fn ignore(&mut self, exchange: ExchangeId);
    /// If this exchange is answered with JSON, expect a stream of JSON texts: see
    /// `Dialect::streams_json`. Asked once the request is complete.
    fn expect_json_stream(&mut self, exchange: ExchangeId);
    /// Whether these bytes, read next, answer a request that has not been written (whole) as far as
    /// was told: a call is told of when it returns, and the answer may be read before that. A guess
    /// that is wrong costs a short wait.
    fn early(&self, bytes: &[u8]) -> bool;
    /// Bytes held in buffers now.
    fn held(&self) -> usize;
    /// The parser has seen that this is not its protocol or that it can never go on: the connection may be ignored.
    fn dead(&self) -> bool;
}

/// What a few first bytes of a direction say about a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SniffVerdict {
    /// The bytes are this protocol's, and the sniffed side is the client.
    Yes,
    /// The bytes are this protocol's, and the sniffed side is the server (we are on a server's TLS object).
    ServerSide,
    /// The bytes are not this protocol's.
    No,
    /// Too few bytes to tell.
    NeedMore,
}

/// Makes a parser for a connection seen from the middle of an answer, if these bytes are from one.
pub type MakeMidStreamParser = fn(&Salt, &[u8]) -> Option<Box<dyn ProtocolParser>>;

/// A row of the protocol table.
pub struct ProtocolRow {
    /// `http/1` …
    pub name: &'static str,
    /// A connection must be followed whole: no head can be read without those before it, and the
    /// server may speak first.
    pub whole: bool,
    /// What the first bytes of a direction say. On a connection seen from the middle, ask at the
    /// beginning of each call.
    pub sniff: fn(Direction, &[u8]) -> SniffVerdict,
    /// A parser for a new connection.
    pub make: fn(&Salt) -> Box<dyn ProtocolParser>,
    /// A parser for a connection whose first bytes read come from the middle of an answer; `None`:
    /// they do not, or cannot be told. The first thing it says is a request of which nothing is
    /// known.
    pub mid_stream: MakeMidStreamParser,
}

/// Every protocol we speak. A connection gets the first row that answers `Yes`.
pub const PROTOCOLS: &[ProtocolRow] = &[http1::ROW, h2::ROW];

/// A parser for an answer that was running when the observer came to the connection, if these bytes are
/// from the middle of one.
#[must_use]
pub fn parse_mid_stream(salt: &Salt, bytes: &[u8]) -> Option<Box<dyn ProtocolParser>> {
    PROTOCOLS.iter().find_map(|row| (row.mid_stream)(salt, bytes))
}

/// What the table says of the first bytes of a direction: the row that answered `Yes`, else the most hopeful answer.
#[must_use]
pub fn recognise(direction: Direction, bytes: &[u8]) -> (SniffVerdict, Option<&'static ProtocolRow>) {
    let mut answer = SniffVerdict::No;
    for row in PROTOCOLS {
        match (row.sniff)(direction, bytes) {
            SniffVerdict::Yes => return (SniffVerdict::Yes, Some(row)),
            SniffVerdict::No => {}
            other => answer = other,
        }
    }
    (answer, None)
}
