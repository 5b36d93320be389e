//! What the process that sees everybody's plaintext does so that it does not leave it.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core dump of this process, ever, and no look into it for others of its user. Freed memory is
/// wiped by the allocator (`main.rs`).
pub(super) fn keep_to_itself() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let done = set_dumpable_behavior(DumpableBehavior::NotDumpable).and(setrlimit(Resource::Core, none));
    if let Err(error) = done {
        tracing::warn!(%error, "cannot forbid core dumps of this process: one would hold plaintext");
    }
}
