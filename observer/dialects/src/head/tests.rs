use super::*;

fn request(headers: &[(&str, &str)]) -> RequestMarks {
    RequestMarks::read(&RequestHead { headers: owned(headers), ..RequestHead::default() })
}

fn response(headers: &[(&str, &str)]) -> ResponseFacts {
    ResponseFacts::read(&ResponseHead { headers: owned(headers), ..ResponseHead::default() })
}

fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|&(name, value)| (name.into(), value.into())).collect()
}

#[test]
fn attempts_of_every_sdk() {
    let stainless = request(&[
        ("user-agent", "OpenAI/Python 2.54.0"),
        ("x-stainless-retry-count", "2"),
        ("x-stainless-read-timeout", "600.0"),
    ]);
    assert_eq!((stainless.attempt, stainless.max_attempts, stainless.timeout_seconds), (Some(2), None, Some(600.0)));
    assert_eq!(stainless.sdk.as_deref(), Some("OpenAI/Python 2.54.0"));
    let aws = request(&[
        ("amz-sdk-invocation-id", "0f1e"),
        ("amz-sdk-request", "attempt=2; max=3"),
        ("user-agent", "Boto3/1.44.5 md/Botocore#1.44.5 cfg/retry-mode#standard"),
    ]);
    assert_eq!((aws.attempt, aws.max_attempts, aws.invocation.as_deref()), (Some(1), Some(3), Some("0f1e")));
    assert_eq!(aws.sdk.as_deref(), Some("Boto3/1.44.5"));
    assert_eq!(request(&[("grpc-previous-rpc-attempts", "1")]).attempt, Some(1));
    assert_eq!(request(&[("x-stainless-retry-count", "no")]).attempt, None);
    assert_eq!(request(&[("amz-sdk-request", "attempt=0")]).attempt, None);
    assert_eq!(request(&[]), RequestMarks::default());
}

#[test]
fn ids_times_and_retries() {
    let openai = response(&[
        ("x-request-id", "req_1"),
        ("openai-processing-ms", "212"),
        ("x-envoy-upstream-service-time", "215"),
        ("date", "Thu, 26 Nov 2026 10:00:00 GMT"),
        ("cf-ray", "8f-FRA"),
        ("x-should-retry", "false"),
        ("retry-after", "2"),
        ("retry-after-ms", "1500"),
    ]);
    assert_eq!(openai.request_id.as_deref(), Some("req_1"));
    assert_eq!((openai.processing_ms, openai.region.as_deref()), (Some(212.0), Some("FRA")));
    assert_eq!((openai.retry_after.as_deref(), openai.retry_after_ms.as_deref()), (Some("2"), Some("1500")));
    assert_eq!(openai.should_retry, Some(false));
    let google = response(&[("server-timing", "gfet4t7; dur=842")]);
    assert_eq!(google.processing_ms, Some(842.0));
    let azure = response(&[("apim-request-id", "a"), ("x-ms-region", "Sweden Central"), ("x-ms-retry-after-ms", "9")]);
    assert_eq!((azure.request_id.as_deref(), azure.region.as_deref()), (Some("a"), Some("Sweden Central")));
    assert_eq!(azure.retry_after_ms.as_deref(), Some("9"));
    let fireworks =
        response(&[("fireworks-server-time-to-first-token", "0.25"), ("fireworks-prefill-duration", "0.2")]);
    assert_eq!((fireworks.times.first_ms, fireworks.times.prompt_ms), (Some(250.0), Some(200.0)));
    let tgi = response(&[("x-total-time", "900"), ("x-queue-time", "3"), ("x-inference-time", "890")]);
    assert_eq!(
        (tgi.times.total_ms, tgi.times.queue_ms, tgi.times.generation_ms),
        (Some(900.0), Some(3.0), Some(890.0))
    );
    assert_eq!(response(&[("openai-processing-ms", "-1"), ("x-request-id", "")]), ResponseFacts::default());
}

#[test]
fn limits_of_every_family_are_kept_raw() {
    let families = [
        ("x-ratelimit-remaining-tokens", "149984"),
        ("x-ratelimit-reset-requests", "6m0s"),
        ("x-ratelimit-limit-tokens_usage_based", "1"),
        ("anthropic-ratelimit-input-tokens-reset", "2026-11-26T10:00:00Z"),
        ("anthropic-priority-output-tokens-remaining", "7"),
        ("anthropic-ratelimit-unified-5h-utilization", "0.42"),
        ("ratelimitbysize-query-cost", "32"),
        ("ratelimit-policy", "100;w=60"),
        ("x-ratelimitbysize-remaining-month", "5"),
        ("x-trial-endpoint-call-remaining", "3"),
        ("x-endpoint-monthly-call-limit", "1000"),
        ("x-tokenlimit-remaining", "9"),
        ("x-codex-primary-used-percent", "12"),
        ("current-concurrent-requests", "2"),
        ("llm_provider-x-ratelimit-remaining-tokens", "8"),
    ];
    let got = response(&families);
    assert_eq!(got.limits, owned(&families));
    assert!(got.gateway.is_empty());
}

#[test]
fn gateways_tell_of_fallbacks_but_not_of_texts() {
    let got = response(&[
        ("x-litellm-attempted-fallbacks", "1"),
        ("x-litellm-attempted-retries", "2"),
        ("x-litellm-fallback-errors", "[{\"message\":\"the prompt was planted\"}]"),
        ("llm_provider-request-id", "req_2"),
        ("x-portkey-last-used-option-index", "config.targets[1]"),
        ("cf-aig-step", "1"),
        ("server", "cloudflare"),
    ]);
    let expected = [
        ("x-litellm-attempted-fallbacks", "1"),
        ("x-litellm-attempted-retries", "2"),
        ("x-litellm-fallback-errors", ""),
        ("llm_provider-request-id", "req_2"),
        ("x-portkey-last-used-option-index", "config.targets[1]"),
        ("cf-aig-step", "1"),
    ];
    assert_eq!(got.gateway, owned(&expected));
}

#[test]
fn limits_that_come_later_count() {
    let mut facts = response(&[("x-ratelimit-remaining-tokens", "5")]);
    facts.limit("x-ratelimit-remaining-tokens", "3");
    facts.limit("quota-id", "PerDay");
    facts.limit("retry-after", "34");
    facts.limit("retry-after", "99");
    assert_eq!(facts.limits, owned(&[("x-ratelimit-remaining-tokens", "3"), ("quota-id", "PerDay")]));
    assert_eq!(facts.retry_after.as_deref(), Some("34"));
}

#[test]
fn marks_have_a_cap() {
    let many: Vec<_> = (0..200).map(|n| (format!("x-ratelimit-{n}"), "1".to_owned())).collect();
    let facts = ResponseFacts::read(&ResponseHead { headers: many, ..ResponseHead::default() });
    assert_eq!(facts.limits.len(), limits::HEAD_MARKS);
}
