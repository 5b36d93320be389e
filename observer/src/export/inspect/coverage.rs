//! Rows of `inspect processes` and `inspect probes`: what the daemon sees of whom, and by which probes.

use edge::coverage::{ProbeRow, ProcessRow};
use serde::{Deserialize, Serialize};

use super::view::K8sView;
use crate::export::own::{probe_state, visibility};

/// One process that uses TLS.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessView {
    pub pid: u32,
    pub uid: Option<u32>,
    pub comm: String,
    pub service: String,
    pub k8s: K8sView,
    pub container_id: Option<String>,
    pub visibility: String,
    pub reason: String,
    pub library: Option<String>,
    pub hellos: Option<u64>,
    /// TLS sockets whose answered requests no probed write fits.
    #[serde(default)]
    pub unmatched: Option<u64>,
}

/// One probe on one target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProbeView {
    pub probe: String,
    pub target: String,
    pub state: String,
    pub placement: String,
    pub hits: Option<u64>,
    pub reason: String,
    /// The TLS stack that is probed; none of a kernel hook.
    #[serde(default)]
    pub stack: Option<String>,
    /// How certain it is that this is the function: `named`, or what it was found by.
    #[serde(default)]
    pub anchor: Option<String>,
    pub build_id: Option<String>,
    /// Names under which the file is mapped, one for each mount it is seen through; none of a kernel hook.
    #[serde(default)]
    pub places: Vec<String>,
    /// Processes that have it mapped.
    #[serde(default)]
    pub processes: Option<u32>,
}

impl ProcessView {
    /// The view of a row.
    #[must_use]
    pub fn new(row: &ProcessRow) -> ProcessView {
        ProcessView {
            pid: row.pid,
            uid: row.uid,
            comm: row.comm.clone(),
            service: row.service.clone(),
            k8s: K8sView::new(&row.k8s),
            container_id: row.container_id.clone(),
            visibility: visibility(row.visibility).to_owned(),
            reason: row.reason().to_owned(),
            library: row.library.clone(),
            hellos: row.hellos,
            unmatched: row.unmatched,
        }
    }
}

impl ProbeView {
    /// The view of a row.
    #[must_use]
    pub fn new(row: &ProbeRow) -> ProbeView {
        ProbeView {
            probe: row.probe.to_owned(),
            target: row.target.clone(),
            state: probe_state(row.state).to_owned(),
            placement: row.placement.clone(),
            hits: row.hits,
            reason: row.text(),
            stack: row.stack.map(str::to_owned),
            anchor: row.certainty.map(|certainty| certainty.to_string()),
            build_id: row.build_id.clone(),
            places: row.places.clone(),
            processes: row.processes,
        }
    }
}
