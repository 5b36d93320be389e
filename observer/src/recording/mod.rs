//! Recordings: what the kernel handed up, kept in a file, so that the same pipeline can see it again without a kernel.
//!
//! ```text
//! file   = magic "LLMOREC\n" | version u16 = 1 | payload u8 (0 none, 1 sse, 2 full) | 0 u8 | wall i64 | frame*
//! frame  = kind u8 | length u32 | body (length bytes)
//! body 1 = tgid u32 | start_ns u64 | comm | exe | service | namespace | workload | pod | container | container_id
//!          | known u8 | uid u32 | pod_uid | workload_kind | node                (absent in older files)
//!      2 = conn | at u64                                                        (a TLS object was born)
//!      3 = conn | direction u8 | flags u8 | cause u8 | at u64 | entered u64 | pos u64 | call_len u32 | offset u32
//!          | size u32 | size bytes if flag 4                                    (plaintext moved)
//!      4 = conn | at u64                                                        (the application's goodbye)
//!      5 = conn | at u64 | clean u8                                             (the peer's end)
//!      6 = conn | at u64 | read_pos u64 | write_pos u64                         (the TLS object is gone)
//!      7 = tgid u32 | at u64                                                    (a process ended)
//!      8 = conn | addr                                                          (the peer's address)
//!      9 = conn | sock | addr | method u8 | confidence u8                       (the socket below a TLS object)
//!     10 = sock | tgid u32 | start_ns u64 | flags u8 | at u64 | connect_at u64 | addr (peer) | addr (local, if flag 2)
//!                                                                               (a socket is followed)
//!     11 = sock | direction u8 | flags u8 | cause u8 | at u64 | seq u32 | len u32 | size u32 | size bytes if flag 4
//!          | acknowledges u8 | ack u32 | missed u32                               (a TCP segment)
//!     12 = sock | at u64 | flags u8 | srtt_us u32 | retransmits u32             (what TCP knows)
//!     13 = sock | at u64                                                        (a socket is closed)
//!     14 = conn | at u64 | read u64 | written u64 | exists u8                   (the kernel's count, after a loss)
//!     15 = known u8 | tgid u32 | at u64                                        (a program was started below a process)
//! addr   = 16 bytes of an IPv6 or IPv4-mapped address | port u16
//! sock   = cookie u64
//! conn   = handle u64 | start_ns u64 | tgid u32 | generation u32
//! flags  = 1 born | 2 bytes missing, see cause (index in LossCause::ALL) | 4 payload follows
//!          of 10: 1 born | 2 local address follows | 4 connect_at is known; of 12: 1 srtt_us, 2 retransmits are known
//!          of 11: also 8 SYN | 16 FIN | 32 RST | 64 no room to receive | 128 its sender's timer had run out
//! method = index in PairingMethod::ALL; confidence: 0 low, 1 high
//! text   = length u16 | UTF-8 bytes; length 65535: not known
//! ```
//! All numbers are little-endian; times are nanoseconds on CLOCK_BOOTTIME; `wall` is the wall clock minus that clock.
//! A reader skips frames of a kind it does not know and bytes behind a body it does. The file may end anywhere.
//!
//! What is kept of the plaintext is the operator's choice (`PayloadMode`): `full` holds everything
//! that was said, secrets included, and is for the owner's eyes; `none` and `sse` hold neither
//! secrets nor anybody's words.
#![deny(clippy::disallowed_methods, reason = "works on any Read and Write: opening files is the caller's")]

mod frames;
mod mask;
mod read;
mod redact;
mod replay;
mod sock;
mod write;

use std::io;

pub use read::RecordingReader;
pub use redact::Recorder;
pub use replay::{ReplaySummary, replay};
pub use write::RecordingWriter;

/// First bytes of a recording.
const MAGIC: &[u8; 8] = b"LLMOREC\n";
/// Version of the format.
const VERSION: u16 = 1;
/// No frame is longer: a call's largest piece and its head are under 64 KiB.
const MAX_FRAME: usize = 1024 * 1024;
/// A text that is not known.
const UNKNOWN: u16 = u16::MAX;

