//! Cases that rest on when things happen, on a host that may stop for moments.
//!
//! A virtual machine whose host is busy stands still now and then, and with it provider, client and daemon
//! alike: what they then did late is neither's fault, and no bound can tell it from a late one's. So the
//! stops themselves are measured while a case runs.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long the watching thread sleeps at a time.
const NAP: Duration = Duration::from_millis(5);
/// A thread that wakes so late was stopped: a scheduler with a dozen busy programs on two processors takes a tenth of
/// it.
const STOP: Duration = Duration::from_millis(200);
/// Times that a case is tried: a host that stops in every one of them is no place to measure.
const TRIES: usize = 3;

/// Runs a case; once more, up to `TRIES` times in all, where it fails and the host was seen to stop meanwhile.
///
/// # Panics
/// As the case does, where the host did not stop or was tried often enough.
pub fn on_a_steady_host(case: impl Fn()) {
    for tried in 1.. {
        let stops = StopMeter::start();
        let result = catch_unwind(AssertUnwindSafe(&case));
        let longest = stops.end();
        match result {
            Ok(()) => return,
            Err(_) if tried < TRIES && longest >= STOP => {
                println!("this host stopped for {longest:?}: the case is tried once more");
            }
            Err(cause) => {
                println!("longest stop of this host: {longest:?}");
                resume_unwind(cause)
            }
        }
    }
}

/// A thread that does nothing but look whether it is waked in time: what the host and its scheduler alone take.
pub struct StopMeter {
    done: Arc<AtomicBool>,
    watcher: JoinHandle<Duration>,
}

impl StopMeter {
    /// Begins.
    #[must_use]
    pub fn start() -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        let watcher = thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !seen.load(Ordering::Relaxed) {
                let slept = Instant::now();
                thread::sleep(NAP);
                longest = longest.max(slept.elapsed().saturating_sub(NAP));
            }
            longest
        });
        Self { done, watcher }
    }

    /// Ends; how late the thread woke at most.
    #[must_use]
    pub fn end(self) -> Duration {
        self.done.store(true, Ordering::Relaxed);
        self.watcher.join().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn a_case_that_fails_without_a_stop_fails_at_once() {
        let runs = AtomicUsize::new(0);
        let failed = catch_unwind(|| {
            on_a_steady_host(|| {
                runs.fetch_add(1, Ordering::Relaxed);
                panic!("as it should");
            });
        });
        // A stop of the host that runs this very test is the only excuse.
        assert!(failed.is_err() && (1..=TRIES).contains(&runs.load(Ordering::Relaxed)));
    }
}
