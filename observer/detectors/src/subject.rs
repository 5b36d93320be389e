//! Whom detectors judge.

use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use ledger::{CallLabels, Entry};
use serde::{Deserialize, Serialize};

/// Whom a detector judges: one program's calls to one model at one place. Baselines and findings
/// are kept by it, so what tells subjects apart is written here and nowhere else: a label that
/// metrics get on top makes no new subjects, and what was learned before stays good.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "SavedSubject", into = "SavedSubject")]
pub(crate) struct Subject(Arc<CallLabels>);

impl Subject {
    /// Whom a call is about.
    pub(crate) fn of(entry: &Entry) -> Subject {
        Subject(Arc::clone(&entry.labels))
    }

    /// The labels of its metrics: those of the call by which the subject became known.
    pub(crate) fn labels(&self) -> &Arc<CallLabels> {
        &self.0
    }

    /// The part of a finding's key that names the subject.
    pub(crate) fn key(&self) -> String {
        self.identity().join("|")
    }

    /// What tells subjects apart.
    fn identity(&self) -> [&str; 6] {
        let labels = &*self.0;
        [&labels.provider, &labels.model, &labels.server, &labels.service, &labels.namespace, &labels.workload]
    }
}

impl Deref for Subject {
    type Target = CallLabels;

    fn deref(&self) -> &CallLabels {
        &self.0
    }
}

impl PartialEq for Subject {
    fn eq(&self, other: &Subject) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Subject {}

impl Hash for Subject {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl From<CallLabels> for Subject {
    fn from(labels: CallLabels) -> Subject {
        Subject(Arc::new(labels))
    }
}

/// A subject as it is kept in the state file.
#[derive(Serialize, Deserialize)]
struct SavedSubject {
    provider: Box<str>,
    model: Box<str>,
    server: Box<str>,
    service: Box<str>,
    namespace: Box<str>,
    workload: Box<str>,
}

impl From<Subject> for SavedSubject {
    fn from(subject: Subject) -> SavedSubject {
        let [provider, model, server, service, namespace, workload] = subject.identity().map(Box::from);
        SavedSubject { provider, model, server, service, namespace, workload }
    }
}

impl From<SavedSubject> for Subject {
    fn from(saved: SavedSubject) -> Subject {
        let mut subject = Subject::default();
        let labels = Arc::make_mut(&mut subject.0);
        labels.provider = saved.provider;
        labels.model = saved.model;
        labels.server = saved.server;
        labels.service = saved.service;
        labels.namespace = saved.namespace;
        labels.workload = saved.workload;
        subject
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_files_and_keys_name_a_subject_as_they_always_did() {
        let labels = |model: &str| CallLabels { provider: "p".into(), model: model.into(), ..CallLabels::default() };
        let subject = Subject::from(labels("m"));
        let saved = r#"{"provider":"p","model":"m","server":"","service":"","namespace":"","workload":""}"#;
        assert_eq!(serde_json::to_string(&subject).unwrap(), saved);
        assert_eq!(serde_json::from_str::<Subject>(saved).unwrap(), subject);
        assert_eq!(subject.key(), "p|m||||");
        assert_ne!(subject, Subject::from(labels("n")));
    }
}
