//! Which headers are kept, and how secrets are kept out: they are dropped where a head is first parsed, and only a
//! salted hash of the credential lives on, to tell tenants apart.

mod credential;

pub use credential::{CredentialHash, Salt};

use credential::CREDENTIALS;

use crate::limits::{NAME, PATH};

/// Request headers kept: what tells API, SDK, attempt, trace and framing. Sorted.
pub const KEPT_REQUEST: &[&str] = &[
    "accept",
    "accept-encoding",
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "anthropic-beta",
    "anthropic-user-profile-id",
    "anthropic-version",
    "anthropic-workspace-id",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "grpc-previous-rpc-attempts",
    "grpc-timeout",
    "http-referer",
    "idempotency-key",
    "last-event-id",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "te",
    "traceparent",
    "tracestate",
    "upgrade",
    "user-agent",
    "via",
    "x-ai-eg-model",
    "x-client-request-id",
    "x-envoy-original-path",
    "x-goog-api-client",
    "x-goog-user-project",
    "x-ms-client-request-id",
    "x-portkey-provider",
    "x-portkey-trace-id",
    "x-request-id",
    "x-server-timeout",
];

/// Prefixes of request headers kept.
pub const KEPT_REQUEST_PREFIXES: &[&str] = &["x-fern-", "x-openrouter-", "x-stainless-"];

/// Response headers kept: limits, ids, timing, region, gateway marks. Sorted.
pub const KEPT_RESPONSE: &[&str] = &[
    "age",
    "apim-request-id",
    "azureml-model-session",
    "cf-cache-status",
    "cf-ray",
    "character-cost",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "current-concurrent-requests",
    "date",
    "deprecation",
    "dg-char-count",
    "dg-model-name",
    "dg-request-id",
    "grpc-status",
    "maximum-concurrent-requests",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "server",
    "server-timing",
    "sunset",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-ds-trace-id",
    "x-endpoint-monthly-call-limit",
    "x-generated-tokens",
    "x-generation-id",
    "x-groq-region",
    "x-inference-time",
    "x-new-api-version",
    "x-oneapi-request-id",
    "x-openai-proxy-wasm",
    "x-prompt-tokens",
    "x-queue-time",
    "x-request-id",
    "x-should-retry",
    "x-time-per-token",
    "x-total-time",
];

/// Prefixes of response headers kept: the families whose members vary by plan and model.
pub const KEPT_RESPONSE_PREFIXES: &[&str] = &[
    "anthropic-",
    "cerebras-",
    "cf-aig-",
    "fireworks-",
    "helicone-",
    "llm_provider-",
    "openai-",
    "ratelimit",
    "x-ai-eg-",
    "x-amzn-",
    "x-codex-",
    "x-compute-",
    "x-envoy-",
    "x-kong-",
    "x-litellm-",
    "x-metrics-",
    "x-ms-",
    "x-openrouter-",
    "x-portkey-",
    "x-ratelimit-",
    "x-ratelimitbysize-",
    "x-tokenlimit-",
    "x-trial-",
    "x-vercel-",
];

/// Parts of a name that mark a secret, whatever list the name is on.
const SECRET_HEADER: &[&str] =
    &["auth", "api-key", "apikey", "api_key", "cookie", "credential", "password", "secret", "security-token"];

/// Parts of a query parameter's name that mark a secret.
const SECRET_PARAMETER: &[&str] = &["auth", "credential", "key", "pass", "secret", "session", "sig", "token"];

/// Whether a request header is kept; `name` in lower case.
#[must_use]
pub fn kept_request(name: &str) -> bool {
    kept(name, KEPT_REQUEST, KEPT_REQUEST_PREFIXES)
}

/// Whether a response header is kept; `name` in lower case.
#[must_use]
pub fn kept_response(name: &str) -> bool {
    kept(name, KEPT_RESPONSE, KEPT_RESPONSE_PREFIXES)
}

