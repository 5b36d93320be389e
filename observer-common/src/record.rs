//! The record header that the kernel writes and user space reads.

/// Which TLS connection, exactly: process (with its start time, so that a reused pid is another process), TLS
/// object and the generation of that address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ConnKey {
    /// Address of the TLS object (`SSL *`) in the process.
    pub handle: u64,
    /// The process's start, nanoseconds on CLOCK_BOOTTIME (`task->group_leader->start_boottime`).
    pub start_ns: u64,
    /// Process id (thread group), as seen from the initial pid namespace.
    pub tgid: u32,
    /// Counts the connections that lived at this address: a freed and reused `SSL *` is another connection.
    pub generation: u32,
}

/// What a record says.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plaintext moved by a read or write.
    Data = 1,
    /// A TLS object was born (`SSL_new`): what follows is seen from its first byte.
    Open = 2,
    /// The application asked for an orderly end (`SSL_shutdown`).
    Shutdown = 3,
    /// The TLS object was freed (`SSL_free`). `pos` is the read position, `aux` the write position.
    Close = 4,
    /// A read returned 0 bytes or failed in the end (peer closed or error). `aux` is the raw return value.
    ReadEnd = 5,
    /// A process ended (thread group leader exited). Only `conn.tgid` and the stamp are set.
    Exit = 6,
    /// A TCP socket sent a TLS ClientHello. Payload: see `HelloBody`.
    Hello = 7,
}

/// `Header::dir`: the application read (from the peer).
pub const DIR_READ: u8 = 0;
/// `Header::dir`: the application wrote (to the peer).
pub const DIR_WRITE: u8 = 1;

/// `Header::flags`: the birth of this TLS object was seen, so positions count from its first byte.
pub const FLAG_BORN: u8 = 1;
/// `Header::flags`: the payload could not be read from the process's memory; `len` is 0 and the bytes are lost.
pub const FLAG_FAULT: u8 = 2;
/// `Header::flags`: the call moved more bytes than are sent up; the rest is lost as `truncated`.
pub const FLAG_TRUNCATED: u8 = 4;

/// The fixed head of every ring record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    /// When the call returned, nanoseconds on CLOCK_BOOTTIME.
    pub stamp_ns: u64,
    /// When the call was entered, same clock: the application has been asking since then.
    pub entered_ns: u64,
    /// The connection.
    pub conn: ConnKey,
    /// Position, in this direction of the connection, of the first byte of this record.
    pub pos: u64,
    /// See `Kind`.
    pub aux: u64,
    /// Bytes that the whole call moved.
    pub call_len: u32,
    /// Offset of this record's first byte in the call.
    pub offset: u32,
    /// Payload bytes that follow the header.
    pub len: u32,
    /// Thread that made the call.
    pub tid: u32,
    /// A `Kind`.
    pub kind: u8,
    /// `DIR_READ` or `DIR_WRITE`.
    pub dir: u8,
    /// `FLAG_*`.
    pub flags: u8,
    /// Unused, zero.
    pub reserved: [u8; 5],
}

/// Size of `Header` on the ring.
pub const HEADER_LEN: usize = core::mem::size_of::<Header>();

const _: () = assert!(core::mem::size_of::<ConnKey>() == 24);
const _: () = assert!(HEADER_LEN == 80);
const _: () = assert!(core::mem::align_of::<Header>() == 8);

/// What user space decided about a connection; the kernel looks it up on every call.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing decided yet: everything goes up.
    Unknown = 0,
    /// LLM traffic: everything goes up.
    Track = 1,
    /// The last request was not LLM traffic, the next may be: reads cost a look-up, writes send only their head.
    Heads = 2,
    /// Not LLM traffic: one look-up a call.
    Ignore = 3,
}
