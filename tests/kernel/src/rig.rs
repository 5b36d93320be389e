//! Provider, clients and daemon together.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use provider::{Options, Provider};
use tempfile::TempDir;

use crate::cases::Mark;
use crate::clients::{self, Clients, Kind, Run};
use crate::daemon::Daemon;
use crate::ledger::Ledger;
use crate::truth::{self, Exchange};
use crate::wait_for;

/// How long anything may take to show, a client's start on a busy host included.
const SETTLE: Duration = Duration::from_secs(30);

/// A test bed: each test makes its own, and the daemon sees to it that they take turns.
pub struct Rig {
    pub provider: Provider,
    pub clients: Clients,
    pub daemon: Daemon,
    pub dir: TempDir,
    /// By detector, where its last case of the docs' table ended.
    pub(crate) marks: Mutex<BTreeMap<String, Mark>>,
}

impl Rig {
    /// Starts all parts.
    ///
    /// # Errors
    /// If one of them does not start.
    pub fn new() -> Result<Self> {
        Self::with(|options| options)
    }

    /// The same without TLS: `http://`.
    ///
    /// # Errors
    /// As `new`.
    pub fn plain() -> Result<Self> {
        Self::with(|options| Options { plain: true, ..options })
    }

    /// The same with a provider of one's own making.
    ///
    /// # Errors
    /// As `new`.
    pub fn with(options: impl FnOnce(Options) -> Options) -> Result<Self> {
        Self::start(options, "")
    }

    /// Both: a provider of one's own making, and the daemon's configuration.
    ///
    /// # Errors
    /// As `new`, and if the daemon does not take the configuration.
    pub fn tuned_with(config: &str, options: impl FnOnce(Options) -> Options) -> Result<Self> {
        Self::start(options, config)
    }

    /// The same as `new`, the daemon being configured: its configuration file's text.
    ///
    /// # Errors
    /// As `new`, and if the daemon does not take the configuration.
    pub fn tuned(config: &str) -> Result<Self> {
        Self::start(|options| options, config)
    }

    /// The same as `new`, the daemon being started through another program (`prlimit --nofile=256`).
    ///
    /// # Errors
    /// As `new`.
    pub fn through(program: &[&str]) -> Result<Self> {
        let (provider, clients, dir) = Self::parts(|options| options)?;
        Ok(Self::of(provider, clients, Daemon::start_through(program, &[], &[])?, dir))
    }

    fn parts(options: impl FnOnce(Options) -> Options) -> Result<(Provider, Clients, TempDir)> {
        let dir = tempfile::tempdir()?;
        let own = Options { names: clients::hosts(), ..Options::in_memory(dir.path().to_owned()) };
        Ok((Provider::start(&options(own))?, Clients::set_up()?, dir))
    }

    fn start(options: impl FnOnce(Options) -> Options, config: &str) -> Result<Self> {
        let (provider, clients, dir) = Self::parts(options)?;
        let file = dir.path().join("observer.yml");
        std::fs::write(&file, config)?;
        let daemon = Daemon::start_with(&["--config", &file.to_string_lossy()], &[])?;
        Ok(Self::of(provider, clients, daemon, dir))
    }

    /// Of parts that were started otherwise.
    #[must_use]
    pub fn of(provider: Provider, clients: Clients, daemon: Daemon, dir: TempDir) -> Self {
        Self { provider, clients, daemon, dir, marks: Mutex::default() }
    }

    /// A run of the named client.
    ///
    /// # Errors
    /// If there is no such client.
    pub fn run(&self, client: &str) -> Result<Run> {
        Ok(self.clients.run(Kind::named(client)?, &self.provider))
    }

    /// What the provider did for a model name.
    #[must_use]
    pub fn truth(&self, model: &str) -> Vec<Exchange> {
        truth::exchanges(&self.provider.lines(), model)
    }

    /// The ledgers (with timelines) of these models, as soon as there are as many ended ones as exchanges; after
    /// `SETTLE` those that there are, so that the caller can tell which are missing.
    ///
    /// # Errors
    /// If `inspect` fails.
    pub fn ended(&self, models: &[String]) -> Result<Vec<Ledger>> {
        self.ended_at(models, None)
    }

    /// The same of streams to one port alone: of this provider, where an earlier one was asked for the same models.
    ///
    /// # Errors
    /// If `inspect` fails.
    pub fn ended_at(&self, models: &[String], port: Option<u16>) -> Result<Vec<Ledger>> {
        let there =
            |ledger: &Ledger| port.is_none() || ledger.remote.as_ref().is_some_and(|remote| remote.port == port);
        let asked = |ledger: &Ledger| ledger.request_model.as_ref().is_some_and(|model| models.contains(model));
        let ours = |ledger: &Ledger| asked(ledger) && there(ledger);
        let expected: usize = models.iter().map(|model| self.truth(model).len()).sum();
        let _ = wait_for("all streams' ends", SETTLE, || {
            let streams = self.daemon.streams().ok()?;
            let ended = streams.iter().filter(|ledger| ours(ledger) && ledger.outcome.is_some()).count();
            (ended >= expected).then_some(())
        });
        let streams = self.daemon.streams()?;
        let mut found = Vec::new();
        for ledger in streams.iter().filter(|ledger| ours(ledger)) {
            found.push(self.daemon.stream(&ledger.id)?);
        }
        found.sort_by(|a, b| a.started.cmp(&b.started));
        Ok(found)
    }

    /// The one stream of a model name, once it fits.
    ///
    /// # Errors
    /// If it does not within `SETTLE`; the error shows what there was.
    pub fn stream_when(&self, model: &str, what: &str, fits: impl Fn(&Ledger) -> bool) -> Result<Ledger> {
        let mut last = None;
        let found = wait_for(what, SETTLE, || {
            let streams = self.daemon.streams().ok()?;
            last = streams.into_iter().find(|ledger| ledger.request_model.as_deref() == Some(model));
            last.clone().filter(|ledger| fits(ledger))
        });
        found.with_context(|| format!("{model}: {last:?}"))
    }
}
