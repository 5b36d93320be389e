//! What the heads of a call say beside its dialect: ids, attempts, rate limits, the server's own
//! times, gateways' marks. One table each; values are kept as they came (capped where the head was
//! parsed), for detectors to read.

use std::collections::HashSet;

use capture::limits;
use capture::proto::{RequestHead, ResponseHead};

/// What a request's headers say of the call: the SDK's own account of attempts, and what joins it to traces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestMarks {
    /// First product of the user agent: `OpenAI/Python 2.54.0`.
    pub sdk: Option<String>,
    /// 0 for the first attempt.
    pub attempt: Option<u32>,
    /// Attempts that the client allows itself, the first one included.
    pub max_attempts: Option<u32>,
    /// The AWS SDK's id of the logical call: the same over its attempts.
    pub invocation: Option<String>,
    /// Helpers of the SDK at work (`fallback-refusal-middleware` …).
    pub helper: Option<String>,
    /// An id that the application gave to the call.
    pub client_request_id: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// How long the client waits, where it says so.
    pub timeout_seconds: Option<f64>,
}

/// What a response's headers say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResponseFacts {
    /// The provider's id of this request: what its support asks for.
    pub request_id: Option<String>,
    /// The server's clock, 1 s fine.
    pub date: Option<String>,
    /// Seconds or an HTTP date.
    pub retry_after: Option<String>,
    /// Milliseconds; outweighs `retry_after` in SDKs.
    pub retry_after_ms: Option<String>,
    /// The server's word on retries (`x-should-retry`), which outweighs the status.
    pub should_retry: Option<bool>,
    /// Milliseconds that the server says it took until this head.
    pub processing_ms: Option<f64>,
    /// Where it was served: region or edge.
    pub region: Option<String>,
    /// The server's account of its work.
    pub times: ServerTimes,
    /// Rate limits, name and value as they came.
    pub limits: Vec<(String, String)>,
    /// What gateways say of retries, fallbacks and where they sent the call. Texts of errors are left out.
    pub gateway: Vec<(String, String)>,
}

/// How long the server says its work took, in milliseconds. Its own clock, its own words: hints, not measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ServerTimes {
    /// Waiting for a place.
    pub queue_ms: Option<f64>,
    /// Reading the prompt.
    pub prompt_ms: Option<f64>,
    /// Making the answer.
    pub generation_ms: Option<f64>,
    /// To the first token.
    pub first_ms: Option<f64>,
    /// All of it.
    pub total_ms: Option<f64>,
}

/// Headers that carry the provider's id of a request, the most telling first.
const REQUEST_IDS: &[&str] = &[
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
    "apim-request-id",
    "dg-request-id",
    "cerebras-request-id",
    "x-ds-trace-id",
    "x-generation-id",
    "x-oneapi-request-id",
    "x-kong-request-id",
    "x-ms-request-id",
];

/// Beginnings of the names of rate limits. LiteLLM repeats the provider's with `llm_provider-` before them.
const LIMITS: &[&str] = &[
    "x-ratelimit",
    "ratelimit",
    "anthropic-ratelimit-",
    "anthropic-priority-",
    "x-tokenlimit-",
    "x-trial-endpoint-",
    "x-endpoint-monthly-call-limit",
    "x-codex-",
    "x-ms-retry-after-ms",
    "current-concurrent-requests",
    "maximum-concurrent-requests",
];

const LITELLM_UPSTREAM: &str = "llm_provider-";

/// Beginnings of the names of gateways' marks.
const GATEWAYS: &[&str] = &[
    "x-litellm-",
    "x-portkey-",
    "cf-aig-",
    "x-ai-eg-",
    "x-envoy-attempt-count",
    "x-kong-llm-",
    "helicone-",
    "x-vercel-",
    "x-openrouter-",
    "x-generation-id",
    "x-oneapi-",
    "x-new-api-",
];

/// Longest value of a gateway's mark: longer ones are texts.
const MARK: usize = 96;

/// Headers with the server's own times: name, factor to milliseconds, place.
type Place = fn(&mut ServerTimes) -> &mut Option<f64>;
const TIMES: &[(&str, f64, Place)] = &[
    ("x-metrics-ttft-ms", 1.0, |t| &mut t.first_ms),
    ("x-metrics-e2e-ms", 1.0, |t| &mut t.total_ms),
    ("fireworks-server-time-to-first-token", 1000.0, |t| &mut t.first_ms),
    ("fireworks-prefill-duration", 1000.0, |t| &mut t.prompt_ms),
    ("fireworks-prefill-queue-duration", 1000.0, |t| &mut t.queue_ms),
    ("x-queue-time", 1.0, |t| &mut t.queue_ms),
    ("x-inference-time", 1.0, |t| &mut t.generation_ms),
    ("x-total-time", 1.0, |t| &mut t.total_ms),
    ("x-amzn-bedrock-invocation-latency", 1.0, |t| &mut t.total_ms),
];

/// Headers that say how long the server took until its head, in milliseconds.
const PROCESSING: &[&str] = &["openai-processing-ms", "x-envoy-upstream-service-time", "x-kong-upstream-latency"];

impl RequestMarks {
    /// Reads a request head.
    #[must_use]
    pub fn read(head: &RequestHead) -> Self {
        let own = |name: &str| head.header(name).filter(|value| !value.is_empty()).map(str::to_owned);
        let (attempt, max_attempts) = attempts(head);
        let timeout = ["x-stainless-read-timeout", "x-stainless-timeout", "x-server-timeout"];
        Self {
            sdk: head.header("user-agent").and_then(|agent| product(agent, head)),
            attempt,
            max_attempts,
            invocation: own("amz-sdk-invocation-id"),
            helper: own("x-stainless-helper").or_else(|| own("x-stainless-stream-helper")),
            client_request_id: own("x-client-request-id").or_else(|| own("x-ms-client-request-id")),
            traceparent: own("traceparent"),
            timeout_seconds: timeout.iter().find_map(|name| number(head.header(name)?)),
        }
    }
}

