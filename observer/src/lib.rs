//! llm-observer: what a host's LLM traffic really does, seen from the kernel.
//!
//! ```text
//! probes ─ring→ Record → Chunk(bytes|gap, in order) → Message → Utterance → Entry → Finding → Sample/line
//!  kernel        record   conn                         proto     dialect     ledger  detect    export
//! ```
//! One noun crosses each arrow. Everything between `kernel` and `export` is pure: time is an argument, there is no
//! file, socket or lock, and it cannot fail the process. `pipeline` alone knows all the stages.

pub mod cli;
pub mod clock;
pub mod config;
pub mod conn;
pub mod coverage;
pub mod detect;
pub mod dialect;
pub mod export;
pub mod identity;
#[cfg(feature = "bpf")]
pub mod kernel;
pub mod ledger;
pub mod limits;
pub mod pipeline;
pub mod proto;
pub mod record;
pub mod recording;
pub mod spans;
pub mod units;
