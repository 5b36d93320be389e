//! The daemon's loop. One thread owns the kernel side and the pipeline; everyone else asks it by message.

use std::sync::Arc;

use tokio::sync::mpsc::Receiver;

use super::cpu::Cpu;
use super::state::State;
use super::wake::{Signals, Sources, Wake};
use crate::clock::{self, Wall};
use crate::coverage::Edge;
use crate::detect::{Detectors, Findings};
use crate::export::ask::Ask;
use crate::export::audience::Metrics;
use crate::export::http::Health;
use crate::export::inspect::connection::Connection;
use crate::export::inspect::view::{Detail, Probe, Process, Stream};
use crate::export::inspect::{Answer, Question, Row, finding, quota};
use crate::export::own;
use crate::export::store::Snapshot;
use crate::ledger::{Book, Entry};
use crate::pipeline::Pipeline;
use crate::units::Ns;

/// How often the kernel side does its housekeeping.
const EDGE_TICK_NS: u64 = 1_000_000_000;

/// Everything the loop owns.
pub struct Daemon {
    edge: Box<dyn Edge>,
    pipeline: Pipeline<Metrics>,
    wall: Wall,
    health: Arc<Health>,
    edge_ticked: Ns,
    state: Option<State>,
    cpu: Cpu,
}

impl Daemon {
    /// A daemon over a kernel side that is attached already.
    pub fn new(edge: Box<dyn Edge>, mut pipeline: Pipeline<Metrics>, health: Arc<Health>) -> Daemon {
        own::start(&mut pipeline.audience_mut().store);
        let wall = Wall::read();
        pipeline.audience_mut().detectors.set_wall(wall.offset());
        Daemon { edge, pipeline, wall, health, edge_ticked: Ns(0), state: None, cpu: Cpu::default() }
    }

    /// Takes up what detectors had learned, and keeps it up to date there.
    #[must_use]
    pub fn with_state(mut self, state: Option<State>) -> Daemon {
        if let Some(saved) = state.as_ref().and_then(State::read) {
            self.pipeline.audience_mut().detectors.restore(saved);
        }
        self.state = state;
        self
    }

    /// Runs until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// When the descriptors of the kernel side cannot be waited for.
    pub async fn run(&mut self, signals: Signals, asks: Receiver<Ask>) -> std::io::Result<()> {
        let mut sources = Sources::new(&self.edge.fds(), signals, asks)?;
        let mut more = false;
        self.health.beat(clock::now());
        self.health.set_ready();
        loop {
            match sources.next(more).await {
                Wake::Ring => more = self.drain(),
                Wake::Tick => more = self.tick(),
                Wake::Request(ask) => self.answer(ask),
                Wake::Signal => {
                    self.save(true);
                    return Ok(());
                }
            }
        }
    }

    /// Takes a bounded batch of records; true when more wait.
    fn drain(&mut self) -> bool {
        let Daemon { edge, pipeline, .. } = self;
        let more = edge.drain(&mut |record| pipeline.record(record));
        self.decide();
        more
    }

    fn decide(&mut self) {
        for (conn, verdict) in self.pipeline.verdicts() {
            self.edge.decide(conn, verdict);
        }
    }

    fn tick(&mut self) -> bool {
        // Taken before the drain: the pipeline's time must not run ahead of records still to come.
        let now = clock::now();
        let more = self.drain();
        // Under a load that never lets the ring run empty, time goes on too: that of the records.
        self.pipeline.tick(if more { self.pipeline.now() } else { now });
        self.decide();
        if now - self.edge_ticked >= EDGE_TICK_NS {
            self.edge.tick(now);
            self.edge_ticked = now;
            self.sample(now);
        }
        self.wall.refresh(now);
        self.pipeline.audience_mut().detectors.set_wall(self.wall.offset());
        self.save(false);
        self.health.beat(now);
        more
    }

    /// What the services' calls cost them, for the divergence of load and CPU.
    fn sample(&mut self, now: Ns) {
        let cpu = &mut self.cpu;
        let Some(seconds) = cpu.due(now) else { return };
        self.pipeline.show(|book, links, _, metrics| {
            for (service, used) in cpu.used(book, links.iter(), now) {
                metrics.detectors.cpu(&service, used, seconds);
            }
        });
    }

    fn save(&mut self, last: bool) {
        let Some(state) = self.state.as_mut().filter(|state| last || state.due(clock::now())) else { return };
        if let Some(saved) = self.pipeline.audience().detectors.save() {
            state.write(&saved);
        }
    }

