//! The program from the outside, and protocols against other people's implementations of them. One
//! program, since linking is what a small change waits for; a test is `it MODULE::NAME`. Cases of
//! tables and folders are in `tests/cases`.

mod cli;
mod doors;
mod eventstream_peer;
mod h2_peer;
mod metrics;
mod outcomes;
mod prometheus;
mod rules;
mod streams;
mod support;
mod ws_peer;
