//! Which dialect an answer speaks that was running before it was looked at, by words that only its events have.

use super::{DialectRow, row};

/// Words of an event, with and without the space that some servers put behind a colon, and the
/// `api` whose events have them. Every dialect that comes as server-sent events may have lines
/// here; one that has none is not recognised in the middle.
const WORDS: &[(&str, &str)] = &[
    ("\"chat.completion.chunk\"", "openai.chat"),
    ("\"text_completion\"", "openai.completions"),
    ("event: response.", "openai.responses"),
    ("\"type\":\"response.", "openai.responses"),
    ("\"type\": \"response.", "openai.responses"),
    ("event: content_block_", "anthropic.messages"),
    ("\"type\":\"content_block_", "anthropic.messages"),
    ("\"type\": \"content_block_", "anthropic.messages"),
    ("\"choices\":", "openai.chat"),
    ("\"candidates\":", "gemini.generate_content"),
    ("\"event_type\":\"step.", "gemini.interactions"),
    ("event: step.", "gemini.interactions"),
    ("\"message.output.delta\"", "mistral.conversations"),
    ("\"speech.audio.delta\"", "openai.speech"),
    ("\"transcript.text.delta\"", "openai.transcription"),
    ("\"tokens_predicted\":", "llama_cpp.completion"),
    ("\"meta_info\":", "sglang.generate"),
    ("\"generated_text\":", "tgi.generate"),
    ("event: content-delta", "cohere.chat"),
    ("\"type\":\"content-delta\"", "cohere.chat"),
];

/// The dialect of a running event stream; `None`: nothing in these bytes tells.
#[must_use]
pub fn find_mid_stream(bytes: &[u8]) -> Option<&'static DialectRow> {
    WORDS
        .iter()
        .find(|(words, _)| memchr::memmem::find(bytes, words.as_bytes()).is_some())
        .and_then(|(_, api)| row(api))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_named_here_exists() {
        for (words, api) in WORDS {
            assert_eq!(find_mid_stream(words.as_bytes()).map(|row| row.api), Some(*api), "{words}");
        }
        assert!(find_mid_stream(b"data: {\"price\": 7}\n\n").is_none());
    }
}
