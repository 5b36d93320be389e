//! Every vector of `tests/vectors`, driven every way bytes can be cut. A group of vectors is one test here; the format
//! of a case is in `tests/vectors/README.md`.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "golden/loss.rs"]
mod loss;
#[path = "golden/messages.rs"]
mod messages;
#[path = "golden/split.rs"]
mod split;
#[path = "golden/turns.rs"]
mod turns;
#[path = "golden/utterances.rs"]
mod utterances;

use messages::Messages;
use utterances::Utterances;

#[test]
fn http1() {
    split::run("http1", || Box::<Messages>::default());
}

#[test]
fn http2() {
    split::run("http2", || Box::<Messages>::default());
}

#[test]
fn websocket() {
    split::run("websocket", || Box::<Messages>::default());
}

#[test]
fn sse() {
    split::run("sse", || Box::<Messages>::default());
}

#[test]
fn json_stream() {
    split::run("json_stream", || Box::<Messages>::default());
}

#[test]
fn eventstream() {
    split::run("eventstream", || Box::<Messages>::default());
}

#[test]
fn grpc() {
    split::run("grpc", || Box::<Messages>::default());
}

#[test]
fn media() {
    split::run("media", || Box::<Messages>::default());
}

#[test]
fn content() {
    split::run("content", || Box::<Messages>::default());
}

#[test]
fn openai_chat() {
    split::run("openai_chat", || Box::<Utterances>::default());
}

#[test]
fn openai_responses() {
    split::run("openai_responses", || Box::<Utterances>::default());
}

#[test]
fn anthropic_messages() {
    split::run("anthropic_messages", || Box::<Utterances>::default());
}

#[test]
fn gemini() {
    split::run("gemini", || Box::<Utterances>::default());
}

#[test]
fn cohere_chat() {
    split::run("cohere_chat", || Box::<Utterances>::default());
}

#[test]
fn cohere_chat_v1() {
    split::run("cohere_chat_v1", || Box::<Utterances>::default());
}

#[test]
fn llama_cpp_completion() {
    split::run("llama_cpp_completion", || Box::<Utterances>::default());
}

#[test]
fn ollama() {
    split::run("ollama", || Box::<Utterances>::default());
}

#[test]
fn sglang_generate() {
    split::run("sglang_generate", || Box::<Utterances>::default());
}

#[test]
fn tgi_generate() {
    split::run("tgi_generate", || Box::<Utterances>::default());
}

#[test]
fn bedrock_converse() {
    split::run("bedrock_converse", || Box::<Utterances>::default());
}

#[test]
fn bedrock_invoke() {
    split::run("bedrock_invoke", || Box::<Utterances>::default());
}

#[test]
fn deepgram() {
    split::run("deepgram", || Box::<Utterances>::default());
}

#[test]
fn elevenlabs() {
    split::run("elevenlabs", || Box::<Utterances>::default());
}

#[test]
fn gemini_interactions() {
    split::run("gemini_interactions", || Box::<Utterances>::default());
}

#[test]
fn mistral_conversations() {
    split::run("mistral_conversations", || Box::<Utterances>::default());
}

#[test]
fn openai_audio() {
    split::run("openai_audio", || Box::<Utterances>::default());
}

#[test]
fn openai_realtime() {
    split::run("openai_realtime", || Box::<Utterances>::default());
}

#[test]
fn elevenlabs_socket() {
    split::run("elevenlabs_socket", || Box::<Utterances>::default());
}

#[test]
fn deepgram_socket() {
    split::run("deepgram_socket", || Box::<Utterances>::default());
}

#[test]
fn deepgram_listen_socket() {
    split::run("deepgram_listen_socket", || Box::<Utterances>::default());
}

#[test]
fn openai_transcription_socket() {
    split::run("openai_transcription_socket", || Box::<Utterances>::default());
}

#[test]
fn openai_responses_socket() {
    split::run("openai_responses_socket", || Box::<Utterances>::default());
}

#[cfg(debug_assertions)]
#[test]
fn template() {
    split::run("template", || Box::<Utterances>::default());
}

#[test]
fn gemini_live() {
    split::run("gemini_live", || Box::<Utterances>::default());
}
