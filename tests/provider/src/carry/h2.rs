//! HTTP/2, by the `h2` crate: any number of streams, each with a task of its own, share the connection and its writes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pipe::{Book, Entry, Pipe};
use crate::dialect::Asked;
use crate::headers::Headers;
use crate::http::{attempt, cut};
use crate::log::{Part, Protocol};
use crate::play::{Carrier, Over, Received, choose, play};
use crate::script::{Fault, Framing, Shape};
use crate::wire::{Gone, Wire};
use crate::{Shared, lock};

/// What the streams of one connection share.
#[derive(Clone)]
struct Common {
    shared: Arc<Shared>,
    conn: u64,
    book: Arc<Mutex<Book>>,
    /// A fault that ends the connection.
    ends: mpsc::UnboundedSender<Over>,
}

/// Serves a connection whose client has sent its preface, or begun to.
///
/// # Errors
/// If the client breaks the protocol.
pub(crate) async fn serve(shared: &Arc<Shared>, wire: Wire, conn: u64) -> (Option<Wire>, Result<Over>) {
    let wire = Arc::new(Mutex::new(wire));
    let book = Arc::new(Mutex::new(Book::default()));
    let (ends, ended) = mpsc::unbounded_channel();
    let common = Common { shared: shared.clone(), conn, book: book.clone(), ends };
    let over = streams(Pipe::new(wire.clone(), book.clone()), common, ended).await;
    {
        let mut book = lock(&book);
        book.gone = true;
        book.changed.notify_waiters();
    }
    // The tasks of streams hold no wire: with the connection dropped, this is the only one.
    (Arc::into_inner(wire).and_then(|wire| wire.into_inner().ok()), over)
}

async fn streams(pipe: Pipe, common: Common, mut ended: mpsc::UnboundedReceiver<Over>) -> Result<Over> {
    // Clients that are not told how many streams they may open open one at a time (httpx).
    let mut connection = h2::server::Builder::new().max_concurrent_streams(100).handshake(pipe).await?;
    for request in 0.. {
        tokio::select! {
            biased;
            accepted = connection.accept() => match accepted {
                Some(accepted) => {
                    let (asked, respond) = accepted?;
                    let common = common.clone();
                    // A stream's failure is its client's affair: the connection goes on.
                    tokio::spawn(async move { drop(stream(common, request, asked, respond).await) });
                }
                None => return Ok(Over::Peer(Gone::Fin)),
            },
            over = ended.recv() => return over.context("the streams cannot all be gone"),
        }
    }
    Ok(Over::Close)
}

async fn stream(
    common: Common,
    request: u64,
    asked: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<()> {
    let id = asked.body().stream_id().as_u32();
    let (head, body) = asked.into_parts();
    let bytes = collect(body).await?;
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let host = head.uri.authority().map_or("", |authority| authority.as_str()).to_owned();
    let attempt = head.headers.iter().find_map(|(name, value)| attempt(name.as_str(), value.to_str().ok()?));
    let (first_byte, end) = {
        let mut book = lock(&common.book);
        let entry = book.entry(id);
        (entry.first_byte, entry.end)
    };
    let received = Received {
        conn: common.conn,
        request,
        protocol: Protocol::Http2,
        method: head.method.as_str(),
        target: &target,
        attempt,
        body_bytes: bytes.len(),
        first_byte,
        end,
    };
    let asked = (head.method == http::Method::POST).then(|| Asked::read(&host, &target, &bytes)).flatten();
    let Some(chosen) = choose(&common.shared, &received, asked) else {
        let answer = Response::builder().status(404).body(())?;
        respond.send_response(answer, true)?;
        return Ok(());
    };
    lock(&common.book).entry(id).begin(&chosen.teller);
    let carrier = H2 { common: &common, id, respond: Some(respond), stream: None, held: None };
    let over = play(carrier, &chosen).await;
    lock(&common.book).forget(id);
    match over {
        Ok(Some(Over::Cancelled)) | Err(_) => {
            chosen.teller.cancelled();
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

async fn collect(mut body: RecvStream) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        bytes.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len())?;
    }
    Ok(bytes)
}

/// One answer on a stream.
struct H2<'a> {
    common: &'a Common,
    id: u32,
    respond: Option<SendResponse<Bytes>>,
    stream: Option<SendStream<Bytes>>,
    /// A head that waits for the first bytes, or bytes that wait for more: they share a frame's write.
    held: Option<Vec<u8>>,
}

