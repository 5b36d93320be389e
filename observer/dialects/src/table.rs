//! The dialects, and which request speaks which: by the shape of the path first, under any prefix, since gateways and
//! self-hosted servers reuse the same paths; the host comes second.

use super::{
    Dialect, anthropic_messages, bedrock_converse, bedrock_invoke, cohere_chat, cohere_chat_v1, deepgram, elevenlabs,
    gemini, gemini_interactions, grpc, llama_cpp_completion, mistral_conversations, ollama, openai_audio, openai_chat,
    openai_responses, path, path_ends, provider, sglang_generate, tgi_generate,
};
use capture::proto::RequestHead;

/// A row of the dialect table: a dialect is one row and one folder.
pub struct DialectRow {
    /// Value of `api` in `inspect`: `openai.chat`, `openai.responses`, `anthropic.messages` …
    pub api: &'static str,
    /// `gen_ai.operation.name`.
    pub operation: &'static str,
    /// Does this request speak the dialect? By path shape, method and headers; the host only breaks ties.
    pub matches: fn(&RequestHead) -> bool,
    /// `gen_ai.provider.name` for this request: by host, else the flavour's name.
    pub provider: fn(&RequestHead) -> &'static str,
    /// A new interpreter.
    pub make: fn(&RequestHead) -> Box<dyn Dialect>,
}

/// The dialects. The first row that matches speaks.
pub static DIALECTS: &[&DialectRow] = &[
    &openai_chat::ROW,
    &openai_chat::COMPLETIONS,
    &openai_responses::ROW,
    &openai_audio::SPEECH,
    &openai_audio::TRANSCRIPTION,
    &anthropic_messages::ROW,
    &gemini::ROW,
    &gemini_interactions::ROW,
    &bedrock_converse::ROW,
    &bedrock_invoke::ROW,
    &mistral_conversations::ROW,
    &cohere_chat::ROW,
    &cohere_chat_v1::ROW,
    &ollama::CHAT,
    &ollama::GENERATE,
    &llama_cpp_completion::ROW,
    &tgi_generate::ROW,
    &sglang_generate::ROW,
    &elevenlabs::ROW,
    &deepgram::SPEAK,
    &deepgram::LISTEN,
    &grpc::ROW,
    // Not in a release: no server speaks it.
    #[cfg(debug_assertions)]
    &super::template::ROW,
];

/// A path or host that the operator declares to speak a dialect (self-hosted gateways). What is
/// absent is not judged; one that names neither matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredRoute {
    /// End of the path, whole segments: `/ai/complete` matches `/team-a/ai/complete`.
    pub path_suffix: Option<String>,
    /// Host, or `*.suffix`; lower case, without a default port.
    pub host: Option<String>,
    /// The `api` of a row of `DIALECTS`.
    pub api: String,
}

/// The row that speaks this request's dialect; `None`: not a model call. The operator's word comes before the table.
#[must_use]
pub fn find(head: &RequestHead, extras: &[DeclaredRoute]) -> Option<&'static DialectRow> {
    if head.method != "POST" {
        return resumed(head);
    }
    let declared = extras.iter().find(|extra| extra.fits(head)).and_then(|extra| row(&extra.api));
    declared.or_else(|| DIALECTS.iter().copied().find(|row| (row.matches)(head)))
}

/// Taking up the stream of an answer that was begun by another request is a GET: its events are the
/// same, and somebody waits for them. It asks for nothing itself.
fn resumed(head: &RequestHead) -> Option<&'static DialectRow> {
    let stream = head.method == "GET" && path::parameter(head, "stream").as_deref() == Some("true");
    let (front, _) = head.path.trim_end_matches('/').rsplit_once('/').filter(|(_, id)| stream && !id.is_empty())?;
    let front = RequestHead { path: front.to_owned(), ..head.clone() };
    [&openai_responses::ROW, &gemini_interactions::ROW].into_iter().find(|row| (row.matches)(&front))
}

/// Does this request, which is no model call, go where model calls go: to a provider's or a
/// declared host, or to another resource of the same API? Then its connection may carry one at any
/// time, however many other requests come before: SDKs keep the connection on which they polled a
/// batch.
#[must_use]
pub fn related(head: &RequestHead, extras: &[DeclaredRoute]) -> bool {
    let declared = || {
        extras
            .iter()
            .any(|extra| extra.host.is_some() && DeclaredRoute { path_suffix: None, ..extra.clone() }.fits(head))
    };
    let mut segments = head.path.split('/').skip_while(|segment| *segment != "v1");
    segments.nth(1).is_some_and(|resource| RESOURCES.contains(&resource)) || provider::known(head) || declared()
}

