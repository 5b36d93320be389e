//! A call's bytes, as client and provider of its API write them.

use super::{Api, Call, Step};

impl Call {
    fn path(&self) -> &'static str {
        if let Some(path) = self.path_override {
            return path;
        }
        match self.api {
            Api::Chat => "/v1/chat/completions",
            Api::Anthropic => "/v1/messages",
            Api::Responses => "/v1/responses",
        }
    }

    pub(super) fn request(&self) -> (String, String) {
        let mut members = vec![format!(r#""model":{:?}"#, self.model), r#""stream":true"#.into()];
        members.extend(self.body.iter().map(|(name, json)| format!("{name:?}:{json}")));
        let mut messages: Vec<String> =
            self.messages.iter().map(|(role, content)| format!(r#"{{"role":"{role}","content":{content}}}"#)).collect();
        if let Some(system) = &self.system {
            match self.api {
                Api::Chat => messages.insert(0, format!(r#"{{"role":"system","content":{system:?}}}"#)),
                Api::Anthropic => members.push(format!(r#""system":{system:?}"#)),
                Api::Responses => members.push(format!(r#""instructions":{system:?}"#)),
            }
        }
        let list = if self.api == Api::Responses { "input" } else { "messages" };
        members.push(format!(r#""{list}":[{}]"#, messages.join(",")));
        let body = format!("{{{}}}", members.join(","));
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            self.path(),
            self.host,
            self.key,
            body.len()
        );
        for (name, value) in &self.request_headers {
            head += &format!("{name}: {value}\r\n");
        }
        (head + "\r\n", body)
    }

    pub(super) fn head(&self) -> String {
        let framing = match &self.document {
            Some(document) => {
                let kind = if self.media { "audio/mpeg" } else { "application/json" };
                format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", document.len())
            }
            None => "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n".into(),
        };
        let mut head = format!("HTTP/1.1 {} X\r\n{framing}", self.status);
        for (name, value) in &self.response_headers {
            head += &format!("{name}: {value}\r\n");
        }
        head + "\r\n"
    }

    pub(super) fn event(&self, step: &Step) -> Option<String> {
        let json = |text: &str| serde_json::to_string(text).unwrap();
        let chat = |delta: String| {
            data(&format!(
                r#"{{"id":"{}","model":"{}","choices":[{{"index":0,"delta":{{{delta}}}}}]}}"#,
                self.id, self.answered
            ))
        };
        let block = |kind: &str, member: &str, text: &str| {
            named(
                "content_block_delta",
                &format!(
                    r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"{kind}","{member}":{}}}}}"#,
                    json(text)
                ),
            )
        };
        Some(match (self.api, step) {
            (_, Step::Wait(_) | Step::Together(_) | Step::Lose(_) | Step::Model(_)) => return None,
            (Api::Chat, Step::Say(text)) => chat(format!(r#""content":{}"#, json(text))),
            (Api::Chat, Step::Reason(text)) => chat(format!(r#""reasoning_content":{}"#, json(text))),
            (Api::Chat, Step::Refuse(text)) => chat(format!(r#""refusal":{}"#, json(text))),
            (Api::Chat, Step::Tool(name, arguments)) => chat(format!(
                r#""tool_calls":[{{"index":0,"id":"call_1","type":"function","function":{{"name":"{name}","arguments":{}}}}}]"#,
                json(arguments)
            )),
            (Api::Chat, Step::Ping) => ": ping\n\n".into(),
            (Api::Chat, Step::Error(kind)) => data(&format!(r#"{{"error":{{"type":"{kind}","message":"no"}}}}"#)),
            (Api::Anthropic, Step::Say(text)) => block("text_delta", "text", text),
            (Api::Anthropic, Step::Reason(text)) => block("thinking_delta", "thinking", text),
            (Api::Anthropic, Step::Tool(name, arguments)) => {
                named(
                    "content_block_start",
                    &format!(
                        r#"{{"type":"content_block_start","index":1,"content_block":{{"type":"tool_use","id":"t1","name":"{name}","input":{{}}}}}}"#
                    ),
                ) + &block("input_json_delta", "partial_json", arguments)
            }
            (Api::Anthropic, Step::Sealed) => named(
                "content_block_start",
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"redacted_thinking","data":"EmwKAhgB"}}"#,
            ),
            (Api::Responses, Step::Sealed) => named(
                "response.output_item.done",
                r#"{"type":"response.output_item.done","output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"gAAAAABo"}}"#,
            ),
            (Api::Chat, Step::Sealed) => return None,
            (Api::Anthropic, Step::Ping) => named("ping", r#"{"type":"ping"}"#),
            (Api::Anthropic, Step::Error(kind)) => {
                named("error", &format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"no"}}}}"#))
            }
            (Api::Anthropic, _) => return None,
            (Api::Responses, Step::Say(text)) => {
                let delta = json(text);
                named(
                    "response.output_text.delta",
                    &format!(r#"{{"type":"response.output_text.delta","delta":{delta}}}"#),
                )
            }
            (Api::Responses, Step::Reason(text)) => named(
                "response.reasoning_summary_text.delta",
                &format!(r#"{{"type":"response.reasoning_summary_text.delta","delta":{}}}"#, json(text)),
            ),
            (Api::Responses, Step::Refuse(text)) => {
                let delta = json(text);
                named("response.refusal.delta", &format!(r#"{{"type":"response.refusal.delta","delta":{delta}}}"#))
            }
            (Api::Responses, _) => return None,
        })
    }

    pub(super) fn opening(&self) -> Option<String> {
        let (input, cached) = self.usage.map_or((10, 0), |(input, _, _, cached)| (input, cached));
        match self.api {
            Api::Chat => None,
            Api::Anthropic => Some(named(
                "message_start",
                &format!(
                    r#"{{"type":"message_start","message":{{"id":"msg_1","model":"{}","usage":{{"input_tokens":{},"cache_read_input_tokens":{cached},"output_tokens":1}}}}}}"#,
                    self.answered,
                    input - cached
                ),
            )),
            Api::Responses => Some(named(
                "response.created",
                &format!(
                    r#"{{"type":"response.created","response":{{"id":"resp_1","model":"{}","status":"in_progress"}}}}"#,
                    self.answered
                ),
            )),
        }
    }

    pub(super) fn closing(&self, reason: &str) -> String {
        let (input, output, reasoning, cached) = self.usage.unwrap_or_default();
        match self.api {
            Api::Chat => {
                let mut text = data(&format!(
                    r#"{{"id":"{}","model":"{}","choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]}}"#,
                    self.id, self.answered
                ));
                if self.usage.is_some() {
                    text += &data(&format!(
                        r#"{{"id":"{}","model":"{}","choices":[],"usage":{{"prompt_tokens":{input},"completion_tokens":{output},"prompt_tokens_details":{{"cached_tokens":{cached}}},"completion_tokens_details":{{"reasoning_tokens":{reasoning}}}}}}}"#,
                        self.id, self.answered
                    ));
                }
                text + &data("[DONE]")
            }
            Api::Anthropic => {
                let reason = if reason == "stop" { "end_turn" } else { reason };
                let output = self.usage.map_or(5, |_| output);
                named(
                    "message_delta",
                    &format!(
                        r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}"}},"usage":{{"output_tokens":{output}}}}}"#
                    ),
                ) + &named("message_stop", r#"{"type":"message_stop"}"#)
            }
            Api::Responses => named(
                "response.completed",
                &format!(
                    r#"{{"type":"response.completed","response":{{"id":"resp_1","model":"{}","status":"completed","usage":{{"input_tokens":{input},"output_tokens":{output},"input_tokens_details":{{"cached_tokens":{cached}}},"output_tokens_details":{{"reasoning_tokens":{reasoning}}}}}}}}}"#,
                    self.answered
                ),
            ),
        }
    }
}

pub(super) fn framed(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n", body.len())
}

fn data(json: &str) -> String {
    format!("data: {json}\n\n")
}

fn named(name: &str, json: &str) -> String {
    format!("event: {name}\ndata: {json}\n\n")
}
