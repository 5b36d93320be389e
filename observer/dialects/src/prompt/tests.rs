use super::*;
use capture::proto::Salt;

fn prompt(api: &str, body: &str, salt: &Salt) -> Prompt {
    let whole = cut(api, body, salt, body.len().max(1));
    for pieces in [1, 7] {
        let mut other = cut(api, body, salt, pieces);
        // Offsets are to the piece.
        other.results.iter_mut().zip(&whole.results).for_each(|(a, b)| a.offset = b.offset);
        other.last_mark = other.last_mark.and(whole.last_mark);
        assert_eq!(other, whole, "cut into {pieces}");
    }
    whole
}

fn cut(api: &str, body: &str, salt: &Salt, pieces: usize) -> Prompt {
    let mut scan = PromptScan::new(api, salt);
    body.as_bytes().chunks(pieces).for_each(|piece| scan.push(piece));
    scan.end(false)
}

/// The same two turns with a tool call in between, as each API writes them.
const CHAT: &str = r#"{"model":"m","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"wie spät?"},
 {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"clock","arguments":"{\"tz\":\"UTC\"}"}}]},
 {"role":"tool","tool_call_id":"c1","content":"12:00"},{"role":"assistant","content":"noon"},
 {"content":[{"type":"text","text":"thanks"}],"role":"user"}],"temperature":0.5,"reasoning_effort":"low",
 "tools":[{"type":"function","function":{"name":"clock","parameters":{"type":"object"}}}]}"#;
const ANTHROPIC: &str = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"wie sp\u00e4t?","cache_control":{"type":"ephemeral"}}]},
 {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"x"},{"type":"tool_use","id":"c1","name":"clock","input":{"tz":"UTC"}}]},
 {"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"12:00","is_error":true}]},{"role":"assistant","content":"noon"},
 {"role":"user","content":"thanks"}],"system":[{"type":"text","text":"be brief"}],"thinking":{"type":"enabled","budget_tokens":2048},
 "tools":[{"name":"clock","input_schema":{"type":"object"}}]}"#;
const RESPONSES: &str = r#"{"model":"m","instructions":"be brief","input":[{"role":"user","content":"wie spät?"},
 {"type":"reasoning","encrypted_content":"zzz","summary":[]},{"type":"function_call","call_id":"c1","name":"clock","arguments":"{\"tz\":\"UTC\"}"},
 {"type":"function_call_output","call_id":"c1","output":"12:00"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"noon"}]},
 {"role":"user","content":[{"type":"input_text","text":"thanks"}]}],"tools":[{"type":"function","name":"clock","parameters":{}}],"reasoning":{"effort":"low"}}"#;
const GEMINI: &str = r#"{"systemInstruction":{"parts":[{"text":"be brief"}]},"contents":[{"role":"user","parts":[{"text":"wie spät?"}]},
 {"role":"model","parts":[{"functionCall":{"name":"clock","args":{"tz":"UTC"}},"thoughtSignature":"q"}]},
 {"role":"user","parts":[{"functionResponse":{"name":"clock","response":{"t":"12:00"}}}]},{"role":"model","parts":[{"text":"noon"}]},
 {"role":"user","parts":[{"text":"thanks"}]}],"tools":[{"functionDeclarations":[{"name":"clock"}]}],"generationConfig":{"temperature":1,"thinkingConfig":{"thinkingBudget":2048}}}"#;
const CONVERSE: &str = r#"{"system":[{"text":"be brief"}],"messages":[{"role":"user","content":[{"text":"wie spät?"}]},
 {"role":"assistant","content":[{"toolUse":{"toolUseId":"c1","name":"clock","input":{"tz":"UTC"}}}]},
 {"role":"user","content":[{"toolResult":{"toolUseId":"c1","content":[{"text":"12:00"}],"status":"error"}}]},
 {"role":"assistant","content":[{"text":"noon"}]},{"role":"user","content":[{"text":"thanks"}]}],
 "toolConfig":{"tools":[{"toolSpec":{"name":"clock","inputSchema":{"json":{}}}}]},"inferenceConfig":{"temperature":0.5}}"#;

const ALL: [(&str, &str); 5] = [
    ("openai.chat", CHAT),
    ("anthropic.messages", ANTHROPIC),
    ("openai.responses", RESPONSES),
    ("gemini.generate_content", GEMINI),
    ("bedrock.converse", CONVERSE),
];

#[test]
fn a_turn_keeps_its_hashes_from_api_to_api() {
    let salt = Salt::random();
    let chat = prompt("openai.chat", CHAT, &salt);
    assert!(!chat.truncated && chat.turn.is_some());
    for (api, body) in ALL {
        let got = prompt(api, body, &salt);
        assert_eq!((got.turn, got.turns, got.first_user), (chat.turn, 2, chat.first_user), "{api}");
        assert_eq!(
            (got.last_user, got.system, got.last_role),
            (chat.last_user, chat.system, MessageRole::User),
            "{api}"
        );
        let calls: Vec<&str> = got.calls.iter().map(|call| &*call.name).collect();
        assert_eq!((calls, got.results.len()), (vec!["clock"], 1), "{api}");
        assert!(got.results[0].before_user, "{api}");
        assert_eq!(got.results[0].is_error, api.starts_with("anthropic") || api.contains("converse"), "{api}");
        let tools: Vec<&str> = got.tools.iter().map(|tool| &*tool.name).collect();
        assert_eq!(tools, ["clock"], "{api}");
        assert_eq!(got.prefill, None, "{api}");
    }
}

