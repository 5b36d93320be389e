//! Every vector of `tests/vectors`, driven every way bytes can be cut. A group of vectors is one test here; the format
//! of a case is in `tests/vectors/README.md`.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "golden/messages.rs"]
mod messages;
#[path = "golden/split.rs"]
mod split;

use messages::Messages;

#[test]
fn http1() {
    split::run("http1", || Box::<Messages>::default());
}

#[test]
fn sse() {
    split::run("sse", || Box::<Messages>::default());
}

#[test]
fn content() {
    split::run("content", || Box::<Messages>::default());
}
