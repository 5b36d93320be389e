//! Vectors through the whole pipeline: how the ledger says that each call ended, and what heads and
//! events say beside text.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::path::{Path, PathBuf};

use dialects::ProviderMark;
use ledger::pipeline::{Pipeline, PipelineSettings};
use ledger::{CallOutcome, Entry};
use testkit::FakeTlsConn;

/// The ledger's entry of a vector's call (the first, if there are several), fed a turn at a time.
fn entry(case: &str) -> Entry {
    entries(&folder(case)).into_iter().next().unwrap_or_else(|| panic!("{case}: no call"))
}

fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors").join(case)
}

fn entries(folder: &Path) -> Vec<Entry> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let options = std::fs::read_to_string(folder.join("case.json")).unwrap_or_default();
    let mut script = FakeTlsConn::new(7, 1);
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        if name.ends_with("client.bin") {
            script.wait_ms(10).write(bytes);
        } else if name.ends_with("server.bin") {
            script.wait_ms(10).read(bytes);
        }
    }
    script.wait_ms(10);
    if options.contains("local") {
        script.close();
    } else {
        script.read_end(!options.contains("reset")).close();
    }
    let mut pipeline = Pipeline::new(PipelineSettings::default(), ());
    script.records().iter().for_each(|record| pipeline.record(&record.get()));
    let mut ended: Vec<Entry> = pipeline.call_table().ended().cloned().collect();
    ended.reverse();
    ended
}

#[test]
fn calls_end_as_their_api_says() {
    for (case, outcome) in [
        ("gemini/text", "complete"),
        ("gemini/json_array", "complete"),
        ("gemini/blocked_prompt", "complete"),
        ("gemini/continuation", "complete"),
        ("gemini/truncated", "truncated"),
        ("gemini/truncated_after_finish", "reset"),
        ("gemini/error_midstream", "error_event"),
        ("gemini/http_error_array", "http_error"),
        ("gemini/nonstream", "complete"),
        ("gemini_interactions/state_only", "complete"),
        ("gemini_interactions/truncated", "truncated"),
        ("gemini_interactions/failed", "error_event"),
        ("bedrock_converse/text", "complete"),
        ("bedrock_converse/no_metadata", "complete"),
        ("bedrock_converse/no_metadata_reset", "reset"),
        ("bedrock_converse/truncated", "truncated"),
        ("bedrock_converse/error_midstream", "error_event"),
        ("bedrock_invoke/anthropic", "complete"),
        ("bedrock_invoke/llama", "complete"),
        ("bedrock_invoke/error_midstream", "error_event"),
        ("bedrock_invoke/truncated", "truncated"),
        ("cohere_chat/text", "complete"),
        ("cohere_chat/no_done", "complete"),
        ("cohere_chat/no_done_reset", "reset"),
        ("cohere_chat/truncated", "truncated"),
        ("cohere_chat/error_midstream", "error_event"),
        ("cohere_chat_v1/text", "complete"),
        ("cohere_chat_v1/truncated", "truncated"),
        ("ollama/text", "complete"),
        ("ollama/no_last_line_end", "complete"),
        ("ollama/truncated", "truncated"),
        ("ollama/truncated_line", "reset"),
        ("ollama/error_midstream", "error_event"),
        ("ollama/nonstream", "complete"),
        ("llama_cpp_completion/text", "complete"),
        ("llama_cpp_completion/truncated", "truncated"),
        ("llama_cpp_completion/error_line", "error_event"),
        ("tgi_generate/text", "complete"),
        ("tgi_generate/truncated", "truncated"),
        ("sglang_generate/text", "complete"),
        ("sglang_generate/abort", "error_event"),
        ("mistral_conversations/text", "complete"),
        ("mistral_conversations/truncated", "truncated"),
        ("openai_audio/speech_bytes", "complete"),
        ("openai_audio/speech_truncated", "truncated"),
        ("openai_audio/transcription", "complete"),
        ("elevenlabs/bytes", "complete"),
        ("elevenlabs/timestamps", "complete"),
        ("elevenlabs/timestamps_truncated", "reset"),
        ("elevenlabs_socket/sound", "complete"),
        ("elevenlabs_socket/error", "error_event"),
        ("elevenlabs_socket/cancel", "client_cancel"),
        ("deepgram/speak", "complete"),
        ("deepgram_socket/sound", "complete"),
        ("openai_realtime/audio", "complete"),
        ("openai_realtime/voice_detection", "complete"),
        ("openai_realtime/error_instead", "error_event"),
        ("openai_realtime/failed", "error_event"),
        ("openai_realtime/truncated", "reset"),
        ("openai_chat/error_then_done", "error_event"),
        ("openai_chat/flavour_deepseek_starved", "complete"),
        ("anthropic_messages/vertex", "complete"),
        ("openai_responses/every_kind", "complete"),
    ] {
        assert_eq!(entry(case).outcome.map(CallOutcome::name), Some(outcome), "{case}");
    }
}

