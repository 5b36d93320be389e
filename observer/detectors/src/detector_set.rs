//! All detectors together, as one sink of events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::finding::{FindingSeverity, FindingTable};
use super::metrics;
use super::output::{DetectorNow, DetectorOutput};
use super::table::{DETECTORS, DetectorRow, DetectorSettings};
use super::{Detector, Finding};
use capture::units::Ns;
use ledger::metric::{Sample, SampleSink, SeriesChange};
use ledger::{CallEvent, EventSink, HostEvent};

/// What outlives a restart, by detector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedBaselines {
    /// Of this form; another one is not read.
    pub version: u32,
    pub detectors: BTreeMap<String, serde_json::Value>,
}

impl SavedBaselines {
    /// The version of what this program writes, and the only one it reads.
    pub const VERSION: u32 = 1;
}

/// Every detector of the table and what they found.
pub struct DetectorSet {
    running: Vec<(&'static DetectorRow, Box<dyn Detector>)>,
    findings: FindingTable,
    now: DetectorNow,
    settings: DetectorSettings,
}

impl std::fmt::Debug for DetectorSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detectors").field("findings", &self.findings).field("now", &self.now).finish_non_exhaustive()
    }
}

impl Default for DetectorSet {
    fn default() -> Self {
        DetectorSet::new(&DetectorSettings::default())
    }
}

impl DetectorSet {
    #[must_use]
    pub fn new(settings: &DetectorSettings) -> DetectorSet {
        let running = DETECTORS.iter().map(|row| (row, (row.make)(settings))).collect();
        DetectorSet {
            running,
            findings: FindingTable::default(),
            now: DetectorNow::default(),
            settings: settings.clone(),
        }
    }

    /// Wall clock minus boot clock, nanoseconds, as it is now.
    pub fn set_wall(&mut self, offset: i128) {
        self.now.wall = Some(offset);
    }

    /// Another host's or another day's recording begins: what was learned stays, times and findings go.
    pub fn begin_anew(&mut self) {
        let saved = self.save();
        *self = DetectorSet::new(&self.settings.clone());
        if let Some(saved) = saved {
            self.restore(saved);
        }
    }

    /// The detectors as a sink of events: their samples go to `samples`.
    pub fn feeding<'a>(&'a mut self, samples: &'a mut dyn SampleSink) -> DetectorFeed<'a> {
        DetectorFeed { detectors: self, samples }
    }

    /// Every quota known.
    #[must_use]
    pub fn quota(&self) -> Vec<super::QuotaRow> {
        self.running.iter().flat_map(|(_, detector)| detector.quota(self.now.at)).collect()
    }

    /// A scrape: every gauge of the rows is cleared and told again.
    pub fn publish(&mut self, at: Ns, samples: &mut dyn SampleSink) {
        self.now.at = self.now.at.max(at);
        DETECTORS.iter().flat_map(|row| row.metrics).for_each(|id| samples.clear_gauge(*id));
        self.each(samples, |_| true, |detector, out| detector.publish(out));
        for row in DETECTORS {
            for severity in FindingSeverity::ALL {
                let open = self.findings.open(row.name, severity) as f64;
                let own = [row.name, severity.name()];
                samples.take(Sample { series: metrics::FINDINGS_OPEN.with(&own), change: SeriesChange::Set(open) });
            }
        }
        for (row, detector) in &self.running {
            let change = SeriesChange::Set(detector.forgotten() as f64);
            samples.take(Sample { series: metrics::DETECTOR_FORGOTTEN.with(&[row.name]), change });
        }
    }

    /// The findings.
    #[must_use]
    pub fn findings(&self) -> &FindingTable {
        &self.findings
    }

    /// The finding with this id.
    #[must_use]
    pub fn finding(&self, id: &str) -> Option<&Finding> {
        self.findings.list().into_iter().find(|finding| finding.id == id)
    }

    /// Baselines and the like, to be kept in a file. `None` while the wall clock is not known: without it nothing in it
    /// would have an age.
    #[must_use]
    pub fn save(&self) -> Option<SavedBaselines> {
        self.now.wall?;
        let each =
            self.running.iter().filter_map(|(row, detector)| Some((row.name.to_owned(), detector.save(self.now)?)));
        Some(SavedBaselines { version: SavedBaselines::VERSION, detectors: each.collect() })
    }

    /// What `save` gave in an earlier life. Returns what of it was not taken: parts of detectors
    /// that this program does not have, or does not understand; all of it if it is of another
    /// version.
    pub fn restore(&mut self, mut saved: SavedBaselines) -> Vec<String> {
        let mut strange = Vec::new();
        if saved.version == SavedBaselines::VERSION {
            for (row, detector) in &mut self.running {
                if let Some(value) = saved.detectors.remove(row.name)
                    && !detector.restore(value, self.now)
                {
                    strange.push(row.name.to_owned());
                }
            }
        }
        strange.extend(saved.detectors.into_keys());
        strange
    }

    /// Things held by all detectors.
    #[must_use]
    pub fn held(&self) -> usize {
        self.running.iter().map(|(_, detector)| detector.held()).sum()
    }

    fn each(
        &mut self,
        samples: &mut dyn SampleSink,
        wants: impl Fn(&DetectorRow) -> bool,
        act: impl Fn(&mut dyn Detector, &mut DetectorOutput<'_>),
    ) {
        for (row, detector) in self.running.iter_mut().filter(|(row, _)| wants(row)) {
            let mut out = DetectorOutput::new(self.now, row.name, &mut self.findings, samples);
            act(detector.as_mut(), &mut out);
        }
    }
}

/// Detectors together with where their samples go.
pub struct DetectorFeed<'a> {
    detectors: &'a mut DetectorSet,
    samples: &'a mut dyn SampleSink,
}

impl EventSink for DetectorFeed<'_> {
    fn on_call_event(&mut self, event: &CallEvent<'_>) {
        let DetectorFeed { detectors, samples } = self;
        detectors.now.at = detectors.now.at.max(event.at);
        let (kind, shape) = (event.what.kind(), event.entry.shape);
        detectors.each(
            *samples,
            |row| row.events.has(kind),
            |detector, out| {
                // Where only the shape of a call was seen, nothing of what most detectors judge is known.
                if !shape || detector.judges_shapes() {
                    detector.on_call_event(event, out);
                }
            },
        );
    }

    fn on_host_event(&mut self, event: &HostEvent<'_>) {
        let DetectorFeed { detectors, samples } = self;
        detectors.now.at = event.at().map_or(detectors.now.at, |at| detectors.now.at.max(at));
        let kind = event.kind();
        detectors.each(*samples, |row| row.events.has(kind), |detector, out| detector.on_host_event(event, out));
    }

    fn on_tick(&mut self, now: Ns) {
        let DetectorFeed { detectors, samples } = self;
        detectors.now.at = detectors.now.at.max(now);
        detectors.each(*samples, |_| true, |detector, out| detector.tick(out));
        detectors.findings.tick(detectors.now.at);
    }
}
