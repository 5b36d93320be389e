//! The write log: every write with its stamps, as NDJSON. It is the ground truth that ledgers are compared with.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::clock::Stamp;
use crate::dialect::Api;
use crate::script::Kind;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Line {
    /// A TCP connection was accepted.
    Accept { conn: u64, peer_port: u16, at: Stamp },
    /// A whole request was read.
    Request(Request),
    /// One write system call that the kernel took whole.
    Write(WriteLine),
    /// A fault was played.
    Fault { conn: u64, request: u64, scenario: String, model: String, fault: String, at: Stamp },
    /// The client gave a request up, but not its connection (RST_STREAM, `response.cancel`).
    Cancel { conn: u64, request: u64, at: Stamp },
    /// A connection ended; `how`: `peer_fin`, `peer_reset`, `fin`, `reset`, `tls_failed`.
    Close { conn: u64, how: String, at: Stamp },
}

/// A request as the provider saw it. Bodies and secrets are not logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub conn: u64,
    /// Ordinal of the request on its connection, from 0; on a WebSocket that of the turn.
    pub request: u64,
    pub protocol: Protocol,
    /// `None`: not a model call.
    pub api: Option<Api>,
    pub method: String,
    pub path: String,
    /// The scenario that answers; `None`: no such scenario, or not a model call.
    pub scenario: Option<String>,
    /// Status of its reply.
    pub status: Option<u16>,
    /// The model as the request names it; empty where there is none.
    pub model: String,
    /// `stream: true` was asked for.
    pub stream: bool,
    /// The SDK's retry mark (`x-stainless-retry-count`).
    pub attempt: Option<u32>,
    pub body_bytes: u64,
    /// What the answer reports of tokens if it comes to its end.
    pub tokens: Reported,
    /// After the read that brought the request's first byte.
    pub first_byte: Stamp,
    /// After the read that brought its last byte.
    pub end: Stamp,
}

/// How a connection carries its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Http1,
    Http2,
    Websocket,
}

/// Token counts that an answer's dialect reports; `None`: it has no such field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub cached: Option<u64>,
    pub reasoning: Option<u64>,
}

/// One write. On HTTP/2 it may have carried parts of several streams: then each has a line, with the bytes of all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WriteLine {
    pub conn: u64,
    pub request: u64,
    pub scenario: String,
    pub model: String,
    /// Bytes given to the system call (TLS records, headers of records included).
    pub bytes: u64,
    /// Plaintext bytes among them.
    pub plain: u64,
    /// What became complete at the client by this write.
    pub parts: Vec<Part>,
    /// Just before the system call.
    pub before: Stamp,
    /// Just after it.
    pub after: Stamp,
}

/// One event, or another piece of the answer, that a write completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Ordinal of the step in the reply's script.
    pub step: u32,
    pub kind: Kind,
    /// Unicode scalar values of the delta; of a tool call's begin, those of its name.
    pub chars: u32,
    /// The text has a full stop, which in made-up texts always ends a sentence.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full_stop: bool,
}

/// Where lines go: memory (for tests in this process), a file, or both.
pub struct Log {
    inner: Mutex<Inner>,
}

struct Inner {
    lines: Option<Vec<Line>>,
    file: Option<BufWriter<File>>,
}

impl Log {
    /// A log that keeps lines in memory if `keep`, and appends them to `file` if given.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn new(keep: bool, file: Option<&Path>) -> Result<Self> {
        let file = file
            .map(|path| File::create(path).with_context(|| format!("cannot create the write log {}", path.display())))
            .transpose()?
            .map(BufWriter::new);
        Ok(Self { inner: Mutex::new(Inner { lines: keep.then(Vec::new), file }) })
    }

    /// The lines so far (empty when none are kept in memory).
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.lock().lines.clone().unwrap_or_default()
    }

    /// Hands buffered lines to the file. A log that cannot be written is reported and dropped: the provider goes on.
    pub fn flush(&self) {
        let mut inner = self.lock();
        if let Some(Err(error)) = inner.file.as_mut().map(Write::flush) {
            eprintln!("llmo-provider: the write log failed and ends here: {error}");
            inner.file = None;
        }
    }

    pub(crate) fn push(&self, line: Line) {
        let mut inner = self.lock();
        if let Some(file) = inner.file.as_mut() {
            // An error here shows again, and is reported, at the next flush.
            let _ = serde_json::to_writer(&mut *file, &line).map(|()| file.write_all(b"\n"));
        }
        if let Some(lines) = inner.lines.as_mut() {
            lines.push(line);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // A panic elsewhere leaves whole lines only.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a log file.
///
/// # Errors
/// If the file cannot be read or a line is not of this format.
pub fn read(path: &Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not a log line: {line}"))).collect()
}
