//! The readers of who a process is: `procfs`, `tree`, `files`, `state` and `lane`. What they read is put together by
//! `capture::identity`.

mod files;
pub mod host;
mod lane;
mod procfs;
mod state;
mod tree;

pub use capture::identity::*;
pub use procfs::IdentityReader;
pub use tree::fuzz as fuzz_cgroup_tree;
