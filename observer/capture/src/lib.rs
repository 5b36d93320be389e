//! Bytes and protocols: what the kernel side tells, put in order, as messages.
//!
//! ```text
//! Record → Chunk(bytes|gap, in order) → Message
//! record   conn                         proto
//! ```
//! Pure: time is an argument, and there is no socket, lock or clock. `elf` reads through the
//! descriptor it is handed. Beside the stages lie what all crates share (`units`, `record`,
//! `limits`, `identity`, `hash`, `base64`) and the parsers of what strangers can write into files
//! that the edge reads (`elf`, `maps`, `mounts`, `identity::cgroup`, `identity::oci`). `stacks`
//! says where in such files probes go.
//!
//! ```
//! use capture::proto::body::EventScanner;
//! use capture::proto::{Message, sse::SseScanner};
//!
//! let (mut scanner, mut events) = (SseScanner::default(), Vec::new());
//! for piece in ["data: {\"x\":", "1}\n\n: still here\n\n"] {
//!     scanner.push(piece.as_bytes(), &mut |message| match message {
//!         Message::Event(event) => events.push(String::from_utf8_lossy(event.data).into_owned()),
//!         Message::Comment => events.push("keep-alive".to_owned()),
//!         _ => {}
//!     });
//! }
//! assert_eq!(events, [r#"{"x":1}"#, "keep-alive"]);
//! ```
#![forbid(unsafe_code)]

pub mod base64;
pub mod conn;
pub mod elf;
pub mod hash;
pub mod identity;
pub mod limits;
pub mod maps;
pub mod mounts;
pub mod proto;
pub mod record;
pub mod stacks;
pub mod units;
