//! A day of ordinary traffic raises no finding.

use testkit::spans::FakeSpan;

use super::traffic::{Api, BOOT, Call, End, HOUR, Host, MINUTE, SECOND, Step, http_date};

/// A day of several services: chat in three languages with its daily wave, an agent with tools, a
/// nightly batch, a cron job with one prompt, parallel fan-out, A/B shadows, routing by turn, a
/// deploy, a few errors and retries, users who stop reading.
pub(super) fn a_day_of_ordinary_traffic_raises_no_finding() {
    let mut host = Host::new();
    for minute in 1..24 * 60 {
        let at = minute * MINUTE;
        // More by day than by night.
        let busy = if (7 * 60..22 * 60).contains(&minute) { 3 } else { 1 };
        for n in 0..busy {
            let spread = host.random(50_000);
            chat(&mut host, at + spread, minute * 10 + n);
        }
        if minute % 7 == 0 {
            agent(&mut host, at, minute);
        }
        if minute % 15 == 0 {
            let cron = Call::chat("gpt-x-mini").service("cron", 300).user("summarise the log").says(30, 14, 40);
            host.call(at, &cron);
        }
        if minute % 20 == 0 {
            fan_out(&mut host, at, minute);
        }
        if minute % 30 == 0 {
            shadow(&mut host, at, minute);
        }
        if (60..120).contains(&minute) {
            for n in 0..4 {
                let batch = Call::anthropic("claude-y").service("batch", 400).user(&format!("document {minute} {n}"));
                host.call(at + n * 10 * SECOND, &batch.says(60, 30, 25).usage(3000, 450));
            }
        }
    }
    let ran = host.run();
    assert!(ran.findings().is_empty(), "{}", ran.explain());
    let evaluated = |detector| ran.number("llm_detector_evaluated_total", &[("detector", detector)]);
    for detector in detectors::DETECTORS.iter().map(|row| row.name).filter(|name| !SOME.contains(name)) {
        assert!(evaluated(detector) > 300.0, "{detector} judged {} cases only", evaluated(detector));
    }
    assert!(evaluated("quota") > 500.0);
    assert!(ran.fed("llm_span_skew_seconds"));
    assert!(ran.pipeline.sink().detectors.held() < 50_000, "{}", ran.pipeline.sink().detectors.held());
}

/// Those that ordinary traffic of a shop gives little to judge.
const SOME: [&str; 4] = ["quota", "claims", "voice", "stale_results"];

/// One call of the shop's chat: noise in every dimension.
fn chat(host: &mut Host, at: u64, n: u64) {
    // A deploy at noon: the processes are others from then on.
    let pid = if at < 12 * HOUR { 100 } else { 110 } + u32::try_from(host.random(4)).unwrap();
    let reasons = host.random(10) < 3;
    let model = if reasons { "gpt-r" } else { "gpt-x" };
    let mut call = Call { think_ms: 300 + host.random(500), ..Call::chat(model).service("shop", pid) };
    call = call.system("You help customers.").user(&format!("question {n}"));
    let earlier = host.random(3);
    for turn in 0..earlier {
        call = call.message("assistant", &format!("answer {n} {turn}")).user(&format!("more {n} {turn}"));
    }
    let left = (200 - n % 200).to_string();
    call = call
        .answers_header("x-ratelimit-limit-requests", "200")
        .answers_header("x-ratelimit-remaining-requests", &left)
        .answers_header("x-ratelimit-reset-requests", "1s");
    if reasons {
        for _ in 0..10 + host.random(20) {
            call = call.step(Step::Wait(60)).step(Step::Reason("so then ".into()));
        }
    }
    let chunks = 15 + host.random(60);
    let language = host.random(10);
    for _ in 0..chunks {
        let letters = usize::try_from(10 + host.random(14)).unwrap();
        let text: String = match language {
            0 => "日本語の返事です".chars().take(4).collect(),
            1 => "ответ на вопрос о товаре".chars().take(letters).collect(),
            _ => "an answer about the goods and more of it".chars().take(letters).collect(),
        };
        call = call.step(Step::Wait(50 + host.random(70))).step(Step::Say(text));
        if host.random(400) == 0 {
            call = call.step(Step::Wait(1500));
        }
    }
    let hidden = if reasons { 200 } else { 0 };
    let usage = (400 + host.random(4000), chunks * 4 + hidden, hidden, 0);
    let date = http_date(BOOT + i128::from(at + 200) * 1_000_000);
    call = Call { usage: Some(usage), ..call.answers_header("date", &date) };
    match host.random(100) {
        0 => call = call.ends(End::Cancel),
        1 => {
            let end = host.call(at, &call.clone().answers_header("retry-after", "2").fails(429, "rate_limit_exceeded"));
            host.call(end + 2500, &call.header("x-stainless-retry-count", "1"));
            return;
        }
        2 => {
            let end = host.call(at, &call.clone().fails(500, "server_error"));
            host.call(end + 800, &call.header("x-stainless-retry-count", "1"));
            return;
        }
        3 if n.is_multiple_of(4) => call = call.step(Step::Refuse("no")).ends(End::Done("content_filter")),
        4 if n.is_multiple_of(4) => call.end = End::Reset,
        _ => {}
    }
    call.id = format!("chatcmpl-{n}");
    let end = host.call(at, &call);
    traced(host, at, end, n, &call);
}

