//! Every cap of the pipeline, each with its reason. A reached cap is counted, never silent.

/// Longest HTTP/1 head (request or status line and headers). Real ones are 1-3 KiB; servers
/// commonly refuse more than 16-64 KiB.
pub const HTTP1_HEAD: usize = 64 * 1024;

/// Most headers in one HTTP/1 head.
pub const HTTP1_HEADERS: usize = 128;

/// Longest chunk-size line or trailer line.
pub const HTTP1_LINE: usize = 8 * 1024;

/// Requests without an answer on one HTTP/1 connection. No client we know pipelines at all; more is not HTTP/1.
pub const HTTP1_PIPELINE: usize = 32;

/// Longest HTTP/2 header block, continuations included: as for HTTP/1.
pub const HTTP2_BLOCK: usize = HTTP1_HEAD;

/// Most headers kept of one HTTP/2 head. Blocks of one-byte references would make any number.
pub const HTTP2_HEADERS: usize = HTTP1_HEADERS;

/// Largest dynamic table of header fields followed, per direction. 4 KiB is usual, browsers and
/// proxies go to 64 KiB; of a larger one the oldest fields are unknown.
pub const HTTP2_TABLE: usize = 64 * 1024;

/// Streams open at once on one HTTP/2 connection. Servers allow 100 to 250, some 1,000.
pub const HTTP2_STREAMS: usize = 1024;

/// Bytes held for all streams of one HTTP/2 connection. Beyond, the stream that grows is given up:
/// a peer cannot make us hold a large event in each of them.
pub const HTTP2_HELD: usize = 64 * 1024 * 1024;

/// What a client said on a WebSocket over HTTP/2 before it was granted (RFC 8441): a first message
/// or two. Most wait for the answer.
pub const HTTP2_EARLY: usize = 64 * 1024;

/// Largest frame believed where a lost place is looked for: what peers send unless told otherwise.
pub const HTTP2_HUNT_FRAME: u32 = 16 * 1024;

/// Bytes followed on a connection that must be followed whole (HTTP/2) and has not yet carried a
/// model call; then it counts as seen from the middle, which needs no reads.
pub const WHOLE_UNCLAIMED: u64 = 4 * 1024 * 1024;

/// Longest path, and query, kept of a request. URL-encoded model ARNs reach 300 bytes.
pub const PATH: usize = 1024;

/// Most content codings stacked on one body. More than one is already rare.
pub const CONTENT_CODINGS: usize = 4;

/// Calls that wait for their end at once on one WebSocket. Turns follow each other; more than a few are a misreading.
pub const SOCKET_TURNS: usize = 16;

/// Requests at once on one connection that no dialect claims and whose answer is awaited, in case
/// it is a stream of events.
pub const PENDING_REQUESTS: usize = 8;

/// Bytes followed on a connection while only such requests are open: their bodies, and a response head. An answer that
/// begins later is not seen.
pub const UNCLAIMED_BYTES: u64 = 256 * 1024;

/// What is kept of an event larger than `SSE_EVENT`: enough to tell its type.
pub const SSE_EVENT_HEAD: usize = 4 * 1024;

/// Buffer capacity kept between two events of a stream; a larger buffer is given back.
pub const SSE_IDLE: usize = 4 * 1024;

/// Largest SSE event kept whole. `response.completed` and images can be megabytes: of a larger event only the
/// head is kept; it is marked and counted, and the stream goes on. The buffer is released when the event ends.
pub const SSE_EVENT: usize = 1024 * 1024;

/// Most output of a decompressor for one input piece, against bombs.
pub const DECODED_PER_PIECE: usize = 8 * 1024 * 1024;

/// Most decoded bytes per compressed byte over a stream, once past `DECODED_FREE`: gzip of text
/// reaches 20, bombs 1,000.
pub const DECODED_RATIO: u64 = 200;

/// Decoded bytes for which the ratio is not judged.
pub const DECODED_FREE: u64 = 1024 * 1024;

/// Largest zstd window (log2) accepted: 8 MiB, what RFC 8878 asks decoders to support.
pub const ZSTD_WINDOW_LOG: u32 = 23;

/// Longest value kept from a request or response (model, id, host): real ones are under 100 bytes.
pub const NAME: usize = 256;

/// Ended streams kept for `inspect streams`.
pub const ENDED_STREAMS: usize = 4096;

/// Timeline points kept for one stream (`inspect stream ID`): the newest. Those before are counted.
pub const TIMELINE: usize = 512;

/// Bytes they may take. Points of ordinary streams take 9 to 14 bytes each, so that all of them
/// have room; of a stream of odd stamps and sizes (36 bytes at most) there are fewer.
pub const TIMELINE_BYTES: usize = 15 * TIMELINE;

/// Connections tracked at once.
pub const CONNS: usize = 65_536;

/// Requests of another kind after which a connection is ignored for good. Some SDKs warm a connection up with a
/// request or two before the first model call.
pub const NON_LLM_REQUESTS: u32 = 8;

