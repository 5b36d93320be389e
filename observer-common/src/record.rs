//! The record header that the kernel writes and user space reads.

/// Which TLS connection, exactly: process (with its start time, so that a reused pid is another
/// process), TLS object and the generation of that address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ConnKey {
    /// Address of the TLS object (`SSL *`) in the process.
    pub handle: u64,
    /// The process's start, nanoseconds on CLOCK_BOOTTIME (`task->group_leader->start_boottime`),
    /// cut to a clock tick as `/proc` shows it.
    pub start_ns: u64,
    /// Process id (thread group), as seen from the initial pid namespace.
    pub tgid: u32,
    /// Tells the connections apart that lived at this address: drawn at random at each birth.
    pub generation: u32,
}

/// What a record says.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plaintext moved by a read or write. `aux`: the bytes the caller asked for.
    Data = 1,
    /// A TLS object was born (`SSL_new`): what follows is seen from its first byte.
    Open = 2,
    /// The application asked for an orderly end (`SSL_shutdown`).
    Shutdown = 3,
    /// The TLS object was freed (`SSL_free`). `pos` is the read position, `aux` the write position.
    Close = 4,
    /// A process ended (its first thread exited). Only `conn.tgid` and the stamp are set.
    Exit = 5,
    /// A TCP socket is followed from here on. `conn`: cookie as handle, process; payload:
    /// `sock::Opening`.
    SockOpen = 6,
    /// A TCP segment of a followed socket, or a piece of one. `conn` as above; `pos`: sequence
    /// number, acknowledgement in the upper half; `call_len`: payload bytes on the wire from this
    /// piece on; `aux`: see `sock::known`; `flags`: FIN, RST, ….
    Segment = 7,
    /// A followed socket sent something again. `conn`, `aux` as above.
    SockInfo = 8,
    /// A followed socket is closed. `conn`, `aux` as above.
    SockClose = 10,
    /// A read of the TLS object found the peer's orderly end (its close_notify, or the end of the
    /// stream below). Sent once.
    ReadEnd = 9,
}

impl Kind {
    /// The kind of this number, if there is one.
    #[must_use]
    pub fn from_u8(raw: u8) -> Option<Self> {
        Some(match raw {
            1 => Self::Data,
            2 => Self::Open,
            3 => Self::Shutdown,
            4 => Self::Close,
            5 => Self::Exit,
            6 => Self::SockOpen,
            7 => Self::Segment,
            8 => Self::SockInfo,
            9 => Self::ReadEnd,
            10 => Self::SockClose,
            _ => return None,
        })
    }
}

/// `Header::dir`: the application read (from the peer).
pub const DIR_READ: u8 = 0;
/// `Header::dir`: the application wrote (to the peer).
pub const DIR_WRITE: u8 = 1;

/// `Header::flags`: the birth of this TLS object was seen, so positions count from its first byte.
pub const FLAG_BORN: u8 = 1;
/// `Header::flags`: the payload could not be read from the process's memory; `len` is 0 and the
/// bytes are lost.
pub const FLAG_FAULT: u8 = 2;
/// `Header::flags`: the call moved more bytes than are sent up; what lies behind this piece is lost
/// as `truncated`.
pub const FLAG_TRUNCATED: u8 = 4;

/// `Header::flags`: the segment resets the connection.
pub const FLAG_RST: u8 = 8;

/// `Header::flags`: the call's length came through a pointer (the `_ex` functions and those inside
/// the plain ones).
pub const FLAG_EX: u8 = 16;

/// `Header::flags`: the segment ends its direction.
pub const FLAG_FIN: u8 = 32;

/// `Header::flags`: the segment's sender has no room to receive.
pub const FLAG_ZERO_WINDOW: u8 = 64;

