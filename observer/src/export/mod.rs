//! Stage 8, the far edge: what the ledger reports becomes Prometheus samples and `inspect` lines. Its serialisable
//! types are its own, so that nothing inside the pipeline is shaped by an output format.

pub mod ask;
mod auth;
pub mod catalogue;
mod delivery;
pub mod docs;
pub mod health;
pub mod hidden;
pub mod http;
pub mod inspect;
mod labels;
pub mod live;
pub mod metrics;
pub mod own;
pub mod pressure;
pub mod refusals;
pub mod room;
mod shown;
pub mod store;
pub mod text;
pub mod web_config;
