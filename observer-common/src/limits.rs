//! Every size both sides rely on, each with its reason.

/// Payload classes of a ring record. Memory is reserved by the actual length, so that a 67-byte event does not
/// take the room of a 16 KiB one: fixed worst-case records starve the ring.
pub const SIZE_CLASSES: [usize; 4] = [256, 1024, 4096, 16384];

/// The most payload one record carries: a TLS record's plaintext (RFC 8446 §5.1), which is also the most that
/// one `SSL_read` returns.
pub const MAX_PIECE: usize = SIZE_CLASSES[3];

/// The most pieces one call is cut into. 256 × 16 KiB = 4 MiB of request body for each write (a
/// long conversation with images); what lies beyond is a counted gap (`truncated`).
pub const MAX_PIECES: usize = 256;

/// Default ring size in bytes (a power of two). One second at 60,000 calls/s of 256 bytes is 21 MB.
pub const DEFAULT_RING_BYTES: u32 = 32 << 20;

/// Connections the kernel side remembers at once; beyond it, calls are counted as `table_full`.
pub const MAX_CONNS: u32 = 65_536;

/// Calls that can be in progress at once beyond those that have a seat of their own (`SEATS`).
pub const MAX_IN_CALL: u32 = 16_384;

/// Calls of goroutines that can be in progress at once: a server reads on each of its connections.
pub const MAX_GO_CALLS: u32 = 65_536;

/// TLS objects remembered that were born and have moved nothing yet: each does within a moment, or
/// never (QUIC, whose plaintext goes another way).
pub const MAX_BORN: u32 = 4096;

/// Seats for calls in progress, a power of two: one for each direction of threads whose ids agree
/// in the lower 15 bits, which is every thread of a host with the kernel's default `pid_max`. 4
/// MiB.
pub const SEATS: u32 = 65_536;

/// Boxes of keys of rustls remembered at once (least recently used ones go first): a connection has two
/// that are used. 6 MiB; the table is of a fixed size, and what it forgets is counted as `unpaired`.
pub const MAX_KEYS: u32 = 16_384;

/// Slices of one record of rustls that go up: a head and a body are two. What lies behind them is a
/// counted gap (`truncated`).
pub const MAX_SLICES: u32 = 16;

/// Words of the stack above a call of rustls looked through for the record layer that calls: it was
/// found by the 17th.
pub const STACK_WORDS: u64 = 32;

/// Verdict slots, a power of two: as many as connections.
pub const VERDICT_SLOTS: u32 = 65_536;

/// TCP sockets watched at once (least recently used ones go first).
pub const MAX_SOCKS: u32 = 65_536;

/// Processes with TLS objects remembered at once.
pub const MAX_OWNERS: u32 = 16_384;

/// Marks that say whether any followed socket has a cookie that ends so; a power of two. Cookies
/// are handed out in sequence, so that sockets of one time do not share a mark.
pub const SOCK_MARKS: u32 = 65_536;

/// Verdict slots of sockets, a power of two: as many as sockets.
pub const SOCK_VERDICT_SLOTS: u32 = 65_536;

/// The most whole pieces of one segment, before its rest. The stack hands segments through a
/// socket's hooks before they are cut for the wire, and after they were put together from it: up to
/// 64 KiB over a network; on loopback, whose own MTU is that, up to two of them
/// (`tcp_min_tso_segs`), 131 KB. Where BIG TCP was switched on, what lies behind is a counted gap
/// (`truncated`): each piece more costs the verifier of an old kernel a tenth of a second at each
/// start.
pub const SEGMENT_PIECES: usize = 8;

/// Segments of a socket joined in the middle that began like nothing of ours before it is let go.
pub const MID_MISSES: u32 = 64;
