//! The asking end of `inspect`.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{AnswerLine, InspectQuestion};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "no daemon is listening on {0}: start one with `llm-observer run`, or name its socket with --inspect.socket"
    )]
    NoDaemon(PathBuf),
    #[error(
        "not allowed to open {0}: the socket belongs to the daemon's user, so ask as root (sudo llm-observer inspect …)"
    )]
    NotAllowed(PathBuf),
    #[error("{0}")]
    Refused(String),
    #[error("the daemon went away in the middle of its answer: ask again")]
    CutShort,
    #[error("what listens on {path} is no llm-observer, or another version of it: {source}")]
    Strange { path: PathBuf, source: serde_json::Error },
    #[error("cannot talk to the daemon on {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// Whoever reads our output has closed it (`| head`): no error for the user.
    #[error("the output was closed")]
    OutputClosed,
}

/// Asks, and hands every row to `row` as it comes. Returns when the answer is complete (never, for `follow`), or with
/// the error of `row`.
pub fn ask(
    path: &Path,
    question: &InspectQuestion,
    row: &mut dyn FnMut(&RawValue) -> Result<(), ClientError>,
) -> Result<(), ClientError> {
    let io = |source| ClientError::Io { path: path.into(), source };
    let mut socket = UnixStream::connect(path).map_err(|error| connect_error(path, error))?;
    let mut text = serde_json::to_vec(question).map_err(|source| ClientError::Strange { path: path.into(), source })?;
    text.push(b'\n');
    socket.write_all(&text).map_err(io)?;
    for line in BufReader::new(socket).lines() {
        let line = line.map_err(io)?;
        match serde_json::from_str(&line).map_err(|source| ClientError::Strange { path: path.into(), source })? {
            AnswerLine::Row(raw) => row(&raw)?,
            AnswerLine::Error(error) => return Err(ClientError::Refused(error)),
            AnswerLine::End { .. } => return Ok(()),
        }
    }
    Err(ClientError::CutShort)
}

/// Asks for a whole answer, read.
pub fn all<T: DeserializeOwned>(path: &Path, question: &InspectQuestion) -> Result<Vec<T>, ClientError> {
    let mut rows = Vec::new();
    ask(path, question, &mut |row| {
        let strange = |source| ClientError::Strange { path: path.into(), source };
        rows.push(serde_json::from_str(row.get()).map_err(strange)?);
        Ok(())
    })?;
    Ok(rows)
}

fn connect_error(path: &Path, error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NoDaemon(path.into()),
        io::ErrorKind::PermissionDenied => ClientError::NotAllowed(path.into()),
        _ => ClientError::Io { path: path.into(), source: error },
    }
}
