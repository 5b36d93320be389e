//! What the daemon takes while something is done to it: memory, descriptors, time of a scrape, processor time.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::daemon::{Daemon, get};
use crate::steady::StopMeter;

/// A daemon that takes more than this is ended: a test must not bring its machine down.
const KILLED_ABOVE_KIB: u64 = 1_500_000;

/// Between two scrapes of a watched daemon.
const SCRAPE: Duration = Duration::from_millis(250);

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How long each scrape took; a failed one counts as long as it was tried.
    pub scrapes: Vec<Duration>,
    /// Scrapes that were not answered with 200, and why.
    pub failed: Vec<String>,
    /// Most resident memory.
    pub peak_kib: u64,
    /// User and system time.
    pub cpu: Duration,
    pub over: Duration,
    /// How late a thread woke that did nothing but sleep: what the host's scheduler alone takes.
    pub latest_wake: Duration,
}

impl Seen {
    /// The slowest scrape.
    #[must_use]
    pub fn slowest(&self) -> Duration {
        self.scrapes.iter().copied().max().unwrap_or_default()
    }

    /// A line for whoever reads the test's output; how fast a scrape must be is asked by the benchmarks.
    #[must_use]
    pub fn summary(&self) -> String {
        let Self { scrapes, peak_kib, cpu, over, .. } = self;
        format!(
            "{} scrapes, the slowest {:?}; memory at most {peak_kib} KiB; CPU {cpu:?} in {over:?}",
            scrapes.len(),
            self.slowest()
        )
    }
}

/// Scrapes a daemon and measures it until it is told to stop.
pub struct Watch {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    threads: Vec<JoinHandle<()>>,
    stops: Option<StopMeter>,
    pid: u32,
    began: Instant,
    cpu_before: Duration,
}

impl Watch {
    /// Begins.
    ///
    /// # Errors
    /// If the daemon is not there.
    pub fn start(daemon: &Daemon) -> Result<Self> {
        let (pid, web) = (daemon.pid(), daemon.web());
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let cpu_before = cpu(pid)?;
        let scraping = {
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let answer = get(web, "/metrics");
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.scrapes.push(began.elapsed());
                    match answer {
                        Ok((200, _)) => {}
                        Ok((status, _)) => seen.failed.push(format!("status {status}")),
                        Err(error) => seen.failed.push(format!("{error:#}")),
                    }
                    drop(seen);
                    std::thread::sleep(SCRAPE);
                }
            })
        };
        let measuring = {
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let now = resident_kib(pid).unwrap_or_default();
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.peak_kib = seen.peak_kib.max(now);
                    drop(seen);
                    if now > KILLED_ABOVE_KIB
                        && let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed())
                    {
                        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            })
        };
        Ok(Self {
            stop,
            seen,
            threads: vec![scraping, measuring],
            stops: Some(StopMeter::start()),
            pid,
            began: Instant::now(),
            cpu_before,
        })
    }

    /// Ends; what was seen.
    ///
    /// # Errors
    /// If the daemon is gone.
    pub fn end(mut self) -> Result<Seen> {
        let over = self.began.elapsed();
        self.join();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        seen.cpu = cpu(self.pid).context("the daemon is gone")?.saturating_sub(self.cpu_before);
        seen.over = over;
        seen.latest_wake = self.stops.take().map(StopMeter::end).unwrap_or_default();
        Ok(seen)
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.join();
    }
}

/// What a daemon holds at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    pub descriptors: usize,
    pub probe_rows: usize,
    /// Series about the daemon itself.
    pub series: usize,
    pub resident_kib: u64,
}

impl Footprint {
    /// Of this one.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn of(daemon: &Daemon) -> Result<Self> {
        let metrics = daemon.metrics()?;
        Ok(Self {
            probe_rows: daemon.probes()?.len(),
            series: metrics.lines().filter(|line| line.starts_with("llm_observer_")).count(),
            descriptors: descriptors(daemon.pid())?,
            resident_kib: resident_kib(daemon.pid())?,
        })
    }
}

/// Resident memory of a process.
///
/// # Errors
/// If it is gone.
pub fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).context("no number")
}

/// Descriptors of a process.
///
/// # Errors
/// If it is gone.
pub fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// User and system time of a process so far.
///
/// # Errors
/// If it is gone.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold spaces: fields are counted behind it, from the third on.
    let fields = stat.rsplit(')').next().context("no stat")?.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    // USER_HZ is 100 on every architecture Linux runs on.
    Ok(Duration::from_millis(ticks * 10))
}
