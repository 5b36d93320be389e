//! `run`: the daemon, put together. Everything that can fail without touching the kernel is done first.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::daemon::{Daemon, LOOK_NS};
use super::layouts::LayoutsFile;
use super::lock::InstanceLock;
use super::state::StateFile;
use super::wake::StopSignals;
use crate::config::{CommandFlags, DaemonSettings};
use crate::export::ask::{self, PipelineClient};
use crate::export::health::{CheckSource, DaemonHealth};
use crate::export::http::{self, HttpContext};
use crate::export::inspect::server::InspectSocket;
use crate::export::refusals::RefusalCounts;
use crate::export::web_config::WebConfig;
use crate::sinks::DaemonSinks;
use edge::clock;
use edge::identity;
use ledger::pipeline::{self, Pipeline};

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Configuration file (YAML)
    #[arg(long, env = "LLM_OBSERVER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to serve metrics on; may be given several times [default: 127.0.0.1:9464, :9464 in a container]
    #[arg(
        long = "web.listen-address",
        env = "LLM_OBSERVER_WEB_LISTEN_ADDRESS",
        value_name = "ADDR",
        value_delimiter = ','
    )]
    listen_addresses: Vec<String>,
    /// TLS and authentication for the metrics, in the format of Prometheus' exporter-toolkit
    #[arg(long = "web.config.file", env = "LLM_OBSERVER_WEB_CONFIG_FILE", value_name = "FILE")]
    web_config: Option<PathBuf>,
    /// Path of the metrics [default: /metrics]
    #[arg(long = "web.telemetry-path", env = "LLM_OBSERVER_WEB_TELEMETRY_PATH", value_name = "PATH")]
    telemetry_path: Option<String>,
    /// Socket for `inspect` [default: /run/llm-observer/inspect.sock]
    #[arg(long = "inspect.socket", env = "LLM_OBSERVER_INSPECT_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Where baselines of detectors outlive a restart; empty for nowhere [default:
    /// /var/lib/llm-observer/baselines.json]
    // A string: clap takes no empty path.
    #[arg(long = "state.file", env = "LLM_OBSERVER_STATE_FILE", value_name = "PATH")]
    state: Option<OsString>,
    /// Where the host's root is mounted, for the names of containers and pods [default: found by itself]
    #[arg(long = "host.root", env = "LLM_OBSERVER_HOST_ROOT", value_name = "PATH")]
    host_root: Option<OsString>,
    /// Observe only this; may be given several times [default: everything on the host]
    #[arg(long = "target", env = "LLM_OBSERVER_TARGET", value_name = "PID|EXE|CGROUP", value_delimiter = ',')]
    targets: Vec<String>,
    /// Where to look; may be given several times [default: all that this host can do]
    #[arg(long = "source", env = "LLM_OBSERVER_SOURCE", value_enum, value_delimiter = ',')]
    sources: Vec<Source>,
    /// Held while a daemon runs; tests that run several side by side give each its own
    #[arg(long = "lock.file", env = "LLM_OBSERVER_LOCK_FILE", default_value = super::lock::PATH, hide = true)]
    lock_file: PathBuf,
}

/// A capture layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Source {
    /// What applications read and write inside TLS (probes on TLS libraries)
    Tls,
}

pub(super) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    super::log();
    edge::kernel::heap::tune();
    let settings = DaemonSettings::new(args.flags())?;
    identity::host::set_root(settings.host_root.as_deref());
    if let Some(path) = &settings.web_config {
        WebConfig::read(path)?;
    }
    super::edge::may_observe("run", &settings)?;
    super::secrecy::keep_to_itself();
    let lock = InstanceLock::take(&args.lock_file)?;
    let servers = servers()?;
    let bound = servers.block_on(BoundSockets::bind(&settings))?;
    let ended = serve(bound, settings, &servers);
    servers.shutdown_background();
    drop(lock);
    ended.map(|()| ExitCode::SUCCESS)
}

/// Sockets that are ours before anything is attached.
struct BoundSockets {
    listeners: Vec<TcpListener>,
    socket: InspectSocket,
}

impl BoundSockets {
    async fn bind(settings: &DaemonSettings) -> anyhow::Result<BoundSockets> {
        let socket = InspectSocket::bind(&settings.socket)?;
        let mut listeners = Vec::new();
        for address in &settings.listen_addresses {
            listeners.push(http::bind(address).await?);
        }
        Ok(BoundSockets { listeners, socket })
    }
}

