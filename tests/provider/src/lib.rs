//! The scriptable LLM provider: a TLS server driven by scenarios. Its write log is the tests' ground truth.
//!
//! A request's model name chooses the scenario: `scenario:NAME`, optionally with `#TAG` behind it
//! (`~TAG` where the model stands in a URL), which sets requests of one client apart (replies that
//! change with the attempt are counted per whole model name).
//!
//! ```text
//! Scenario ─ play ─ dialect: words → Event ─ form: Event → bytes ─ encode ─ carry: HTTP/1.1, HTTP/2, WebSocket ─ wire
//! ```

mod authority;
mod carry;
pub mod catalogue;
pub mod clock;
pub mod dialect;
mod encode;
mod form;
mod headers;
mod http;
pub mod log;
mod play;
mod quota;
pub mod script;
mod serve;
mod wire;
mod words;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use headers::Left;
use log::{Line, Log};
use quota::Windows;
use script::{Reply, Scenario};

/// What a model name begins with to name its scenario.
pub const PREFIX: &str = "scenario:";

/// How to start a provider.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0: any free one.
    pub listen: SocketAddr,
    /// Plain HTTP instead of TLS; with TLS, a second listener without it is there too.
    pub plain: bool,
    /// Where `ca.pem` is written.
    pub dir: PathBuf,
    /// Further names in the certificate.
    pub names: Vec<String>,
    /// Write log file.
    pub log: Option<PathBuf>,
    /// Keep the log in memory too, for [`Provider::lines`].
    pub keep: bool,
}

impl Options {
    /// TLS on a free loopback port, log in memory.
    #[must_use]
    pub fn in_memory(dir: PathBuf) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            plain: false,
            dir,
            names: Vec::new(),
            log: None,
            keep: true,
        }
    }
}

/// A running provider; it stops when dropped.
pub struct Provider {
    shared: Arc<Shared>,
    address: SocketAddr,
    plain: SocketAddr,
    ca: Option<PathBuf>,
    /// Dropping it ends every connection.
    _runtime: Runtime,
}

/// Writes `ca.pem`, `server.pem` and `server.key` to `dir`, for servers that are not this provider.
///
/// # Errors
/// If a key cannot be made or a file cannot be written.
pub fn make_authority(dir: &Path) -> Result<()> {
    authority::make(dir, &[]).map(drop)
}

/// What connections share.
struct Shared {
    log: Log,
    scenarios: Mutex<HashMap<String, Scenario>>,
    /// Requests seen, by whole model name.
    seen: Mutex<HashMap<String, usize>>,
    windows: Mutex<Windows>,
}

impl Provider {
    /// Starts one, with the catalogue's scenarios.
    ///
    /// # Errors
    /// If the certificate, the log or the listening socket cannot be made.
    pub fn start(options: &Options) -> Result<Self> {
        let (ca, tls) = if options.plain {
            (None, None)
        } else {
            let (ca, tls) = authority::make(&options.dir, &options.names)?;
            (Some(ca), Some(tls))
        };
        let scenarios = catalogue::all().into_iter().map(|(name, scenario)| (name.to_owned(), scenario)).collect();
        let shared = Arc::new(Shared {
            log: Log::new(options.keep, options.log.as_deref())?,
            scenarios: Mutex::new(scenarios),
            seen: Mutex::default(),
            windows: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let numbers = Arc::new(AtomicU64::new(0));
        let listen = |at: SocketAddr, tls: Option<Arc<ServerConfig>>| -> Result<SocketAddr> {
            let listener = runtime.block_on(TcpListener::bind(at)).with_context(|| format!("cannot listen on {at}"))?;
            let address = listener.local_addr()?;
            runtime.spawn(accept(listener, shared.clone(), tls, numbers.clone()));
            Ok(address)
        };
        let address = listen(options.listen, tls.clone())?;
        let plain = match tls {
            Some(_) => listen(SocketAddr::new(options.listen.ip(), 0), None)?,
            None => address,
        };
        runtime.spawn(flush_often(shared.clone()));
        Ok(Self { shared, address, plain, ca, _runtime: runtime })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://localhost:PORT` (or `http://…`).
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.address.port())
    }

    /// `http://localhost:PORT`, of the listener without TLS.
    #[must_use]
    pub fn plain_url(&self) -> String {
        format!("http://localhost:{}", self.plain.port())
    }

    /// Where the listener without TLS is.
    #[must_use]
    pub fn plain_address(&self) -> SocketAddr {
        self.plain
    }

    /// The authority's certificate; `None` without TLS.
    #[must_use]
    pub fn ca(&self) -> Option<&PathBuf> {
        self.ca.as_ref()
    }

    /// Adds or replaces a scenario.
    pub fn register(&self, name: &str, scenario: Scenario) {
        lock(&self.shared.scenarios).insert(name.to_owned(), scenario);
    }

    /// The log so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.shared.log.lines()
    }

    /// Hands the log to its file.
    pub fn flush(&self) {
        self.shared.log.flush();
    }
}

impl Shared {
    /// The scenario's name and the reply for the next request that names `model`, and what is left of its account.
    fn choose(&self, model: &str) -> Option<(String, Reply, Option<Left>)> {
        let name = model.strip_prefix(PREFIX)?.split(['#', '~']).next()?;
        let scenarios = lock(&self.scenarios);
        let scenario = scenarios.get(name)?;
        let mut seen = lock(&self.seen);
        let nth = seen.entry(model.to_owned()).or_default();
        let mut reply = scenario.replies.get(*nth).or(scenario.replies.last())?.clone();
        *nth += 1;
        let left = reply.quota.map(|quota| lock(&self.windows).take(name, quota, reply.usage.unwrap_or_default()));
        if left.is_some_and(|left| left.exceeded) {
            reply = Reply { headers: reply.headers, clock_ahead_s: reply.clock_ahead_s, ..Reply::status(429) };
        }
        Some((name.to_owned(), reply, left))
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tls: Option<Arc<ServerConfig>>, numbers: Arc<AtomicU64>) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let conn = numbers.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve::connection(shared.clone(), socket, tls.clone(), conn));
            }
            // Out of descriptors: a pause lets connections end.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn flush_often(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        shared.log.flush();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing that holds these locks can panic half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
