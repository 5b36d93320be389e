//! Detectors on live traffic: real probes, unmodified SDKs, one process each, against the scriptable provider.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use kernel_tests::cases::Expected;
use kernel_tests::rig::Rig;
use kernel_tests::skipped;
use kernel_tests::steady::on_a_steady_host;
use serde_json::Value;

/// The sum of a metric's series.
fn number(rig: &Rig, metric: &str, parts: &[&str]) -> f64 {
    rig.number(metric, parts).unwrap()
}

fn when(rig: &Rig, metric: &str, parts: &[&str], want: f64) {
    rig.number_is(metric, parts, want).unwrap();
}

fn run(rig: &Rig, client: &str, models: &[&str]) -> Vec<String> {
    let models: Vec<String> = models.iter().map(|model| format!("scenario:{model}")).collect();
    let (_, status) = rig.run(client).unwrap().start(&models).unwrap().finish().unwrap();
    assert!(status.success(), "{client}");
    assert!(!rig.ended(&models).unwrap().is_empty(), "{models:?}");
    models
}

/// The OpenAI SDK hears half an answer; the program asks another model the same.
#[test]
fn a_broken_answer_goes_on_at_another_model() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        let models = run(&rig, "openai-sync-chat", &["reset#hop-a", "text#hop-b"]);
        when(&rig, "llm_failover_hops_total", &["phase=\"mid_stream\"", "reason=\"truncated\""], 1.0);
        rig.case("failover", "a reset in mid-stream, anew at another model", Expected::Findings(&["mid_stream"]))
            .unwrap();
        let findings: Vec<Value> = rig.daemon.inspect_json(&["findings"]).unwrap();
        let hop = findings.iter().find(|finding| finding["kind"] == "mid_stream").unwrap();
        assert_eq!((&hop["detector"], &hop["severity"]), (&"failover".into(), &"warning".into()));
        let ended = rig.ended(&models).unwrap();
        assert_eq!(hop["streams"], serde_json::json!([ended[0].id, ended[1].id]));
        let streams: Vec<Value> = rig.daemon.inspect_json(&["streams"]).unwrap();
        let second = streams.iter().find(|stream| stream["id"] == ended[1].id.as_str()).unwrap();
        assert_eq!(second["hop_of"], ended[0].id.as_str());
        let id = hop["id"].as_str().unwrap();
        let shown = rig.daemon.inspect(&["findings", id]).unwrap();
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.status.success() && text.contains("what to do") && text.contains("inspect stream"), "{text}");
    });
}

/// The same turn asked by two processes is no hop.
#[test]
fn two_programs_with_one_question_are_no_hop() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        run(&rig, "openai-sync-chat", &["reset#two-a"]);
        run(&rig, "openai-sync-chat", &["text#two-b"]);
        rig.quiet_after("failover", 2.0).unwrap();
        assert_eq!(number(&rig, "llm_failover_hops_total", &[]), 0.0);
        rig.case("failover", "two programs with one question", Expected::Quiet).unwrap();
    });
}

/// The SDKs' own retries: one logical call each.
#[test]
fn an_sdk_retries_once_and_it_is_one_logical_call() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        for (client, tag) in [("openai-sync-chat", "429-then-ok#retry-o"), ("anthropic-sync", "429-then-ok#retry-a")] {
            let attempt = |class: &str| vec![format!("scenario:{tag}"), format!("class=\"{class}\"")];
            run(&rig, client, &[tag]);
            for class in ["first", "rate_limit"] {
                let parts = attempt(class);
                when(&rig, "llm_attempts_total", &parts.iter().map(String::as_str).collect::<Vec<_>>(), 1.0);
            }
            when(&rig, "llm_logical_calls_total", &[tag, "outcome=\"success\""], 1.0);
            assert_eq!(number(&rig, "llm_retry_amplification_sum", &[tag]), 2.0);
        }
        rig.case("retry", "SDKs try again after a 429: one call each", Expected::Quiet).unwrap();
    });
}

/// An account that six requests use up: the headers are read on success too.
#[test]
fn a_quota_is_known_before_it_is_used_up() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        run(&rig, "openai-sync-chat", &["quota#q", "quota#q", "quota#q"]);
        let rows: Vec<Value> = rig.daemon.inspect_json(&["quota"]).unwrap();
        let requests = rows.iter().find(|row| row["dimension"] == "requests").unwrap_or_else(|| panic!("{rows:?}"));
        assert_eq!((&requests["limit"], &requests["remaining"]), (&6.0.into(), &3.0.into()), "{requests}");
        assert!(requests["resets_in_seconds"].as_f64().unwrap() <= 10.0);
        assert_eq!(number(&rig, "llm_ratelimit_remaining_ratio", &["dimension=\"requests\""]), 0.5);
        rig.case("quota", "three of six requests are used, and they fill again within seconds", Expected::Quiet)
            .unwrap();
    });
}

/// What a reasoning model spends, and when text came: never its words.
#[test]
fn reasoning_is_counted_and_the_first_text_is_told_apart() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        let models = run(&rig, "anthropic-sync", &["reasoning#think"]);
        let ended = rig.ended(&models).unwrap();
        let firsts = &ended[0].first_seconds;
        assert!(firsts.visible.unwrap() > firsts.reasoning.unwrap());
        when(&rig, "llm_reasoning_phase_seconds_count", &["think"], 1.0);
        let phase = number(&rig, "llm_reasoning_phase_seconds_sum", &["think"]);
        assert!((phase - (firsts.visible.unwrap() - firsts.reasoning.unwrap())).abs() < 1e-6, "{phase}");
    });
}
