//! Who comes in and how long he may stay.
//!
//! The health pages must answer within a second whatever strangers do to the port, and a kubelet is
//! just a peer like any other. So every connection is accepted at once, and the newcomer has room
//! (see `room`); what is slow has deadlines; what waits in the kernel for a peer that does not read
//! is bounded; a connection ends after so many requests.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::{HttpContext, Page, respond};
use crate::export::refusals::ClientRefusal;
use crate::export::room::{ClientLimits, ClientSlot, ClientSlots, PeerNetwork};
use crate::export::web_config::WebConfig;

/// A descriptor and some kilobytes each: a quarter of the usual limit of 1,024. A peer may have as
/// many as a proxy in front of several scrapers needs; 4 of them still leave room for others.
pub(super) const BOUNDS: ClientLimits = ClientLimits {
    most: 256,
    full: ClientRefusal::Connections,
    most_each: 64,
    peer_full: ClientRefusal::PeerConnections,
};

/// Time for a request head, and for a TLS handshake. Also how long an idle connection is kept.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// Time in which a peer must take something of its answer.
const TAKE_TIME: Duration = Duration::from_secs(10);

/// After this a connection finishes its request and is closed; a scraper just opens another.
const LIFE: Duration = Duration::from_secs(120);

/// And after this it is cut: the peer reads too slowly.
const LIFE_AT_MOST: Duration = Duration::from_secs(130);

/// Requests of one connection, after which it is closed: what a peer has sent ahead (they are short) goes unanswered.
const REQUESTS: u32 = 100;

/// Longest head. It also bounds what is read ahead of a connection that is being answered.
const HEAD_BYTES: usize = 16 * 1024;

/// What the kernel holds for a peer that does not read; it would grow to megabytes by itself.
const SEND_BYTES: usize = 128 * 1024;

/// Pieces in which a handshake and a head may come one right after another: more than an honest client's take.
const PIECES: u32 = 8;

/// Time before each further one: who sends byte by byte must not keep us busy with looking at them.
const REST: Duration = Duration::from_millis(50);

/// Connections taken one right after another, before those who are in are served: more would let
/// the kernel's queue run over, where a newcomer's first packet is lost and comes again after a
/// second; many more would push out who has not asked yet.
const AT_ONCE: usize = 16;

/// Pause where nothing can be accepted.
const PAUSE: Duration = Duration::from_millis(20);

/// Serves one listener until the process ends.
pub async fn serve(listener: TcpListener, site: Arc<HttpContext>, room: Arc<ClientSlots>) {
    let mut spare = SpareDescriptor::default();
    let (mut failing, mut taken) = (false, 0_usize);
    loop {
        spare.fill();
        match listener.accept().await {
            Ok((stream, address)) => {
                failing = false;
                let place = room.enter(PeerNetwork::of(address.ip()));
                tokio::spawn(guest(stream, address, Arc::clone(&site), place));
                taken = (taken + 1) % AT_ONCE;
                if taken == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Err(error) => {
                // Said once: it may fail as often as strangers like.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot accept a connection");
                }
                // Out of descriptors: the spare one is for whoever waits, the next for those after him.
                if !spare.spend() {
                    room.make_room(ClientRefusal::Descriptors);
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// A descriptor put by, so that the health pages answer although the daemon has none left.
#[derive(Default)]
struct SpareDescriptor(Option<File>);

impl SpareDescriptor {
    fn fill(&mut self) {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
    }

    /// False if there was none.
    fn spend(&mut self) -> bool {
        self.0.take().is_some()
    }
}

async fn guest(stream: TcpStream, address: SocketAddr, site: Arc<HttpContext>, place: ClientSlot) {
    // A socket that refuses is served with the kernel's own bound.
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BYTES);
    let pieces = Arc::new(AtomicU32::new(0));
    let served = tokio::select! {
        served = connection(WatchedStream::new(stream, Arc::clone(&pieces)), &site, &place, &pieces) => served,
        () = place.taken() => Err("somebody else took its place".to_owned()),
    };
    if let Err(error) = served {
        tracing::debug!(peer = %address, error, "connection ended");
    }
}

async fn connection(
    stream: WatchedStream,
    site: &HttpContext,
    place: &ClientSlot,
    pieces: &AtomicU32,
) -> Result<(), String> {
    match site.settings.get().await {
        Ok(WebConfig { tls: Some(tls), .. }) => match timeout(HEAD_TIME, TlsAcceptor::from(tls).accept(stream)).await {
            Ok(Ok(stream)) => http(stream, site, place, pieces).await,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => {
                place.refuse(ClientRefusal::SlowHead);
                Err("the TLS handshake took too long".into())
            }
        },
        Ok(_) => http(stream, site, place, pieces).await,
        // Better no answer than one without the TLS that was asked for.
        Err(error) => {
            tracing::error!(%error, "cannot serve: the web config file is wrong");
            Ok(())
        }
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    site: &HttpContext,
    place: &ClientSlot,
    pieces: &AtomicU32,
) -> Result<(), String> {
    let asked = AtomicU32::new(0);
    let service = service_fn(|request| {
        pieces.store(0, Ordering::Relaxed);
        let last = asked.fetch_add(1, Ordering::Relaxed) + 1 >= REQUESTS;
        async move {
            place.set_busy(true);
            let mut page: Page = respond(site, place.peer(), &request).await;
            place.set_busy(false);
            if last {
                page.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(page)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = timeout(LIFE_AT_MOST, async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = sleep(LIFE) => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
        }
    });
    match ended.await {
        Ok(Ok(())) => Ok(()),
        // Kept open after an answer, and not used again: no fault.
        Ok(Err(error)) if error.is_timeout() && is_idle(&asked, pieces) => Ok(()),
        Ok(Err(error)) => {
            if error.is_timeout() {
                place.refuse(ClientRefusal::SlowHead);
            } else if is_stuck(&error) {
                place.refuse(ClientRefusal::SlowReader);
            }
            Err(error.to_string())
        }
        Err(_) => {
            place.refuse(ClientRefusal::SlowReader);
            Err("too slow a reader".to_owned())
        }
    }
}

/// Nothing came since the last request.
fn is_idle(asked: &AtomicU32, pieces: &AtomicU32) -> bool {
    asked.load(Ordering::Relaxed) > 0 && pieces.load(Ordering::Relaxed) == 0
}

/// Whether it was `WatchedStream` that ended it.
fn is_stuck(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}

/// A peer's stream: its writes fail when it takes nothing for `TAKE_TIME`, and what comes in too many pieces waits.
struct WatchedStream {
    stream: TcpStream,
    pieces: Arc<AtomicU32>,
    /// Runs while a write waits.
    limit: Option<Pin<Box<Sleep>>>,
    /// Runs before the next read.
    rest: Option<Pin<Box<Sleep>>>,
}

impl WatchedStream {
    /// `pieces` counts what was read; it begins anew with each request.
    fn new(stream: TcpStream, pieces: Arc<AtomicU32>) -> WatchedStream {
        WatchedStream { stream, pieces, limit: None, rest: None }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(cx));
            self.rest = None;
        }
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if self.pieces.fetch_add(1, Ordering::Relaxed) >= PIECES {
            self.rest = Some(Box::pin(sleep(REST)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, buf) {
            self.limit = None;
            return Poll::Ready(written);
        }
        let limit = self.limit.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + TAKE_TIME)));
        ready!(limit.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
