//! Values of labels that single metrics have besides those of the call.

use ledger::{CallOutcome, Entry};

/// The own labels of `OPERATION` metrics: operation, model that answered, port.
#[must_use]
pub(super) fn operation(entry: &Entry) -> [&str; 3] {
    [entry.operation, entry.response_model.as_deref().unwrap_or_default(), port(entry)]
}

/// Those and one more.
#[must_use]
pub(super) fn operation_and<'a>(entry: &'a Entry, own: &'a str) -> [&'a str; 4] {
    let [operation, answered, port] = operation(entry);
    [operation, answered, port, own]
}

/// The port named with the host; without one TLS is 443, plain text 80.
#[must_use]
pub(super) fn port(entry: &Entry) -> &str {
    match (entry.host(), entry.port()) {
        ("", _) => "",
        (_, Some(port)) => port,
        (_, None) if entry.arrival_only() && !entry.shape => "80",
        (_, None) => "443",
    }
}

/// The port that the request named, if it named one.
#[must_use]
pub(super) fn port_named(entry: &Entry) -> Option<u16> {
    entry.port()?.parse().ok()
}

/// The `error_type` label: empty when nothing failed, the status of an HTTP error, the provider's error type where it
/// is a plain word, else the outcome.
#[must_use]
pub(super) fn error_type(entry: &Entry) -> String {
    match (entry.outcome, entry.status) {
        (None | Some(CallOutcome::Complete), _) => String::new(),
        (Some(CallOutcome::HttpError), Some(status)) => status.to_string(),
        (Some(CallOutcome::ErrorEvent), _) => word(entry.error_kind.as_deref()).unwrap_or("error_event").to_owned(),
        (Some(other), _) => other.name().to_owned(),
    }
}

/// A provider's error type or code, if it is one: an error *text* must never become a label.
fn word(kind: Option<&str>) -> Option<&str> {
    kind.filter(|kind| {
        !kind.is_empty() && kind.len() <= 64 && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_texts_are_no_words() {
        assert_eq!(word(Some("overloaded_error")), Some("overloaded_error"));
        assert_eq!(word(Some("Your key sk-123 is wrong")), None);
        assert_eq!(word(Some(&"a".repeat(65))), None);
    }
}
