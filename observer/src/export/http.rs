//! `/metrics`, the landing page and the health pages.
//!
//! Bounded against peers that are slow on purpose: a cap of connections, a time to send the head, a life for the
//! connection. Nothing here runs on the pipeline's thread; a scrape asks it for a copy of the numbers.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::clock;
use crate::export::auth::Auth;
use crate::export::text;
use crate::export::web_config::WebConfig;
use crate::units::Ns;

/// Connections served at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 128;

/// Time for a request head, and for a TLS handshake. Also how long an idle connection is kept.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// After this a connection finishes its request and is closed; a scraper just opens another.
const LIFE: Duration = Duration::from_secs(120);

/// And after this it is cut: the peer does not read.
const LIFE_AT_MOST: Duration = Duration::from_secs(130);

/// The pipeline's loop is alive if it turned within this.
const BEAT_NS: u64 = 10_000_000_000;

/// Written by the pipeline's thread, read by the health pages.
#[derive(Debug, Default)]
pub struct Health {
    ready: AtomicBool,
    beat: AtomicU64,
}

impl Health {
    /// The loop turned.
    pub fn beat(&self, now: Ns) {
        self.beat.store(now.0, Ordering::Relaxed);
    }

    /// Probes are in place.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    fn healthy(&self) -> bool {
        clock::now() - Ns(self.beat.load(Ordering::Relaxed)) < BEAT_NS
    }

    fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && self.healthy()
    }
}

/// What all connections share.
pub struct Site {
    pub registry: Registry,
    pub health: Arc<Health>,
    /// `/metrics`, as configured.
    pub telemetry_path: String,
    /// Read again for each connection and request.
    pub web_config: Option<PathBuf>,
    pub auth: Auth,
}

/// Why an address cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "cannot listen on {address}: the port is in use, so stop what uses it or give another --web.listen-address"
    )]
    InUse { address: String },
    #[error("cannot listen on {address}: {source}")]
    Io { address: String, source: io::Error },
}

/// Binds `HOST:PORT` or `:PORT` (every address of the host).
pub async fn bind(address: &str) -> Result<TcpListener, ListenError> {
    let bound = match address.strip_prefix(':') {
        // An IPv6 socket takes IPv4 too, where the host has IPv6.
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind(format!("0.0.0.0:{port}")).await
            }
            bound => bound,
        },
        None => TcpListener::bind(address).await,
    };
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address: address.into() },
        _ => ListenError::Io { address: address.into(), source },
    })
}

/// Serves one listener until the process ends.
pub async fn serve(listener: TcpListener, site: Arc<Site>, room: Arc<Semaphore>) {
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let site = Arc::clone(&site);
                tokio::spawn(async move {
                    connection(stream, peer, &site).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of descriptors: give some time to be freed, instead of spinning.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Room for connections, shared by all listeners.
#[must_use]
pub fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CONNECTIONS))
}

async fn connection(stream: TcpStream, peer: SocketAddr, site: &Arc<Site>) {
    let served = match site.config().await {
        Ok(WebConfig { tls: Some(tls), .. }) => match timeout(HEAD_TIME, TlsAcceptor::from(tls).accept(stream)).await {
            Ok(Ok(stream)) => http(stream, site).await,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the TLS handshake took too long".into()),
        },
        Ok(_) => http(stream, site).await,
        // Better no answer than one without the TLS that was asked for.
        Err(error) => {
            tracing::error!(%error, "cannot serve: the web config file is wrong");
            Ok(())
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, error, "connection ended");
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin, site: &Arc<Site>) -> Result<(), String> {
    let service = service_fn(|request| respond(Arc::clone(site), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = timeout(LIFE_AT_MOST, async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = tokio::time::sleep(LIFE) => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
        }
    });
    ended.await.map_err(|_| "too slow a reader".to_owned())?.map_err(|error| error.to_string())
}

type Page = Response<Full<Bytes>>;

async fn respond(site: Arc<Site>, request: Request<Incoming>) -> Result<Page, hyper::Error> {
    let config = match site.config().await {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, "cannot serve: the web config file is wrong");
            return Ok(plain(StatusCode::INTERNAL_SERVER_ERROR, "the web config file is wrong; see the log\n"));
        }
    };
    let mut page = if allowed(&site, &config, request.headers()).await {
        route(&site, &request).await
    } else {
        let mut page = plain(StatusCode::UNAUTHORIZED, "Unauthorized\n");
        page.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
        page
    };
    for (name, value) in &config.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            page.headers_mut().insert(name, value);
        }
    }
    Ok(page)
}

