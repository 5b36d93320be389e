//! The daemon's loop. One thread owns the kernel side and the pipeline; everyone else asks it by message.

use std::sync::Arc;

use tokio::sync::mpsc::Receiver;

use super::cpu::ServiceCpu;
use super::layouts::LayoutsFile;
use super::state::StateFile;
use super::wake::{StopSignals, WakeReason, WakeSources};
use crate::export::ask::PipelineQuery;
use crate::export::catalogue::observer as own_metrics;
use crate::export::health::{CheckSource, DaemonHealth};
use crate::export::inspect::sight::CheckView;
use crate::export::inspect::view::{ProbeView, ProcessView};
use crate::export::inspect::{AnswerRow, AnswerRows, InspectQuestion, InspectRows, queries};
use crate::export::own;
use crate::export::refusals::RefusalCounts;
use crate::export::store::MetricsSnapshot;
use crate::sinks::DaemonSinks;
use capture::units::Ns;
use edge::clock::{self, WallClock};
use edge::coverage::CaptureEdge;
use ledger::pipeline::Pipeline;
use ledger::{EventSink, HostEvent};

/// How often the kernel side does its housekeeping.
const EDGE_TICK_NS: u64 = 1_000_000_000;

/// How often everybody looks whether what must be seen can be seen.
pub const LOOK_NS: u64 = 30_000_000_000;

/// Everything the loop owns.
pub struct Daemon {
    edge: Box<dyn CaptureEdge>,
    pipeline: Pipeline<DaemonSinks>,
    wall: WallClock,
    health: Arc<DaemonHealth>,
    edge_ticked: Ns,
    edge_looked: Ns,
    state: Option<StateFile>,
    layouts: Option<LayoutsFile>,
    refusals: Arc<RefusalCounts>,
    cpu: ServiceCpu,
}

impl Daemon {
    /// A daemon over a kernel side that is attached already.
    pub fn new(edge: Box<dyn CaptureEdge>, mut pipeline: Pipeline<DaemonSinks>, health: Arc<DaemonHealth>) -> Daemon {
        own::start(&mut pipeline.sink_mut().metrics.store);
        let wall = WallClock::read();
        pipeline.sink_mut().detectors.set_wall(wall.offset());
        Daemon {
            edge,
            pipeline,
            wall,
            health,
            edge_ticked: Ns(0),
            edge_looked: clock::now(),
            state: None,
            refusals: Arc::default(),
            cpu: ServiceCpu::default(),
            layouts: None,
        }
    }

    /// Publishes whom its doors turned away.
    #[must_use]
    pub fn with_refusals(self, refusals: Arc<RefusalCounts>) -> Daemon {
        Daemon { refusals, ..self }
    }

    /// Takes up what detectors had learned, and keeps it up to date there.
    #[must_use]
    pub fn with_state(mut self, mut state: Option<StateFile>) -> Daemon {
        if let Some(state) = &mut state {
            let sinks = self.pipeline.sink_mut();
            if let Some(saved) = state.read() {
                let strange = sinks.detectors.restore(saved);
                state.not_understood(&strange);
            }
            for (reason, unread) in state.unread() {
                sinks.metrics.store.set_to(own_metrics::STATE_KEPT.with(&[reason]), f64::from(u8::from(unread)));
            }
        }
        self.state = state;
        self
    }

    /// Keeps there what is found in files.
    #[must_use]
    pub fn with_layouts(self, layouts: Option<LayoutsFile>) -> Daemon {
        Daemon { layouts, ..self }
    }

