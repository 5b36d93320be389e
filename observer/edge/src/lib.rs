//! The kernel edge: what needs root, system calls, clocks and files. Records out, verdicts in.
//!
//! `kernel` holds the only `unsafe` code and the only aya; `identity` reads who a process is;
//! `coverage` is what the edge reports of itself, and `CaptureEdge` what the program needs of it.

pub mod clock;
pub mod coverage;
pub mod identity;
pub mod kernel;
mod namespaces;
