//! Stage 8, the far edge: what the ledger reports becomes Prometheus samples and `inspect` lines. Its serialisable
//! types are its own, so that nothing inside the pipeline is shaped by an output format.

pub mod audience;
pub mod catalogue;
mod delivery;
mod labels;
pub mod live;
pub mod own;
pub mod store;
pub mod text;
