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
use tokio::time::{interval, timeout};

use super::{AnswerLine, AnswerRow, InspectQuestion, QUESTION_BYTES};
use crate::export::ask::PipelineClient;
use crate::export::hidden;
use crate::export::refusals::{ClientRefusal, RefusalCounts};
use crate::export::room::{ClientLimits, ClientSlot, ClientSlots, PeerNetwork};

/// Clients at once: a descriptor each. They are all the operator's, so none is told from another;
/// who says nothing leaves first when there are too many, so that nobody has to wait for those who
/// do.
const BOUNDS: ClientLimits = ClientLimits {
    most: 128,
    full: ClientRefusal::InspectConnections,
    most_each: 128,
    peer_full: ClientRefusal::InspectConnections,
};

/// How long a client may take to ask, or to take a piece of the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of an answer that are sent at once.
const PIECE: usize = 64 << 10;

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
pub struct InspectSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl InspectSocket {
    /// Binds `path` with mode 0600. A socket left behind by a daemon that died is replaced. Needs a tokio runtime.
    pub fn bind(path: &Path) -> Result<InspectSocket, BindError> {
        let io = |source| BindError::Io { path: path.into(), source };
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(io)?;
        }
        clear(path)?;
        let listener = UnixListener::bind(path).map_err(io)?;
        // Between bind and chmod others could connect; `serve` refuses them by their credentials.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io)?;
        let inode = fs::symlink_metadata(path).map_err(io)?.ino();
        Ok(InspectSocket { listener, path: path.into(), inode })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves until the process ends. Never returns an error: a client's fault is the client's.
    pub async fn serve(self, asker: PipelineClient, refusals: Arc<RefusalCounts>) {
        let room = ClientSlots::new(BOUNDS, refusals);
        let mut failing = false;
        loop {
            match self.listener.accept().await {
                Ok((client, _)) => {
                    failing = false;
                    tokio::spawn(guest(client, asker.clone(), room.enter(PeerNetwork::ANY)));
                    // Who is in may ask before the next comes.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "cannot accept an inspect client");
                    }
                    room.make_room(ClientRefusal::InspectConnections);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for InspectSocket {
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

async fn guest(client: UnixStream, asker: PipelineClient, place: ClientSlot) {
    let served = tokio::select! {
        served = serve_client(client, &asker, &place) => served,
        () = place.taken() => Err(io::Error::other("newer clients took its place")),
    };
    if let Err(error) = served {
        if error.kind() == io::ErrorKind::TimedOut {
            place.refuse(ClientRefusal::InspectSlowReader);
        }
        tracing::debug!(%error, "inspect client went away");
    }
}

async fn serve_client(client: UnixStream, asker: &PipelineClient, place: &ClientSlot) -> io::Result<()> {
    let allowed = allowed(&client);
    let (read, mut write) = client.into_split();
    if !allowed {
        place.refuse(ClientRefusal::InspectNotAllowed);
        return send(&mut write, &refusal("only root and the daemon's own user may ask")).await;
    }
    let mut read = BufReader::new(read);
    let question = match timeout(PATIENCE, ask(&mut read)).await {
        Ok(Ok(question)) => question,
        Ok(Err(error)) => return send(&mut write, &refusal(&error)).await,
        Err(_) => {
            place.refuse(ClientRefusal::InspectSilent);
            return Ok(());
        }
    };
    place.set_busy(true);
    match question {
        InspectQuestion::Streams { follow: true, since_seconds, .. } => {
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

async fn ask(read: &mut BufReader<OwnedReadHalf>) -> Result<InspectQuestion, String> {
    let mut line = Vec::new();
    let mut bounded = read.take(QUESTION_BYTES);
    bounded.read_until(b'\n', &mut line).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&line).map_err(|error| {
        format!("this daemon does not understand the question ({error}): are client and daemon of the same version?")
    })
}

async fn answer(asker: &PipelineClient, question: InspectQuestion, write: &mut OwnedWriteHalf) -> io::Result<()> {
    let rows = match asker.inspect(question).await {
        Ok(rows) => rows,
        Err(error) => return send(write, &refusal(&error)).await,
    };
    send_rows(write, &rows, |_| true).await?;
    send(write, &json(&AnswerLine::End { rows: rows.len() })).await
}

/// Sends the rows wanted, some at a time: the text of thousands is megabytes, which nobody need hold.
async fn send_rows(
    write: &mut OwnedWriteHalf,
    rows: &[AnswerRow],
    wanted: impl Fn(&AnswerRow) -> bool,
) -> io::Result<()> {
    let mut text = Vec::new();
    for row in rows.iter().filter(|row| wanted(row)) {
        text.extend(line(row));
        if text.len() >= PIECE {
            send(write, &text).await?;
            text.clear();
        }
    }
    send(write, &text).await
}

/// Sends every stream once, then each that changed, until the client goes away.
async fn follow(
    asker: &PipelineClient,
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
        let rows = match asker.inspect(InspectQuestion::Streams { since_seconds, follow: true, also }).await {
            Ok(rows) => rows,
            Err(error) => return send(write, &refusal(&error)).await,
        };
        send_rows(write, &rows, |row| changed(&sent, row)).await?;
        sent = rows.iter().filter_map(state).collect();
        since_seconds = FOLLOW_BACK_SECONDS;
    }
}

/// What makes a stream worth another line: (events, status known, ended).
type State = (u64, bool, bool);

fn state(row: &AnswerRow) -> Option<(String, State)> {
    let AnswerRow::Stream(stream) = row else { return None };
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

fn changed(sent: &HashMap<String, State>, row: &AnswerRow) -> bool {
    state(row).is_none_or(|(id, state)| sent.get(&id) != Some(&state))
}

async fn send(write: &mut OwnedWriteHalf, text: &[u8]) -> io::Result<()> {
    timeout(PATIENCE, write.write_all(text)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn refusal(error: &str) -> Vec<u8> {
    json(&AnswerLine::Error(error.to_owned()))
}

fn line(row: &AnswerRow) -> Vec<u8> {
    // Rows are plain structs: they always serialise.
    serde_json::to_string(row)
        .ok()
        .and_then(|text| serde_json::value::RawValue::from_string(hidden::json(text)).ok())
        .map_or_else(Vec::new, |row| json(&AnswerLine::Row(row)))
}

fn json(line: &AnswerLine) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}
