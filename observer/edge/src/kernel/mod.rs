//! Stages 1-2: the kernel edge. The only place with root, `unsafe` and aya.
//!
//! `load` brings the programs in, `watch` tells of new mappings, `targets` probes what carries TLS
//! (where: `capture::stacks`), `ring` decodes records, `follow` and `followed_sockets` know what is followed,
//! `preexisting` what was open before (`sock_diag`), `pairing` pairs sockets with TLS objects
//! (`unmatched`: those that fit none), `crowd` keeps the tables free for all, and `session` is all of
//! it running.
#![expect(unsafe_code, reason = "system calls and ring memory; every block states why it is sound")]

mod audit;
mod btf;
mod caps;
mod cgroup;
mod crowd;
mod discovery;
mod family;
mod files;
mod follow;
mod followed_sockets;
pub mod heap;
mod host;
mod load;
mod memory;
mod multi;
mod pairing;
mod preexisting;
mod preflight;
pub mod probes;
mod procmaps;
mod procs;
mod ring;
mod session;
mod sights;
mod sock_diag;
mod sweep;
mod targets;
mod unmatched;
mod uprobes;
mod watch;

pub use capture::elf;
pub use capture::stacks::{self, PlacementStrategy};
pub use load::{LoadError, OBJECT, may_observe};
pub use preflight::{kernel, preflight};
pub use session::{EdgeSession, EdgeSettings};
pub use sights::{CheckStage, sights};

#[cfg(test)]
mod object_tests;