    /// Runs until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// When the descriptors of the kernel side cannot be waited for.
    pub async fn run(&mut self, signals: StopSignals, asks: Receiver<PipelineQuery>) -> std::io::Result<()> {
        let mut sources = WakeSources::new(&self.edge.fds(), signals, asks)?;
        let mut more = false;
        self.health.beat(clock::now());
        self.health.saw(CheckSource::Edge, self.edge.sights());
        self.health.set_ready();
        loop {
            match sources.next(more).await {
                WakeReason::Ring => more = self.drain(),
                WakeReason::Tick => more = self.tick(),
                WakeReason::Request(ask) => self.answer(ask),
                WakeReason::Hangup => {
                    tracing::info!("SIGHUP: nothing is read again; restart to take up another configuration");
                }
                WakeReason::Signal => {
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
        if now - self.edge_looked >= LOOK_NS {
            self.edge_looked = now;
            self.health.saw(CheckSource::Edge, self.edge.sights());
        }
        self.wall.refresh(now);
        self.pipeline.sink_mut().detectors.set_wall(self.wall.offset());
        self.save(false);
        self.health.beat(now);
        more
    }

    /// What the services' calls cost them, for the divergence of load and CPU.
    fn sample(&mut self, now: Ns) {
        let cpu = &mut self.cpu;
        let Some(seconds) = cpu.due(now) else { return };
        self.pipeline.show(|call_table, connections, _, sinks| {
            for (service, used) in cpu.used(call_table, connections.iter(), now) {
                sinks.on_host_event(&HostEvent::CpuUsed { service: &service, used, seconds });
            }
        });
    }

    fn save_layouts(&mut self, last: bool) {
        let now = clock::now();
        let Some(file) = self.layouts.as_mut().filter(|file| last || file.due(now)) else { return };
        if let Some(text) = self.edge.found_layouts() {
            file.write(&text, now);
        }
    }

    fn save(&mut self, last: bool) {
        self.save_layouts(last);
        let Some(state) = self.state.as_mut().filter(|state| last || state.due(clock::now())) else { return };
        if let Some(saved) = self.pipeline.sink().detectors.save() {
            state.write(&saved);
        }
    }

    /// The asker may be gone by now; that is its own affair.
    fn answer(&mut self, ask: PipelineQuery) {
        match ask {
            PipelineQuery::Scrape(reply) => {
                let _ = reply.send(self.snapshot());
            }
            PipelineQuery::Inspect(question, reply) => {
                let _ = reply.send(self.inspect(&question));
            }
        }
    }

    fn snapshot(&mut self) -> MetricsSnapshot {
        // What waits in the ring happened before the scrape.
        self.drain();
        let now = clock::now();
        let (counters, overflow) = (self.pipeline.counters(), self.pipeline.call_table().overflow());
        self.pipeline
            .show(|call_table, connections, sockets, sinks| sinks.publish(call_table, connections, sockets, now));
        let store = &mut self.pipeline.sink_mut().metrics.store;
        own::pipeline(store, &counters, overflow);
        own::edge(store, self.edge.as_ref());
        own::process(store);
        self.refusals.publish(store);
        own::sights(store, &self.health.sights());
        store.snapshot()
    }

    fn inspect(&mut self, question: &InspectQuestion) -> AnswerRows {
        self.drain();
        let now = clock::now();
        let (call_table, detectors) = (self.pipeline.call_table(), &self.pipeline.sink().detectors);
        let rows = match question {
            InspectQuestion::Streams { since_seconds, also, .. } => {
                let found = detectors.findings();
                let streams = queries::StreamsSnapshot::new(call_table, found, *since_seconds, also, now, &self.wall);
                return Ok(InspectRows::Streams(streams));
            }
            InspectQuestion::Stream { id } => {
                vec![queries::stream(call_table, detectors.findings(), id, now, &self.wall)?]
            }
            InspectQuestion::Connections => {
                queries::connections(self.pipeline.connections(), self.pipeline.sockets(), now, &self.wall)
            }
            InspectQuestion::Processes => {
                self.edge.processes().iter().map(|row| AnswerRow::Process(ProcessView::new(row))).collect()
            }
            InspectQuestion::Findings { since_seconds, id } => {
                queries::findings(detectors, *since_seconds, id.as_deref(), now, &self.wall)?
            }
            InspectQuestion::Quota => queries::quotas(detectors, now, &self.wall),
            InspectQuestion::Sights => {
                // What the edge says of itself is of now; the host is looked at aside.
                self.health.saw(CheckSource::Edge, self.edge.sights());
                self.health.sights().iter().map(|check| AnswerRow::Sight(CheckView::new(check))).collect()
            }
            InspectQuestion::Probes => {
                self.edge.probes().iter().map(|row| AnswerRow::Probe(ProbeView::new(row))).collect()
            }
        };
        Ok(InspectRows::Ready(rows))
    }
}
