//! How a socket is asked for and granted.

use crate::proto::{RequestHead, ResponseHead};

/// The field of an extended CONNECT that names what the stream is to speak, as it stands among the kept headers.
pub const PROTOCOL: &str = ":protocol";

/// Whether a request asks for a WebSocket: an upgrade, or an extended CONNECT.
#[must_use]
pub fn is_requested(head: &RequestHead) -> bool {
    let says = |name| head.header(name).is_some_and(|to| to.trim().eq_ignore_ascii_case("websocket"));
    match head.method.as_str() {
        "GET" => says("upgrade"),
        "CONNECT" => says(PROTOCOL),
        _ => false,
    }
}

/// Whether this answer grants it.
#[must_use]
pub fn is_granted(asked: &RequestHead, answer: &ResponseHead) -> bool {
    if asked.method == "CONNECT" { matches!(answer.status, 200..=299) } else { answer.status == 101 }
}

/// Whether a head says that the protocol changes to this one.
#[must_use]
pub fn is_accepted(head: &ResponseHead) -> bool {
    head.status == 101 && head.header("upgrade").is_some_and(|to| to.trim().eq_ignore_ascii_case("websocket"))
}
