//! The fuzzers' corpus, replayed on stable. A target is a row; its inputs are in `tests/fuzz/corpus/<target>/`.

use std::path::Path;

use observer::{conn, dialect, proto};

type Fuzz = fn(&[u8]);

const TARGETS: &[(&str, Fuzz)] = &[
    ("anthropic_messages", dialect::anthropic_messages::fuzz),
    ("bedrock_converse", dialect::bedrock_converse::fuzz),
    ("bedrock_invoke", dialect::bedrock_invoke::fuzz),
    ("cohere_chat", dialect::cohere_chat::fuzz),
    ("cohere_chat_v1", dialect::cohere_chat_v1::fuzz),
    ("content", proto::content::fuzz),
    ("deepgram", dialect::deepgram::fuzz),
    ("elevenlabs", dialect::elevenlabs::fuzz),
    ("eventstream", proto::eventstream::fuzz),
    ("exchange", proto::http1::fuzz_exchange),
    ("gemini", dialect::gemini::fuzz),
    ("gemini_live", dialect::gemini_live::fuzz),
    ("gemini_interactions", dialect::gemini_interactions::fuzz),
    ("grpc", proto::grpc::fuzz),
    ("hpack", proto::h2::fuzz_hpack),
    ("http1", proto::http1::fuzz),
    ("http2", proto::h2::fuzz),
    ("json", dialect::json::scan::fuzz),
    ("llama_cpp_completion", dialect::llama_cpp_completion::fuzz),
    ("mistral_conversations", dialect::mistral_conversations::fuzz),
    ("ollama", dialect::ollama::fuzz),
    ("openai_audio", dialect::openai_audio::fuzz),
    ("openai_chat", dialect::openai_chat::fuzz),
    ("openai_realtime", dialect::openai_realtime::fuzz),
    ("openai_responses", dialect::openai_responses::fuzz),
    ("recording", observer::recording::fuzz),
    ("sglang_generate", dialect::sglang_generate::fuzz),
    ("spans", observer::spans::fuzz),
    ("sse", proto::sse::fuzz),
    ("target", proto::headers::fuzz),
    ("tgi_generate", dialect::tgi_generate::fuzz),
    ("tls", conn::tls::fuzz),
    ("values", proto::values::fuzz),
    ("websocket", proto::ws::fuzz),
];

#[test]
fn every_input_of_the_corpus_is_survived() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
    for (target, fuzz) in TARGETS {
        let folder = root.join(target);
        let inputs = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut count = 0;
        for path in inputs.map(|entry| entry.unwrap().path()) {
            println!("{}", path.display()); // shown if the next line panics
            fuzz(&std::fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count > 0, "no input for {target}");
    }
}

#[test]
fn every_folder_of_the_corpus_has_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz");
    for entry in std::fs::read_dir(root.join("corpus")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|(target, _)| *target == name), "{name} is replayed by nothing");
        assert!(root.join(format!("fuzz_targets/{name}.rs")).is_file(), "{name} has no fuzz target");
    }
}
