//! What a scenario says, independent of dialect: a list of steps, each with its delay, its words and the shape in
//! which they go onto the wire. Scenarios are JSON, or are made with the builder functions below.

use serde::{Deserialize, Serialize};

/// How requests for one model name are answered: the n-th request takes the n-th reply, the last reply repeats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub replies: Vec<Reply>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reply {
    pub status: u16,
    /// Headers added to the usual ones.
    pub headers: Vec<(String, String)>,
    /// Microseconds between the end of the request and the head.
    pub head_delay_us: u64,
    pub framing: Framing,
    pub encoding: Encoding,
    /// Pads events as the real providers do (OpenAI's `obfuscation`, Anthropic's spaces).
    pub padding: bool,
    /// Tokens that the answer reports; `None`: it reports none.
    pub usage: Option<Tokens>,
    /// The limits of the account, in the headers of each vendor; a request beyond them is answered with 429.
    pub quota: Option<Quota>,
    /// How many seconds the provider's clock is ahead of this host's, in its `date` and in the
    /// moments its limits name; `None`: it says no date.
    pub clock_ahead_s: Option<i64>,
    /// The head goes out with the first step's bytes instead of in a write of its own.
    pub hold_head: bool,
    pub steps: Vec<Step>,
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            head_delay_us: 0,
            framing: Framing::Chunked,
            encoding: Encoding::Identity,
            padding: false,
            usage: None,
            quota: None,
            clock_ahead_s: Some(0),
            hold_head: false,
            steps: Vec::new(),
        }
    }
}

/// How the body's length is told. Whole (non-stream) answers always carry Content-Length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    #[default]
    Chunked,
    /// By the end of the connection.
    Close,
}

/// Content encoding, flushed after every event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    #[default]
    Identity,
    Gzip,
    /// zlib-wrapped, as RFC 9110 says.
    Deflate,
    /// Stored meta-blocks only: valid, but not smaller.
    Br,
    Zstd,
}

/// Token counts, in the OpenAI sense (input includes cached, output includes reasoning).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tokens {
    pub input: u64,
    pub output: u64,
    pub cached: u64,
    pub reasoning: u64,
}

/// Limits shared by all requests of one scenario: windows of fixed length begin with the first
/// request after the last one ended, so a script's clock needs no wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    pub requests: u64,
    /// Each answered request uses up its reported tokens.
    pub tokens: u64,
    pub window_us: u64,
}

/// One step, played `repeat` times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Microseconds to wait before it (each time), counted from the moment the step before was due.
    #[serde(default)]
    pub delay_us: u64,
    #[serde(default = "one")]
    pub repeat: u32,
    pub say: Say,
    #[serde(default)]
    pub shape: Shape,
}

/// How one event's bytes go onto the wire. The default: one HTTP chunk, one TLS record, one TCP write per event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shape {
    /// The event is cut over so many HTTP chunks.
    pub chunks: u32,
    /// ... and over so many TLS records, each in a TCP write of its own.
    pub records: u32,
    /// Pause between those records, microseconds.
    pub between_us: u64,
    /// The plaintext waits and goes into one TLS record with what follows.
    pub hold: bool,
    /// The TLS record waits and goes into one TCP write with what follows.
    pub cork: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { chunks: 1, records: 1, between_us: 0, hold: false, cork: false }
    }
}

/// What a step says. Texts of a given length are made up, with non-ASCII characters among them, and are a function
/// of the position in the answer alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Say {
    /// What comes before any delta (role chunk, `message_start`, `response.created` …).
    Start,
    /// Visible text of so many characters.
    Text(u32),
    /// This visible text.
    Words(String),
    /// Reasoning of so many characters.
    Reasoning(u32),
    /// A refusal of so many characters (Anthropic has no refusal delta: visible text there).
    Refusal(u32),
    /// A tool call begins.
    Tool { name: String },
    /// So many characters of the tool call's arguments.
    ToolArgs(u32),
    /// Audio of so many bytes, where the dialect has any.
    Audio(u32),
    /// The finish reason, in the dialect-neutral words `stop`, `length`, `tool`, `filter`; with the usage where the
    /// dialect sends it there.
    Finish(String),
    /// The dialect's end marker.
    End,
    /// A keep-alive event (a comment in dialects without one; nothing where a body has no comments either).
    Ping,
    /// An SSE comment.
    Comment(String),
    /// An error event, with the dialect's word for the error.
    Error { kind: String, message: String },
    /// These bytes as they are (still chunked and encoded).
    Raw(String),
    /// Something breaks; nothing after this step is played.
    Fault(Fault),
}

