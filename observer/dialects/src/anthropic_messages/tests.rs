use crate::testing::TestExchange;

fn play() -> TestExchange {
    TestExchange::new("anthropic.messages").response(200, "text/event-stream")
}

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[],"stop_reason":null,"usage":{"input_tokens":9,"cache_creation_input_tokens":20,"cache_read_input_tokens":100,"output_tokens":1}}}"#;

#[test]
fn text_with_pings_padding_and_cumulative_usage() {
    let said = play()
        .typed(START)
        .typed(r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}       }"#)
        .typed(r#"{"type": "ping"}"#)
        .typed(r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hé😀"}            }"#)
        .typed(r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}"#)
        .typed(r#"{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"cited_text":"x"}}}"#)
        .typed(r#"{"type":"content_block_stop","index":0   }"#)
        .typed(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":4,"output_tokens_details":{"thinking_tokens":0}}}"#)
        .typed(r#"{"type":"message_stop"}"#)
        .end();
    let expected = [
        "start msg_1 claude-x",
        "usage 129 - 100 20 -",
        "other",
        "keepalive",
        "visible hé😀",
        "visible ",
        "other",
        "other",
        "usage 129 4 100 20 0",
        "finish end_turn",
        "end",
    ];
    assert_eq!(said, expected);
}

#[test]
fn a_later_message_delta_overrides() {
    let said = play()
        .typed(START)
        .typed(r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":4}}"#)
        .typed(r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"input_tokens":10,"cache_read_input_tokens":0,"cache_creation_input_tokens":null,"output_tokens":7}}"#)
        .end();
    let expected = [
        "start msg_1 claude-x",
        "usage 129 - 100 20 -",
        "usage 129 4 100 20 -",
        "usage 30 7 0 20 -",
        "finish tool_use",
        // Nothing more came, in a framing that is whole: it said why it ended.
        "end",
    ];
    assert_eq!(said, expected);
}

#[test]
fn without_the_start_the_input_is_unknown() {
    let said = play()
        .typed(r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":7}}"#)
        .end();
    assert_eq!(said, ["usage - 7 - - -", "finish max_tokens", "end"]);
}

#[test]
fn thinking_tools_and_refusal() {
    let said = play()
        .typed(r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#)
        .typed(r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#)
        .typed(r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"AAAA"}}"#)
        .typed(r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}}"#)
        .typed(r#"{"type":"content_block_start","index":2,"content_block":{"type":"server_tool_use","id":"t2","name":"web_search"}}"#)
        .typed(r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}"#)
        .typed(r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}"#)
        .typed(r#"{"type":"content_block_start","index":3,"content_block":{"type":"web_search_tool_result","content":[{"text":"x"}]}}"#)
        .typed(r#"{"type":"content_block_start","index":4,"content_block":{"type":"text","text":"early"}}"#)
        .typed(r#"{"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"category":"cyber","explanation":"text"}}}"#)
        .end();
    let expected = [
        "other",
        "reasoning hm",
        "mark Sealed signature",
        "tool f",
        "tool web_search",
        "tool ",
        "tool {\"a\":",
        "other",
        "visible early",
        "mark Blocked cyber",
        "finish refusal",
        "end",
    ];
    assert_eq!(said, expected);
}

#[test]
fn errors() {
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"sk-ant"},"request_id":"r"}"#;
    assert_eq!(play().typed(START).typed(overloaded).end()[2..], ["error overloaded_error"]);
    assert_eq!(play().data(r#"{"error":{"message":"m","type":"None","code":"500"}}"#).end(), ["error None"]);
    assert_eq!(play().raw(Some("error"), b"oops").end(), ["error -"]);
    let body = TestExchange::new("anthropic.messages").response(529, "application/json").body(overloaded, 5).end();
    assert_eq!(body, ["error overloaded_error"]);
}

#[test]
fn names_without_types_and_broken_events() {
    let said = play()
        .raw(Some("content_block_delta"), br#"{"index":0,"delta":{"type":"text_delta","text":"a"}}"#)
        .raw(Some("ping"), b"{}")
        .raw(Some("vertex_event"), b"{}")
        .raw(Some("content_block_delta"), br#"{"type":"content_block_delta","delta":null}"#)
        .raw(Some("content_block_delta"), br#"{"type":"content_block_delta","delta":{"#)
        .raw(Some("content_block_delta"), b"\xff")
        .raw(Some("message_stop"), b"{}")
        .end();
    assert_eq!(said, ["visible a", "keepalive", "other", "other", "malformed json", "malformed utf8", "end"]);
}

#[test]
fn an_answer_that_is_no_stream() {
    let whole = r#"{"model":"claude-x","id":"msg_2","type":"message","role":"assistant","content":[
      {"type":"thinking","thinking":"hmm","signature":"A"},{"type":"text","text":"Hé😀"},
      {"type":"tool_use","id":"t","name":"fn","input":{"name":"no","text":"no"}}],"stop_reason":"tool_use","stop_sequence":null,
      "usage":{"input_tokens":9,"cache_creation_input_tokens":20,"cache_read_input_tokens":100,"output_tokens":5}}"#;
    for cut in [1, 13, 10_000] {
        let said = TestExchange::new("anthropic.messages").response(200, "application/json").body(whole, cut).end();
        let expected = [
            "start - claude-x",
            "start msg_2 -",
            "reasoning whole 3",
            "mark Sealed signature",
            "visible whole 3",
            "tool whole 2",
            "finish tool_use",
            "usage 129 5 100 20 -",
            "end",
        ];
        assert_eq!(said, expected);
    }
}
