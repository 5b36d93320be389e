//! The small value types that every stage shares.

use std::ops::Sub;

/// A moment: nanoseconds on CLOCK_BOOTTIME. Durations never leave this clock; `cli` and `export` alone turn it
/// into wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ns(pub u64);

impl Ns {
    /// Seconds from `earlier` to `self`; 0 if `earlier` is later (stamps of two CPUs may differ by nanoseconds).
    #[must_use]
    pub fn seconds_since(self, earlier: Ns) -> f64 {
        (self - earlier) as f64 / 1e9
    }
}

impl Sub for Ns {
    type Output = u64;
    /// Nanoseconds between two moments, saturating at 0.
    fn sub(self, earlier: Ns) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Which way bytes went, from the observed application's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// The application read: from the provider.
    Read,
    /// The application wrote: to the provider.
    Write,
}

/// When some bytes reached the application, and by which read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Moment {
    /// When the call that moved the bytes returned (the *read* timeline); of bytes written, when it
    /// was entered: from then on they exist, and may be answered before it returns.
    pub at: Ns,
    /// When the bytes reached the host (the *arrival* timeline), where the socket layer could tell.
    pub arrival: Option<Ns>,
    /// Ordinal of the call in its direction of the connection: bytes of one call share it and their stamp, so
    /// gaps between events of the same call carry no information.
    pub call: u64,
}

/// Why bytes are missing. The wire names are the values of the `cause` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LossCause {
    /// The ring had no room.
    RingFull,
    /// The call moved more than one call's limit.
    Truncated,
    /// The bytes could not be read from the process's memory.
    Fault,
    /// The connection was already open when the observer came.
    LateAttach,
    /// The kernel's table of connections or calls was full.
    TableFull,
    /// The kernel's table was nearly full, and whoever made the call had most of it.
    OverShare,
    /// A cap of the pipeline was reached (see `limits`).
    Cap,
    /// The two directions of a connection could not be told to be one.
    Unpaired,
}

impl LossCause {
    /// Every cause, in the order of the wire names.
    pub const ALL: [LossCause; 8] = [
        Self::RingFull,
        Self::Truncated,
        Self::Fault,
        Self::LateAttach,
        Self::TableFull,
        Self::OverShare,
        Self::Cap,
        Self::Unpaired,
    ];

    /// The value of the `cause` label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::Truncated => "truncated",
            Self::Fault => "fault",
            Self::LateAttach => "late_attach",
            Self::TableFull => "table_full",
            Self::OverShare => "over_share",
            Self::Cap => "cap",
            Self::Unpaired => "unpaired",
        }
    }
}

/// Units of a duration in words, and their seconds. Of two that begin alike, the longer one is first.
const DURATIONS: [(&str, f64); 8] =
    [("ms", 1e-3), ("us", 1e-6), ("µs", 1e-6), ("ns", 1e-9), ("h", 3600.0), ("m", 60.0), ("s", 1.0), ("d", 86_400.0)];

/// Seconds of a duration in words: `16m17.764s`, `12ms`, `1h`.
#[must_use]
pub fn duration_seconds(text: &str) -> Option<f64> {
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let (unit, scale) = DURATIONS.into_iter().find(|(unit, _)| after.starts_with(unit))?;
        seconds += number.parse::<f64>().ok()? * scale;
        rest = after.strip_prefix(unit)?;
    }
    (!text.is_empty()).then_some(seconds)
}
