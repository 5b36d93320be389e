//! `/metrics`, the landing page and the health pages.
//!
//! Strangers reach this port: how they are kept from crowding others out is in `door`, what a
//! scrape may cost in `scrape`. Nothing here runs on the pipeline's thread; a scrape asks it for a
//! copy of the numbers, and the health pages ask nobody.

mod door;
mod scrape;
mod settings;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::net::TcpListener;

use crate::export::auth::{Authenticator, LoginOutcome};
pub use crate::export::health::DaemonHealth;
use crate::export::refusals::{ClientRefusal, RefusalCounts};
use crate::export::room::{ClientSlots, PeerNetwork};
use crate::export::text::{self, SnapshotSource};
use crate::export::web_config::WebConfig;
pub use door::serve;
use scrape::{ScrapeOutcome, SharedScrapes};
use settings::WebSettings;

/// What all connections share.
pub struct HttpContext {
    source: Arc<dyn SnapshotSource>,
    health: Arc<DaemonHealth>,
    /// `/metrics`, as configured.
    pub telemetry_path: String,
    settings: WebSettings,
    auth: Authenticator,
    scrapes: SharedScrapes,
    refusals: Arc<RefusalCounts>,
}

impl HttpContext {
    /// `source`: where the numbers come from; `web_config`: the file of `--web.config.file`, read again while serving.
    #[must_use]
    pub fn new(
        source: Arc<dyn SnapshotSource>,
        health: Arc<DaemonHealth>,
        telemetry_path: String,
        web_config: Option<PathBuf>,
        refusals: Arc<RefusalCounts>,
    ) -> Arc<HttpContext> {
        let (settings, auth, scrapes) =
            (WebSettings::new(web_config), Authenticator::default(), SharedScrapes::default());
        Arc::new(HttpContext { source, health, telemetry_path, settings, auth, scrapes, refusals })
    }

    /// Room for connections, shared by all listeners.
    #[must_use]
    pub fn room(&self) -> Arc<ClientSlots> {
        ClientSlots::new(door::BOUNDS, Arc::clone(&self.refusals))
    }
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

type Page = Response<Full<Bytes>>;

async fn respond(site: &HttpContext, peer: PeerNetwork, request: &Request<Incoming>) -> Page {
    let config = match site.settings.get().await {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, "cannot serve: the web config file is wrong");
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "the web config file is wrong; see the log\n");
        }
    };
    let mut page = match allowed(site, peer, &config, request).await {
        LoginOutcome::Allowed => route(site, request).await,
        LoginOutcome::Denied => {
            let mut page = plain(StatusCode::UNAUTHORIZED, "Unauthorized\n");
            page.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
            page
        }
        LoginOutcome::TooMany => {
            site.refusals.count(ClientRefusal::LoginRate);
            later(StatusCode::TOO_MANY_REQUESTS, "too many wrong passwords: try again later\n")
        }
        LoginOutcome::Busy => {
            site.refusals.count(ClientRefusal::LoginWait);
            later(StatusCode::SERVICE_UNAVAILABLE, "too many passwords are being checked: try again later\n")
        }
    };
    for (name, value) in &config.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            page.headers_mut().insert(name, value);
        }
    }
    page
}

async fn allowed(
    site: &HttpContext,
    peer: PeerNetwork,
    config: &WebConfig,
    request: &Request<Incoming>,
) -> LoginOutcome {
    if config.users.is_empty() || config.open_to_all(request.uri().path()) {
        return LoginOutcome::Allowed;
    }
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    site.auth.check(peer, header, &config.users).await
}

async fn route(site: &HttpContext, request: &Request<Incoming>) -> Page {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut page = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        page.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return page;
    }
    match request.uri().path() {
        path if path == site.telemetry_path => metrics(site, request.headers()).await,
        "/" => html(landing(&site.telemetry_path)),
        "/-/healthy" | "/healthz" => state(site.health.healthy(), "the pipeline's loop does not turn\n"),
        "/-/ready" | "/readyz" => readiness(site.health.readiness()),
        _ => plain(StatusCode::NOT_FOUND, "404: try /\n"),
    }
}

async fn metrics(site: &HttpContext, headers: &HeaderMap) -> Page {
    let gzip = accepts_gzip(headers);
    match site.scrapes.get(&site.source, gzip).await {
        ScrapeOutcome::Done(body) if body.is_empty() => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping\n")
        }
        ScrapeOutcome::Done(body) => {
            let mut page = Response::new(Full::new(body));
            page.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(text::CONTENT_TYPE));
            page.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            if gzip {
                page.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            page
        }
        ScrapeOutcome::Busy => {
            site.refusals.count(ClientRefusal::ScrapeWait);
            later(StatusCode::SERVICE_UNAVAILABLE, "the scrape before this one takes too long: try again later\n")
        }
        ScrapeOutcome::Failed(error) => {
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

fn state(good: bool, problem: &str) -> Page {
    if good { plain(StatusCode::OK, "OK\n") } else { plain(StatusCode::SERVICE_UNAVAILABLE, problem) }
}

fn readiness((ready, text): (bool, String)) -> Page {
    plain(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &text)
}

fn plain(status: StatusCode, text: &str) -> Page {
    let mut page = Response::new(Full::new(Bytes::from(text.to_owned())));
    *page.status_mut() = status;
    page.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    page
}

/// Not now.
fn later(status: StatusCode, text: &str) -> Page {
    let mut page = plain(status, text);
    page.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
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
