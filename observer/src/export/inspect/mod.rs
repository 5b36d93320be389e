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
pub mod finding;
pub mod quota;
pub mod server;
pub mod table;
pub mod view;

use serde::{Deserialize, Serialize};

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
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
    /// Findings that last and those that were over within `since_seconds`; with `id`, those whose id begins with it.
    Findings {
        since_seconds: f64,
        id: Option<String>,
    },
}

/// One line of the daemon's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Row(Box<serde_json::value::RawValue>),
    /// Whose fault and what to do, in one sentence.
    Error(String),
    End {
        rows: usize,
    },
}

/// What the pipeline's thread answers with: rows, ready to be written.
pub type Answer = Result<Vec<Row>, String>;

/// One object of an answer.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Row {
    Stream(Box<view::Stream>),
    Detail(Box<view::Detail>),
    Connection(Box<connection::Connection>),
    Process(view::Process),
    Probe(view::Probe),
    Finding(Box<finding::Finding>),
    Quota(quota::Quota),
}

/// Longest question, and longest line of an answer that a client accepts (a stream with its timeline is 100 KB).
pub const QUESTION_BYTES: u64 = 64 * 1024;