/// `Header::flags`: the ring had no room for this segment when it passed; its bytes are lost.
pub const FLAG_NO_ROOM: u8 = 128;

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
    /// Offset of this record's first byte in the call; of a segment: packets that never came before
    /// it.
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
    /// The last request was not LLM traffic, the next may be: reads cost a look-up, the next write
    /// sends only its head. Once the application has written more than the daemon had seen when it
    /// decided, everything goes up again until it decides anew: an answer may come before the
    /// daemon has read its request.
    Heads = 2,
    /// Not LLM traffic: one look-up a call; a socket is let go.
    Ignore = 3,
    /// Of a socket: no payload any more, only how it fares and ends. A TLS object has no such
    /// verdict.
    Ends = 4,
}

/// The verdict of a connection lies in slot `generation % VERDICT_SLOTS` of an array, tagged with
/// the generation: user space writes one word without racing the kernel's own state, and a
/// collision only means `Unknown`.
#[must_use]
pub fn verdict_slot(generation: u32) -> u32 {
    generation % crate::limits::VERDICT_SLOTS
}

/// The word in a verdict slot. `written`: position up to which the daemon has seen what the
/// application wrote.
#[must_use]
pub fn verdict_word(generation: u32, verdict: Verdict, written: u64) -> u64 {
    (generation as u64) << 32 | (written << 2 & 0xffff_fffc) | (verdict as u64 & 3)
}

/// The verdict of a slot's word, for a connection of this generation whose application has written
/// up to `written`.
#[must_use]
#[inline(always)]
pub fn verdict_of(word: u64, generation: u32, written: u64) -> u32 {
    let verdict = word as u32 & 3;
    let stale = verdict == Verdict::Heads as u32 && (word as u32 >> 2) != (written as u32 & 0x3fff_ffff);
    if (word >> 32) as u32 != generation || stale { Verdict::Unknown as u32 } else { verdict }
}

/// Key of a live TLS object.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId {
    /// Address of the TLS object.
    pub handle: u64,
    /// Thread group.
    pub tgid: u32,
    /// Zero.
    pub reserved: u32,
}

/// What the kernel keeps of a TLS object.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnState {
    /// The process's start: another start means a reused pid.
    pub start_ns: u64,
    /// The task (its kernel address) that was last seen to belong to that process: as long as it
    /// calls, its start need not be read again. A later process could match it only with the same
    /// pid, the same task address and the same TLS object, before the daemon has removed what the
    /// ended process left.
    pub task: u64,
    /// See `ConnKey::generation`.
    pub generation: u32,
    /// `FLAG_BORN` if the birth was seen.
    pub born: u32,
    /// Thread and stack of the return that told of the birth: the same again, with nothing moved
    /// since, is the same birth told twice.
    pub birth: u64,
    /// The two directions, indexed by `DIR_READ` and `DIR_WRITE`.
    pub ways: [Way; 2],
}

/// One direction of a TLS object: its position, and the call being sent up now. The latter lies
/// here because a uprobe program has no room for it on its stack; one thread at a time uses a
/// direction of a TLS object (OpenSSL's own rule).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    /// Bytes moved so far.
    pub pos: u64,
    /// Position of the call's first byte.
    pub call_pos: u64,
    /// When the call was entered.
    pub entered_ns: u64,
    /// When it returned.
    pub stamp_ns: u64,
    /// The caller's buffer.
    pub buf: u64,
    /// What the caller asked for.
    pub num: u64,
    /// Bytes the call moved.
    pub moved: u64,
    /// Bytes of it that are to go up.
    pub wanted: u64,
    /// The thread.
    pub tid: u32,
    /// The thread group.
    pub tgid: u32,
    /// `FLAG_EX` if the callee wrote the length through a pointer.
    pub ex: u32,
    /// Of reads: 1 once one found the end and it was told, 2 until then. Of writes: 1 while a library
    /// writes out what it was handed before (`gnutls_record_uncork`): those bytes went up then.
    pub ended: u32,
}

/// A call in progress.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The TLS object.
    pub id: ConnId,
    /// The caller's buffer.
    pub buf: u64,
    /// Room in the buffer (read) or bytes to send (write): no right call moves more.
    pub num: u64,
    /// Where the callee writes the number of bytes moved; 0: it returns that number.
    pub len_ptr: u64,
    /// When the call was entered.
    pub entered_ns: u64,
}

