//! What may cross the kernel/user boundary, and nothing else.
//!
//! ```text
//! ring record = Header (HEADER_LEN bytes) | payload (header.len bytes) | unused rest of the size class
//! ```
//! Every type here is `repr(C)`, has fixed-width fields and no padding; the layout is asserted where it is declared.
#![no_std]

pub mod crowd;
pub mod limits;
pub mod programs;
pub mod record;
pub mod sock;
