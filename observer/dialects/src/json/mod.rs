//! Two readers of JSON, both tolerant and both without a tree of values.
//!
//! `scan` is incremental: bodies of any size, cut anywhere, in constant memory; it extracts the
//! scalars, lengths and counts that a table of paths (`want`) asks for. `loose` is for one event
//! held whole: serde fills borrowed structs whose fields take what fits and forget what does not,
//! so that an odd field never costs the others.

pub mod loose;
pub mod member;
mod merkle;
pub mod quick;
pub mod scan;
mod text;
pub mod want;
