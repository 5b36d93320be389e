//! All detectors together: what the pipeline's listener talks to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::finding::{Findings, Severity};
use super::out::{Change, Now, Out, Sample};
use super::table::{DETECTORS, Row, Settings};
use super::{Detector, Finding};
use crate::ledger::{Entry, Happening};
use crate::units::Ns;

/// What outlives a restart, by detector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// Of this form; another one is not read.
    pub version: u32,
    pub detectors: BTreeMap<String, serde_json::Value>,
}

const VERSION: u32 = 1;

/// Every detector of the table and what they found.
pub struct Detectors {
    running: Vec<(&'static Row, Box<dyn Detector>)>,
    findings: Findings,
    now: Now,
    settings: Settings,
}

impl std::fmt::Debug for Detectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detectors").field("findings", &self.findings).field("now", &self.now).finish_non_exhaustive()
    }
}

impl Default for Detectors {
    fn default() -> Self {
        Detectors::new(&Settings::default())
    }
}

impl Detectors {
    #[must_use]
    pub fn new(settings: &Settings) -> Detectors {
        let running = DETECTORS.iter().map(|row| (row, (row.make)(settings))).collect();
        Detectors { running, findings: Findings::default(), now: Now::default(), settings: settings.clone() }
    }

    /// Wall clock minus boot clock, nanoseconds, as it is now.
    pub fn set_wall(&mut self, offset: i128) {
        self.now.wall = Some(offset);
    }

    /// Another host's or another day's recording begins: what was learned stays, times and findings go.
    pub fn begin_anew(&mut self) {
        let saved = self.save();
        *self = Detectors::new(&self.settings.clone());
        if let Some(saved) = saved {
            self.restore(saved);
        }
    }

    /// One thing that happened.
    pub fn hear(&mut self, happening: &Happening<'_>, samples: &mut dyn FnMut(Sample<'_>)) {
        if let Some(at) = stamp(happening) {
            self.now.at = self.now.at.max(at);
        }
        // Where only the shape of a call was seen, nothing of what most detectors judge is known.
        let shape = entry(happening).is_some_and(|entry| entry.shape);
        self.each(samples, |detector, out| {
            if !shape || detector.judges_shapes() {
                detector.hear(happening, out);
            }
        });
    }

    /// The control groups of a service that had streams used so many CPU seconds in the last so many seconds.
    pub fn cpu(&mut self, service: &str, used: f64, seconds: f64) {
        self.running.iter_mut().for_each(|(_, detector)| detector.cpu(service, used, seconds));
    }

    /// By detector, the keys it forgot since its tables were full.
    pub fn forgotten(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.running.iter().map(|(row, detector)| (row.name, detector.forgotten()))
    }

    /// Every quota known.
    #[must_use]
    pub fn quota(&self) -> Vec<super::QuotaRow> {
        self.running.iter().flat_map(|(_, detector)| detector.quota(self.now.at)).collect()
    }

    /// Time passed.
    pub fn tick(&mut self, at: Ns, samples: &mut dyn FnMut(Sample<'_>)) {
        self.now.at = self.now.at.max(at);
        self.each(samples, |detector, out| detector.tick(out));
        self.findings.tick(self.now.at);
    }

    /// A scrape: every gauge of the rows was cleared and is told again.
    pub fn publish(&mut self, at: Ns, samples: &mut dyn FnMut(Sample<'_>)) {
        self.now.at = self.now.at.max(at);
        self.each(samples, |detector, out| detector.publish(out));
        for row in DETECTORS {
            for severity in Severity::ALL {
                let open = self.findings.open(row.name, severity) as f64;
                let own = &[row.name, severity.name()];
                samples(Sample { metric: "llm_findings_open", subject: None, own, change: Change::Set(open) });
            }
        }
    }

    /// The findings.
    #[must_use]
    pub fn findings(&self) -> &Findings {
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
    pub fn save(&self) -> Option<Saved> {
        self.now.wall?;
        let each =
            self.running.iter().filter_map(|(row, detector)| Some((row.name.to_owned(), detector.save(self.now)?)));
        Some(Saved { version: VERSION, detectors: each.collect() })
    }

    /// What `save` gave in an earlier life.
    pub fn restore(&mut self, mut saved: Saved) {
        if saved.version != VERSION {
            return;
        }
        for (row, detector) in &mut self.running {
            if let Some(value) = saved.detectors.remove(row.name) {
                detector.restore(value, self.now);
            }
        }
    }

    /// Things held by all detectors.
    #[must_use]
    pub fn held(&self) -> usize {
        self.running.iter().map(|(_, detector)| detector.held()).sum()
    }

    fn each(&mut self, samples: &mut dyn FnMut(Sample<'_>), act: impl Fn(&mut dyn Detector, &mut Out<'_>)) {
        for (row, detector) in &mut self.running {
            let mut out = Out::new(self.now, row.name, &mut self.findings, samples);
            act(detector.as_mut(), &mut out);
        }
    }
}

/// The call it is about.
fn entry<'a>(happening: &Happening<'a>) -> Option<&'a Entry> {
    match happening {
        Happening::Opened(entry)
        | Happening::Closed(entry)
        | Happening::Requested(entry)
        | Happening::Responded(entry)
        | Happening::Prompt { entry, .. }
        | Happening::First { entry, .. }
        | Happening::Chunk { entry, .. }
        | Happening::Said { entry, .. }
        | Happening::Read { entry, .. }
        | Happening::Record { entry, .. }
        | Happening::Stall { entry, .. } => Some(entry),
        Happening::Lost { .. }
        | Happening::Link { .. }
        | Happening::Acted { .. }
        | Happening::Exported { .. }
        | Happening::Unexported { .. }
        | Happening::SentOn { .. }
        | Happening::Odd(_) => None,
    }
}

/// When it happened, as far as it says.
fn stamp(happening: &Happening<'_>) -> Option<Ns> {
    match happening {
        Happening::Opened(entry) => Some(entry.started),
        Happening::Closed(entry) => Some(entry.ended.unwrap_or(entry.last_activity).max(entry.last_activity)),
        Happening::Requested(entry)
        | Happening::Responded(entry)
        | Happening::Prompt { entry, .. }
        | Happening::First { entry, .. }
        | Happening::Chunk { entry, .. }
        | Happening::Said { entry, .. }
        | Happening::Read { entry, .. }
        | Happening::Record { entry, .. }
        | Happening::Stall { entry, .. } => Some(entry.last_activity),
        Happening::Acted { at, .. }
        | Happening::Exported { at, .. }
        | Happening::Unexported { at, .. }
        | Happening::SentOn { at, .. } => Some(*at),
        Happening::Lost { .. } | Happening::Link { .. } | Happening::Odd(_) => None,
    }
}