impl H2<'_> {
    fn entry<T>(&self, change: impl FnOnce(&mut Entry) -> T) -> T {
        change(lock(&self.common.book).entry(self.id))
    }

    fn respond(&mut self, status: u16, fields: &Headers) -> Result<()> {
        let mut answer = Response::builder().status(status);
        for (name, value) in fields {
            answer = answer.header(name, value);
        }
        let mut respond = self.respond.take().context("the head was sent already")?;
        self.stream = Some(respond.send_response(answer.body(())?, false)?);
        Ok(())
    }

    /// One frame, or as many as the windows demand.
    async fn data(&mut self, mut bytes: Bytes, last: bool) -> Result<()> {
        let stream = self.stream.as_mut().context("no head was sent")?;
        while !bytes.is_empty() {
            stream.reserve_capacity(bytes.len());
            let window = std::future::poll_fn(|tasks| stream.poll_capacity(tasks)).await;
            let window = window.context("the client gave up")??;
            let piece = bytes.split_to(window.min(bytes.len()));
            stream.send_data(piece, last && bytes.is_empty())?;
        }
        Ok(())
    }

    /// Until everything is on the wire.
    async fn settle(&self) {
        loop {
            let changed = lock(&self.common.book).changed.clone();
            let told = changed.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            let gone = lock(&self.common.book).gone;
            if gone || self.entry(Entry::settled) {
                return;
            }
            told.await;
        }
    }

    /// The stream is held until the connection is gone: dropped before, it would be reset.
    async fn end_connection(&mut self, how: Over) -> Result<Over> {
        self.common.ends.send(how).map_err(|_| anyhow!("it is over"))?;
        self.until_reset().await?;
        Ok(Over::Reset)
    }

    async fn until_reset(&mut self) -> Result<Over> {
        let stream = self.stream.as_mut().context("no head was sent")?;
        // An error means that the connection is gone.
        let _ = std::future::poll_fn(|tasks| stream.poll_reset(tasks)).await;
        Ok(Over::Cancelled)
    }
}

impl Carrier for H2<'_> {
    async fn head(&mut self, status: u16, fields: &Headers, _framing: Framing, _hold: bool) -> Result<()> {
        self.respond(status, fields)
    }

    async fn whole(&mut self, status: u16, fields: &Headers, body: Vec<u8>, parts: [Part; 2]) -> Result<()> {
        self.entry(|entry| entry.give(body.len(), parts[1]));
        self.respond(status, fields)?;
        self.data(body.into(), true).await?;
        self.settle().await;
        Ok(())
    }

    async fn body(&mut self, bytes: &[u8], part: Part, shape: Shape) -> Result<()> {
        self.entry(|entry| entry.give(bytes.len(), part));
        if shape.hold || shape.cork {
            self.held.get_or_insert_default().extend_from_slice(bytes);
            return Ok(());
        }
        let bytes = [self.held.take().unwrap_or_default(), bytes.to_vec()].concat();
        let pieces = shape.chunks.max(shape.records);
        for (at, piece) in cut(&bytes, pieces).enumerate() {
            if at > 0 {
                tokio::time::sleep(Duration::from_micros(shape.between_us)).await;
            }
            self.data(Bytes::copy_from_slice(piece), false).await?;
        }
        Ok(())
    }

    async fn finish(&mut self, rest: &[u8]) -> Result<Option<Over>> {
        let rest = [self.held.take().unwrap_or_default(), rest.to_vec()].concat();
        self.entry(|entry| {
            entry.give_more(rest.len());
            entry.end_counts();
        });
        self.data(rest.into(), false).await?;
        self.stream.as_mut().context("no head was sent")?.send_data(Bytes::new(), true)?;
        self.settle().await;
        Ok(None)
    }

    async fn fault(&mut self, fault: Fault) -> Result<Over> {
        self.settle().await;
        Ok(match fault {
            Fault::Reset => {
                self.stream.as_mut().context("no head was sent")?.send_reset(Reason::INTERNAL_ERROR);
                Over::Reset
            }
            Fault::Stall => self.until_reset().await?,
            Fault::Close | Fault::Goodbye | Fault::TruncatedChunk => self.end_connection(Over::Close).await?,
            Fault::Fin => self.end_connection(Over::Fin).await?,
        })
    }

    async fn wait(&mut self, until: Instant) -> Result<Option<Over>> {
        let sleep = tokio::time::sleep_until(until);
        let Some(stream) = self.stream.as_mut() else {
            sleep.await;
            return Ok(None);
        };
        tokio::select! {
            biased;
            () = sleep => Ok(None),
            _ = std::future::poll_fn(|tasks| stream.poll_reset(tasks)) => Ok(Some(Over::Cancelled)),
        }
    }
}
