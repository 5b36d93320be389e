//! Stage 8, the far edge: what the ledger reports becomes Prometheus samples and `inspect` lines. Its serialisable
//! types are its own, so that nothing inside the pipeline is shaped by an output format.

pub mod ask;
pub mod audience;
mod auth;
pub mod catalogue;
mod delivery;
pub mod docs;
pub mod http;
pub mod inspect;
mod labels;
pub mod live;
pub mod own;
pub mod pressure;
pub mod store;
pub mod text;
pub mod web_config;
