//! Whether the daemon lives, is ready, and what it can see: written by those who know, read by the
//! health pages, `doctor` and the metrics, always from memory.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use capture::units::Ns;
use edge::clock;
use edge::coverage::{CheckSeverity, HealthCheck};

/// The pipeline's loop is alive if it turned within this.
const BEAT_NS: u64 = 10_000_000_000;

/// Who looks, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckSource {
    /// The kernel side at itself.
    Edge,
    /// Anybody at this host.
    Host,
}

/// What is known of the daemon's own state.
#[derive(Debug, Default)]
pub struct DaemonHealth {
    ready: AtomicBool,
    beat: AtomicU64,
    sights: Mutex<[Vec<HealthCheck>; 2]>,
}

impl DaemonHealth {
    /// The loop turned.
    pub fn beat(&self, now: Ns) {
        self.beat.store(now.0, Ordering::Relaxed);
    }

    /// Probes are in place.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Takes what was looked at anew; what changed by it is logged. What could not be looked at stays as it was.
    pub fn saw(&self, looked: CheckSource, checks: Vec<HealthCheck>) {
        let mut sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        let [edge, host] = &mut *sights;
        let known = if looked == CheckSource::Edge { edge } else { host };
        for check in checks {
            let before = known.iter_mut().find(|known| known.name == check.name);
            if before.as_ref().map_or(CheckSeverity::Ok, |known| known.severity) != check.severity {
                log(&check);
            }
            match before {
                Some(known) => *known = check,
                None => known.push(check),
            }
        }
    }

    /// All that was looked at, as it was last. Where both sides told of one thing, the worse holds.
    #[must_use]
    pub fn sights(&self) -> Vec<HealthCheck> {
        let mut all: Vec<HealthCheck> = Vec::new();
        for check in self.sights.lock().unwrap_or_else(PoisonError::into_inner).concat() {
            match all.iter_mut().find(|known| known.name == check.name) {
                Some(known) if known.severity < check.severity => *known = check,
                Some(_) => {}
                None => all.push(check),
            }
        }
        all
    }

    pub(super) fn healthy(&self) -> bool {
        clock::now() - Ns(self.beat.load(Ordering::Relaxed)) < BEAT_NS
    }

    /// What `/readyz` says: whether the daemon is ready, and why it is not, or what it does
    /// without. `degraded` is ready, `blind` is not.
    #[must_use]
    pub fn readiness(&self) -> (bool, String) {
        if !self.ready.load(Ordering::Relaxed) {
            return (false, "probes are not in place yet\n".to_owned());
        }
        if !self.healthy() {
            return (false, "the pipeline's loop does not turn\n".to_owned());
        }
        let mut bad: Vec<HealthCheck> =
            self.sights().into_iter().filter(|check| check.severity != CheckSeverity::Ok).collect();
        if bad.is_empty() {
            return (true, "OK\n".to_owned());
        }
        // The worst first: it is what the page is about.
        bad.sort_by_key(|check| std::cmp::Reverse(check.severity));
        let mut page = String::new();
        for HealthCheck { name, severity, found, lost, fix } in &bad {
            // Writing to a String cannot fail.
            let _ = writeln!(page, "{}: {name}: {found}; lost: {lost}; fix: {fix}", severity.name());
        }
        (bad.iter().all(|check| check.severity == CheckSeverity::Degraded), page)
    }
}

fn log(check: &HealthCheck) {
    let HealthCheck { name, severity, found, lost, fix } = check;
    match severity {
        CheckSeverity::Ok => tracing::info!(sight = name, found, "seen again"),
        CheckSeverity::Degraded => tracing::warn!(sight = name, found, lost, fix, "degraded"),
        CheckSeverity::Blind | CheckSeverity::Fatal => tracing::error!(sight = name, found, lost, fix, "blind"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, severity: CheckSeverity) -> HealthCheck {
        HealthCheck::bad(name, severity, "found", "lost", "fix")
    }

    fn running() -> DaemonHealth {
        let health = DaemonHealth::default();
        health.beat(clock::now());
        health.set_ready();
        health
    }

    #[test]
    fn degraded_is_ready_and_says_so() {
        let health = running();
        assert_eq!(health.readiness(), (true, "OK\n".to_owned()));
        health
            .saw(CheckSource::Host, vec![HealthCheck::ok("proc", "all"), check("map_files", CheckSeverity::Degraded)]);
        let (ready, page) = health.readiness();
        assert!(ready && page == "degraded: map_files: found; lost: lost; fix: fix\n", "{page}");
    }

    #[test]
    fn blind_is_not_ready_until_it_sees_again() {
        let health = running();
        health.saw(CheckSource::Edge, vec![check("sockets", CheckSeverity::Degraded)]);
        health.saw(CheckSource::Host, vec![check("processes", CheckSeverity::Blind)]);
        let (ready, page) = health.readiness();
        assert!(!ready && page.starts_with("blind: processes: ") && page.contains("\ndegraded: sockets: "), "{page}");
        assert_eq!(health.sights().iter().map(|check| check.name).collect::<Vec<_>>(), ["sockets", "processes"]);
        health.saw(CheckSource::Host, vec![check("descriptors", CheckSeverity::Degraded)]);
        assert!(!health.readiness().0, "it could not be looked at, so it stays as it was");
        health.saw(CheckSource::Host, vec![HealthCheck::ok("processes", "40 of 40")]);
        assert!(health.readiness().0);
    }

    #[test]
    fn of_one_thing_the_worse_is_told() {
        let health = running();
        health.saw(
            CheckSource::Edge,
            vec![check("descriptors", CheckSeverity::Degraded), HealthCheck::ok("sockets", "all")],
        );
        health.saw(
            CheckSource::Host,
            vec![HealthCheck::ok("descriptors", "9 of 10"), check("sockets", CheckSeverity::Degraded)],
        );
        let told = health.sights();
        assert_eq!(told.iter().map(|check| check.name).collect::<Vec<_>>(), ["descriptors", "sockets"]);
        assert!(told.iter().all(|check| check.severity == CheckSeverity::Degraded), "{told:?}");
    }

    #[test]
    fn before_it_is_ready_and_when_it_hangs_it_says_that() {
        let health = DaemonHealth::default();
        health.beat(clock::now());
        assert_eq!(health.readiness(), (false, "probes are not in place yet\n".to_owned()));
        health.set_ready();
        health.beat(Ns(0));
        assert_eq!(health.readiness(), (false, "the pipeline's loop does not turn\n".to_owned()));
    }
}