/// What breaks. On HTTP/2 `reset` is RST_STREAM, and the others end the connection with all its streams; on a WebSocket
/// `close` and `truncated_chunk` are close frames (1011).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// TCP reset (SO_LINGER 0).
    Reset,
    /// TLS close_notify and TCP FIN, the framing unfinished.
    Close,
    /// TLS close_notify, the framing unfinished, and no FIN before the client's: it closes first.
    Goodbye,
    /// TCP FIN without close_notify.
    Fin,
    /// Nothing more is sent until the client goes.
    Stall,
    /// A chunk that announces more bytes than come, then close_notify and FIN.
    TruncatedChunk,
}

/// What a written piece is. The first seven are the kinds of `inspect stream`'s timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Visible,
    Reasoning,
    Tool,
    Refusal,
    Audio,
    Keepalive,
    /// An event that carries no delta.
    Event,
    /// The dialect's end marker; an event too.
    End,
    /// An error event.
    Error,
    /// Status line and headers.
    Head,
    /// A whole (non-stream) body.
    Body,
    /// Bytes of sound that are no event.
    Sound,
    /// An SSE comment or raw bytes.
    Raw,
    /// The last chunk (`0`), or what ends the body.
    Trailer,
}

impl Scenario {
    /// Always the same reply.
    #[must_use]
    pub fn always(reply: Reply) -> Self {
        Self { replies: vec![reply] }
    }

    /// First `reply`, and `then` for every later request.
    #[must_use]
    pub fn first_then(reply: Reply, then: Reply) -> Self {
        Self { replies: vec![reply, then] }
    }
}

impl Reply {
    /// A reply of these steps.
    #[must_use]
    pub fn of(steps: Vec<Step>) -> Self {
        Self { steps, ..Self::default() }
    }

    /// An error answer with the dialect's JSON body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Under these limits.
    #[must_use]
    pub fn quota(mut self, quota: Quota) -> Self {
        self.quota = Some(quota);
        self
    }

    /// From a provider whose clock is so many seconds ahead; `None`: that says no date.
    #[must_use]
    pub fn clock_ahead(mut self, seconds: Option<i64>) -> Self {
        self.clock_ahead_s = seconds;
        self
    }

    /// Reports usage.
    #[must_use]
    pub fn usage(mut self, usage: Tokens) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Encodes the body.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }
}

impl Step {
    /// A step after `delay_us`.
    #[must_use]
    pub fn new(delay_us: u64, say: Say) -> Self {
        Self { delay_us, repeat: 1, say, shape: Shape::default() }
    }

    /// The same, so many times.
    #[must_use]
    pub fn times(mut self, repeat: u32) -> Self {
        self.repeat = repeat;
        self
    }

    /// With this shape.
    #[must_use]
    pub fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }
}

/// `count` visible deltas of `chars` characters, one every `every_us`.
#[must_use]
pub fn deltas(count: u32, chars: u32, every_us: u64) -> Step {
    Step::new(every_us, Say::Text(chars)).times(count)
}

/// Start, the given steps, finish reason and end marker: a whole answer.
#[must_use]
pub fn answer(middle: Vec<Step>, finish: &str) -> Vec<Step> {
    let mut steps = vec![Step::new(0, Say::Start)];
    steps.extend(middle);
    steps.push(Step::new(0, Say::Finish(finish.to_owned())));
    steps.push(Step::new(0, Say::End));
    steps
}

fn one() -> u32 {
    1
}
