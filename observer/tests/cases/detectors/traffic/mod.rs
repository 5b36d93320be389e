//! A host in virtual time: calls to models as bytes, with chosen providers, answers, faults and times.

mod call;
mod host;
mod media;
mod play;
mod ran;
pub(super) mod spans;
mod tls;
mod wire;

pub(super) use call::{Api, Call, End, Step};
pub(super) use host::{Act, Host};
pub(super) use ran::{Delay, Ran};

/// Wall time of the boot: 2026-03-01T00:00:00Z.
pub(super) const BOOT: i128 = 1_772_323_200_000_000_000;

pub(super) const SECOND: u64 = 1000;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;

/// `Sun, 01 Mar 2026 00:02:00 GMT`, cut to the second.
pub(super) fn http_date(ns: i128) -> String {
    let time = jiff::Timestamp::from_nanosecond(ns).unwrap();
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap()
}
