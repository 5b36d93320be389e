//! An event stream that no dialect claims: its events are timed and sized, their meaning is not known.
//!
//! Endpoint: any POST whose answer is a stream of events by its content type.

use super::answer::Parts;
use super::exchange::{Exchange, Speech};
use super::{Row, Utterance, provider};
use crate::proto::End;

/// The `api` of such a call.
pub const API: &str = "unknown";

/// Not in the table: what speaks it is known only when the answer begins.
pub(crate) static ROW: Row = Row {
    api: API,
    operation: "unknown",
    matches: |_| false,
    provider: |head| provider::name(head, "unknown"),
    make: |head| Box::new(Exchange::<Unknown>::new(head)),
};

/// Nothing is understood, and nothing made of it.
#[derive(Debug, Default)]
pub struct Unknown;

impl Speech for Unknown {
    const ANSWER: Parts = &[];

    fn event(&mut self, _: Option<&str>, _: &str, _: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        Ok(())
    }

    /// No end marker is known, so the framing's end is the answer's.
    fn end(&mut self, how: End, out: &mut dyn FnMut(Utterance<'_>)) {
        if how == End::Complete {
            out(Utterance::End);
        }
    }
}
