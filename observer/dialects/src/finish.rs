//! Why answers end: the words of every API in one normal form. The raw word is kept beside it, and
//! every enum is open: a word that is not here is `Other`.

/// The normal form of a finish reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FinishClass {
    /// The model was done.
    Stop,
    /// A limit on tokens was reached.
    Length,
    /// The model waits for the result of a tool.
    Tool,
    /// A filter, a guardrail or the model itself refused.
    Refusal,
    /// The answer goes on in another request.
    Pause,
    /// The server says that it went wrong.
    Error,
    /// The caller or the user cut it short.
    Cancelled,
    /// A word that we do not know.
    Other,
}

/// Words of OpenAI (chat, Responses, Realtime), Anthropic, Gemini, Bedrock Converse, Mistral,
/// Cohere, Together, TGI, Ollama, DeepSeek, OpenRouter, Deepgram. In lower case; sorted within a
/// class by API.
const WORDS: &[(FinishClass, &[&str])] = &[
    (
        FinishClass::Stop,
        &[
            "stop",
            "completed",
            "end_turn",
            "stop_sequence",
            "complete",
            "eos",
            "eos_token",
            "end_of_text",
            "finish",
            "finished",
            "speech_final",
            "from_finalize",
            "utteranceend",
            "endofturn",
        ],
    ),
    (
        FinishClass::Length,
        &[
            "length",
            "max_tokens",
            "max_output_tokens",
            "max_completion_tokens",
            "model_context_window_exceeded",
            "model_length",
            "context_length",
            "limit",
            "budget_exceeded",
        ],
    ),
    (FinishClass::Tool, &["tool_calls", "tool_call", "function_call", "tool_use", "requires_action"]),
    (
        FinishClass::Refusal,
        &[
            "content_filter",
            "refusal",
            "safety",
            "recitation",
            "blocklist",
            "prohibited_content",
            "spii",
            "language",
            "image_safety",
            "image_prohibited_content",
            "image_recitation",
            "model_armor",
            "guardrail_intervened",
            "content_filtered",
            "error_toxic",
        ],
    ),
    (FinishClass::Pause, &["pause_turn", "compaction", "continuation", "requires_continuation"]),
    (
        FinishClass::Error,
        &[
            "error",
            "timeout",
            "failed",
            "insufficient_system_resource",
            "malformed_function_call",
            "unexpected_tool_call",
            "too_many_tool_calls",
            "missing_thought_signature",
            "malformed_response",
            "other",
            "image_other",
            "no_image",
            "escalation",
            "pup_limited_disabled",
            "malformed_model_output",
            "malformed_tool_use",
            "error_limit",
            "aborted",
            "abort",
        ],
    ),
    (
        FinishClass::Cancelled,
        &["cancelled", "canceled", "client_cancelled", "turn_detected", "cleared", "speechinterrupted"],
    ),
];

/// The normal form of a provider's word.
#[must_use]
pub fn class(raw: &str) -> FinishClass {
    let fits = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(raw));
    WORDS.iter().find(|(_, words)| fits(words)).map_or(FinishClass::Other, |&(class, _)| class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_every_api() {
        for (raw, expected) in [
            ("stop", FinishClass::Stop),
            ("STOP", FinishClass::Stop),
            ("COMPLETE", FinishClass::Stop),
            ("end_turn", FinishClass::Stop),
            ("MAX_TOKENS", FinishClass::Length),
            ("max_output_tokens", FinishClass::Length),
            ("TOOL_CALL", FinishClass::Tool),
            ("tool_use", FinishClass::Tool),
            ("RECITATION", FinishClass::Refusal),
            ("guardrail_intervened", FinishClass::Refusal),
            ("refusal", FinishClass::Refusal),
            ("CONTINUATION", FinishClass::Pause),
            ("pause_turn", FinishClass::Pause),
            ("insufficient_system_resource", FinishClass::Error),
            ("MALFORMED_FUNCTION_CALL", FinishClass::Error),
            ("turn_detected", FinishClass::Cancelled),
            ("FINISH_REASON_UNSPECIFIED", FinishClass::Other),
            ("", FinishClass::Other),
        ] {
            assert_eq!(class(raw), expected, "{raw}");
        }
    }

    #[test]
    fn no_word_has_two_meanings() {
        let mut words: Vec<_> = WORDS.iter().flat_map(|(_, words)| words.iter()).collect();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
    }
}
