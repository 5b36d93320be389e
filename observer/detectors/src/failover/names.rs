//! Names of models: which two are one model's.

use capture::units::Ns;
use dialects::ProviderMark;
use ledger::{Entry, ProviderStatement};

/// What may stand behind a colon without making another model of it.
const TAGS: &[&str] = &["free", "nitro", "floor", "beta", "extended", "thinking", "online", "exacto", "latest"];

/// The model without vendor, date and the like: `openai/gpt-x-2026-01-01` is `gpt-x`.
pub(super) fn family(model: &str) -> String {
    let name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
    let name = name.split('@').next().unwrap_or_default();
    // OpenRouter's routes and Bedrock's versions stand behind a colon; so do Ollama's sizes, which are other models.
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if TAGS.contains(&tag) || tag.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => name,
    };
    let name = name.strip_suffix("-latest").unwrap_or(name);
    let (name, bedrock) = without_bedrock_prefix(name);
    let mut parts: Vec<&str> = name.split('-').collect();
    let number = |part: &&str| part.len() >= 2 && part.bytes().all(|b| b.is_ascii_digit());
    // Bedrock's own version of a model stands last; `claude-v2` is a name.
    let version =
        |part: &&str| part.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    if bedrock && parts.len() > 2 && parts.last().is_some_and(version) {
        parts.pop();
    }
    while parts.len() > 1 && parts.last().is_some_and(number) {
        parts.pop();
    }
    parts.join("-")
}

/// `us.anthropic.claude-…`, `anthropic.claude-…`: who made it, and through which region's profile it is asked.
const BEDROCK: &[&str] = &[
    "us",
    "us-gov",
    "eu",
    "apac",
    "au",
    "jp",
    "ca",
    "global",
    "ai21",
    "amazon",
    "anthropic",
    "cohere",
    "deepseek",
    "luma",
    "meta",
    "mistral",
    "openai",
    "qwen",
    "stability",
    "twelvelabs",
    "writer",
];

/// A name of Bedrock's without that, and whether it was one. A point may stand in any other name (`gpt-4.1`).
fn without_bedrock_prefix(name: &str) -> (&str, bool) {
    let mut rest = name;
    while let Some((first, behind)) = rest.split_once('.')
        && BEDROCK.contains(&first)
    {
        rest = behind;
    }
    (rest, rest.len() < name.len())
}

/// Whether another name in the midst of a stream is no other model: a gateway that lets its provider's name through in
/// some chunks and gives the name that it was asked by, an alias of its own, in the others. `last_visible`: when the
/// last visible text came; a name behind it answers nothing.
pub(super) fn is_renaming(entry: &Entry, said: &ProviderStatement, last_visible: Option<Ns>) -> bool {
    let Some(asked) = entry.request_model().map(family) else { return false };
    if family(&said.value) == asked {
        return true;
    }
    let began_as_asked = entry.response_model.as_deref().is_some_and(|first| family(first) == asked);
    let back = entry
        .marks
        .iter()
        .any(|later| later.mark == ProviderMark::Model && later.at >= said.at && family(&later.value) == asked);
    began_as_asked && (back || last_visible.is_some_and(|last| said.at >= last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families() {
        for (model, want) in [
            ("openai/gpt-x-2026-01-01", "gpt-x"),
            ("gpt-x-20260101", "gpt-x"),
            ("GPT-x", "gpt-x"),
            ("claude-y-4-latest", "claude-y-4"),
            ("claude-y-4@20260101", "claude-y-4"),
            ("m:free", "m"),
            ("claude-v2:0", "claude-v2"),
            ("llama:70b", "llama:70b"),
            ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet"),
            ("claude-3-5-sonnet-20241022", "claude-3-5-sonnet"),
            ("amazon.nova-pro-v1:0", "nova-pro"),
            ("anthropic.claude-v2:1", "claude-v2"),
            ("gpt-4.1", "gpt-4.1"),
            ("2026", "2026"),
            ("", ""),
        ] {
            assert_eq!(family(model), want, "{model}");
        }
        assert_ne!(family("gpt-x-mini"), family("gpt-x"));
    }
}