const PROCESS: u8 = 1;
const OPEN: u8 = 2;
const DATA: u8 = 3;
const SHUTDOWN: u8 = 4;
const READ_END: u8 = 5;
const CLOSE: u8 = 6;
const EXIT: u8 = 7;
const REMOTE: u8 = 8;
const JOINED: u8 = 9;
const SOCK_OPEN: u8 = 10;
const SEGMENT: u8 = 11;
const SOCK_INFO: u8 = 12;
const SOCK_CLOSE: u8 = 13;
const AUDITED: u8 = 14;
const STARTED: u8 = 15;
/// The newest kind: frames of higher ones are skipped.
const LAST_KIND: u8 = STARTED;

const FLAG_BORN: u8 = 1;
const FLAG_LOST: u8 = 2;
const FLAG_PAYLOAD: u8 = 4;
const FLAG_SYN: u8 = 8;
const FLAG_FIN: u8 = 16;
const FLAG_RST: u8 = 32;
const FLAG_ZERO_WINDOW: u8 = 64;
const FLAG_TIMED_OUT: u8 = 128;

/// Of a socket's opening, beside `FLAG_BORN`.
const FLAG_LOCAL: u8 = 2;
const FLAG_CONNECTED: u8 = 4;

/// Of what TCP knows.
const FLAG_SRTT: u8 = 1;
const FLAG_RETRANSMITS: u8 = 2;

/// How much of the plaintext a recording holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PayloadMode {
    /// Nothing: stamps, positions and sizes. A replay sees gaps of exact sizes instead of bytes.
    #[default]
    None,
    /// Streams of model calls as events, every text in them masked letter by letter: a replay finds
    /// the same calls, events, character counts, times, tokens and outcomes. Requests are reduced
    /// to method, path, host, model and `stream`.
    Sse,
    /// Every byte: headers, keys, prompts and answers.
    Full,
}

impl PayloadMode {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sse => "sse",
            Self::Full => "full",
        }
    }
}

/// Why a recording cannot be read. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// Another kind of file.
    #[error("not a recording: it does not begin with LLMOREC; give a file written by `llm-observer record`")]
    NotARecording,
    /// A later format.
    #[error(
        "recording of format {0}, this program reads format {VERSION}; use the version of llm-observer that wrote it"
    )]
    Version(u16),
    /// The file is damaged.
    #[error("damaged recording: {what} at byte {offset}; what came before it was read")]
    Damaged {
        /// What is wrong.
        what: &'static str,
        /// Where the frame begins.
        offset: u64,
    },
    /// The file cannot be read.
    #[error("cannot read the recording")]
    Io(#[from] io::Error),
}

/// For fuzzing: a recording of anything, through everything, and recorded again with its words
/// masked. Nothing may panic, and what is written must be readable.
pub fn fuzz(data: &[u8]) {
    use ledger::pipeline::{Pipeline, PipelineSettings};
    if let Ok(mut reader) = RecordingReader::new(data) {
        let _ = replay(&mut reader, &mut Pipeline::new(PipelineSettings::default(), ()));
    }
    let (Ok(mut reader), Ok(mut recorder)) =
        (RecordingReader::new(data), Recorder::new(Vec::new(), PayloadMode::Sse, 0, PipelineSettings::default()))
    else {
        return;
    };
    while let Ok(Some(record)) = reader.next_record() {
        let _ = recorder.record(&record);
    }
    let written = recorder.finish().unwrap_or_default();
    let read = RecordingReader::new(&written[..])
        .and_then(|mut again| replay(&mut again, &mut Pipeline::new(PipelineSettings::default(), ())));
    assert!(read.is_ok_and(|done| !done.cut && done.skipped == 0));
}

#[cfg(test)]
mod tests;
