//! Who answers, by host: the values of `gen_ai.provider.name`.
//!
//! Source: OpenTelemetry semantic conventions for generative AI, registry of
//! `gen_ai.provider.name`, 2026-11. A host that is not here (self-hosted servers, gateways,
//! resellers) is given its dialect's flavour, as the conventions advise; the server's address and
//! the model's name tell the rest.

use capture::proto::RequestHead;

/// Hosts (`*` stands for anything, at most once), a part of the path that must be there (`""`: any), and the name. The
/// first row that fits wins.
const PROVIDERS: &[(&str, &str, &str)] = &[
    ("api.openai.com", "", "openai"),
    ("*.api.openai.com", "", "openai"),
    ("chatgpt.com", "", "openai"),
    ("api.anthropic.com", "", "anthropic"),
    ("aws-external-anthropic.*.api.aws", "", "anthropic"),
    ("claude.googleapis.com", "", "gcp.vertex_ai"),
    ("*.openai.azure.com", "", "azure.ai.openai"),
    ("*.cognitiveservices.azure.com", "", "azure.ai.openai"),
    ("*.services.ai.azure.com", "/openai/", "azure.ai.openai"),
    ("*.services.ai.azure.com", "", "azure.ai.inference"),
    ("*.inference.ai.azure.com", "", "azure.ai.inference"),
    ("bedrock-runtime*.amazonaws.com", "", "aws.bedrock"),
    ("bedrock-mantle.*.api.aws", "", "aws.bedrock"),
    ("generativelanguage.googleapis.com", "", "gcp.gemini"),
    ("*aiplatform.googleapis.com", "", "gcp.vertex_ai"),
    ("aiplatform.*.rep.googleapis.com", "", "gcp.vertex_ai"),
    ("api.x.ai", "", "x_ai"),
    ("*.api.x.ai", "", "x_ai"),
    ("api.groq.com", "", "groq"),
    ("api.deepseek.com", "", "deepseek"),
    ("api.mistral.ai", "", "mistral_ai"),
    ("*.mistral.ai", "", "mistral_ai"),
    ("api.cohere.com", "", "cohere"),
    ("api.cohere.ai", "", "cohere"),
    ("api.perplexity.ai", "", "perplexity"),
    ("*.ml.cloud.ibm.com", "", "ibm.watsonx.ai"),
    ("api.moonshot.ai", "", "moonshot_ai"),
    ("api.moonshot.cn", "", "moonshot_ai"),
];

/// Hosts of model APIs that have no name of their own in the conventions.
const NAMELESS: &[&str] = &[
    "openrouter.ai",
    "api.together.xyz",
    "api.together.ai",
    "api.fireworks.ai",
    "api.cerebras.ai",
    "*.elevenlabs.io",
    "*.deepgram.com",
    "router.huggingface.co",
    "integrate.api.nvidia.com",
    "models.github.ai",
    "*.githubcopilot.com",
    "dashscope*.aliyuncs.com",
    "open.bigmodel.cn",
    "api.deepinfra.com",
    "ai-gateway.vercel.sh",
    "gateway.ai.cloudflare.com",
    "ollama.com",
];

/// The provider that a request goes to, else `flavour`.
#[must_use]
pub fn name(head: &RequestHead, flavour: &'static str) -> &'static str {
    by_host(head).unwrap_or(flavour)
}

/// The provider that a request goes to, where its host tells.
#[must_use]
pub fn by_host(head: &RequestHead) -> Option<&'static str> {
    let host = head.host.as_deref().map(without_port)?;
    let row = PROVIDERS.iter().find(|(pattern, path, _)| host_fits(pattern, host) && head.path.contains(path));
    row.map(|&(_, _, name)| name)
}

/// Whether a request goes to a host of the lists.
pub(super) fn known(head: &RequestHead) -> bool {
    let host = head.host.as_deref().map(without_port);
    let mut patterns = PROVIDERS.iter().map(|&(pattern, ..)| pattern).chain(NAMELESS.iter().copied());
    host.is_some_and(|host| patterns.any(|pattern| host_fits(pattern, host)))
}

/// Whether a host fits a pattern with at most one `*`.
#[must_use]
pub fn host_fits(pattern: &str, host: &str) -> bool {
    let Some((start, end)) = pattern.split_once('*') else { return pattern == host };
    host.len() > start.len() + end.len() && host.starts_with(start) && host.ends_with(end)
}

/// A host without its port (an IPv6 literal keeps its brackets).
pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(host: &str, path: &str) -> &'static str {
        let head = RequestHead { host: Some(host.into()), path: path.into(), ..RequestHead::default() };
        name(&head, "flavour")
    }

    #[test]
    fn hosts_name_their_provider() {
        for (host, path, provider) in [
            ("api.openai.com", "/v1/responses", "openai"),
            ("eu.api.openai.com", "/v1/responses", "openai"),
            ("res.openai.azure.com", "/openai/deployments/d/chat/completions", "azure.ai.openai"),
            ("res.services.ai.azure.com", "/openai/v1/responses", "azure.ai.openai"),
            ("res.services.ai.azure.com", "/models/chat/completions", "azure.ai.inference"),
            ("bedrock-mantle.eu-west-1.api.aws", "/anthropic/v1/messages", "aws.bedrock"),
            ("europe-west1-aiplatform.googleapis.com", "/", "gcp.vertex_ai"),
            ("api.x.ai", "/v1/messages", "x_ai"),
            ("api.groq.com", "/openai/v1/chat/completions", "groq"),
            ("api.eu.mistral.ai", "/v1/chat/completions", "mistral_ai"),
            ("api.openai.com:8443", "/v1/chat/completions", "openai"),
            ("localhost:8000", "/v1/chat/completions", "flavour"),
            ("[::1]:8000", "/v1/chat/completions", "flavour"),
            ("notapi.openai.com.evil.test", "/v1/chat/completions", "flavour"),
            (".api.openai.com", "/v1/chat/completions", "flavour"),
            ("openrouter.ai", "/api/v1/chat/completions", "flavour"),
        ] {
            assert_eq!(of(host, path), provider, "{host}{path}");
        }
    }

    #[test]
    fn no_host_is_the_flavour() {
        assert_eq!(name(&RequestHead::default(), "openai"), "openai");
    }
}
