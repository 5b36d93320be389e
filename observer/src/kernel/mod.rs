//! Stages 1-2: the kernel edge. The only place with root, `unsafe` and aya.
//!
//! `load` brings the programs in, `watch` tells of new mappings, `targets` probes what carries TLS (where: `placement`), `ring`
//! decodes records, `follow` and `socks` know what is followed, `mids` what was open before (`sock_diag`), `join` pairs sockets with
//! TLS objects, and `session` is all of it running.
#![expect(unsafe_code, reason = "system calls and ring memory; every block states why it is sound")]

mod audit;
mod btf;
mod cgroup;
mod discovery;
pub mod elf;
mod family;
mod follow;
mod join;
mod load;
mod mids;
mod multi;
pub mod placement;
mod preflight;
pub mod probes;
mod procmaps;
mod procs;
mod ring;
mod session;
mod sock_diag;
mod socks;
mod sweep;
mod targets;
mod uprobes;
mod watch;

pub use load::{Error, OBJECT};
pub use placement::Strategy;
pub use preflight::preflight;
pub use session::{Session, Settings};

#[cfg(test)]
mod object_tests;