/// The span of a call, some milliseconds around it, with the next batch of its exporter.
fn traced(host: &mut Host, at: u64, end: u64, n: u64, call: &Call) {
    let id = u8::try_from(n % 251 + 1).unwrap();
    let wall = |ms: u64| u64::try_from(BOOT + i128::from(ms) * 1_000_000).unwrap();
    let attributes = vec![("gen_ai.response.id", call.id.clone())];
    let (start, until) = (wall(at - n % 40), wall(end + n % 25));
    let told = FakeSpan { trace: id, id, kind: 3, start, end: until, attributes, ..FakeSpan::default() };
    host.export(end + 5 * SECOND, call, &[told]);
}

const SEARCH: &str = r#"[{"name":"search","input_schema":{"type":"object","properties":{"q":{"type":"string"}}}}]"#;

/// Two calls of tools, then an answer; one argument in twenty is rejected and repaired.
fn agent(host: &mut Host, at: u64, n: u64) {
    let mut call = Call::anthropic("claude-y")
        .service("agent", 200)
        .system("You are an agent.")
        .user(&format!("task {n}"))
        .member("tools", SEARCH);
    let mut at = at + 10 * SECOND;
    for step in 0..2 + u64::from(n.is_multiple_of(20)) {
        let turn = call.clone().step(Step::Tool("search", "{}".into())).ends(End::Done("tool_use"));
        at = host.call(at, &turn) + 2 * SECOND;
        let rejected = n.is_multiple_of(20) && step == 0;
        let text = if rejected { "Error: q must be text".into() } else { format!("r{n}{step}") };
        call.messages.push((
            "assistant".into(),
            format!(r#"[{{"type":"tool_use","id":"t{n}-{step}","name":"search","input":{{"q":{step}}}}}]"#),
        ));
        call.messages.push((
            "user".into(),
            format!(
                r#"[{{"type":"tool_result","tool_use_id":"t{n}-{step}","content":"{text}","is_error":{rejected}}}]"#
            ),
        ));
    }
    host.call(at, &call.says(25, 20, 60).usage(2000, 130));
}

/// Eight parallel calls of one text, to one model: voting.
fn fan_out(host: &mut Host, at: u64, n: u64) {
    for vote in 0..8 {
        let delay = host.random(200);
        let call = Call::chat("gpt-x-mini").service("judge", 500).user(&format!("is it good? {n}"));
        host.call(at + vote * 5 + delay, &call.says(3, 10, 40));
    }
}

/// The same turn to a second model, begun at once: A/B.
fn shadow(host: &mut Host, at: u64, n: u64) {
    let text = format!("compare {n}");
    host.call(at, &Call::chat("gpt-x").service("ab", 600).user(&text).says(30, 14, 60));
    host.call(at + 5, &Call::new(Api::Responses, "gpt-z").service("ab", 600).user(&text).says(30, 14, 60));
}