#[test]
fn characters_are_counted_by_kind() {
    for (case, visible, reasoning, tool, refusal) in [
        ("gemini/tools", 3, 0, 7 + 15 + 4 + 2 + 3, 0),
        ("gemini/reasoning", 3, 3, 0, 0),
        ("ollama/reasoning_tags", 2, 3, 0, 0),
        ("openai_chat/flavour_think_tags", 13, 8, 0, 0),
        ("openai_chat/flavour_mistral", 2, 3, 9, 0),
        ("sglang_generate/text", 8, 0, 0, 0),
        ("bedrock_converse/reasoning", 2, 3, 0, 0),
        ("openai_responses/every_kind", 2, 7, 15 + 9 + 6 + 24 + 21, 2),
    ] {
        let entry = entry(case);
        let got = (entry.visible_chars, entry.reasoning_chars, entry.tool_chars, entry.refusal_chars);
        assert_eq!(got, (visible, reasoning, tool, refusal), "{case}");
    }
}

#[test]
fn what_servers_say_of_themselves_is_on_the_entry() {
    let router = entry("openai_chat/flavour_openrouter_moved");
    assert_eq!((router.response_model.as_deref(), router.mark(ProviderMark::Model)), (Some("m"), Some("m2")));
    assert_eq!(
        (router.mark(ProviderMark::Upstream), router.mark(ProviderMark::Fingerprint)),
        (Some("Two"), Some("fp_2"))
    );
    assert!(router.marks.iter().all(|said| said.at > router.started));
    assert_eq!(entry("openai_chat/flavour_litellm").mark(ProviderMark::Fallback), Some("m2"));
    assert_eq!(entry("gemini/refusal").mark(ProviderMark::Blocked), Some("SAFETY"));
    assert_eq!(entry("gemini/continuation").mark(ProviderMark::Continuation), Some("offered"));
    let ollama = entry("ollama/text").server_times;
    assert_eq!((ollama.total_ms, ollama.prompt_ms), (Some(900.0), Some(50.0)));
    assert_eq!(entry("openai_chat/flavour_xai").server_times.first_ms, Some(210.0));
}

#[test]
fn heads_and_limits_are_on_the_entry() {
    let aws = entry("bedrock_converse/text");
    assert_eq!((aws.asked.attempt, aws.asked.max_attempts), (Some(0), Some(3)));
    assert_eq!(aws.asked.invocation.as_deref(), Some("0f1e"));
    let realtime = entry("openai_realtime/audio");
    let answered = realtime.answered.unwrap();
    assert_eq!(answered.request_id.as_deref(), Some("req_ws"));
    let limit = |name: &str| answered.limits.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(limit("x-ratelimit-remaining-tokens"), Some("49950"));
    assert_eq!(limit("x-ratelimit-reset-requests"), Some("60s"));
    assert_eq!((realtime.usage.audio_input, realtime.usage.audio_output), (Some(15), Some(7)));
}

#[test]
fn two_turns_of_a_socket_are_two_calls() {
    let calls = entries(&folder("openai_realtime/text"));
    let ids: Vec<_> = calls.iter().map(|call| call.response_id.as_deref().unwrap()).collect();
    assert_eq!(ids, ["resp_1", "resp_2"]);
    assert!(calls.iter().all(|call| call.request.as_ref().unwrap().model.as_deref() == Some("gpt-realtime-x")));
}
