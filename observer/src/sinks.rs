//! The table of sinks: who receives the events of model calls.
//!
//! ```text
//! ledger ── events ──► DaemonSinks ─┬─► DetectorSet ── samples ─┐
//!                                   ├─► MetricsSink ◄─────────┘
//!                                   └─► (another exporter: a file, a field and a row here)
//! ```

use crate::export::metrics::{MetricsSink, READER_RATE};
use crate::export::store::SeriesCaps;
use capture::conn::SocketTable;
use capture::units::Ns;
use detectors::{self, DetectorSet};
use ledger::{CallEvent, CallTable, EventSink, HostEvent, ModelConnections};

/// What the operator may set of them.
#[derive(Clone, Debug)]
pub struct SinkSettings {
    /// How much a metric may grow.
    pub caps: SeriesCaps,
    /// The reader of `llm_stream_qoe_score`, characters a second.
    pub reader_rate: f64,
    /// The detectors'.
    pub detect: detectors::DetectorSettings,
}

impl Default for SinkSettings {
    fn default() -> Self {
        SinkSettings {
            caps: SeriesCaps::default(),
            reader_rate: READER_RATE,
            detect: detectors::DetectorSettings::default(),
        }
    }
}

/// Every sink of the daemon, and of a replay.
#[derive(Debug)]
pub struct DaemonSinks {
    pub detectors: DetectorSet,
    pub metrics: MetricsSink,
}

impl DaemonSinks {
    /// Sinks that have received nothing yet.
    #[must_use]
    pub fn new(settings: &SinkSettings) -> DaemonSinks {
        DaemonSinks {
            detectors: DetectorSet::new(&settings.detect),
            metrics: MetricsSink::new(settings.caps, settings.reader_rate),
        }
    }

    /// The table, in the order in which the sinks receive an event. Detectors measure into the metrics.
    fn each(&mut self, emit: impl Fn(&mut dyn EventSink)) {
        let DaemonSinks { detectors, metrics } = self;
        emit(&mut detectors.feeding(&mut metrics.store));
        emit(metrics);
    }

    /// Brings what is computed at a scrape up to date.
    pub fn publish(&mut self, call_table: &CallTable, connections: &ModelConnections, sockets: &SocketTable, now: Ns) {
        self.metrics.publish(call_table, connections, sockets, now);
        self.detectors.publish(now, &mut self.metrics.store);
    }
}

impl EventSink for DaemonSinks {
    fn on_call_event(&mut self, event: &CallEvent<'_>) {
        self.each(|sink| sink.on_call_event(event));
    }

    fn on_host_event(&mut self, event: &HostEvent<'_>) {
        self.each(|sink| sink.on_host_event(event));
    }

    fn on_tick(&mut self, now: Ns) {
        self.each(|sink| sink.on_tick(now));
    }
}