/// Bytes of timeline points kept for all ended streams together; the oldest streams lose theirs first.
pub const ENDED_POINTS: usize = 4 * 1024 * 1024;

/// Streams open at once in the ledger. Each holds a dialect (KiBs) and its timeline.
pub const OPEN_STREAMS: usize = 65_536;

/// Stalls kept for one stream; more are only counted by the metric.
pub const STALLS: usize = 64;

/// A call that is silent for so long behind bytes that are missing is taken to have ended in them,
/// or it would count as open for as long as its connection is kept. Longer than providers let a
/// stream be silent (pings come every 15 to 30 s).
pub const LOST_END_NS: u64 = 60_000_000_000;

/// Silences that wait for the stream's median gap before they are judged.
pub const STALL_CANDIDATES: usize = 8;

/// Different oddities noted on one stream.
pub const NOTES: usize = 16;

/// Deepest nesting of a JSON document that is scanned: what serde_json reads, and far more than any API's bodies have.
pub const JSON_DEPTH: usize = 128;

/// Longest value of a request that is kept as written while the request is read: the schema of a
/// tool, arguments of a call.
pub const RAW_VALUE: usize = 8 * 1024;

/// Bytes of such values of one request together.
pub const RAW_VALUES: usize = 128 * 1024;

/// Tools of services that are followed.
pub const TOOLS: usize = 1024;

/// Most items read of one list inside an event (choices, tool calls): requests may ask for 128 choices. The others are
/// left out and counted.
pub const EVENT_ITEMS: usize = 128;

/// Records of one direction that wait for their predecessor. Two CPUs race over one or two calls, not more.
pub const REORDER_PIECES: usize = 16;

/// Bytes of them: four records of the largest size.
pub const REORDER_BYTES: usize = 64 * 1024;

/// How long a record waits for its predecessor, on the clock of the stamps. The race itself lasts microseconds.
pub const REORDER_NS: u64 = 5_000_000;

/// How long a read that answers nothing waits for the write that asked for it to return: the writer
/// may have lost its CPU inside the call, on a busy host for many time slices. What nobody asked
/// for is shown so much later.
pub const EARLY_NS: u64 = 250_000_000;

/// Bytes that wait so: the first answers to a write are a head and a few events.
pub const EARLY_BYTES: usize = 64 * 1024;

/// Reads that wait so.
pub const EARLY_PIECES: usize = 64;

/// Processes remembered at once; those without connections go first.
pub const PROCESSES: usize = 32_768;

/// First bytes of a connection kept to tell its protocol.
pub const SNIFF: usize = 64;

/// Lines of a read looked at to tell whether an event stream is running: the first bytes may be the
/// end of a long event.
pub const MID_STREAM_LINES: usize = 64;

/// Bytes read on a connection seen from the middle before its reads are left out until a request is written.
pub const MID_STREAM_READ: u64 = 1024 * 1024;

/// Calls of a connection seen from the middle that began with no request before it is ignored: a
/// request body may take a few hundred.
pub const MID_STREAM_WRITES: u32 = 512;

/// How long a connection lives on after the application's own goodbye, if its TLS object does not go.
pub const LOCAL_GRACE_NS: u64 = 1_000_000_000;

/// The same after the peer's: the application may still have to read what had already arrived.
pub const PEER_GRACE_NS: u64 = 10_000_000_000;

/// Exchange ordinals left free for each parser of a connection.
pub const EXCHANGE_STEP: u64 = 1 << 32;

/// Segments of one direction of a socket that wait for one that the network lost. A stream of
/// tokens sends 50 a second and a retransmission takes a few tenths; with more the hole is given up
/// as a gap.
pub const TCP_PIECES: usize = 256;

/// Bytes of them.
pub const TCP_BYTES: usize = 256 * 1024;

/// How long segments wait. What our ring loses is told by the next segment, so a hole is nearly
/// always the network's, and a sender doubles its patience up to two minutes between two tries
/// (Linux: TCP_RTO_MAX). What has not come by then, and was not acknowledged either, is taken for a
/// segment that never passed us. Earlier, bytes that had not come would have been given an arrival,
/// and the application the blame for not reading them.
pub const TCP_HOLE_NS: u64 = 120_000_000_000;

/// How far from the next byte a segment may lie: more than the largest receive window in use (tcp_rmem ends at 6 MiB by
/// default). What lies beyond, the receiver drops.
pub const TCP_REACH: u64 = 64 * 1024 * 1024;

/// Sockets followed at once: as many as connections.
pub const SOCKETS: usize = CONNS;

/// Troubles of the network remembered of one socket: those of the last silence are asked for, when it ends.
pub const NETWORK_EVENTS: usize = 32;

/// Pieces of a socket seen from the middle that tell nothing, before it is taken for plain text.
pub const SOCKET_SNIFFS: u32 = 64;

/// Pieces that a client sends to a proxy before what it wants to say: greeting, password, target,
/// and a head in several parts.
pub const TUNNEL_PIECES: u32 = 16;

