//! An event stream that no dialect claims: its events are timed and sized, their meaning is not known.
//!
//! Endpoint: any POST whose answer is a stream of events by its content type.

use super::answer::AnswerParts;
use super::exchange::{DialectExchange, DialectRules};
use super::{DialectRow, Utterance, provider};
use capture::proto::ExchangeEnd;

/// The `api` of such a call.
pub const API: &str = "unknown";

/// Not in the table: what speaks it is known only when the answer begins.
pub static ROW: DialectRow = DialectRow {
    api: API,
    operation: "unknown",
    matches: |_| false,
    provider: |head| provider::name(head, "unknown"),
    make: |head| Box::new(DialectExchange::<UnknownDialect>::new(head)),
};

/// Nothing is understood, and nothing made of it.
#[derive(Debug, Default)]
pub struct UnknownDialect;

impl DialectRules for UnknownDialect {
    const ANSWER: AnswerParts = &[];

    fn event(&mut self, _: Option<&str>, _: &str, _: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        Ok(())
    }

    /// No end marker is known, so the framing's end is the answer's.
    fn end(&mut self, how: ExchangeEnd, out: &mut dyn FnMut(Utterance<'_>)) {
        if how == ExchangeEnd::Complete {
            out(Utterance::End);
        }
    }
}
