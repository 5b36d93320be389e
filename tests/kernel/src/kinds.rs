//! Which clients there are: a program, the API it calls, and how it is set.

use anyhow::{Context, Result};
use provider::log::Protocol;

/// A program with the API it calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Unique short name, part of the model names it asks for.
    pub name: &'static str,
    pub program: Program,
    pub api: &'static str,
    /// Further settings (see `tests/programs/common.py`).
    pub settings: &'static [(&'static str, &'static str)],
    /// The vendor's host, which a client of its own hosts file finds here.
    pub host: Option<&'static str>,
    /// The model stands in the URL, where `#` cannot.
    in_url: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// A script on the venv's interpreter.
    Python(&'static str),
    /// The same on Debian's own interpreter.
    SystemPython(&'static str),
    Node(&'static str),
    Curl,
    /// A program of `inside.c`, as set-up links it: with a stripped OpenSSL inside.
    Inside(&'static str),
    Wget,
    /// `programs/go`, built in this way: see `golang`.
    Go(&'static str),
}

const fn kind(name: &'static str, program: Program, api: &'static str) -> Kind {
    Kind { name, program, api, settings: &[], host: None, in_url: false }
}

impl Kind {
    const fn with(mut self, settings: &'static [(&'static str, &'static str)]) -> Self {
        self.settings = settings;
        self
    }

    const fn at(mut self, host: &'static str) -> Self {
        self.host = Some(host);
        self
    }

    const fn in_url(mut self) -> Self {
        self.in_url = true;
        self
    }
}

const ASYNC: &[(&str, &str)] = &[("CLIENT_ASYNC", "1")];

/// Clients of every dialect and protocol, each in its own default transport.
pub const SDKS: [Kind; 32] = [
    kind("genai-sync", Program::Python("genai.py"), "gemini").at("generativelanguage.googleapis.com").in_url(),
    kind("genai-async", Program::Python("genai.py"), "gemini")
        .with(ASYNC)
        .at("generativelanguage.googleapis.com")
        .in_url(),
    kind("gemini-array", Program::Python("rest.py"), "gemini-array").at("generativelanguage.googleapis.com").in_url(),
    kind("mistral-sync", Program::Python("mistral.py"), "chat").at("api.mistral.ai"),
    kind("mistral-async", Program::Python("mistral.py"), "chat").with(ASYNC).at("api.mistral.ai"),
    kind("cohere", Program::Python("cohere_v2.py"), "cohere").at("api.cohere.com"),
    kind("groq", Program::Python("groq_sync.py"), "chat").at("api.groq.com"),
    kind("bedrock-converse", Program::Python("bedrock.py"), "converse")
        .at("bedrock-runtime.us-east-1.amazonaws.com")
        .in_url(),
    kind("bedrock-invoke", Program::Python("bedrock.py"), "invoke")
        .at("bedrock-runtime.us-east-1.amazonaws.com")
        .in_url(),
    kind("ollama-chat", Program::Python("ollama_sync.py"), "ollama-chat"),
    kind("ollama-generate", Program::Python("ollama_sync.py"), "ollama-generate"),
    kind("litellm-sync-chat", Program::Python("litellm_sync.py"), "chat"),
    kind("litellm-sync-messages", Program::Python("litellm_sync.py"), "messages"),
    kind("litellm-async-chat", Program::Python("litellm_async.py"), "chat"),
    kind("litellm-async-messages", Program::Python("litellm_async.py"), "messages"),
    kind("ai-node-chat", Program::Node("ai_node.mjs"), "chat"),
    kind("ai-node-responses", Program::Node("ai_node.mjs"), "responses"),
    kind("completions", Program::Python("rest.py"), "completions"),
    kind("speech", Program::Python("rest.py"), "speech").at("api.openai.com"),
    kind("speech-sse", Program::Python("rest.py"), "speech-sse").at("api.openai.com"),
    kind("deepseek", Program::Python("openai_sync.py"), "chat").at("api.deepseek.com"),
    kind("openrouter", Program::Python("openai_sync.py"), "chat").at("openrouter.ai"),
    kind("realtime", Program::Python("websocket_client.py"), "realtime").at("api.openai.com"),
    kind("realtime-no-takeover", Program::Python("websocket_client.py"), "realtime")
        .with(&[("CLIENT_COMPRESSION", "no-takeover")]),
    kind("realtime-plain", Program::Python("websocket_client.py"), "realtime").with(&[("CLIENT_COMPRESSION", "none")]),
    kind("listen", Program::Python("websocket_client.py"), "listen").at("api.deepgram.com"),
    kind("transcription", Program::Python("websocket_client.py"), "transcription").at("api.openai.com"),
    kind("responses-socket", Program::Python("websocket_client.py"), "responses"),
    kind("httpx-http2", Program::Python("http2_httpx.py"), "chat"),
    kind("curl-http2-chat", Program::Curl, "chat").with(&[("CLIENT_HTTP", "2")]),
    kind("curl-http2-responses", Program::Curl, "responses").with(&[("CLIENT_HTTP", "2")]),
    kind("curl-http2-messages", Program::Curl, "messages").with(&[("CLIENT_HTTP", "2")]),
];

/// Clients of the three dialects whose every scenario is played.
pub const ALL: [Kind; 14] = [
    kind("openai-sync-chat", Program::Python("openai_sync.py"), "chat"),
    kind("openai-sync-responses", Program::Python("openai_sync.py"), "responses"),
    kind("openai-async-chat", Program::Python("openai_async.py"), "chat"),
    kind("openai-async-responses", Program::Python("openai_async.py"), "responses"),
    kind("anthropic-sync", Program::Python("anthropic_sync.py"), "messages"),
    kind("anthropic-async", Program::Python("anthropic_async.py"), "messages"),
    kind("openai-node-chat", Program::Node("openai_node.mjs"), "chat"),
    kind("openai-node-responses", Program::Node("openai_node.mjs"), "responses"),
    kind("anthropic-node", Program::Node("anthropic_node.mjs"), "messages"),
    kind("curl-chat", Program::Curl, "chat"),
    kind("curl-responses", Program::Curl, "responses"),
    kind("curl-messages", Program::Curl, "messages"),
    kind("debian-python", Program::SystemPython("openai_sync.py"), "chat"),
    // No SDK, and TLS loaded late.
    kind("stdlib", Program::Python("stdlib.py"), "chat"),
];

/// curl with a browser's handshake, over a BoringSSL in its own library that exports nothing.
pub const BORINGSSL: [Kind; 4] = [
    kind("chrome-curl-chat", Program::Python("chrome_curl.py"), "chat").with(&[("CLIENT_HTTP", "1.1")]),
    kind("chrome-curl-http2-chat", Program::Python("chrome_curl.py"), "chat"),
    kind("chrome-curl-http2-responses", Program::Python("chrome_curl.py"), "responses"),
    kind("chrome-curl-http2-messages", Program::Python("chrome_curl.py"), "messages"),
];

/// Programs in C with a stripped OpenSSL inside: of three releases (1.1.1, 3.0, 3.5), and in an addon that comes late.
pub const INSIDE: [Kind; 6] = [
    kind("inside-bullseye", Program::Inside("inside-bullseye"), "chat"),
    kind("inside-bookworm", Program::Inside("inside-bookworm"), "chat"),
    kind("inside-trixie", Program::Inside("inside-trixie"), "chat"),
    kind("inside-bookworm-ex", Program::Inside("inside-bookworm"), "chat").with(&[("CLIENT_EX", "1")]),
    kind("inside-trixie-ex", Program::Inside("inside-trixie"), "chat").with(&[("CLIENT_EX", "1")]),
    kind("inside-addon", Program::Inside("with-addon"), "chat"),
];

/// Clients of GnuTLS.
pub const GNUTLS: [Kind; 6] = [
    kind("wget-chat", Program::Wget, "chat"),
    kind("wget-messages", Program::Wget, "messages"),
    kind("curl-gnutls-chat", Program::Python("curl_gnutls.py"), "chat"),
    kind("curl-gnutls-messages", Program::Python("curl_gnutls.py"), "messages"),
    kind("curl-gnutls-http2", Program::Python("curl_gnutls.py"), "responses").with(&[("CLIENT_HTTP", "2")]),
    kind("gnutls-corked", Program::Python("gnutls_corked.py"), "chat"),
];

/// Clients of libraries whose functions look like OpenSSL's.
pub const EXPORTED: [Kind; 4] = [
    kind("wolfssl-chat", Program::Python("exported.py"), "chat").with(&[("CLIENT_TLS", "wolfssl")]),
    kind("wolfssl-messages", Program::Python("exported.py"), "messages")
        .with(&[("CLIENT_TLS", "wolfssl"), ("CLIENT_KEEP", "1")]),
    kind("mbedtls-chat", Program::Python("exported.py"), "chat").with(&[("CLIENT_TLS", "mbedtls")]),
    kind("mbedtls-responses", Program::Python("exported.py"), "responses")
        .with(&[("CLIENT_TLS", "mbedtls"), ("CLIENT_KEEP", "1")]),
];

const HTTP1: &[(&str, &str)] = &[("CLIENT_HTTP", "1.1")];

/// Go's own library, in every way in which Go programs come, over both of its protocols.
pub const GO: [Kind; 8] = [
    kind("go-plain-http1", Program::Go("plain"), "chat").with(HTTP1),
    kind("go-plain-http2", Program::Go("plain"), "messages"),
    kind("go-stripped-http1", Program::Go("stripped"), "responses").with(HTTP1),
    kind("go-stripped-http2", Program::Go("stripped"), "chat"),
    kind("go-pie-http1", Program::Go("pie"), "messages").with(HTTP1),
    kind("go-pie-http2", Program::Go("pie"), "responses"),
    kind("go-cgo-http1", Program::Go("cgo"), "chat").with(HTTP1),
    kind("go-cgo-http2", Program::Go("cgo"), "messages"),
];

/// Clients that do more than ask: for tests that name them.
pub const OTHERS: [Kind; 2] = [
    kind("instrumented", Program::Python("instrumented.py"), "chat"),
    kind("instrumented-node", Program::Node("instrumented_node.mjs"), "chat"),
];

impl Kind {
    /// The client of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(name: &str) -> Result<Self> {
        ALL.into_iter()
            .chain(SDKS)
            .chain(BORINGSSL)
            .chain(INSIDE)
            .chain(GNUTLS)
            .chain(EXPORTED)
            .chain(OTHERS)
            .chain(GO)
            .find(|kind| kind.name == name)
            .with_context(|| format!("no client is named {name}"))
    }

    /// Whether it is an SDK: that retries by itself, and asks for encodings and whole answers.
    #[must_use]
    pub fn is_sdk(&self) -> bool {
        let plain = ["stdlib.py", "curl_gnutls.py", "gnutls_corked.py", "chrome_curl.py"].map(Program::Python);
        !plain.contains(&self.program)
            && !matches!(self.program, Program::Curl | Program::Wget | Program::Inside(_) | Program::Go(_))
    }

    /// It makes one call after the other on one socket.
    #[must_use]
    pub fn takes_turns(&self) -> bool {
        self.name == "responses-socket"
    }

    /// What it hears is sound.
    #[must_use]
    pub fn speaks(&self) -> bool {
        self.api.starts_with("speech")
    }

    /// It writes down what it is told.
    #[must_use]
    pub fn hears(&self) -> bool {
        matches!(self.api, "listen" | "transcription")
    }

    /// What it speaks by default with a server that offers HTTP/2 and HTTP/1.1.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        if self.program == Program::Python("websocket_client.py") {
            Protocol::Websocket
        } else if self.name.contains("http2") {
            Protocol::Http2
        } else {
            Protocol::Http1
        }
    }

    /// The model name by which it asks for a scenario.
    #[must_use]
    pub fn model(&self, scenario: &str) -> String {
        format!("{}{scenario}{}{}", provider::PREFIX, if self.in_url { '~' } else { '#' }, self.name)
    }
}

/// The vendors' hosts that clients think to go to.
#[must_use]
pub fn hosts() -> Vec<String> {
    let mut hosts: Vec<String> = SDKS.into_iter().filter_map(|kind| kind.host).map(str::to_owned).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}