impl BoundSockets {
    /// Serves everything on the servers' thread; the handle is that of `inspect`.
    fn serve(
        self,
        asker: PipelineClient,
        site: &Arc<HttpContext>,
        refusals: Arc<RefusalCounts>,
        servers: &Runtime,
    ) -> anyhow::Result<JoinHandle<()>> {
        let room = site.room();
        for listener in self.listeners {
            tracing::info!(address = %listener.local_addr()?, path = site.telemetry_path, "serving metrics");
            servers.spawn(http::serve(listener, Arc::clone(site), Arc::clone(&room)));
        }
        tracing::info!(socket = %self.socket.path().display(), "answering inspect");
        Ok(servers.spawn(self.socket.serve(asker, refusals)))
    }
}

/// HTTP and `inspect` have a thread of their own; the pipeline keeps this one.
fn servers() -> anyhow::Result<Runtime> {
    let built = Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(8)
        .thread_name("servers")
        .enable_all()
        .build();
    built.context("cannot start the servers' thread")
}

/// Serves first, so that `/readyz` can say that it is not ready yet; then attaches, and observes until a signal.
fn serve(bound: BoundSockets, settings: DaemonSettings, servers: &Runtime) -> anyhow::Result<()> {
    let (asker, asks) = ask::channel();
    let health = Arc::new(DaemonHealth::default());
    health.beat(clock::now());
    let refusals = Arc::new(RefusalCounts::default());
    let site = site(&settings, asker.clone(), Arc::clone(&health), Arc::clone(&refusals));
    let serving = bound.serve(asker, &site, Arc::clone(&refusals), servers)?;
    let sinks = DaemonSinks::new(&settings.sinks);
    let state = settings.state.clone().map(|path| StateFile::new(path, clock::now()));
    let layouts = settings.state.as_deref().map(LayoutsFile::beside);
    let own = Builder::new_current_thread().enable_all().build().context("cannot start the pipeline's loop")?;
    // From now on a signal ends the daemon in order, also while probes are still being attached.
    let signals = own.block_on(async { StopSignals::new() }).context("cannot wait for signals")?;
    let mut daemon = None;
    look(&settings, &health);
    let ended = super::edge::start(&settings, layouts.as_ref().and_then(LayoutsFile::read)).and_then(|edge| {
        let edge = super::target::narrow(edge, settings.targets.clone());
        let pipeline = Pipeline::new(pipeline_settings(settings), sinks);
        tracing::info!("observing");
        let made = Daemon::new(edge, pipeline, health).with_state(state).with_layouts(layouts).with_refusals(refusals);
        let running = daemon.insert(made).run(signals, asks);
        own.block_on(running).context("the pipeline's loop cannot wait for its events")
    });
    // The socket's file goes with its task, whether or not anything could be attached. Detaching takes a second or two:
    // nobody should ask meanwhile.
    serving.abort();
    servers.block_on(async { serving.await.err() });
    if daemon.take().is_some() {
        tracing::info!("stopped; nothing is left attached");
    }
    ended
}

/// Looks at this host, now and from then on by a thread of its own: a file of /proc may take its
/// time, and neither the pipeline nor a health page waits for it. It ends with the process.
fn look(settings: &DaemonSettings, health: &Arc<DaemonHealth>) {
    health.saw(CheckSource::Host, super::edge::sights(settings));
    let (settings, health) = (settings.clone(), Arc::clone(health));
    let looking = std::thread::Builder::new().name("sights".into()).spawn(move || {
        loop {
            std::thread::sleep(Duration::from_nanos(LOOK_NS));
            health.saw(CheckSource::Host, super::edge::sights(&settings));
        }
    });
    if let Err(error) = looking {
        tracing::warn!(%error, "what can be seen is not looked at again: no thread for it");
    }
}

fn site(
    settings: &DaemonSettings,
    asker: PipelineClient,
    health: Arc<DaemonHealth>,
    refusals: Arc<RefusalCounts>,
) -> Arc<HttpContext> {
    HttpContext::new(Arc::new(asker), health, settings.telemetry_path.clone(), settings.web_config.clone(), refusals)
}

/// What the pipeline is told of the settings.
pub(super) fn pipeline_settings(settings: DaemonSettings) -> pipeline::PipelineSettings {
    pipeline::PipelineSettings {
        extras: settings.extras,
        ledger: settings.ledger,
        conns: settings.connections,
        ..Default::default()
    }
}

impl RunArgs {
    fn flags(&self) -> CommandFlags {
        CommandFlags {
            config: self.config.clone(),
            listen_addresses: self.listen_addresses.clone(),
            web_config: self.web_config.clone(),
            telemetry_path: self.telemetry_path.clone(),
            socket: self.socket.clone(),
            targets: self.targets.clone(),
            state: self.state.clone().map(PathBuf::from),
            host_root: self.host_root.clone().map(PathBuf::from),
        }
    }
}
