//! What several detectors work out in the same way.

use ledger::Entry;

/// How long something must be quiet before its finding is over.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 100,000 minutes")]
pub(super) fn quiet_ns(minutes: f64) -> u64 {
    (minutes * 60e9) as u64
}

/// The middle value; of an even number, the higher one of the two: one that was measured.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The program that asks: its container, else its process.
pub(super) fn program(entry: &Entry) -> Box<str> {
    match &entry.identity.container_id {
        Some(container) => container.as_str().into(),
        None => entry.identity.pid.to_string().into(),
    }
}

/// Where an agent runs, whichever process it is by now: its container, else its service.
pub(super) fn place(entry: &Entry) -> Box<str> {
    entry.identity.container_id.as_deref().unwrap_or(&entry.identity.service).into()
}
