//! Of whom a verdict speaks: the common labels of stream metrics.

use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::ledger::Entry;

/// The values of the common labels, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    pub provider: Box<str>,
    /// The model asked for, in its own word; empty until the request was seen.
    pub model: Box<str>,
    pub server: Box<str>,
    pub service: Box<str>,
    pub namespace: Box<str>,
    pub workload: Box<str>,
}

impl Subject {
    /// Whom this call is about.
    #[must_use]
    pub fn of(entry: &Entry) -> Subject {
        let k8s = &entry.identity.k8s;
        Subject {
            provider: entry.provider.into(),
            model: entry.request_model().unwrap_or_default().into(),
            server: entry.host().into(),
            service: entry.identity.service.as_str().into(),
            namespace: k8s.namespace.as_deref().unwrap_or_default().into(),
            workload: k8s.workload.as_deref().unwrap_or_default().into(),
        }
    }

    /// A program, whatever it calls.
    #[must_use]
    pub fn of_service(identity: &Identity) -> Subject {
        Subject {
            service: identity.service.as_str().into(),
            namespace: identity.k8s.namespace.as_deref().unwrap_or_default().into(),
            workload: identity.k8s.workload.as_deref().unwrap_or_default().into(),
            ..Subject::default()
        }
    }

    /// Forgets what another has otherwise.
    pub fn keep_common(&mut self, other: &Subject) {
        let Subject { provider, model, server, service, namespace, workload } = self;
        let mine = [provider, model, server, service, namespace, workload];
        for (mine, theirs) in mine.into_iter().zip(other.labels()) {
            if **mine != *theirs {
                *mine = Box::default();
            }
        }
    }

    /// The values in the order of the labels.
    #[must_use]
    pub fn labels(&self) -> [&str; 6] {
        [&self.provider, &self.model, &self.server, &self.service, &self.namespace, &self.workload]
    }
}