async fn allowed(site: &Arc<Site>, config: &WebConfig, headers: &HeaderMap) -> bool {
    if config.users.is_empty() {
        return true;
    }
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (site, users) = (Arc::clone(site), config.users.clone());
    tokio::task::spawn_blocking(move || site.auth.allows(header.as_deref(), &users)).await.unwrap_or(false)
}

async fn route(site: &Arc<Site>, request: &Request<Incoming>) -> Page {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut page = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        page.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return page;
    }
    match request.uri().path() {
        path if path == site.telemetry_path => metrics(site, request.headers()).await,
        "/" => html(landing(&site.telemetry_path)),
        "/-/healthy" | "/healthz" => state(site.health.healthy(), "the pipeline's loop does not turn\n"),
        "/-/ready" | "/readyz" => state(site.health.ready(), "probes are not in place yet\n"),
        _ => plain(StatusCode::NOT_FOUND, "404: try /\n"),
    }
}

async fn metrics(site: &Arc<Site>, headers: &HeaderMap) -> Page {
    let gzip = accepts_gzip(headers);
    let registry = site.registry.clone();
    let made = tokio::task::spawn_blocking(move || {
        let text = text::encode(&registry).map_err(|error| error.to_string())?;
        if gzip { compress(&text).map_err(|error| error.to_string()) } else { Ok(text) }
    });
    match made.await.map_err(|error| error.to_string()).flatten() {
        Ok(body) if body.is_empty() => plain(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping\n"),
        Ok(body) => {
            let mut page = Response::new(Full::new(Bytes::from(body)));
            page.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(text::CONTENT_TYPE));
            page.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            if gzip {
                page.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            page
        }
        Err(error) => {
            tracing::error!(error, "cannot encode the metrics");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot encode the metrics; see the log\n")
        }
    }
}

/// `gzip` or `*`, not with `q=0`.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let value = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(',').any(|item| {
        let (name, quality) = item.split_once(';').unwrap_or((item, ""));
        let refused = quality.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

fn compress(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text)?;
    encoder.finish()
}

fn state(good: bool, problem: &str) -> Page {
    if good { plain(StatusCode::OK, "OK\n") } else { plain(StatusCode::SERVICE_UNAVAILABLE, problem) }
}

fn plain(status: StatusCode, text: &str) -> Page {
    let mut page = Response::new(Full::new(Bytes::from(text.to_owned())));
    *page.status_mut() = status;
    page.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    page
}

fn html(text: String) -> Page {
    let mut page = Response::new(Full::new(Bytes::from(text)));
    page.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    page
}

fn landing(telemetry_path: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>llm-observer</title></head><body>\
         <h1>llm-observer {version}</h1><p>What this host's LLM traffic really does, seen from the kernel.</p><ul>\
         <li><a href=\"{telemetry_path}\">Metrics</a></li><li><a href=\"/-/healthy\">Healthy</a></li>\
         <li><a href=\"/-/ready\">Ready</a></li></ul>\
         <p>On the host: <code>llm-observer inspect streams</code></p></body></html>\n"
    )
}

impl Site {
    async fn config(&self) -> Result<WebConfig, String> {
        let Some(path) = self.web_config.clone() else { return Ok(WebConfig::default()) };
        let read = tokio::task::spawn_blocking(move || WebConfig::read(&path).map_err(|error| error.to_string()));
        read.await.map_err(|error| error.to_string()).flatten()
    }
}