/// What follows `/v1/` in the APIs of the dialects.
const RESOURCES: &[&str] = &[
    "assistants",
    "audio",
    "batches",
    "chat",
    "completions",
    "conversations",
    "embeddings",
    "files",
    "fine_tuning",
    "images",
    "messages",
    "models",
    "moderations",
    "responses",
    "threads",
    "uploads",
    "vector_stores",
];

/// The row of an `api`, to check a configuration.
#[must_use]
pub fn row(api: &str) -> Option<&'static DialectRow> {
    DIALECTS.iter().copied().find(|row| row.api == api)
}

impl DeclaredRoute {
    pub(super) fn fits(&self, head: &RequestHead) -> bool {
        let path = self.path_suffix.as_deref().map(|suffix| path_ends(head, &[suffix]));
        let host = self.host.as_deref().map(|pattern| {
            head.host.as_deref().is_some_and(|host| {
                provider::host_fits(pattern, host) || provider::host_fits(pattern, provider::without_port(host))
            })
        });
        (path.is_some() || host.is_some()) && path != Some(false) && host != Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(method: &str, host: &str, path: &str, extras: &[DeclaredRoute]) -> Option<&'static str> {
        let (method, host, path) = (method.into(), Some(host.into()), path.into());
        find(&RequestHead { method, host, path, ..RequestHead::default() }, extras).map(|row| row.api)
    }

