//! Why a loop over a kernel side wakes: one enum, one wait.

use std::os::fd::RawFd;
use std::task::Poll;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use crate::export::ask::PipelineQuery;

/// After a drain the ring is left alone for this long: stamps are taken in the kernel, so waiting costs no accuracy,
/// and one wake-up then serves many records.
const PAUSE: Duration = Duration::from_millis(3);

/// How often time passes for the pipeline when nothing happens.
const TICK: Duration = Duration::from_millis(200);

/// Why the loop was woken.
pub enum WakeReason {
    /// Records wait.
    Ring,
    /// Time passed.
    Tick,
    /// Somebody asks.
    Request(PipelineQuery),
    /// SIGTERM or SIGINT.
    Signal,
    /// SIGHUP: the terminal is gone, or somebody wants the configuration read again.
    Hangup,
}

/// Where wakes come from.
pub struct WakeSources {
    rings: Vec<AsyncFd<RawFd>>,
    rest_until: Instant,
    tick: Interval,
    asks: Receiver<PipelineQuery>,
    signals: StopSignals,
}

/// SIGTERM, SIGINT and SIGHUP, caught from the moment this is made: each of them would else end the
/// process in disorder.
pub struct StopSignals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl StopSignals {
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When signals cannot be caught.
    pub fn new() -> std::io::Result<StopSignals> {
        let [term, int, hup] = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(StopSignals { term: term?, int: int?, hup: hup? })
    }
}

impl WakeSources {
    /// Waits for these descriptors, these questions, time and signals.
    ///
    /// # Errors
    /// When the descriptors cannot be waited for.
    #[expect(
        deprecated,
        reason = "the descriptors belong to the edge, which lives as long as the daemon that waits for them"
    )]
    pub fn new(fds: &[RawFd], signals: StopSignals, asks: Receiver<PipelineQuery>) -> std::io::Result<WakeSources> {
        let rings = fds.iter().map(|fd| AsyncFd::with_interest(*fd, Interest::READABLE)).collect::<Result<_, _>>()?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(WakeSources { rings, rest_until: Instant::now(), tick, asks, signals })
    }

    /// The next reason to do something. Signals come first, then time and requests, so that a full ring starves nobody.
    pub async fn next(&mut self, more: bool) -> WakeReason {
        let WakeSources { rings, rest_until, tick, asks, signals } = self;
        tokio::select! {
            biased;
            _ = signals.term.recv() => WakeReason::Signal,
            _ = signals.int.recv() => WakeReason::Signal,
            _ = signals.hup.recv() => WakeReason::Hangup,
            _ = tick.tick() => WakeReason::Tick,
            Some(ask) = asks.recv() => WakeReason::Request(ask),
            () = ring(rings, *rest_until, more) => {
                *rest_until = Instant::now() + PAUSE;
                WakeReason::Ring
            }
        }
    }
}

/// Records wait in a ring, and the ring has rested. At once if the last drain left some.
async fn ring(rings: &[AsyncFd<RawFd>], rest_until: Instant, more: bool) {
    if more {
        return;
    }
    sleep_until(rest_until).await;
    std::future::poll_fn(|context| {
        let mut ready = Poll::Pending;
        for ring in rings {
            // Epoll reports edges: clear first, drain after, and what comes in between is a new edge.
            if let Poll::Ready(Ok(mut guard)) = ring.poll_read_ready(context) {
                guard.clear_ready();
                ready = Poll::Ready(());
            }
        }
        ready
    })
    .await;
}