/// What the kernel keeps of one direction's keys of a connection of rustls: a heap box that lives from
/// one change of keys to the next. Its address may come again, for another connection.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RecordKeys {
    /// The record being sent up, of an encrypter. Its `entered_ns` tells when the last one was.
    pub call: Call,
    /// Of an encrypter: the box of its connection's decrypter. Of a decrypter: the encrypter's, by
    /// which the connection goes. 0: not known.
    pub other: u64,
    /// Number of the record that comes next.
    pub next: u64,
    /// Of an encrypter: its first record was seen, and none of application data was let pass since.
    pub fresh: u64,
    /// Stack of the last call.
    pub sp: u64,
    /// The message: where its slices are (0: it has one, which follows here), how many, from which
    /// byte of them on, to which, and its type in the lowest byte.
    pub message: [u64; 5],
    /// Where the next slice stands; how many are left; bytes of them to be skipped first.
    pub slices: u64,
    pub left: u64,
    pub skip: u64,
    /// Bytes sent up so far.
    pub sent: u64,
    /// Address and length of a slice; or three words of what may be a record layer, and its address.
    pub words: [u64; 4],
}

/// Where a call in progress is kept without a hash map's insert, look-up and delete, which cost
/// more than the rest of a probe.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// Threads that hold or want this seat: who adds one and then reads 1 has it, everyone else
    /// goes to the map of calls.
    pub taken: u64,
    /// Which call sits here (as in the map of calls); 0: none.
    pub key: u64,
    /// The call.
    pub call: Call,
}

/// The key of a call in progress where a thread is in it until it returns: thread and stack. `sp`
/// is the stack pointer at the function's first instruction.
#[must_use]
#[inline(always)]
pub const fn thread_key(tid: u32, sp: u64, dir: u8) -> u64 {
    // The stack is 8-aligned, or its owner broke the rules: its lowest bits are free to keep a read
    // and a write at the same depth apart.
    (tid as u64) << 32 | (sp & 0xffff_fffc) | dir as u64
}

/// The key of a call in progress of a goroutine, which any thread may carry on and whose stack may
/// move meanwhile: what stays is the distance to its upper end.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GoroutineCall {
    /// Address of the goroutine (`g`). Another one may have it later: its calls pass their own
    /// entries, which replace what was left here.
    pub goroutine: u64,
    /// Thread group.
    pub tgid: u32,
    /// From the stack pointer at the function's first instruction to the stack's upper end, so that
    /// TLS inside TLS does not mix; the lowest bit is the direction.
    pub depth: u32,
}

/// A call in progress of a goroutine.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KeptGoroutineCall {
    /// Its own key, to be removed by.
    pub key: GoroutineCall,
    /// The call.
    pub call: Call,
}

/// The deepest that a goroutine's stack gets on this processor (`runtime.maxstacksize`), so that
/// `depth` holds it.
pub const DEEPEST_STACK: u64 = 1_000_000_000;

const _: () = assert!(DEEPEST_STACK < u32::MAX as u64);

/// In `Call::buf`: the buffer lies on the goroutine's own stack, and this is its distance from the
/// upper end. No address of a process has the bit.
pub const ON_STACK: u64 = 1 << 63;

/// The seat of a call's key.
#[must_use]
#[inline(always)]
pub fn seat(key: u64) -> u32 {
    // Thread id and direction.
    (((key >> 32) as u32) << 1 | key as u32 & 1) & (crate::limits::SEATS - 1)
}

pub mod counter;

const _: () = assert!(core::mem::size_of::<ConnState>() == 192);
const _: () = assert!(core::mem::size_of::<Call>() == 48);
const _: () = assert!(core::mem::size_of::<RecordKeys>() == 184);
const _: () = assert!(core::mem::size_of::<GoroutineCall>() == 16);
const _: () = assert!(core::mem::size_of::<KeptGoroutineCall>() == 64);
const _: () = assert!(core::mem::size_of::<Seat>() == 64, "a cache line");
const _: () = assert!(crate::limits::SEATS.is_power_of_two());