#[test]
fn knobs_and_marks() {
    let salt = Salt::random();
    let [chat, anthropic, responses, gemini, _] = ALL.map(|(api, body)| prompt(api, body, &salt));
    assert_eq!((chat.temperature.as_deref(), chat.effort.as_deref()), (Some("0.5"), Some("low")));
    assert_eq!((anthropic.budget, anthropic.cache_marks, anthropic.reasoning_resent), (Some(2048), 1, true));
    assert_eq!((responses.effort.as_deref(), responses.reasoning_resent), (Some("low"), true));
    assert_eq!((gemini.budget, gemini.temperature.as_deref()), (Some(2048), Some("1")));
    assert_eq!(chat.calls[0].id, chat.results[0].id);
    assert_eq!(anthropic.calls[0].id, anthropic.results[0].id);
    let held = prompt("openai.responses", r#"{"input":"more","previous_response_id":"resp_1"}"#, &salt);
    assert_eq!((held.server_held.is_some(), held.turns, held.messages), (true, 1, 1));
}

/// The next request of a conversation begins with all messages of the one before it.
#[test]
fn chains_grow() {
    let salt = Salt::random();
    let turn = |messages: &str| prompt("openai.chat", &format!(r#"{{"messages":[{messages}]}}"#), &salt);
    let one = r#"{"role":"system","content":"s"},{"role":"user","content":"a"}"#;
    let two = format!(r#"{one},{{"role":"assistant","content":"b"}},{{"role":"user","content":"c"}}"#);
    let (first, second) = (turn(one), turn(&two));
    assert_eq!(first.chain, second.chain[..1]);
    assert_eq!((second.chain.len(), second.turns), (3, 2));
    let other = turn(&two.replace("\"b\"", "\"x\""));
    assert_ne!(other.chain[1..], second.chain[1..]);
    assert_eq!(other.turn, second.turn, "what people said is the same");
}

#[test]
fn a_prefill_is_the_last_word_of_the_assistant() {
    let salt = Salt::random();
    let body = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"so far","prefix":true}]}"#;
    let got = prompt("openai.chat", body, &salt);
    assert_eq!(
        (got.prefill, got.prefix_mark, got.last_role),
        (Some(salt.hash_text(b"so far")), true, MessageRole::Assistant)
    );
}

#[test]
fn bodies_differ_by_what_they_ask_and_not_by_how() {
    let salt = Salt::random();
    let body = |text: &str| prompt("openai.chat", text, &salt).body;
    let one = body(r#"{"model":"m","messages":[{"role":"user","content":"a"}],"stream":true,"user":"u1"}"#);
    assert_eq!(one, body(r#"{"user":"u2","messages":[{"content":"\u0061","role":"user"}],"model":"m"}"#));
    assert_ne!(one, body(r#"{"model":"m","messages":[{"role":"user","content":"b"}]}"#));
    assert_ne!(one, body(r#"{"model":"m","messages":[{"role":"user","content":"a"}],"seed":1}"#));
    let tool = |mark: &str| {
        let text = format!(r#"{{"tools":[{{"name":"t","description":"d"{mark}}}]}}"#);
        prompt("anthropic.messages", &text, &salt).tools
    };
    assert_eq!(tool(""), tool(r#","cache_control":{"type":"ephemeral"}"#), "a mark is no change of the tool");
    assert_ne!(tool(""), tool(r#","strict":true"#));
    assert_ne!(one, prompt("openai.chat", r#"{"model":"m"}"#, &Salt::random()).body);
}

#[test]
fn what_was_not_seen_whole_says_so() {
    let salt = Salt::random();
    let cut = |body: &str, lost: bool| {
        let mut scan = PromptScan::new("openai.chat", &salt);
        scan.push(body.as_bytes());
        scan.end(lost)
    };
    assert!(cut(r#"{"messages":[{"role":"user","content":"a"#, false).truncated);
    assert!(cut(r#"{"messages":[]}"#, true).truncated);
    assert!(!cut(r#"{"messages":[]}"#, false).truncated);
}

#[test]
fn memory_does_not_grow_with_the_body() {
    let salt = Salt::random();
    let mut scan = PromptScan::new("anthropic.messages", &salt);
    scan.push(br#"{"messages":["#);
    for n in 0..20_000 {
        let text = format!(
            r#"{{"role":"assistant","content":[{{"type":"tool_use","id":"i{n}","name":"{}","input":{{}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"i{n}","content":"{}"}}]}},"#,
            "n".repeat(200),
            "x".repeat(1000)
        );
        scan.push(text.as_bytes());
        assert!(scan.held() < 64 * 1024, "{}", scan.held());
    }
}
