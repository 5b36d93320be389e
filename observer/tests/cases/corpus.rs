//! The fuzzers' corpus, replayed on stable. A target is a row; its inputs are in `tests/fuzz/corpus/<target>/`.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use capture::{conn, proto};
use edge::identity;
use libtest_mimic::{Failed, Trial};

use testkit::named::{folders, panic_message, trial, trial_of};

type Fuzz = fn(&[u8]);

const TARGETS: &[(&str, Fuzz)] = &[
    ("anthropic_messages", dialects::anthropic_messages::fuzz),
    ("bedrock_converse", dialects::bedrock_converse::fuzz),
    ("bedrock_invoke", dialects::bedrock_invoke::fuzz),
    ("cgroup", identity::fuzz_cgroup),
    ("cgroup_tree", identity::fuzz_cgroup_tree),
    ("cohere_chat", dialects::cohere_chat::fuzz),
    ("cohere_chat_v1", dialects::cohere_chat_v1::fuzz),
    ("container_state", identity::fuzz_container_state),
    ("content", proto::content::fuzz),
    ("deepgram", dialects::deepgram::fuzz),
    ("elevenlabs", dialects::elevenlabs::fuzz),
    ("elf", capture::stacks::fuzz),
    ("eventstream", proto::eventstream::fuzz),
    ("exchange", proto::http1::fuzz_exchange),
    ("gemini", dialects::gemini::fuzz),
    ("gemini_live", dialects::gemini_live::fuzz),
    ("gemini_interactions", dialects::gemini_interactions::fuzz),
    ("grpc", proto::grpc::fuzz),
    ("hpack", proto::h2::fuzz_hpack),
    ("http1", proto::http1::fuzz),
    ("http2", proto::h2::fuzz),
    ("json", dialects::json::scan::fuzz),
    ("llama_cpp_completion", dialects::llama_cpp_completion::fuzz),
    ("maps", capture::maps::fuzz),
    ("mounts", capture::mounts::fuzz),
    ("mistral_conversations", dialects::mistral_conversations::fuzz),
    ("ollama", dialects::ollama::fuzz),
    ("openai_audio", dialects::openai_audio::fuzz),
    ("openai_chat", dialects::openai_chat::fuzz),
    ("openai_realtime", dialects::openai_realtime::fuzz),
    ("openai_responses", dialects::openai_responses::fuzz),
    ("recording", observer::recording::fuzz),
    ("sglang_generate", dialects::sglang_generate::fuzz),
    ("spans", dialects::spans::fuzz),
    ("sse", proto::sse::fuzz),
    ("target", proto::headers::fuzz),
    ("tgi_generate", dialects::tgi_generate::fuzz),
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
    for (name, _) in folders(&root().join("corpus")).unwrap() {
        assert!(TARGETS.iter().any(|(target, _)| *target == name), "{name} is replayed by nothing");
        assert!(root().join(format!("fuzz_targets/{name}.rs")).is_file(), "{name} has no fuzz target");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz")
}