fn kept(name: &str, names: &[&str], prefixes: &[&str]) -> bool {
    let listed = names.binary_search(&name).is_ok() || prefixes.iter().any(|prefix| name.starts_with(prefix));
    listed && !SECRET_HEADER.iter().any(|part| name.contains(part))
}

/// A header's value as kept: at most `limits::NAME` bytes, never invalid UTF-8.
#[must_use]
pub fn value(bytes: &[u8]) -> String {
    capped(bytes, NAME)
}

fn capped(bytes: &[u8], cap: usize) -> String {
    let mut text = String::from_utf8_lossy(bytes.get(..cap).unwrap_or(bytes)).into_owned();
    if text.len() > cap {
        text.truncate(text.floor_char_boundary(cap)); // a replacement character is longer than what it replaced
    }
    if text.contains(char::is_control) {
        text = text.replace(char::is_control, " "); // folded lines, mostly
    }
    text
}

/// A request target: path, query without secrets, and the host of an absolute target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestTarget {
    pub path: String,
    pub query: Option<String>,
    pub host: Option<String>,
}

/// Takes a request target apart. Secrets of the query go to `credential`. A parameter without `=` is dropped: it names
/// nothing we know, and may be a bare key.
#[must_use]
pub fn target(raw: &str, credential: &mut CredentialHash, salt: &Salt) -> RequestTarget {
    let (host, rest) = match raw.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            let at = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at_checked(at).unwrap_or((rest, ""));
            (Some(self::host(authority.as_bytes())), rest)
        }
        _ => (None, raw),
    };
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let path = capped(path.as_bytes(), PATH);
    RequestTarget { path, query: query.and_then(|query| clean_query(query, credential, salt)), host }
}

fn clean_query(query: &str, credential: &mut CredentialHash, salt: &Salt) -> Option<String> {
    let mut clean = String::new();
    for (name, value) in query.split('&').filter_map(|parameter| parameter.split_once('=')) {
        let lower = name.to_ascii_lowercase();
        // A name in disguise is not worth understanding.
        if lower.contains('%') || SECRET_PARAMETER.iter().any(|part| lower.contains(part)) {
            if matches!(lower.as_str(), "key" | "api-key" | "api_key" | "apikey" | "access_token" | "token") {
                credential.offer(CREDENTIALS.len(), value.as_bytes(), salt);
            }
            continue;
        }
        if !clean.is_empty() {
            clean.push('&');
        }
        clean.push_str(name);
        clean.push('=');
        clean.push_str(value);
    }
    (!clean.is_empty()).then(|| capped(clean.as_bytes(), PATH))
}

/// A host as kept: lower case, without user, default port or surrounding space.
#[must_use]
pub fn host(raw: &[u8]) -> String {
    let text = value(raw.trim_ascii()).to_ascii_lowercase();
    let text = text.rsplit_once('@').map_or(text.as_str(), |(_, host)| host);
    text.strip_suffix(":443").or_else(|| text.strip_suffix(":80")).unwrap_or(text).to_owned()
}

/// A media type without parameters, lower case.
#[must_use]
pub fn media_type(raw: &[u8]) -> String {
    let end = memchr::memchr(b';', raw).unwrap_or(raw.len());
    value(raw.get(..end).unwrap_or(raw).trim_ascii()).to_ascii_lowercase()
}

