//! llm-observer: what a host's LLM traffic really does, seen from the kernel.
//!
//! ```text
//! probes ─ring→ Record → Chunk(bytes|gap, in order) → Message → Utterance → Entry → Finding → Sample/line
//!  edge         capture::record  conn                 proto     dialects    ledger  detectors export
//! ```
//! One noun crosses each arrow. The crates between `edge` and this one are pure: time is an
//! argument, there is no file, socket or lock, and they cannot fail the process. `ledger::pipeline`
//! alone knows all the stages.

pub mod cli;
pub mod config;
pub mod export;
pub mod recording;
pub mod sinks;
