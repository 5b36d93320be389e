//! Something is done to the daemon: what becomes of it, of other programs' streams and of its discovery meanwhile?

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use provider::script::{Reply, Scenario, answer, deltas};
use tempfile::TempDir;

use crate::exact;
use crate::helper::Helper;
use crate::rig::Rig;
use crate::room::Room;
use crate::watch::{Seen, Watch, resident_kib};
use crate::{library, places};

/// Within it the health pages and metrics must answer, whatever strangers do.
const ANSWERED: Duration = Duration::from_secs(1);

/// The daemon's memory meanwhile, by that of an idle one.
const MEMORY: u64 = 2;

/// What the daemon may have in all: far above `MEMORY`, so that the test sees the cause and not the end.
const ROOM: u64 = 2 << 30;

/// How long a trick lasts at least: some scrapes, a new library, several calls.
const LASTS: Duration = Duration::from_secs(4);

/// A daemon, its clients, and a folder in which nobody may do what he likes.
pub struct Siege {
    pub rig: Rig,
    place: TempDir,
    _room: Option<Room>,
    tricks: usize,
    /// Memory of the daemon that nothing was done to yet.
    idle: u64,
}

impl Siege {
    /// Set up.
    ///
    /// # Errors
    /// If a part does not start.
    pub fn new() -> Result<Self> {
        Self::of(Rig::new()?)
    }

    /// Of a rig of one's own.
    ///
    /// # Errors
    /// As `new`.
    pub fn of(rig: Rig) -> Result<Self> {
        rig.provider.register("quick", Scenario::always(Reply::of(answer(vec![deltas(5, 12, 20_000)], "stop"))));
        rig.provider.register("steady", Scenario::always(Reply::of(answer(vec![deltas(250, 12, 20_000)], "stop"))));
        let place = tempfile::Builder::new().prefix("llmo-stranger-").tempdir()?;
        set_mode(place.path(), 0o755)?;
        let room = Room::around(rig.daemon.pid(), ROOM);
        if let Err(reason) = &room {
            println!("without a memory limit: {reason:#}");
        }
        let mut siege = Self { rig, place, _room: room.ok(), tricks: 0, idle: 0 };
        siege.calls("curl-chat", "scenario:quick#warm", None)?;
        siege.idle = resident_kib(siege.rig.daemon.pid())?;
        Ok(siege)
    }

    /// The command of a trick of `strangers.py` in a folder of nobody's own: its first argument is the trick.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn trick(&mut self, trick: &str, arguments: &[&str]) -> Result<Command> {
        let folder = self.folder()?;
        let mut command = Command::new(self.rig.clients.python());
        command.env("PYTHONDONTWRITEBYTECODE", "1").arg(places::programs().join("strangers.py"));
        command.arg(trick).arg(folder).args(arguments);
        Ok(command)
    }

    /// A new folder in which anybody may write.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn folder(&mut self) -> Result<PathBuf> {
        self.tricks += 1;
        let folder = self.place.path().join(format!("trick{}", self.tricks));
        std::fs::create_dir(&folder)?;
        set_mode(&folder, 0o777)?;
        Ok(folder)
    }

    /// Plays a trick and holds the daemon to all that must stay as it is; what was measured.
    ///
    /// # Errors
    /// What did not stay: each failure in a line.
    pub fn under(&self, name: &str, trick: &mut Command) -> Result<Seen> {
        let idle = self.idle;
        // Few names: what the metrics of many models cost is not asked here.
        let [host, new] = ["host", "new"].map(|whose| format!("scenario:quick#{whose}-{}", self.tricks));
        let mut asked = vec![format!("scenario:steady#{}", self.tricks)];
        let steady = self.rig.run("stdlib")?.start(&asked)?;
        self.rig.stream_when(asked.first().context("no model")?, "the first chunks", |ledger| ledger.chunks >= 3)?;
        let watch = Watch::start(&self.rig.daemon)?;
        let (helper, ready) = Helper::start(trick).with_context(|| format!("{name} could not be played"))?;
        println!("{name}: {ready}");
        let (began, mut round) = (Instant::now(), 0);
        while began.elapsed() < LASTS {
            asked.extend(self.calls("curl-chat", &host, None)?);
            let fresh = library::copy_into(&self.place.path().join(format!("{name}-fresh{round}")))?;
            asked.extend(self.calls("stdlib", &new, fresh.parent())?);
            round += 1;
        }
        let (said, _) = steady.finish()?;
        let seen = watch.end();
        drop(helper);
        let mut wrong = Vec::new();
        if said.iter().any(|line| line.error.is_some()) {
            wrong.push(format!("the steady client failed: {said:?}"));
        }
        match &seen {
            Ok(seen) => {
                println!("{name}: {idle} KiB before; {}", seen.summary());
                wrong.extend(judged(seen, idle));
            }
            Err(error) => wrong.push(format!("{error:#}")),
        }
        wrong.extend(exact::wrong(&self.rig, &asked).unwrap_or_else(|error| vec![format!("inspect: {error:#}")]));
        for page in ["/healthz", "/readyz"] {
            match self.rig.daemon.get(page) {
                Ok((200, _)) => {}
                other => wrong.push(format!("{page} after it: {other:?}")),
            }
        }
        ensure!(wrong.is_empty(), "{name}:\n{}\n{}", wrong.join("\n"), self.rig.daemon.log());
        seen
    }

    /// Two calls of a program of root's, with a library that nobody has used if one is given: two
    /// seconds after it is mapped.
    pub fn calls(&self, kind: &str, model: &str, library: Option<&Path>) -> Result<Vec<String>> {
        let models = vec![model.to_owned(); 2];
        let mut run = self.rig.run(kind)?;
        if let Some(folder) = library {
            run = run.env("LD_LIBRARY_PATH", &folder.to_string_lossy()).env("CLIENT_PAUSE", "2");
        }
        let (said, status) = run.start(&models)?.finish()?;
        ensure!(status.success() && said.iter().all(|line| line.error.is_none()), "{model}: {status}, {said:?}");
        Ok(models)
    }
}

fn judged(seen: &Seen, idle: u64) -> Vec<String> {
    let mut wrong: Vec<String> = seen.failed.iter().map(|failed| format!("a scrape failed: {failed}")).collect();
    if seen.slowest() > ANSWERED {
        wrong.push(format!("a scrape took {:?}", seen.slowest()));
    }
    if seen.peak_kib > idle * MEMORY {
        wrong.push(format!("{} KiB of memory, {idle} before", seen.peak_kib));
    }
    wrong
}

fn set_mode(folder: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode))?)
}