/// Fuzz target: a request target of any shape, and no secret parameter left in what is kept.
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let got = target(&text, &mut CredentialHash::default(), &Salt::default());
    assert!(got.path.len() <= PATH && !got.path.contains('?'));
    for parameter in got.query.iter().flat_map(|query| query.split('&')) {
        let name = parameter.split('=').next().unwrap_or_default().to_ascii_lowercase();
        assert!(!SECRET_PARAMETER.iter().any(|part| name.contains(part)), "{name} was kept");
    }
    for name in text.split_whitespace().map(str::to_ascii_lowercase) {
        let secret = SECRET_HEADER.iter().any(|part| name.contains(part));
        assert!(!secret || !(kept_request(&name) || kept_response(&name)), "{name} is kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_hold_no_secret() {
        for list in [KEPT_REQUEST, KEPT_RESPONSE, KEPT_REQUEST_PREFIXES, KEPT_RESPONSE_PREFIXES] {
            assert!(list.is_sorted(), "{list:?}");
        }
        for name in KEPT_REQUEST.iter().chain(KEPT_REQUEST_PREFIXES) {
            assert!(kept_request(name), "{name} is on the list but would be dropped as a secret");
        }
        for name in KEPT_RESPONSE.iter().chain(KEPT_RESPONSE_PREFIXES) {
            assert!(kept_response(name), "{name} is on the list but would be dropped as a secret");
        }
    }

    #[test]
    fn secrets_are_never_kept() {
        let secrets = "authorization proxy-authorization x-api-key api-key x-goog-api-key xi-api-key x-portkey-api-key \
                       x-amz-security-token cookie set-cookie helicone-auth cf-aig-authorization x-stainless-api-key \
                       llm_provider-set-cookie x-litellm-api-key x-portkey-config";
        for name in secrets.split_whitespace() {
            assert!(!kept_request(name), "{name}");
            assert!(!kept_response(name) || name == "x-portkey-config", "{name}");
        }
    }

    #[test]
    fn families_are_kept() {
        let response = "x-ratelimit-remaining-tokens anthropic-ratelimit-unified-5h-utilization retry-after-ms x-request-id \
                        anthropic-priority-input-tokens-reset x-litellm-attempted-fallbacks x-amzn-requestid cf-aig-step \
                        ratelimitbysize-query-cost x-codex-primary-used-percent openai-processing-ms date";
        for name in response.split_whitespace() {
            assert!(kept_response(name), "{name}");
        }
        assert!(kept_request("x-stainless-retry-count") && !kept_request("x-internal-note"));
    }

    #[test]
    fn one_key_has_one_hash_whatever_header_carries_it() {
        let salt = Salt::random();
        let hash = |name: &str, value: &str| {
            let mut credential = CredentialHash::default();
            credential.header(name, value.as_bytes(), &salt);
            credential.hash()
        };
        assert_eq!(hash("authorization", "Bearer sk-1"), hash("x-api-key", "sk-1"));
        assert_ne!(hash("x-api-key", "sk-1"), hash("x-api-key", "sk-2"));
        let aws = |signature: &str| {
            hash(
                "authorization",
                &format!(
                    "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu/bedrock/aws4_request, SignedHeaders=host, Signature={signature}"
                ),
            )
        };
        assert_eq!(aws("aa"), aws("bb"), "a signature differs at each call, the tenant does not");
        assert_eq!(hash("cookie", "a=b"), None);
    }

    #[test]
    fn targets_lose_their_secrets() {
        let salt = Salt::random();
        let mut credential = CredentialHash::default();
        let got = target(
            "/v1/x:stream?alt=sse&key=AIza&Api-Key=s&X-Amz-Signature=f&bare-secret&%6bey=q",
            &mut credential,
            &salt,
        );
        assert_eq!(got, RequestTarget { path: "/v1/x:stream".into(), query: Some("alt=sse".into()), host: None });
        assert_eq!(credential.hash(), Some(salt.hash(b"AIza")));
        let got = target("https://u:p@Api.Example.com:443/v1?token=x", &mut credential, &salt);
        assert_eq!(got, RequestTarget { path: "/v1".into(), query: None, host: Some("api.example.com".into()) });
        let got = target("/redirect?to=https://x/y", &mut credential, &salt);
        assert_eq!((got.path.as_str(), got.host), ("/redirect", None));
    }

    #[test]
    fn values_are_capped_on_characters() {
        assert_eq!(value(&[0xff; 1000]).len(), 255, "three bytes a replacement");
        assert_eq!(value("é".repeat(200).as_bytes()).len(), 256);
        assert_eq!(media_type(b" Text/Event-Stream ; charset=utf-8"), "text/event-stream");
        assert_eq!(host(b"API.openai.com:443"), "api.openai.com");
    }
}
