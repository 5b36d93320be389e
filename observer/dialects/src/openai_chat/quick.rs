//! The chunk that nearly every event of a stream is: one choice with a piece of content and nothing else. Only members
//! listed here are accepted; any other, or another value, makes it a chunk for the thorough reader.

use crate::json::quick::{JsonCursor, once};

/// What such a chunk says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct QuickChunk<'a> {
    pub id: Option<Option<&'a str>>,
    pub model: Option<Option<&'a str>>,
    pub fingerprint: Option<Option<&'a str>>,
    pub tier: Option<Option<&'a str>>,
    pub provider: Option<Option<&'a str>>,
    pub index: Option<u64>,
    pub content: Option<&'a str>,
    choice: Option<()>,
    delta: Option<()>,
    usage: Option<()>,
    finish: Option<()>,
    refusal: Option<()>,
}

impl<'a> QuickChunk<'a> {
    /// Reads the data of one event.
    #[must_use]
    pub(super) fn read(data: &'a str) -> Option<Self> {
        let (mut quick, mut cursor) = (Self::default(), JsonCursor::new(data));
        cursor.object(|key, cursor| quick.member(key, cursor))?;
        cursor.end()?;
        (quick.choice.is_some() && quick.delta.is_some()).then_some(quick)
    }

    fn member(&mut self, key: &str, cursor: &mut JsonCursor<'a>) -> Option<()> {
        match key {
            "id" => once(&mut self.id, cursor.word()?),
            "model" => once(&mut self.model, cursor.word()?),
            "system_fingerprint" => once(&mut self.fingerprint, cursor.word()?),
            "service_tier" => once(&mut self.tier, cursor.word()?),
            "provider" => once(&mut self.provider, cursor.word()?),
            "object" | "obfuscation" => cursor.string().map(drop),
            "created" => cursor.count().map(drop),
            "usage" => once(&mut self.usage, cursor.null()?),
            "choices" => {
                once(&mut self.choice, ())?;
                cursor.eat(b'[')?;
                cursor.object(|key, cursor| self.choice(key, cursor))?;
                cursor.eat(b']')
            }
            _ => None,
        }
    }

    fn choice(&mut self, key: &str, cursor: &mut JsonCursor<'a>) -> Option<()> {
        match key {
            "index" => once(&mut self.index, cursor.count()?),
            "delta" => {
                once(&mut self.delta, ())?;
                cursor.object(|key, cursor| self.delta(key, cursor))
            }
            "logprobs" => cursor.null(),
            "finish_reason" => once(&mut self.finish, cursor.null()?),
            _ => None,
        }
    }

    fn delta(&mut self, key: &str, cursor: &mut JsonCursor<'a>) -> Option<()> {
        match key {
            "content" => once(&mut self.content, cursor.string()?),
            "role" => cursor.string().map(drop),
            "refusal" => once(&mut self.refusal, cursor.null()?),
            _ => None,
        }
    }
}