    /// The asker may be gone by now; that is its own affair.
    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Scrape(reply) => {
                let _ = reply.send(self.snapshot());
            }
            Ask::Inspect(question, reply) => {
                let _ = reply.send(self.inspect(&question));
            }
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        // What waits in the ring happened before the scrape.
        self.drain();
        let now = clock::now();
        let (counters, overflow) = (self.pipeline.counters(), self.pipeline.book().overflow());
        self.pipeline.show(|book, links, sockets, metrics| metrics.publish(book, links, sockets, now));
        let store = &mut self.pipeline.audience_mut().store;
        own::pipeline(store, &counters, overflow);
        own::edge(store, self.edge.as_ref());
        own::process(store);
        store.snapshot()
    }

    fn inspect(&mut self, question: &Question) -> Answer {
        self.drain();
        let now = clock::now();
        let (book, found) = (self.pipeline.book(), self.pipeline.audience().detectors.findings());
        match question {
            Question::Streams { since_seconds, also, .. } => {
                let mut rows = streams(book, *since_seconds, also, now, &self.wall);
                hops(&mut rows, book, found);
                Ok(rows)
            }
            Question::Stream { id } => stream(book, id, now, &self.wall).map(|row| {
                let mut rows = vec![row];
                hops(&mut rows, book, found);
                rows
            }),
            Question::Connections => Ok(connections(&self.pipeline, now, &self.wall)),
            Question::Processes => {
                Ok(self.edge.processes().iter().map(|row| Row::Process(Process::new(row))).collect())
            }
            Question::Findings { since_seconds, id } => {
                findings(&self.pipeline.audience().detectors, *since_seconds, id.as_deref(), now, &self.wall)
            }
            Question::Quota => {
                let rows = self.pipeline.audience().detectors.quota();
                Ok(rows.iter().map(|row| Row::Quota(quota::Quota::new(row, now, &self.wall))).collect())
            }
            Question::Probes => Ok(self.edge.probes().iter().map(|row| Row::Probe(Probe::new(row))).collect()),
        }
    }
}

/// Findings that last and those that were over within `since_seconds`, or those that `id` names.
///
/// # Errors
/// `id` names none, or more than one.
pub fn findings(detectors: &Detectors, since_seconds: f64, id: Option<&str>, now: Ns, wall: &Wall) -> Answer {
    let all = detectors.findings().list();
    let wanted: Vec<_> = match id {
        Some(id) => all.into_iter().filter(|finding| finding.id.starts_with(id)).collect(),
        None => all.into_iter().filter(|f| f.ended.is_none_or(|at| now.seconds_since(at) <= since_seconds)).collect(),
    };
    match (id, wanted.as_slice()) {
        (Some(id), []) => {
            Err(format!("no finding with an id that begins with {id:?}: `llm-observer inspect findings` lists them"))
        }
        (Some(id), [first, second, ..]) => Err(format!(
            "more than one finding begins with {id:?} ({}, {} …): give more of the id",
            first.id, second.id
        )),
        _ => Ok(wanted.into_iter().map(|f| Row::Finding(Box::new(finding::Finding::new(f, now, wall)))).collect()),
    }
}

/// Says of which call a stream is the continuation.
pub fn hops(rows: &mut [Row], book: &Book, findings: &Findings) {
    for row in rows {
        let stream = match row {
            Row::Stream(stream) => stream.as_mut(),
            Row::Detail(detail) => &mut detail.stream,
            _ => continue,
        };
        let call = book.call(&stream.id);
        stream.hop_of = call.and_then(|call| findings.hop_of(&call)).map(str::to_owned);
    }
}

/// Open connections that have carried a model call, in the order in which they were opened.
fn connections(pipeline: &Pipeline<Metrics>, now: Ns, wall: &Wall) -> Vec<Row> {
    let mut links: Vec<_> = pipeline.links().iter().collect();
    links.sort_by_key(|link| (link.opened, link.conn));
    let view = |link| Row::Connection(Box::new(Connection::new(link, pipeline.sockets(), now, wall)));
    links.into_iter().map(view).collect()
}

/// Open streams, those that ended within `since_seconds` and those named, in the order in which they began.
#[must_use]
pub fn streams(book: &Book, since_seconds: f64, also: &[String], now: Ns, wall: &Wall) -> Vec<Row> {
    let recent = |entry: &&Entry| {
        entry.ended.is_none_or(|ended| now.seconds_since(ended) <= since_seconds) || also.contains(&entry.id)
    };
    let mut entries: Vec<&Entry> = book.ended().filter(recent).chain(book.open()).collect();
    entries.sort_by_key(|entry| entry.started);
    entries.into_iter().map(|entry| Row::Stream(Box::new(Stream::new(entry, now, wall)))).collect()
}

/// The one stream whose id begins with `prefix`, with its timeline.
fn stream(book: &Book, prefix: &str, now: Ns, wall: &Wall) -> Result<Row, String> {
    let mut ids: Vec<&str> =
        book.open().chain(book.ended()).map(|e| e.id.as_str()).filter(|id| id.starts_with(prefix)).collect();
    ids.sort_unstable();
    ids.dedup();
    match ids.as_slice() {
        [] => {
            Err(format!("no stream with an id that begins with {prefix:?}: `llm-observer inspect streams` lists them"))
        }
        [id] => {
            let (entry, points, before) = book.find(id).ok_or("the stream has just been forgotten")?;
            Ok(Row::Detail(Box::new(Detail::new(entry, &points, before, now, wall))))
        }
        [first, second, ..] => {
            Err(format!("more than one stream begins with {prefix:?} ({first}, {second} …): give more of the id"))
        }
    }
}
