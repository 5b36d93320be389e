//! `inspect streams|stream -o json` as the public contract describes it: read here by its own definition, so that a
//! renamed field is a failed test.

use serde::Deserialize;

/// One stream.
#[derive(Clone, Debug, Deserialize)]
pub struct Ledger {
    pub id: String,
    pub service: String,
    pub pid: u32,
    pub comm: String,
    pub provider: String,
    pub server_address: Option<String>,
    pub remote: Option<Remote>,
    pub protocol: String,
    pub api: String,
    pub request_model: Option<String>,
    pub response_model: Option<String>,
    pub status: Option<u16>,
    pub outcome: Option<String>,
    pub started: Option<String>,
    pub duration_seconds: Option<f64>,
    pub first_seconds: Firsts,
    #[serde(deserialize_with = "count")]
    pub events: u64,
    #[serde(deserialize_with = "count")]
    pub keepalives: u64,
    #[serde(deserialize_with = "count")]
    pub chunks: u64,
    #[serde(deserialize_with = "count")]
    pub visible_chars: u64,
    #[serde(deserialize_with = "count")]
    pub reasoning_chars: u64,
    #[serde(deserialize_with = "count")]
    pub tool_chars: u64,
    #[serde(deserialize_with = "count")]
    pub refusal_chars: u64,
    pub gaps: Gaps,
    pub arrival_gaps: Gaps,
    pub stalls: Vec<Stall>,
    pub tokens: Tokens,
    pub finish_reason: Option<String>,
    pub error_kind: Option<String>,
    pub attempt: Option<u32>,
    pub visibility: String,
    pub lost: Lost,
    pub notes: Vec<String>,
    /// Only from `inspect stream ID`.
    #[serde(default)]
    pub timeline: Vec<Point>,
}

/// What was not seen (of a stream whose shape alone is) counts as nothing here.
fn count<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(0))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct Firsts {
    pub byte: Option<f64>,
    pub event: Option<f64>,
    pub emitted: Option<f64>,
    pub reasoning: Option<f64>,
    pub visible: Option<f64>,
    pub tool: Option<f64>,
    pub audio: Option<f64>,
    pub sentence: Option<f64>,
}

impl Firsts {
    /// Every milestone with its name.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Option<f64>); 8] {
        [
            ("byte", self.byte),
            ("event", self.event),
            ("emitted", self.emitted),
            ("reasoning", self.reasoning),
            ("visible", self.visible),
            ("tool", self.tool),
            ("audio", self.audio),
            ("sentence", self.sentence),
        ]
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Remote {
    pub ip: Option<String>,
    pub port: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Gaps {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub max: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Stall {
    pub seconds: f64,
    pub cause: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Tokens {
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub cached: Option<u64>,
    pub reasoning: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Lost {
    pub bytes: Option<u64>,
    pub cause: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Point {
    /// Seconds from the first byte of the request.
    pub seconds: f64,
    pub kind: String,
    pub chars: u32,
    /// From arrival to read.
    pub lag_seconds: Option<f64>,
}

/// Further than this from a milestone, a point of the timeline was not read with it, seconds.
const READ_TOGETHER: f64 = 0.001;

impl Ledger {
    /// How long the bytes lay in the socket that were read at a milestone; 0 where that is not known.
    #[must_use]
    pub fn lag_at(&self, milestone: f64) -> f64 {
        let together = self.timeline.iter().find(|point| (point.seconds - milestone).abs() < READ_TOGETHER);
        together.and_then(|point| point.lag_seconds).unwrap_or(0.0)
    }
}

/// One row of `inspect processes`.
#[derive(Clone, Debug, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub comm: String,
    pub visibility: String,
    pub reason: String,
    pub library: Option<String>,
    pub unmatched: Option<u64>,
}

/// One row of `inspect probes`.
#[derive(Clone, Debug, Deserialize)]
pub struct Probe {
    pub probe: String,
    pub target: String,
    pub state: String,
    pub placement: String,
    pub hits: Option<u64>,
    pub reason: String,
    pub stack: Option<String>,
    pub anchor: Option<String>,
    pub processes: Option<u32>,
}
