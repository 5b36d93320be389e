//! Scrapes: one in work at a time, whoever asks, and half of a core for them at most.
//!
//! Who asks while one is in work gets the next one, together with all who asked by then: its
//! numbers are read after he asked, and a hundred who wait cost what one does. So nobody has to be
//! refused, unless the pipeline does not answer.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use crate::export::text::{self, SnapshotSource};

/// Longest wait for a scrape: half of Prometheus' usual patience.
const WAIT: Duration = Duration::from_secs(5);

/// After a scrape, the next one begins as much later as that one took, and at most this: what
/// strangers ask for never takes more than half of a core.
const REST: Duration = Duration::from_millis(250);

/// What came of asking.
pub(super) enum ScrapeOutcome {
    /// The text; empty when the daemon is stopping.
    Done(Bytes),
    /// Not within `WAIT`.
    Busy,
    Failed(String),
}

/// The scrapes of all connections.
#[derive(Default)]
pub(super) struct SharedScrapes(Arc<Shared>);

struct Shared {
    turn: Arc<Semaphore>,
    /// Counts askings and beginnings: which came first.
    order: AtomicU64,
    /// How many wait for a text.
    asking: AtomicUsize,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    /// The newest texts, plain and compressed; kept while somebody waits.
    texts: [Option<Text>; 2],
    rest_until: Option<Instant>,
}

#[derive(Clone)]
struct Text {
    begun: u64,
    made: Result<Bytes, String>,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared {
            turn: Arc::new(Semaphore::new(1)),
            order: AtomicU64::new(0),
            asking: AtomicUsize::new(0),
            last: Mutex::default(),
        }
    }
}

impl SharedScrapes {
    /// The numbers as they are now or a moment later.
    pub(super) async fn get(&self, source: &Arc<dyn SnapshotSource>, gzip: bool) -> ScrapeOutcome {
        let _asking = ScrapeWaiter::new(&self.0);
        match timeout(WAIT, made(&self.0, source, gzip)).await {
            Ok(Ok(text)) => ScrapeOutcome::Done(text),
            Ok(Err(error)) => ScrapeOutcome::Failed(error),
            Err(_) => ScrapeOutcome::Busy,
        }
    }
}

async fn made(shared: &Arc<Shared>, source: &Arc<dyn SnapshotSource>, gzip: bool) -> Result<Bytes, String> {
    let asked = shared.next();
    let turn = Arc::clone(&shared.turn).acquire_owned().await.map_err(|error| error.to_string())?;
    if let Some(text) = shared.newer_than(asked, gzip) {
        return text;
    }
    let (done, answer) = oneshot::channel();
    let (shared, source) = (Arc::clone(shared), Arc::clone(source));
    // A task of its own: if whoever asked goes away, the turn stays taken for as long as the work lasts.
    tokio::spawn(async move {
        shared.rest().await;
        let (begun, start) = (shared.next(), Instant::now());
        let working = tokio::task::spawn_blocking(move || encode(source.as_ref(), gzip));
        let made = working.await.map_err(|error| error.to_string()).flatten();
        shared.keep(Text { begun, made: made.clone() }, gzip, start.elapsed());
        // Nobody may be waiting for it any more.
        let _ = done.send(made);
        drop(turn);
    });
    answer.await.map_err(|error| error.to_string())?
}

impl Shared {
    fn next(&self) -> u64 {
        self.order.fetch_add(1, Ordering::Relaxed)
    }

    fn newer_than(&self, asked: u64, gzip: bool) -> Option<Result<Bytes, String>> {
        let last = self.last();
        let [plain, compressed] = &last.texts;
        let text = if gzip { compressed } else { plain };
        text.as_ref().filter(|text| text.begun > asked).map(|text| text.made.clone())
    }

    fn keep(&self, text: Text, gzip: bool, took: Duration) {
        let mut last = self.last();
        last.rest_until = Some(Instant::now() + took.min(REST));
        if self.asking.load(Ordering::Relaxed) > 0 {
            let [plain, compressed] = &mut last.texts;
            *(if gzip { compressed } else { plain }) = Some(text);
        }
    }

    async fn rest(&self) {
        let until = self.last().rest_until;
        sleep(until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))).await;
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        // A poisoned text is still a text.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one who waits. Megabytes of text are let go with the last of them.
struct ScrapeWaiter<'a>(&'a Shared);

impl<'a> ScrapeWaiter<'a> {
    fn new(shared: &'a Shared) -> ScrapeWaiter<'a> {
        shared.asking.fetch_add(1, Ordering::Relaxed);
        ScrapeWaiter(shared)
    }
}

impl Drop for ScrapeWaiter<'_> {
    fn drop(&mut self) {
        let mut last = self.0.last();
        if self.0.asking.fetch_sub(1, Ordering::Relaxed) == 1 {
            last.texts = [None, None];
        }
    }
}

/// Nothing, where the pipeline does not answer.
fn encode(source: &dyn SnapshotSource, gzip: bool) -> Result<Bytes, String> {
    let text = source.snapshot().map(|snapshot| text::encode(&snapshot)).unwrap_or_default().into_bytes();
    // Nothing to say is told from an empty compressed text.
    let made = if gzip && !text.is_empty() { compress(&text).map_err(|error| error.to_string())? } else { text };
    Ok(Bytes::from(made))
}

fn compress(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text)?;
    encoder.finish()
}
