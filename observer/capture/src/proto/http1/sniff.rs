//! What first bytes look like.

use crate::proto::SniffVerdict;
use crate::units::Direction;

/// What the first bytes of a direction say.
pub(super) fn sniff(direction: Direction, bytes: &[u8]) -> SniffVerdict {
    let request = looks_like_request(bytes);
    let response = looks_like(bytes, b"HTTP/1.");
    match (direction, request, response) {
        (Direction::Write, Some(true), _) | (Direction::Read, _, Some(true)) => SniffVerdict::Yes,
        (Direction::Write, _, Some(true)) | (Direction::Read, Some(true), _) => SniffVerdict::ServerSide,
        (_, Some(false), Some(false)) => SniffVerdict::No,
        _ => SniffVerdict::NeedMore,
    }
}

/// Whether bytes begin like `prefix`; `None` while they are only a part of it.
pub(super) fn looks_like(bytes: &[u8], prefix: &[u8]) -> Option<bool> {
    if bytes.len() >= prefix.len() {
        Some(bytes.starts_with(prefix))
    } else {
        (!prefix.starts_with(bytes)).then_some(false)
    }
}

/// Whether bytes begin like a request line: a method we know, a space, and a target; `None` while too few.
pub(super) fn looks_like_request(bytes: &[u8]) -> Option<bool> {
    const METHODS: &[&[u8]] =
        &[b"POST ", b"GET ", b"PUT ", b"PATCH ", b"DELETE ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"TRACE "];
    let mut answer = Some(false);
    for method in METHODS {
        match looks_like(bytes, method) {
            Some(true) => {
                let target = bytes.get(method.len())?;
                return Some(target.is_ascii_alphanumeric() || matches!(target, b'/' | b'*' | b'['));
            }
            Some(false) => {}
            None => answer = None,
        }
    }
    answer
}
