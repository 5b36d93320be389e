use crate::testing::TestExchange;

fn play() -> TestExchange {
    TestExchange::new("openai.responses").response(200, "text/event-stream")
}

const CREATED: &str = r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","status":"in_progress","model":"m","instructions":"secret","tools":[{"type":"function","name":"f"}],"output":[],"usage":null,"error":null}}"#;

fn last(kind: &str, extra: &str) -> String {
    format!(
        r#"{{"type":"response.{kind}","sequence_number":9,"response":{{"id":"resp_1","status":"{kind}","model":"m"{extra}}}}}"#
    )
}

#[test]
fn text_with_done_twins_and_padding() {
    let said = play()
        .typed(CREATED)
        .typed(r#"{"type":"response.in_progress","sequence_number":1,"response":{"id":"resp_1","model":"m"}}"#)
        .typed(r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"msg_1","content":[]}}"#)
        .typed(r#"{"type":"response.content_part.added","part":{"type":"output_text","text":""}}"#)
        .typed(r#"{"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"Hé","logprobs":[],"sequence_number":4,"obfuscation":"x9"}"#)
        .typed(r#"{"type":"response.output_text.delta","delta":"","sequence_number":5}"#)
        .typed(r#"{"type":"response.output_text.done","text":"Hé"}"#)
        .typed(r#"{"type":"response.content_part.done","part":{"type":"output_text","text":"Hé"}}"#)
        .typed(r#"{"type":"response.output_item.done","item":{"type":"message","content":[{"type":"output_text","text":"Hé"}]}}"#)
        .typed(&last("completed", r#","output":[{"type":"message","content":[{"type":"output_text","text":"Hé"}]}],"usage":{"input_tokens":3,"input_tokens_details":{"cached_tokens":1},"output_tokens":2,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":5}"#))
        .end();
    let expected = [
        "start resp_1 m",
        "other",
        "other",
        "other",
        "visible hé",
        "visible ",
        "other",
        "other",
        "other",
        "usage 3 2 1 - 0",
        "finish completed",
        "end",
    ];
    assert_eq!(said, expected);
}

#[test]
fn reasoning_tools_and_refusal() {
    let said = play()
        .typed(r#"{"type":"response.output_item.added","item":{"type":"reasoning","summary":[]}}"#)
        .typed(r#"{"type":"response.reasoning_summary_text.delta","summary_index":0,"delta":"a"}"#)
        .typed(r#"{"type":"response.reasoning_text.delta","delta":"b"}"#)
        .typed(r#"{"type":"response.reasoning_text.done","text":"b"}"#)
        .typed(r#"{"type":"response.output_item.added","item":{"type":"function_call","id":"fc","call_id":"c","name":"f","arguments":""}}"#)
        .typed(r#"{"type":"response.output_item.added","item":{"type":"web_search_call","id":"ws"}}"#)
        .typed(r#"{"type":"response.web_search_call.searching"}"#)
        .typed(r#"{"type":"response.function_call_arguments.delta","delta":"{}"}"#)
        .typed(r#"{"type":"response.function_call_arguments.done","arguments":"{}"}"#)
        .typed(r#"{"type":"response.custom_tool_call_input.delta","delta":"x"}"#)
        .typed(r#"{"type":"response.mcp_call_arguments.delta","delta":"y"}"#)
        .typed(r#"{"type":"response.refusal.delta","delta":"no"}"#)
        .typed(r#"{"type":"response.refusal.done","refusal":"no"}"#)
        .typed(r#"{"type":"response.audio.delta","delta":"AA"}"#)
        .typed(&last("incomplete", r#","incomplete_details":{"reason":"max_output_tokens"}"#))
        .end();
    let expected = [
        "other",
        "reasoning a",
        "reasoning b",
        "other",
        "tool f",
        "tool web_search_call",
        "other",
        "tool {}",
        "other",
        "tool x",
        "tool y",
        "refusal no",
        "other",
        "audio aa",
        "start resp_1 m",
        "finish max_output_tokens",
        "end",
    ];
    assert_eq!(said, expected);
}

#[test]
fn errors_flat_nested_and_failed() {
    let error = |json| play().typed(json).end();
    assert_eq!(
        error(r#"{"type":"error","code":"rate_limit_exceeded","message":"sk-1","param":null,"sequence_number":3}"#),
        ["error rate_limit_exceeded"]
    );
    assert_eq!(
        error(r#"{"type":"error","error":{"type":"server_error","code":null,"message":"sk-1"}}"#),
        ["error server_error"]
    );
    assert_eq!(error(r#"{"type":"error","code":null,"message":"m"}"#), ["error -"]);
    assert_eq!(
        play().data(r#"{"error":{"message":"m","type":"proxy_error","code":500}}"#).end(),
        ["error proxy_error"]
    );
    let failed = error(&last(
        "failed",
        r#","error":{"code":"server_error","message":"m"},"usage":{"input_tokens":1,"output_tokens":0}"#,
    ));
    assert_eq!(failed, ["start resp_1 m", "usage 1 0 - - -", "error server_error", "end"]);
}

#[test]
fn keepalives_done_marker_and_broken_events() {
    let said = play()
        .typed(r#"{"type":"keepalive","sequence_number":1}"#)
        .raw(Some("response.output_text.delta"), br#"{"delta":"a"}"#)
        .raw(Some("response.output_text.delta"), br#"{"type":"response.output_text.delta","delta":{"odd":1}}"#)
        .raw(Some("response.unheard_of.delta"), br#"{"type":"response.unheard_of.delta","delta":"x"}"#)
        .raw(Some("response.completed"), br#"{"type":"response.completed""#)
        .data("[DONE]")
        .end();
    assert_eq!(said, ["keepalive", "visible a", "other", "other", "malformed json", "end"]);
    let twice = play().typed(&last("completed", "")).data("[DONE]").end();
    assert_eq!(twice, ["start resp_1 m", "finish completed", "end", "other"]);
}

#[test]
fn an_event_too_large_still_says_what_it_is() {
    let said = play()
        .beginning(
            Some("response.created"),
            br#"{"type":"response.created","response":{"id":"resp_1","model":"m","instructions":"xx"#,
        )
        .beginning(None, br#"{"type":"response.image_generation_call.partial_image","partial_image_b64":"AAAA"#)
        .beginning(
            Some("response.completed"),
            b"{\"type\":\"response.completed\",\"response\":{\"output\":[{\"model\":\"no\",\"text\":\"\xc3",
        )
        .end();
    assert_eq!(said, ["start resp_1 -", "start - m", "other", "finish completed", "end"]);
    let unnamed = play().beginning(None, br#"{"response":{"id":"r","output":"x"#).end();
    assert_eq!(unnamed, ["start r -"]);
    let failed = play().beginning(Some("response.failed"), b"{").end();
    assert_eq!(failed, ["error -", "end"]);
}

const WHOLE: &str = r#"{"id":"resp_2","object":"response","status":"completed","error":null,"incomplete_details":null,"model":"m",
 "output":[
  {"id":"rs","summary":[{"text":"sum","type":"summary_text"}],"type":"reasoning","content":[{"text":"why","type":"reasoning_text"}]},
  {"id":"msg","content":[{"annotations":[],"text":"Hé😀","type":"output_text"},{"type":"output_text","text":"b"},{"type":"refusal","refusal":"no"}],"role":"assistant","type":"message"},
  {"type":"function_call","name":"fn","arguments":"{}","call_id":"c"}],
 "usage":{"input_tokens":4,"output_tokens":3,"input_tokens_details":{"cached_tokens":0},"output_tokens_details":{"reasoning_tokens":2}}}"#;

#[test]
fn an_answer_that_is_no_stream() {
    for cut in [1, 11, 10_000] {
        let said = TestExchange::new("openai.responses").response(200, "application/json").body(WHOLE, cut).end();
        let expected = [
            "start resp_2 -",
            "start - m",
            "reasoning whole 3",
            "reasoning whole 3",
            "visible whole 3",
            "visible whole 1",
            "refusal whole 2",
            "tool whole 2",
            "tool whole 2",
            "usage 4 3 0 - 2",
            "finish completed",
            "end",
        ];
        assert_eq!(said, expected);
    }
    let short = r#"{"status":"incomplete","incomplete_details":{"reason":"content_filter"},"error":null}"#;
    let said = TestExchange::new("openai.responses").response(200, "application/json").body(short, 5).end();
    assert_eq!(said, ["finish content_filter", "end"]);
    let failed = r#"{"id":"r","status":"failed","error":{"code":"server_error","message":"m"}}"#;
    let said = TestExchange::new("openai.responses").response(200, "application/json").body(failed, 5).end();
    assert_eq!(said, ["start r -", "error server_error"]);
}

#[test]
fn sealed_reasoning_is_told_without_its_content() {
    let item = r#"{"type":"response.output_item.done","item":{"type":"reasoning","summary":[],"encrypted_content":"gAAAAABo"}}"#;
    let said = TestExchange::new("openai.responses").response(200, "text/event-stream").typed(item).typed(item).end();
    assert_eq!(said, ["mark Sealed encrypted_content", "other"]);
    let whole = r#"{"id":"r","output":[{"type":"reasoning","encrypted_content":"gAAAAABo","summary":[]}],"status":"completed"}"#;
    let said = TestExchange::new("openai.responses").response(200, "application/json").body(whole, 7).end();
    assert!(said.contains(&"mark Sealed encrypted_content".to_owned()), "{said:?}");
    let none =
        r#"{"id":"r","output":[{"type":"reasoning","encrypted_content":null,"summary":[]}],"status":"completed"}"#;
    let said = TestExchange::new("openai.responses").response(200, "application/json").body(none, 7).end();
    assert!(!said.iter().any(|said| said.starts_with("mark")), "{said:?}");
}

#[test]
fn what_only_a_done_event_says_is_said() {
    let said = play()
        .typed(CREATED)
        .typed(r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"msg_1"}}"#)
        .typed(r#"{"type":"response.output_text.done","item_id":"msg_1","output_index":0,"text":"whole"}"#)
        .typed(r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"message","id":"msg_1","content":[{"type":"output_text","text":"whole"}]}}"#)
        .typed(r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","id":"fc_1","name":"f"}}"#)
        .typed(r#"{"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":1,"delta":"{}"}"#)
        .typed(r#"{"type":"response.function_call_arguments.done","item_id":"fc_1","output_index":1,"arguments":"{}"}"#)
        .typed(r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"function_call","id":"fc_1","name":"f","arguments":"{}"}}"#)
        // One call came in pieces, the other did not come at all until it was over.
        .typed(r#"{"type":"response.output_item.done","output_index":2,"item":{"type":"function_call","id":"fc_2","name":"g","arguments":"[1]"}}"#)
        .typed(r#"{"type":"response.output_item.done","output_index":3,"item":{"type":"message","id":"msg_2","content":[{"type":"output_text","text":"too"}]}}"#)
        .typed(r#"{"type":"response.apply_patch_call_operation_diff.delta","output_index":4,"delta":"@@"}"#)
        .typed(r#"{"type":"response.done","response":{"id":"resp_1","model":"m","usage":{"input_tokens":3,"output_tokens":4}}}"#)
        .end();
    let expected = [
        "start resp_1 m",
        "other",
        "visible whole",
        "other",
        "tool f",
        "tool {}",
        "other",
        "other",
        "tool g",
        "tool [1]",
        "visible too",
        "tool @@",
        "usage 3 4 - - -",
        "finish completed",
        "end",
    ];
    assert_eq!(said, expected);
}

#[test]
fn a_last_event_of_any_name_may_tell_a_failure() {
    let said = play()
        .typed(r#"{"type":"response.done","response":{"status":"failed","error":{"code":"server_error"}}}"#)
        .end();
    assert_eq!(said, ["error server_error", "end"]);
}
