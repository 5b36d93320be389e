//! When the chunks of a stream came: by the clock of their arrival where the socket layer knew it
//! for every one of them, else by that of the application's reads, which a busy application bends.

use serde::{Deserialize, Serialize};

use ledger::{AnswerStall, Entry};

/// The head of a stream, as the ledger measures it.
pub(super) const HEAD_SECONDS: f64 = 0.2;

/// What arrives closer together than this was sent together: segments of one write are stamped some microseconds apart,
/// and the fastest model there is takes longer for a token.
const TOGETHER_SECONDS: f64 = 0.0002;

/// Which times a number rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ChunkTimeline {
    /// When bytes reached the host.
    Arrival,
    /// When the application read them. Baselines saved before there was a choice rest on it.
    #[default]
    Read,
}

impl ChunkTimeline {
    pub(super) fn name(self) -> &'static str {
        match self {
            ChunkTimeline::Arrival => "arrival",
            ChunkTimeline::Read => "read",
        }
    }
}

/// Chunks of a stream that is still open.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OpenStreamChunks {
    chunks: u64,
    first_chars: u64,
    /// Seconds since the first chunk, by reads and by arrivals.
    read: f64,
    arrival: f64,
    /// The arrival of some chunk is not known.
    unknown: bool,
    /// Chunks that did not come together with the one before.
    arrivals: u64,
    /// Characters that arrived within `HEAD_SECONDS` of the first.
    head_chars: u64,
}

/// How a stream was delivered.
pub(super) struct StreamDelivery {
    /// From the first chunk to the last.
    pub seconds: f64,
    /// Events a read, or chunks an arrival.
    pub together: f64,
    /// Share of the characters in the first 200 ms.
    pub head_share: f64,
    /// It stalled, and nobody on this host or on the way is known to be to blame.
    pub stalled: bool,
}

impl OpenStreamChunks {
    /// One more chunk, so many seconds behind the one before.
    pub(super) fn chunk(&mut self, gap: Option<f64>, arrival_gap: Option<f64>, chars: u64) {
        self.chunks += 1;
        if self.chunks == 1 {
            (self.first_chars, self.head_chars, self.arrivals) = (chars, chars, 1);
            return;
        }
        self.read += gap.unwrap_or(0.0);
        match arrival_gap {
            Some(gap) => {
                self.arrival += gap;
                self.arrivals += u64::from(gap > TOGETHER_SECONDS);
            }
            None => self.unknown = true,
        }
        if self.arrival <= HEAD_SECONDS {
            self.head_chars += chars;
        }
    }

    pub(super) fn first_chars(&self) -> u64 {
        self.first_chars
    }

    /// The clock that knows all of its chunks.
    pub(super) fn clock(&self) -> ChunkTimeline {
        if self.unknown || self.chunks < 2 { ChunkTimeline::Read } else { ChunkTimeline::Arrival }
    }

    pub(super) fn delivery(&self, entry: &Entry) -> StreamDelivery {
        let excused = |stall: &&AnswerStall| matches!(stall.cause, Some("local" | "network"));
        let excused = entry.stalls.iter().filter(excused).count();
        let stalled = entry.stalls.len() > excused;
        match self.clock() {
            ChunkTimeline::Arrival => StreamDelivery {
                seconds: self.arrival,
                together: self.chunks as f64 / self.arrivals.max(1) as f64,
                head_share: self.head_chars as f64 / entry.visible_chars.max(1) as f64,
                // A silence of the wire that the reader's lag hid in part has no cause of its own.
                stalled: stalled || (excused == 0 && entry.arrival_gaps.stats().is_some_and(|gaps| gaps.stalled())),
            },
            ChunkTimeline::Read => StreamDelivery {
                seconds: self.read,
                together: entry.events as f64 / entry.reads.max(1) as f64,
                head_share: entry.head_burst_ratio.unwrap_or(0.0),
                stalled,
            },
        }
    }
}
