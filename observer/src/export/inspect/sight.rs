//! One line of `doctor`, as it goes over the socket and to programs.

use serde::{Deserialize, Serialize};

use edge::coverage::{CheckSeverity, HealthCheck};

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckView {
    pub name: String,
    /// `ok`, `degraded`, `blind` or `fatal`.
    pub status: String,
    pub found: String,
    pub lost: String,
    pub fix: String,
}

impl CheckView {
    /// The view of a check.
    #[must_use]
    pub fn new(check: &HealthCheck) -> CheckView {
        CheckView {
            name: check.name.to_owned(),
            status: check.severity.name().to_owned(),
            found: check.found.clone(),
            lost: check.lost.clone(),
            fix: check.fix.clone(),
        }
    }

    /// How much it costs; of a word that is not known (a daemon of a later version), the worst.
    #[must_use]
    pub fn severity(&self) -> CheckSeverity {
        let all = [CheckSeverity::Ok, CheckSeverity::Degraded, CheckSeverity::Blind];
        all.into_iter().find(|severity| severity.name() == self.status).unwrap_or(CheckSeverity::Fatal)
    }
}
