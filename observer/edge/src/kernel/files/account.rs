//! How the search for files fares, as it is told: figures for metrics, checks for `doctor`.

use super::{MappedFiles, State, threads};
use crate::coverage::{CheckSeverity, DiscoveryCounters, HealthCheck};
use capture::units::Ns;

/// What the threads count.
#[derive(Clone, Debug, Default)]
pub(super) struct FileCounters {
    pub(super) lost_records: u64,
    /// Threads that wait for a file that does not answer.
    pub(super) stuck: u64,
    pub(super) stuck_ever: u64,
    pub(super) released: u64,
    pub(super) replaced: u64,
    /// Files let go of, or not probed, for want of descriptors.
    pub(super) no_room: u64,
    pub(super) no_room_at: Ns,
    pub(super) unreadable: u64,
    /// Files looked through whole, and those for which what was found before was taken instead.
    pub(super) looked_through: u64,
    pub(super) known_before: u64,
    /// Descriptors in use and allowed, when a file was last probed.
    pub(super) descriptors: (u64, u64),
}

impl MappedFiles {
    /// The account of all this.
    #[must_use]
    pub(crate) fn counters(&self) -> DiscoveryCounters {
        let state = self.shared.state();
        let FileCounters {
            lost_records,
            stuck,
            stuck_ever,
            released,
            replaced,
            no_room,
            unreadable,
            looked_through,
            known_before,
            descriptors,
            ..
        } = state.counters.clone();
        DiscoveryCounters {
            lost_records,
            lost_jobs: state.queue.lost,
            waiting: (state.queue.len() + state.queue.surveys()) as u64,
            postponed: state.queue.parked() as u64,
            stuck,
            stuck_ever,
            probed: state.registry.targets.len() as u64,
            released,
            replaced,
            no_room,
            unreadable,
            looked_through,
            known_before,
            refused: state.registry.refusals(),
            descriptors,
        }
    }

    /// What this search cannot do now, for `doctor`.
    #[must_use]
    pub(crate) fn checks(&self) -> Vec<HealthCheck> {
        let (state, now) = (self.shared.state(), crate::clock::now());
        let mut checks = vec![state.hearing(now)];
        checks.extend(state.short_of_descriptors(now));
        checks
    }
}

/// For how long it is told that descriptors were short.
const TOLD_FOR_NS: u64 = 300_000_000_000;

/// A hearing thread that is silent for longer does not hear any more.
const SILENT_NS: u64 = 10_000_000_000;

impl State {
    fn hearing(&self, now: Ns) -> HealthCheck {
        const NAME: &str = "discovery";
        let lost = "programs and libraries that come from now on";
        if now - self.housed > SILENT_NS {
            let found = format!("nothing was looked at for {} s", (now - self.housed) / 1_000_000_000);
            return HealthCheck::bad(
                NAME,
                CheckSeverity::Degraded,
                found,
                lost,
                "restart the daemon, and please report it with its log",
            );
        }
        let stuck = self.counters.stuck;
        if stuck >= threads::MAX_STUCK {
            let found = format!("{stuck} threads wait for files that do not answer, and no more are started");
            let fix = "see the log for the devices, mend or unmount their file systems, and restart the daemon";
            return HealthCheck::bad(NAME, CheckSeverity::Degraded, found, lost, fix);
        }
        if stuck > 0 {
            let found = format!("{stuck} threads wait for files that do not answer");
            let lost = "programs and libraries on the same file systems";
            return HealthCheck::bad(
                NAME,
                CheckSeverity::Degraded,
                found,
                lost,
                "see the log for the device, and mend or unmount its file system",
            );
        }
        HealthCheck::ok(NAME, "new programs and libraries are seen as they are mapped")
    }

    fn short_of_descriptors(&self, now: Ns) -> Option<HealthCheck> {
        let FileCounters { no_room, no_room_at, descriptors: (used, limit), .. } = self.counters;
        if no_room == 0 || now - no_room_at > TOLD_FOR_NS {
            return None;
        }
        let found =
            format!("{no_room} files were let go of or not probed for want of descriptors ({used} in use of {limit})");
        let lost = "TLS libraries that were mapped since";
        let fix = "raise the hard limit of open files (systemd: LimitNOFILE=, docker and podman: --ulimit nofile=)";
        Some(HealthCheck::bad("descriptors", CheckSeverity::Degraded, found, lost, fix))
    }
}
