//! The daemon's end of `inspect`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{interval, timeout};

use super::{Line, QUESTION_BYTES, Question, Row};
use crate::export::ask::Asker;

/// Clients served at once.
const CLIENTS: usize = 32;

/// How long a client may take to ask, or to take a piece of the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often `--follow` looks for changes.
const FOLLOW: Duration = Duration::from_millis(500);

/// How far back it looks, so that a stream whose end became known late is not missed.
const FOLLOW_BACK_SECONDS: f64 = 15.0;

/// Why the socket cannot be had. Each is the operator's to solve.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("another llm-observer is listening on {0}: stop it first, or give this one another --inspect.socket")]
    Busy(PathBuf),
    #[error("{0} exists and is not a socket: remove it, or give another --inspect.socket")]
    NotASocket(PathBuf),
    #[error("cannot make the inspect socket {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// A bound socket; the file goes away with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Socket {
    /// Binds `path` with mode 0600. A socket left behind by a daemon that died is replaced. Needs a tokio runtime.
    pub fn bind(path: &Path) -> Result<Socket, BindError> {
        let io = |source| BindError::Io { path: path.into(), source };
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(io)?;
        }
        clear(path)?;
        let listener = UnixListener::bind(path).map_err(io)?;
        // Between bind and chmod others could connect; `serve` refuses them by their credentials.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io)?;
        let inode = fs::symlink_metadata(path).map_err(io)?.ino();
        Ok(Socket { listener, path: path.into(), inode })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves until the process ends. Never returns an error: a client's fault is the client's.
    pub async fn serve(self, asker: Asker) {
        let room = Arc::new(Semaphore::new(CLIENTS));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((client, _)) => {
                    let asker = asker.clone();
                    tokio::spawn(async move {
                        if let Err(error) = serve_client(client, &asker).await {
                            tracing::debug!(%error, "inspect client went away");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an inspect client");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Only our own file: another daemon may have replaced it.
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes room for a socket: removes a dead one, refuses a living one and anything else.
fn clear(path: &Path) -> Result<(), BindError> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        return Err(BindError::NotASocket(path.into()));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|source| BindError::Io { path: path.into(), source })
        }
        Ok(_) => Err(BindError::Busy(path.into())),
        Err(source) => Err(BindError::Io { path: path.into(), source }),
    }
}

async fn serve_client(client: UnixStream, asker: &Asker) -> io::Result<()> {
    let allowed = allowed(&client);
    let (read, mut write) = client.into_split();
    if !allowed {
        return send(&mut write, &refusal("only root and the daemon's own user may ask")).await;
    }
    let mut read = BufReader::new(read);
    let question = match timeout(PATIENCE, ask(&mut read)).await {
        Ok(Ok(question)) => question,
        Ok(Err(error)) => return send(&mut write, &refusal(&error)).await,
        Err(_) => return Ok(()),
    };
    match question {
        Question::Streams { follow: true, since_seconds, .. } => {
            follow(asker, since_seconds, &mut read, &mut write).await
        }
        question => answer(asker, question, &mut write).await,
    }
}

/// The peer is root or runs as the daemon does.
fn allowed(client: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    client.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own)
}

async fn ask(read: &mut BufReader<OwnedReadHalf>) -> Result<Question, String> {
    let mut line = Vec::new();
    let mut bounded = read.take(QUESTION_BYTES);
    bounded.read_until(b'\n', &mut line).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&line).map_err(|error| {
        format!("this daemon does not understand the question ({error}): are client and daemon of the same version?")
    })
}

async fn answer(asker: &Asker, question: Question, write: &mut OwnedWriteHalf) -> io::Result<()> {
    let rows = match asker.inspect(question).await {
        Ok(rows) => rows,
        Err(error) => return send(write, &refusal(&error)).await,
    };
    let mut text = Vec::new();
    rows.iter().for_each(|row| text.extend(line(row)));
    text.extend(json(&Line::End { rows: rows.len() }));
    send(write, &text).await
}

/// Sends every stream once, then each that changed, until the client goes away.
async fn follow(
    asker: &Asker,
    mut since_seconds: f64,
    read: &mut BufReader<OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let mut sent = HashMap::new();
    let mut beat = interval(FOLLOW);
    loop {
        let mut byte = [0];
        tokio::select! {
            _ = beat.tick() => {}
            // A client has nothing more to say: what comes is its end.
            _ = read.read(&mut byte) => return Ok(()),
        }
        let also = open(&sent);
        let rows = match asker.inspect(Question::Streams { since_seconds, follow: true, also }).await {
            Ok(rows) => rows,
            Err(error) => return send(write, &refusal(&error)).await,
        };
        let mut text = Vec::new();
        rows.iter().filter(|row| changed(&sent, row)).for_each(|row| text.extend(line(row)));
        sent = rows.iter().filter_map(state).collect();
        send(write, &text).await?;
        since_seconds = FOLLOW_BACK_SECONDS;
    }
}

/// What makes a stream worth another line: (events, status known, ended).
type State = (u64, bool, bool);

fn state(row: &Row) -> Option<(String, State)> {
    let Row::Stream(stream) = row else { return None };
    Some((
        stream.id.clone(),
        (
            stream.events.or(stream.wire.as_ref().map(|wire| wire.records)).unwrap_or(0),
            stream.status.is_some(),
            stream.outcome.is_some(),
        ),
    ))
}

fn open(sent: &HashMap<String, State>) -> Vec<String> {
    sent.iter().filter(|(_, (_, _, ended))| !ended).map(|(id, _)| id.clone()).collect()
}

fn changed(sent: &HashMap<String, State>, row: &Row) -> bool {
    state(row).is_none_or(|(id, state)| sent.get(&id) != Some(&state))
}

async fn send(write: &mut OwnedWriteHalf, text: &[u8]) -> io::Result<()> {
    timeout(PATIENCE, write.write_all(text)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn refusal(error: &str) -> Vec<u8> {
    json(&Line::Error(error.to_owned()))
}

fn line(row: &Row) -> Vec<u8> {
    // Rows are plain structs: they always serialise.
    serde_json::to_string(row)
        .ok()
        .and_then(|text| serde_json::value::RawValue::from_string(text).ok())
        .map_or_else(Vec::new, |row| json(&Line::Row(row)))
}

fn json(line: &Line) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}