/// Most bytes of headers in one message of an AWS event stream: its specification's limit.
pub const EVENTSTREAM_HEADERS: usize = 128 * 1024;

/// Largest message of an AWS event stream: a payload of 24 MiB, which is the specification's limit, and what frames it.
/// Of one over `SSE_EVENT` only the head is kept.
pub const EVENTSTREAM_MESSAGE: usize = 24 * 1024 * 1024 + EVENTSTREAM_HEADERS + 16;

/// Longest hello kept: with post-quantum keys, many extensions and certificates' requests real ones reach 2-3 KiB, and
/// peers refuse more than 16 KiB or so.
pub const TLS_HELLO: usize = 32 * 1024;

/// TLS records of a peer that no read has touched. At 50 a second an application that reads nothing fills it in 20 s.
pub const TLS_RECORDS: usize = 1024;

/// Rate-limit headers, and likewise marks of gateways, kept of one response: the largest family
/// known (Anthropic's, priority tier included) has 30.
pub const HEAD_MARKS: usize = 48;

/// What a provider said of itself (fingerprints, tiers, models that took over), kept of one stream.
pub const MARKS: usize = 16;

/// Longest head of a field of a form: three short lines.
pub const FORM_HEAD: usize = 4 * 1024;

/// Messages at the end of a prompt whose place in the history is kept: a later turn finds the one
/// before it among them, also after a turn with a few dozen calls of tools.
pub const PROMPT_CHAIN: usize = 64;

/// Definitions of tools kept of one prompt. APIs accept 128.
pub const PROMPT_TOOLS: usize = 128;

/// Calls of tools, and results, kept of one prompt: the newest.
pub const PROMPT_CALLS: usize = 128;

/// Longest name of a tool. APIs accept 64.
pub const TOOL_NAME: usize = 64;

/// Places in conversations remembered, to tell which one a request goes on with: 16 bytes each.
pub const CONVERSATION_PLACES: usize = 65_536;

/// Open findings of one detector. Nobody reads more; what comes beyond is counted as withheld.
pub const OPEN_FINDINGS: usize = 64;

/// Findings kept that are over.
pub const ENDED_FINDINGS: usize = 1024;

/// Calls named in a finding.
pub const FINDING_STREAMS: usize = 8;

/// Processes whose other activity is remembered (claims): every client process of a busy node, at
/// some hundred bytes each.
pub const ACTING_PROCESSES: usize = 4_096;

/// Addresses where model calls go: a handful of providers, each behind some addresses.
pub const MODEL_ADDRESSES: usize = 1_024;

/// Baselines of chunk regression: a host has tens of service, provider and model pairs.
pub const CHUNK_KEYS: usize = 256;

/// Newest streams of one baseline, 200 bytes each.
pub const CHUNK_WINDOW: usize = 64;

/// Newest streams whose stalls are counted: a share of 8 % needs a hundred to be told from chance.
pub const CHUNK_STALLS: usize = 128;

/// Turns whose attempts are remembered for failover: those of the last half minute count, so this
/// is 270 turns a second.
pub const FAILOVER_PLACES: usize = 8192;

/// Attempts at one turn that are remembered.
pub const FAILOVER_ATTEMPTS: usize = 8;

/// Calls of one socket, of which only the shape is seen, that wait to be shown.
pub const SHAPES: usize = 64;

/// Records of one of them that wait with it: at 50 a second, those of a few seconds.
pub const SHAPE_PENDING: usize = 256;

/// Services whose pressure is followed: a host runs tens.
pub const PRESSURE_SERVICES: usize = 256;

/// Connections whose last exchange is remembered, to tell how long a pool had kept one idle.
pub const PRESSURE_POOL: usize = 16_384;

/// Cases of one kind kept of one service.
pub const PRESSURE_CASES: usize = 64;

/// Idle limits judged.
pub const PRESSURE_LIMITS: usize = 16;

/// Hosts whose clocks are followed.
pub const CLOCK_PEERS: usize = 256;

/// Largest export of spans that is read: SDKs send 512 spans at once, at some KiB each where
/// prompts are among their attributes.
pub const EXPORT_BYTES: u64 = 16 * 1024 * 1024;

/// Processes known to call models, whose exported spans are read: every client process of a busy node.
pub const CALLERS: usize = 4_096;

/// Processes whose exported spans are compared with their calls, and calls of each that wait for
/// their span: SDKs export every five seconds.
pub const EXPORTING_PROCESSES: usize = 256;
pub const EXPORTING_CALLS: usize = 128;

/// Spans whose beginning is remembered, to compare it with that of their children and parents,
/// which other exports bring.
pub const SPAN_STARTS: usize = 8_192;

/// Quotas (provider, host, key, model) followed, and limits of each.
pub const QUOTA_ACCOUNTS: usize = 1024;
pub const QUOTA_DIMENSIONS: usize = 16;

/// Logical calls remembered for their retries, and conversations whose repairs are counted.
pub const RETRY_GROUPS: usize = 16_384;
