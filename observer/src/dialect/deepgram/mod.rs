//! Deepgram over HTTP: text to speech, whose answer is sound, and transcription of what is uploaded.
//!
//! Endpoints: POST `…/v1/speak`, `…/v2/speak`; POST `…/v1/listen`. The model is in the query.
//! Source: the types of deepgram-sdk 7.17 (Python) and the API reference. Checked 2026-11.

use super::answer::{Part, Parts, at};
use super::exchange::{Exchange, Speech};
use super::path::{self, Preset};
use super::{DeltaKind, Row, Utterance, path_ends, provider};
use crate::proto::RequestHead;

pub(super) static SPEAK: Row = Row {
    api: "deepgram.speak",
    operation: "speech",
    matches: |head| path_ends(head, &["/v1/speak", "/v2/speak"]),
    provider: |head| provider::name(head, "deepgram"),
    make: |head| Box::new(Exchange::<Deepgram>::new(head)),
};

pub(super) static LISTEN: Row = Row {
    api: "deepgram.listen",
    operation: "transcription",
    matches: |head| path_ends(head, &["/v1/listen"]),
    provider: |head| provider::name(head, "deepgram"),
    make: |head| Box::new(Exchange::<Deepgram>::new(head)),
};

/// Over HTTP nothing comes as events.
#[derive(Debug, Default)]
pub struct Deepgram;

impl Speech for Deepgram {
    const ANSWER: Parts = ANSWER;

    fn preset(head: &RequestHead) -> Preset {
        Preset { model: path::parameter(head, "model"), ..Preset::default() }
    }

    fn event(&mut self, _: Option<&str>, _: &str, _: &mut dyn FnMut(Utterance<'_>)) -> Result<(), &'static str> {
        Ok(())
    }
}

static ANSWER: Parts = &[
    at(&["metadata", "request_id"], Part::Id),
    at(&["results", "channels", "[]", "alternatives", "[]", "transcript"], Part::Text(DeltaKind::Visible)),
    at(&["err_code"], Part::ErrorType),
];

/// Never panics, bounded memory.
pub fn fuzz(data: &[u8]) {
    super::exchange::fuzz::<Deepgram>(data);
}
