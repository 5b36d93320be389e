use crate::testing::TestExchange;

fn play() -> TestExchange {
    TestExchange::new("openai.chat").response(200, "text/event-stream")
}

fn delta(delta: &str) -> String {
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}],"usage":null}}"#
    )
}

#[test]
fn text_with_role_usage_padding_and_end() {
    let said = play()
        .data(&delta(r#"{"role":"assistant","content":"","refusal":null}"#))
        .data(&delta(r#"{"content":"Hé😀"}"#))
        .data(r#"{"id":"chatcmpl-1","model":"m","choices":[{"index":0,"delta":{"content":" \u00e9\ud83d\ude00\n"}}],"obfuscation":"x9Yz"}"#)
        .data(r#"{"id":"chatcmpl-1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#)
        .data(r#"{"id":"chatcmpl-1","model":"m","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":4,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":6,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}"#)
        .data("[DONE]")
        .end();
    let expected = [
        "start chatcmpl-1 m",
        "visible ",
        "visible hé😀",
        "visible  é😀\n",
        "finish stop",
        "usage 10 4 6 - 0 audio_input 0",
        "end",
    ];
    assert_eq!(said, expected);
}

#[test]
fn azure_names_itself_late() {
    let said = play()
        .data(r#"{"choices":[],"id":"","model":"","prompt_filter_results":[{"prompt_index":0}]}"#)
        .data(&delta(r#"{"content":"a"}"#))
        .end();
    assert_eq!(said, ["other", "start chatcmpl-1 m", "visible a"]);
}

#[test]
fn parallel_tools_and_choices_interleave() {
    let said = play()
        .data(&delta(r#"{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"c0","type":"function","function":{"name":"f","arguments":""}}]}"#))
        .data(&delta(r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}},{"index":1,"id":"c1","type":"function","function":{"name":"g","arguments":"{}"}}]}"#))
        .data(r#"{"choices":[{"index":1,"delta":{"content":"b"}},{"index":0,"delta":{"content":"a"}},{"index":0,"delta":null}]}"#)
        .data(&delta(r#"{"function_call":{"name":"old","arguments":"1"}}"#))
        .data(&delta(r#"{"tool_calls":[{"index":2,"type":"custom","custom":{"name":"sql","input":"select"}}]}"#))
        .end();
    let expected = [
        "start chatcmpl-1 m",
        "tool f",
        "tool ",
        "tool {\"a\":",
        "tool g",
        "tool {}",
        "visible b",
        "visible a",
        "tool old",
        "tool 1",
        "tool sql",
        "tool select",
    ];
    assert_eq!(said, expected);
}

#[test]
fn reasoning_under_either_name_is_said_once() {
    let said = play()
        .data(r#"{"choices":[{"delta":{"role":"assistant","content":null,"reasoning_content":"a"}}]}"#)
        .data(r#"{"choices":[{"delta":{"reasoning":"b"}}]}"#)
        .data(r#"{"choices":[{"delta":{"reasoning":"c","reasoning_content":"c","content":""}}]}"#)
        .data(r#"{"choices":[{"delta":{"reasoning":"d","reasoning_content":""}}]}"#)
        .data(r#"{"choices":[{"delta":{"reasoning":null,"reasoning_content":""}}]}"#)
        .end();
    assert_eq!(said, ["reasoning a", "reasoning b", "reasoning c", "visible ", "reasoning d", "reasoning "]);
}

#[test]
fn reasoning_between_tags_is_told_apart_by_choice() {
    let said = play()
        .data(r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#)
        .data(r#"{"choices":[{"index":0,"delta":{"content":"<thi"}},{"index":1,"delta":{"content":"plain"}}]}"#)
        .data(r#"{"choices":[{"index":0,"delta":{"content":"nk>why"}},{"index":1,"delta":{"content":"<think>"}}]}"#)
        .data(r#"{"choices":[{"index":0,"delta":{"content":" not</think>so"}}]}"#)
        .data(r#"{"choices":[{"index":2,"delta":{"content":"<th"},"finish_reason":"length"}]}"#)
        .end();
    let expected = [
        "visible ",
        "visible plain",
        "reasoning why",
        "visible <think>",
        "reasoning  not",
        "visible so",
        "visible <th",
        "finish length",
    ];
    assert_eq!(said, expected);
}

#[test]
fn content_in_parts_and_arguments_as_an_object() {
    let said = play()
        .data(r#"{"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"why"}]},{"type":"text","text":"so"},{"type":"reference","reference_ids":[1]},7]}}]}"#)
        .data(r#"{"choices":[{"delta":{"tool_calls":[{"id":"c","function":{"name":"f","arguments":{"a": 1}}}]}}]}"#)
        .end();
    assert_eq!(said, ["reasoning why", "visible so", "tool f", "tool {\"a\": 1}"]);
}

#[test]
fn what_servers_say_of_themselves_is_told_when_it_changes() {
    let said = play()
        .data(r#"{"id":"g","model":"a","provider":"One","system_fingerprint":"fp_1","service_tier":"default","choices":[]}"#)
        .data(r#"{"id":"g","model":"a","provider":"One","system_fingerprint":"fp_1","service_tier":"default","choices":[{"delta":{"content":"x"}}]}"#)
        .data(r#"{"id":"litellm-fallback-metadata","choices":[],"litellm_fallback":{"fallback_model":"b","errors":["planted"]}}"#)
        .data(r#"{"id":"g","model":"b","provider":"Two","system_fingerprint":null,"choices":[{"delta":{"content":"y"}}]}"#)
        .end();
    let expected = [
        "start g a",
        "mark Fingerprint fp_1",
        "mark Tier default",
        "mark Upstream One",
        "visible x",
        "mark Fallback b",
        "mark Model b",
        "mark Upstream Two",
        "visible y",
    ];
    assert_eq!(said, expected);
}

#[test]
fn output_includes_reasoning_whatever_the_server_means() {
    let said = play()
        .data(r#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"completion_tokens_details":{"reasoning_tokens":3}}}"#)
        .data(r#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":18,"completion_tokens_details":{"reasoning_tokens":3}}}"#)
        .data(r#"{"choices":[],"timings":{"prompt_n":3,"prompt_ms":12.5,"predicted_ms":80},"time_info":{"queue_time":0.5,"total_time":1}}"#)
        .end();
    assert_eq!(said, ["usage 10 5 - - 3", "usage 10 8 - - 3", "took 500 12.5 80 - 1000"]);
}

#[test]
fn refusal_audio_and_older_completions() {
    let said = play()
        .data(&delta(r#"{"refusal":"No."}"#))
        .data(r#"{"choices":[{"delta":{"audio":{"id":"a","data":"AAAA"}}}]}"#)
        .data(r#"{"choices":[{"delta":{"audio":{"transcript":"hi"}}}]}"#)
        .data(r#"{"object":"text_completion","choices":[{"index":0,"text":"old","logprobs":null,"finish_reason":"length"}]}"#)
        .end();
    let expected =
        ["start chatcmpl-1 m", "refusal no.", "audio aaaa", "audio hi", "visible old", "finish length", "end"];
    assert_eq!(said, expected);
}

#[test]
fn usage_in_every_chunk_and_from_groq_and_deepseek() {
    let said = play()
        .data(r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#)
        .data(r#"{"choices":[{"delta":{"content":"b"}}],"usage":{"prompt_tokens":3,"completion_tokens":2.0}}"#)
        .data(r#"{"choices":[],"x_groq":{"id":"req_1","usage":{"queue_time":0.1,"prompt_tokens":5,"completion_tokens":2}}}"#)
        .data(r#"{"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":2,"prompt_cache_hit_tokens":4}}"#)
        .end();
    let expected = [
        "visible a",
        "usage 3 1 - - -",
        "visible b",
        "usage 3 2 - - -",
        "start req_1 -",
        "usage 5 2 - - -",
        "took 100 - - - -",
        "usage 8 2 4 - -",
    ];
    assert_eq!(said, expected);
}

#[test]
fn errors_in_the_stream() {
    let vllm = play()
        .data(&delta(r#"{"content":"a"}"#))
        .data(r#"{"error":{"message":"secret","type":"BadRequestError","param":null,"code":400}}"#)
        .data("[DONE]")
        .end();
    assert_eq!(vllm, ["start chatcmpl-1 m", "visible a", "error BadRequestError", "end"]);
    let router = play().data(r#"{"id":"g","choices":[{"delta":{"content":""},"finish_reason":"error"}],"error":{"code":502,"message":"x","metadata":{"error_type":"provider_unavailable"}}}"#).end();
    assert_eq!(router, ["start g -", "visible ", "finish error", "error provider_unavailable"]);
    assert_eq!(play().data(r#"{"error":"some text"}"#).end(), ["error -"]);
    assert_eq!(play().raw(Some("error"), b"Internal Server Error").end(), ["error -"]);
    assert_eq!(play().data(r#"{"choices":[],"x_groq":{"error":"boom"}}"#).end(), ["error -"]);
}

#[test]
fn odd_and_broken_events() {
    let said = play()
        .data("")
        .data(r#"{"choices":{"0":1},"id":7}"#)
        .data(r#"{"choices":[7,null,{"delta":{"content":{"a":1},"refusal":"r","tool_calls":7}}]}"#)
        .data("17")
        .data("{")
        .raw(None, b"{\"id\":\"\xff\"}")
        .raw(None, br#"{"choices":[{"delta":{"content":"\ud83d"}}]}"#)
        .data(" [DONE] trailing")
        .data("[DONE]")
        .end();
    let expected = [
        "keepalive",
        "other",
        "refusal r",
        "other",
        "malformed json",
        "malformed utf8",
        "visible \u{fffd}",
        "end",
        "other",
    ];
    assert_eq!(said, expected);
}

#[test]
fn too_many_choices_are_cut_and_told() {
    let many = format!(r#"{{"choices":[{}{{}}]}}"#, r#"{"delta":{"content":"x"}},"#.repeat(128));
    let said = play().data(&many).end();
    assert_eq!((said.len(), said.last().unwrap().as_str()), (129, "malformed items_cap"));
}

const WHOLE: &str = r#"
{"id":"chatcmpl-2","object":"chat.completion","model":"m","choices":[
 {"index":0,"message":{"role":"assistant","content":"Hi \ud83d\ude00","reasoning_content":"why","refusal":null,
  "tool_calls":[{"id":"c","type":"function","function":{"name":"fn","arguments":"{\"a\":1}"}}]},"finish_reason":"tool_calls"},
 {"index":1,"message":{"role":"assistant","content":"ho"},"finish_reason":"stop"}],
 "usage":{"prompt_tokens":5,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":2},"completion_tokens_details":{"reasoning_tokens":3}},
 "error":null}
"#;

#[test]
fn an_answer_that_is_no_stream() {
    for cut in [1, 7, 10_000] {
        let said = TestExchange::new("openai.chat").response(200, "application/json").body(WHOLE, cut).end();
        let expected = [
            "start chatcmpl-2 -",
            "start - m",
            "visible whole 4",
            "reasoning whole 3",
            "tool whole 2",
            "tool whole 7",
            "finish tool_calls",
            "visible whole 2",
            "finish stop",
            "usage 5 7 2 - 3",
            "end",
        ];
        assert_eq!(said, expected);
    }
}

#[test]
fn a_cut_or_lost_answer_has_no_end() {
    let json = || TestExchange::new("openai.chat").response(200, "application/json");
    let (head, tail) = WHOLE.split_at(50);
    let cut = json().body(head, 60).end();
    assert_eq!(cut, ["start chatcmpl-2 -"]);
    let lost = json().body(head, 60).gap().body(tail, 9).end();
    assert_eq!(lost, ["start chatcmpl-2 -"]);
    let html = TestExchange::new("openai.chat").response(200, "text/html").body("<html>", 9).end();
    assert!(html.is_empty());
    assert_eq!(json().body("<html>", 9).end(), ["malformed json"]);
}

#[test]
fn error_bodies() {
    let fails =
        |status, body: &str| TestExchange::new("openai.chat").response(status, "application/json").body(body, 3).end();
    let quota = r#"{"error":{"message":"You exceeded sk-123","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
    assert_eq!(fails(429, quota), ["error insufficient_quota"]);
    assert_eq!(
        fails(400, r#"{"object":"error","message":"m","type":"BadRequestError","code":400}"#),
        ["error BadRequestError"]
    );
    assert_eq!(
        fails(400, r#"{"error":{"code":"content_filter","innererror":{"code":"other"}}}"#),
        ["error content_filter"]
    );
    assert_eq!(fails(503, r#"{"error":"text","error_type":"overloaded"}"#), ["error overloaded"]);
    assert_eq!(fails(401, r#"{"detail":"secret"}"#), ["error -"]);
    assert_eq!(fails(502, ""), ["error -"]);
    assert_eq!(fails(200, quota), ["error insufficient_quota"]);
    let html = TestExchange::new("openai.chat").response(502, "text/html").body("<html>Bad Gateway", 4).end();
    assert_eq!(html, ["error -"]);
}

#[test]
fn a_text_under_two_names_is_one() {
    let together = |text: &str, content: &str| {
        play()
            .data(&format!(r#"{{"choices":[{{"index":0,"text":{text},"delta":{{"content":{content}}}}}]}}"#))
            .data(r#"{"choices":[{"index":0,"text":"","delta":{"content":""},"finish_reason":"stop"}]}"#)
            .end()
    };
    assert_eq!(together(r#""Hi""#, r#""Hi""#), ["visible hi", "visible ", "visible ", "finish stop", "end"]);
    assert_eq!(together(r#""Hi""#, "null"), ["visible hi", "visible ", "visible ", "finish stop", "end"]);
}

#[test]
fn reasoning_by_every_name_counts_once() {
    let said = play()
        .data(&delta(r#"{"reasoning_text":"copilot"}"#))
        .data(&delta(r#"{"reasoning":"open","reasoning_details":[{"type":"reasoning.text","text":"open"}]}"#))
        .data(&delta(r#"{"reasoning_details":[{"type":"reasoning.text","text":"mini"},{"type":"reasoning.encrypted","data":"x"},{"type":"reasoning.summary","summary":"max"}]}"#))
        .data(&delta(r#"{"content":[{"type":"reasoning","summary":[{"type":"summary_text","text":"bricks"}]},{"type":"text","text":"so"}]}"#))
        .end();
    let expected = [
        "start chatcmpl-1 m",
        "reasoning copilot",
        "reasoning open",
        "reasoning mini",
        "reasoning max",
        "reasoning bricks",
        "visible so",
    ];
    assert_eq!(said, expected);
}

#[test]
fn reasoning_in_a_field_and_between_tags_counts_once() {
    let said = play()
        .data(&delta(r#"{"content":"<think>","reasoning_content":""}"#))
        .data(&delta(r#"{"content":" let me","reasoning_content":" let me"}"#))
        .data(&delta(r#"{"content":" see</think>so","reasoning_content":" see"}"#))
        .end();
    let expected = ["start chatcmpl-1 m", "reasoning ", "reasoning  let me", "reasoning  see", "visible so"];
    assert_eq!(said, expected);
    // Tags alone are reasoning as ever.
    let said = play().data(&delta(r#"{"content":"<think>a</think>b"}"#)).end();
    assert_eq!(said, ["start chatcmpl-1 m", "reasoning a", "visible b"]);
}

#[test]
fn who_said_why_every_choice_ended_needs_no_marker() {
    let finish = |index: u32| format!(r#"{{"choices":[{{"index":{index},"delta":{{}},"finish_reason":"stop"}}]}}"#);
    let text = |index: u32| format!(r#"{{"choices":[{{"index":{index},"delta":{{"content":"a"}}}}]}}"#);
    let ends = |said: Vec<String>| said.last().is_some_and(|last| last == "end");
    assert!(ends(play().data(&text(0)).data(&finish(0)).end()));
    assert!(ends(play().data(&text(0)).data(&text(1)).data(&finish(1)).data(&finish(0)).end()));
    assert!(!ends(play().data(&text(0)).data(&text(1)).data(&finish(1)).end()), "one choice is cut off");
    assert!(!ends(play().data(&text(0)).end()));
    assert!(!ends(play().data(&text(0)).data(&finish(0)).gap().end()), "an error may have come behind it");
    assert!(ends(play().data(&text(0)).gap().data(&finish(0)).end()));
}

#[test]
fn counts_where_moonshot_and_perplexity_put_them_and_placeholders() {
    let said = play()
        .data(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,"cached_tokens":2}}]}"#)
        .data(r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":7,"total_tokens":16,"reasoning_tokens":3}}"#)
        .data(r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}"#)
        .end();
    assert_eq!(said, ["finish stop", "usage 9 4 2 - -", "usage 9 7 - - 3", "other", "end"]);
}