/// `OpenAI/Python 2.54.0` and `Boto3/1.44.5` alike: up to what begins the next product.
fn product(agent: &str, head: &RequestHead) -> Option<String> {
    let mut words = agent.split_whitespace();
    let first = words.next()?;
    let versioned = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    match words.next().filter(|word| versioned(word)) {
        Some(version) => Some(format!("{first} {version}")),
        None => Some(match head.header("x-stainless-package-version") {
            Some(version) if !first.contains(version) => format!("{first} {version}"),
            _ => first.to_owned(),
        }),
    }
}

/// The SDK's own retry mark, as (retries so far, most attempts): Stainless counts retries from 0, AWS attempts from 1
/// (`attempt=2; max=3`), gRPC those before.
fn attempts(head: &RequestHead) -> (Option<u32>, Option<u32>) {
    if let Some(count) = head.header("x-stainless-retry-count") {
        return (count.trim().parse().ok(), None);
    }
    if let Some(count) = head.header("grpc-previous-rpc-attempts") {
        return (count.trim().parse().ok(), None);
    }
    let Some(fields) = head.header("amz-sdk-request") else { return (None, None) };
    let field = |name: &str| {
        let value = fields.split(';').find_map(|field| field.trim().strip_prefix(name));
        value.and_then(|value| value.trim().parse::<u32>().ok())
    };
    (field("attempt=").and_then(|attempt| attempt.checked_sub(1)), field("max="))
}

impl ResponseFacts {
    /// Reads a response head.
    #[must_use]
    pub fn read(head: &ResponseHead) -> Self {
        let own = |name: &str| head.header(name).filter(|value| !value.is_empty()).map(str::to_owned);
        let mut facts = Self {
            request_id: REQUEST_IDS.iter().find_map(|name| own(name)),
            date: own("date"),
            retry_after: own("retry-after"),
            retry_after_ms: own("retry-after-ms").or_else(|| own("x-ms-retry-after-ms")),
            should_retry: head.header("x-should-retry").and_then(|word| word.parse().ok()),
            processing_ms: PROCESSING.iter().find_map(|name| number(head.header(name)?)).or_else(|| google(head)),
            region: region(head),
            ..Self::default()
        };
        for (name, unit, place) in TIMES {
            if let Some(number) = head.header(name).and_then(number) {
                place(&mut facts.times).get_or_insert(number * unit);
            }
        }
        facts.keep(head);
        facts
    }

    /// Takes over a limit that came later; the last value counts.
    pub fn limit(&mut self, name: &str, value: &str) {
        if name == "retry-after" {
            self.retry_after.get_or_insert_with(|| mark(value).to_owned());
            return;
        }
        if let Some((_, last)) = self.limits.iter_mut().find(|(known, _)| known == name) {
            *last = mark(value).to_owned();
        } else if self.limits.len() < limits::HEAD_MARKS {
            self.limits.push((name.to_owned(), mark(value).to_owned()));
        }
    }

    fn keep(&mut self, head: &ResponseHead) {
        let mut seen = HashSet::new();
        for (name, value) in &head.headers {
            let bare = name.strip_prefix(LITELLM_UPSTREAM).unwrap_or(name);
            let list = if begins(bare, LIMITS) {
                &mut self.limits
            } else if begins(name, GATEWAYS) || bare.len() < name.len() {
                &mut self.gateway
            } else {
                continue;
            };
            if list.len() < limits::HEAD_MARKS && seen.insert(name) {
                list.push((name.clone(), mark(value).to_owned()));
            }
        }
    }
}

/// A mark's value, unless it is a text.
fn mark(value: &str) -> &str {
    if value.len() > MARK || value.starts_with(['{', '[', '"']) { "" } else { value }
}

fn begins(name: &str, list: &[&str]) -> bool {
    list.iter().any(|prefix| name.starts_with(prefix))
}

/// `server-timing: gfet4t7; dur=212`.
fn google(head: &ResponseHead) -> Option<f64> {
    let fields = head.header("server-timing")?.split([';', ',']);
    fields.map(str::trim).find_map(|field| number(field.strip_prefix("dur=")?))
}

/// A region where the provider names one, else the edge in Cloudflare's ray.
fn region(head: &ResponseHead) -> Option<String> {
    let named = ["x-ms-region", "cerebras-region", "x-groq-region", "x-litellm-model-region"];
    let edge = || head.header("cf-ray")?.rsplit_once('-').map(|(_, colo)| colo);
    named.iter().find_map(|name| head.header(name)).or_else(edge).filter(|word| !word.is_empty()).map(str::to_owned)
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

impl ServerTimes {
    /// Takes over what is new.
    pub fn merge(&mut self, new: &Self) {
        let Self { queue_ms, prompt_ms, generation_ms, first_ms, total_ms } = *new;
        self.queue_ms = queue_ms.or(self.queue_ms);
        self.prompt_ms = prompt_ms.or(self.prompt_ms);
        self.generation_ms = generation_ms.or(self.generation_ms);
        self.first_ms = first_ms.or(self.first_ms);
        self.total_ms = total_ms.or(self.total_ms);
    }
}

#[cfg(test)]
mod tests;
