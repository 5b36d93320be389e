//! The fuzzers' corpus, replayed on stable. A target is a row; its inputs are in `tests/fuzz/corpus/<target>/`.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use observer::{conn, dialect, identity, proto};

use crate::named::{folders, panic_message, trial, trial_of};

type Fuzz = fn(&[u8]);

const TARGETS: &[(&str, Fuzz)] = &[
    ("anthropic_messages", dialect::anthropic_messages::fuzz),
    ("bedrock_converse", dialect::bedrock_converse::fuzz),
    ("bedrock_invoke", dialect::bedrock_invoke::fuzz),
    ("cgroup", identity::fuzz_cgroup),
    ("cgroup_tree", identity::fuzz_cgroup_tree),
    ("cohere_chat", dialect::cohere_chat::fuzz),
    ("cohere_chat_v1", dialect::cohere_chat_v1::fuzz),
    ("container_state", identity::fuzz_container_state),
    ("content", proto::content::fuzz),
    ("deepgram", dialect::deepgram::fuzz),
    ("elevenlabs", dialect::elevenlabs::fuzz),
    ("elf", observer::stacks::fuzz),
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
    ("maps", observer::maps::fuzz),
    ("mounts", observer::mounts::fuzz),
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

/// A test for each target, `corpus::TARGET`, and one that wants a target for each folder.
pub(crate) fn trials() -> Vec<Trial> {
    let one = |&(target, fuzz): &(&'static str, Fuzz)| {
        trial_of(format!("corpus::{target}"), move || every_input_is_survived(target, fuzz))
    };
    let mut trials: Vec<Trial> = TARGETS.iter().map(one).collect();
    trials.push(trial("corpus::every_folder_has_a_target", every_folder_has_a_target));
    trials
}

fn every_input_is_survived(target: &str, fuzz: Fuzz) -> Result<(), Failed> {
    let folder = root().join("corpus").join(target);
    let inputs = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut count = 0;
    for path in inputs.map(|entry| entry.unwrap().path()) {
        let input = std::fs::read(&path).unwrap();
        let survived = catch_unwind(|| fuzz(&input));
        survived.map_err(|panic| format!("{}: {}", path.display(), panic_message(panic.as_ref())))?;
        count += 1;
    }
    assert!(count > 0, "no input for {target}");
    Ok(())
}

fn every_folder_has_a_target() {
    for (name, _) in folders(&root().join("corpus")) {
        assert!(TARGETS.iter().any(|(target, _)| *target == name), "{name} is replayed by nothing");
        assert!(root().join(format!("fuzz_targets/{name}.rs")).is_file(), "{name} has no fuzz target");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz")
}
