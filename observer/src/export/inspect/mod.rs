//! `inspect`: what the daemon knows, over a unix socket, as newline-delimited JSON.
//!
//! ```text
//! client → {"streams":{"since_seconds":900.0,"follow":false}}
//! daemon → {"row":{…}} …  {"end":{"rows":2}}      or      {"error":"…"}
//! ```
//! Answers end with `end`, so that a daemon that dies in the middle cannot pass for a short list.

pub mod client;
pub mod columns;
pub mod connection;
pub mod coverage;
pub mod finding;
pub mod queries;
pub mod quota;
pub mod server;
pub mod sight;
pub mod table;
pub mod view;

use serde::{Deserialize, Serialize};

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum InspectQuestion {
    /// Open streams and those that ended within `since_seconds`; with `follow`, then every change.
    Streams {
        since_seconds: f64,
        follow: bool,
        /// The daemon's own: streams that a follower saw open, wanted however long ago they ended.
        #[serde(skip)]
        also: Vec<String>,
    },
    /// The stream whose id begins with `id`, with its timeline.
    Stream {
        id: String,
    },
    /// Open connections that have carried a model call.
    Connections,
    Processes,
    Probes,
    Quota,
    /// What the daemon can see and cannot: the lines of `doctor`.
    Sights,
    /// Findings that last and those that were over within `since_seconds`; with `id`, those whose id begins with it.
    Findings {
        since_seconds: f64,
        id: Option<String>,
    },
}

/// One line of the daemon's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerLine {
    Row(Box<serde_json::value::RawValue>),
    /// Whose fault and what to do, in one sentence.
    Error(String),
    End {
        rows: usize,
    },
}

/// What the pipeline's thread answers with, or whose fault it is and what to do.
pub type AnswerRows = Result<InspectRows, String>;

/// The rows of an answer.
#[derive(Debug)]
pub enum InspectRows {
    Ready(Vec<AnswerRow>),
    /// Thousands, perhaps: rows are made where they are written.
    Streams(queries::StreamsSnapshot),
}

impl InspectRows {
    /// The rows, made now.
    #[must_use]
    pub fn made(self) -> Vec<AnswerRow> {
        match self {
            InspectRows::Ready(rows) => rows,
            InspectRows::Streams(streams) => streams.rows(),
        }
    }
}

/// One object of an answer.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum AnswerRow {
    Stream(Box<view::StreamView>),
    Detail(Box<view::StreamDetailView>),
    Connection(Box<connection::ConnectionView>),
    Process(view::ProcessView),
    Probe(view::ProbeView),
    Finding(Box<finding::FindingView>),
    Quota(quota::QuotaView),
    Sight(sight::CheckView),
}

/// Longest question, and longest line of an answer that a client accepts (a stream with its timeline is 100 KB).
pub const QUESTION_BYTES: u64 = 64 * 1024;
