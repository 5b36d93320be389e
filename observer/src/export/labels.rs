//! Label values of an entry, in the catalogue's order.

use crate::ledger::{Entry, Outcome};

/// Values of the `STREAM` labels.
#[must_use]
pub fn stream(entry: &Entry) -> [&str; 6] {
    [
        entry.provider,
        model(entry),
        host(entry),
        &entry.identity.service,
        entry.identity.k8s.namespace.as_deref().unwrap_or_default(),
        entry.identity.k8s.workload.as_deref().unwrap_or_default(),
    ]
}

/// Values of the `STREAM` labels and one more.
#[must_use]
pub fn stream_and<'a>(entry: &'a Entry, own: &'a str) -> [&'a str; 7] {
    let [provider, model, host, service, namespace, workload] = stream(entry);
    [provider, model, host, service, namespace, workload, own]
}

/// Values of the `OPERATION` labels.
#[must_use]
pub fn operation(entry: &Entry) -> [&str; 9] {
    let [provider, model, host, service, namespace, workload] = stream(entry);
    let response_model = entry.response_model.as_deref().unwrap_or_default();
    [entry.operation, provider, model, response_model, host, port(entry), service, namespace, workload]
}

/// Values of the `OPERATION` labels and one more.
#[must_use]
pub fn operation_and<'a>(entry: &'a Entry, own: &'a str) -> [&'a str; 10] {
    let [operation, provider, model, answered, host, port, service, namespace, workload] = operation(entry);
    [operation, provider, model, answered, host, port, service, namespace, workload, own]
}

/// The model asked for, in its own word; empty until the request was seen.
fn model(entry: &Entry) -> &str {
    entry.request_model().unwrap_or_default()
}

/// Host of `server_address`, which may carry a port (`Host: gateway:8443`).
#[must_use]
pub fn host(entry: &Entry) -> &str {
    entry.host()
}

/// The port named with the host; without one TLS is 443, plain text 80.
#[must_use]
pub fn port(entry: &Entry) -> &str {
    match (entry.host(), entry.port()) {
        ("", _) => "",
        (_, Some(port)) => port,
        (_, None) if entry.arrival_only() && !entry.shape => "80",
        (_, None) => "443",
    }
}

/// The port that the request named, if it named one.
#[must_use]
pub fn port_named(entry: &Entry) -> Option<u16> {
    entry.port()?.parse().ok()
}

/// The `error_type` label: empty when nothing failed, the status of an HTTP error, the provider's error type where it
/// is a plain word, else the outcome.
#[must_use]
pub fn error_type(entry: &Entry) -> String {
    match (entry.outcome, entry.status) {
        (None | Some(Outcome::Complete), _) => String::new(),
        (Some(Outcome::HttpError), Some(status)) => status.to_string(),
        (Some(Outcome::ErrorEvent), _) => word(entry.error_kind.as_deref()).unwrap_or("error_event").to_owned(),
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
