//! Stage 8, the far edge: what the ledger reports becomes Prometheus samples and `inspect` lines. Its serialisable
//! types are its own, so that nothing inside the pipeline is shaped by an output format.

pub mod catalogue;
pub mod store;
