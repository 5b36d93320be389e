//! Which of the script's tokens each dialect reports: the ledger can know no more.

use super::{Api, Asked, Flavour};
use crate::form::Form;
use crate::log::Reported;
use crate::script::Reply;

/// What an answer that comes to its end reports, in the OpenAI sense (input includes cached, output
/// includes reasoning).
#[must_use]
pub fn reported(asked: &Asked, reply: &Reply) -> Reported {
    let none = Reported::default();
    let Some(tokens) = reply.usage else { return none };
    let all = Reported {
        input: Some(tokens.input),
        output: Some(tokens.output),
        cached: Some(tokens.cached),
        reasoning: Some(tokens.reasoning),
    };
    match asked.api {
        // Asked for, or given without being asked.
        Api::Chat if asked.stream && !asked.include_usage && asked.flavour == Flavour::Own => none,
        Api::Chat if asked.flavour == Flavour::Mistral => Reported { reasoning: None, cached: None, ..all },
        Api::Completions if asked.stream && !asked.include_usage => none,
        Api::Completions | Api::OllamaChat | Api::OllamaGenerate => Reported { cached: None, reasoning: None, ..all },
        Api::Chat | Api::Responses | Api::Messages | Api::Invoke | Api::Gemini => all,
        Api::Converse | Api::Cohere | Api::Realtime => Reported { reasoning: None, ..all },
        Api::Listen => none,
        Api::Speech if asked.form == Form::Bytes => none,
        Api::Speech | Api::Transcription => Reported { cached: None, reasoning: None, ..all },
    }
}