    #[test]
    fn paths_tell_the_dialect_under_any_prefix() {
        for (path, expected) in [
            ("/v1/chat/completions", Some("openai.chat")),
            ("/chat/completions", Some("openai.chat")),
            ("/v1/chat/completions/", Some("openai.chat")),
            ("/openai/deployments/gpt/chat/completions", Some("openai.chat")),
            ("/acct/gw/openai/v1/chat/completions", Some("openai.chat")),
            ("/v1beta/openai/chat/completions", Some("openai.chat")),
            ("/v1/completions", Some("openai.completions")),
            ("/openai/deployments/gpt/completions", Some("openai.completions")),
            ("/v1/responses", Some("openai.responses")),
            ("/openai/v1/responses", Some("openai.responses")),
            ("/openai/responses", Some("openai.responses")),
            ("/backend-api/codex/responses", Some("openai.responses")),
            ("/v1/messages", Some("anthropic.messages")),
            ("/anthropic/v1/messages", Some("anthropic.messages")),
            (
                "/v1/projects/p/locations/eu/publishers/anthropic/models/claude-x:streamRawPredict",
                Some("anthropic.messages"),
            ),
            ("/v1/projects/p/locations/eu/publishers/mistralai/models/m:rawPredict", Some("openai.chat")),
            ("/v1/projects/p/locations/eu/publishers/other/models/m:rawPredict", None),
            ("/v1/fim/completions", Some("openai.chat")),
            ("/v1/agents/completions", Some("openai.chat")),
            ("/v1/audio/speech", Some("openai.speech")),
            ("/v1/audio/transcriptions", Some("openai.transcription")),
            ("/v1beta/models/gemini-x:streamGenerateContent", Some("gemini.generate_content")),
            ("/v1/projects/p/locations/l/endpoints/9:generateContent", Some("gemini.generate_content")),
            ("/v1beta/models/gemini-x:countTokens", None),
            ("/v1beta/interactions", Some("gemini.interactions")),
            ("/v1beta1/projects/p/locations/l/interactions", Some("gemini.interactions")),
            ("/users/7/interactions", None),
            ("/v1beta/interactions/i1", None),
            ("/model/anthropic.claude-x-v1%3A0/converse-stream", Some("bedrock.converse")),
            ("/model/m/converse", Some("bedrock.converse")),
            ("/model/m/invoke-with-response-stream", Some("bedrock.invoke_model")),
            ("/model/m/invoke", Some("bedrock.invoke_model")),
            ("/model/m/other", None),
            ("/v1/conversations", None),
            ("/v2/chat", Some("cohere.chat")),
            ("/v1/chat", Some("cohere.chat_v1")),
            ("/api/chat", Some("ollama.chat")),
            ("/api/generate", Some("ollama.generate")),
            ("/completion", Some("llama_cpp.completion")),
            ("/generate_stream", Some("tgi.generate")),
            ("/generate", None),
            ("/v1/text-to-speech/voice/stream", Some("elevenlabs.text_to_speech")),
            ("/v1/text-to-speech/voice/stream/with-timestamps", Some("elevenlabs.text_to_speech")),
            ("/v1/text-to-speech/voice/other", None),
            ("/v1/speak", Some("deepgram.speak")),
            ("/v1/listen", Some("deepgram.listen")),
            ("/v1/messages/count_tokens", None),
            ("/v1/messages/batches", None),
            ("/v1/responses/resp_1/cancel", None),
            ("/v1/embeddings", None),
            ("/v1/models", None),
            ("/api/v10/channels/1/messages", None),
            ("/surveys/1/responses", None),
            ("/v1/xchat/completions", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(api("POST", "gateway.test", path, &[]), expected, "{path}");
            assert_eq!(api("GET", "api.openai.com", path, &[]), None, "{path}");
        }
    }

    #[test]
    fn a_stream_taken_up_again_is_a_call() {
        for (path, query, expected) in [
            ("/v1/responses/resp_1", "stream=true&starting_after=7", Some("openai.responses")),
            ("/openai/responses/resp_1", "api-version=x&stream=true", Some("openai.responses")),
            ("/v1beta/interactions/i1", "stream=true&last_event_id=e", Some("gemini.interactions")),
            ("/v1/responses/resp_1", "stream=false", None),
            ("/v1/responses/resp_1/input_items", "stream=true", None),
            ("/v1/responses", "stream=true", None),
            ("/v1/files/f1", "stream=true", None),
        ] {
            let (method, query) = ("GET".into(), Some(query.into()));
            let head = RequestHead { method, path: path.into(), query, ..RequestHead::default() };
            assert_eq!(find(&head, &[]).map(|row| row.api), expected, "{path}");
        }
    }

    #[test]
    fn some_shapes_need_more_than_a_path() {
        assert_eq!(api("POST", "api.mistral.ai", "/v1/conversations", &[]), Some("mistral.conversations"));
        assert_eq!(api("POST", "api.mistral.ai", "/v1/conversations/c1", &[]), Some("mistral.conversations"));
        assert_eq!(api("POST", "api.mistral.ai", "/v1/conversations/c1/restart", &[]), Some("mistral.conversations"));
        assert_eq!(api("POST", "api.mistral.ai", "/v1/conversations/c1/history", &[]), None);
        assert_eq!(api("POST", "api.openai.com", "/v1/conversations", &[]), None);
        let json = vec![("content-type".to_owned(), "application/json".to_owned())];
        for (path, expected) in [("/generate", Some("sglang.generate")), ("/pdf/generate", None)] {
            let (method, path) = ("POST".into(), path.into());
            let head = RequestHead { method, path, headers: json.clone(), ..RequestHead::default() };
            assert_eq!(find(&head, &[]).map(|row| row.api), expected);
        }
    }

    #[test]
    fn the_operator_adds_paths_and_hosts() {
        let extra = |path: Option<&str>, host: Option<&str>, api: &str| DeclaredRoute {
            path_suffix: path.map(str::to_owned),
            host: host.map(str::to_owned),
            api: api.into(),
        };
        let extras = [
            extra(Some("/ai/complete"), None, "openai.chat"),
            extra(Some("ask"), Some("*.corp.test"), "anthropic.messages"),
            extra(None, Some("llm.test:8443"), "openai.responses"),
            extra(None, None, "openai.chat"),
            extra(Some("/typo"), None, "no.such.api"),
        ];
        for (host, path, expected) in [
            ("any.test", "/team/ai/complete", Some("openai.chat")),
            ("any.test", "/team/xai/complete", None),
            ("a.corp.test", "/ask", Some("anthropic.messages")),
            ("a.corp.test:8080", "/v2/ask", Some("anthropic.messages")),
            ("corp.test", "/ask", None),
            ("llm.test:8443", "/v1/chat/completions", Some("openai.responses")),
            ("llm.test", "/v1/chat/completions", Some("openai.chat")),
            ("any.test", "/typo", None),
            ("any.test", "/other", None),
        ] {
            assert_eq!(api("POST", host, path, &extras), expected, "{host}{path}");
        }
    }

    #[test]
    fn requests_beside_model_calls_are_known() {
        let extras = [DeclaredRoute {
            path_suffix: Some("/ask".into()),
            host: Some("*.corp.test".into()),
            api: "openai.chat".into(),
        }];
        for (host, path, expected) in [
            ("localhost:8000", "/v1/models", true),
            ("localhost:8000", "/gateway/openai/v1/batches/batch_1", true),
            ("localhost:8000", "/v1", false),
            ("localhost:8000", "/api/v1/users", false),
            ("localhost:8000", "/models", false),
            ("api.openai.com", "/anything", true),
            ("api.cerebras.ai", "/v1/tcp_warming", true),
            ("a.corp.test", "/anything", true),
            ("other.test", "/ask/me", false),
        ] {
            let head = RequestHead { host: Some(host.into()), path: path.into(), ..RequestHead::default() };
            assert_eq!(related(&head, &extras), expected, "{host}{path}");
        }
    }

    #[test]
    fn every_row_has_its_own_name_and_finds_itself() {
        for row_ in DIALECTS {
            assert!(std::ptr::eq(row(row_.api).unwrap(), *row_), "{} is there twice", row_.api);
            let _ = (row_.make)(&RequestHead::default());
        }
    }
}
