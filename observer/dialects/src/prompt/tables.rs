//! Where each API puts what.

use super::super::json::want::{JsonExtract, JsonQuery};

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PromptPart {
    /// The whole body.
    Body,
    /// A message.
    Role,
    Message,
    /// Its content where that is a string.
    Content,
    ContentHash,
    /// The beginning of a string that may be the result of a tool.
    Head,
    /// One part of its content.
    Part,
    PartText,
    Prefix,
    /// A call of a tool.
    Call,
    CallId,
    CallName,
    CallArguments,
    /// The same as written.
    CallText,
    /// The result of one.
    ResultId,
    ResultName,
    ResultContent,
    ResultError,
    ResultStatus,
    /// A member of a result that only errors have.
    ErrorMember,
    /// What an item of `input` is.
    ItemType,
    Reasoning,
    System,
    SystemText,
    SystemHash,
    /// A definition of a tool.
    Tool,
    ToolName,
    /// What it says of its arguments, as written.
    Schema,
    Temperature,
    Effort,
    Budget,
    Mark,
    ServerHeld,
}

pub(super) type PromptTable = &'static [JsonQuery<PromptPart>];

const fn at(path: &'static [&'static str], what: PromptPart) -> JsonQuery<PromptPart> {
    let take = match what {
        PromptPart::Content | PromptPart::System | PromptPart::Reasoning => JsonExtract::Chars,
        PromptPart::Message | PromptPart::Call | PromptPart::Mark => JsonExtract::Close,
        PromptPart::CallText | PromptPart::Schema => JsonExtract::Raw,
        PromptPart::Role
        | PromptPart::Head
        | PromptPart::Prefix
        | PromptPart::CallName
        | PromptPart::ResultName
        | PromptPart::ResultError
        | PromptPart::ResultStatus
        | PromptPart::ItemType
        | PromptPart::ToolName
        | PromptPart::Temperature
        | PromptPart::Effort
        | PromptPart::Budget => JsonExtract::Value,
        _ => JsonExtract::Hash,
    };
    JsonQuery { path, take, what }
}

/// The table for a dialect. Most APIs speak like OpenAI's chat.
pub(super) fn table(api: &str) -> PromptTable {
    match api {
        // Most bodies of InvokeModel are Anthropic's; of others the same fields are read.
        "anthropic.messages" | "bedrock.invoke_model" => ANTHROPIC,
        "openai.responses" => RESPONSES,
        _ if api.starts_with("anthropic") => ANTHROPIC,
        _ if api.contains("converse") => CONVERSE,
        _ if ["google", "gemini", "vertex", "gcp"].iter().any(|name| api.starts_with(name)) => GEMINI,
        _ => CHAT,
    }
}

static CHAT: PromptTable = &[
    at(&["messages", "[]", "role"], PromptPart::Role),
    at(&["messages", "[]", "content"], PromptPart::Content),
    at(&["messages", "[]", "content"], PromptPart::ContentHash),
    at(&["messages", "[]", "content"], PromptPart::Head),
    at(&["messages", "[]", "content", "[]", "text"], PromptPart::PartText),
    at(&["messages", "[]", "content", "[]", "cache_control"], PromptPart::Mark),
    at(&["messages", "[]", "content", "[]"], PromptPart::Part),
    at(&["messages", "[]", "prefix"], PromptPart::Prefix),
    at(&["messages", "[]", "tool_calls", "[]", "id"], PromptPart::CallId),
    at(&["messages", "[]", "tool_calls", "[]", "function", "name"], PromptPart::CallName),
    at(&["messages", "[]", "tool_calls", "[]", "function", "arguments"], PromptPart::CallArguments),
    at(&["messages", "[]", "tool_calls", "[]", "function", "arguments"], PromptPart::CallText),
    at(&["messages", "[]", "tool_calls", "[]"], PromptPart::Call),
    at(&["messages", "[]", "tool_call_id"], PromptPart::ResultId),
    at(&["messages", "[]", "tool_name"], PromptPart::ResultName),
    at(&["messages", "[]", "reasoning_content"], PromptPart::Reasoning),
    at(&["messages", "[]", "thinking"], PromptPart::Reasoning),
    at(&["messages", "[]"], PromptPart::Message),
    at(&["prompt"], PromptPart::Content),
    at(&["prompt"], PromptPart::ContentHash),
    at(&["tools", "[]", "function", "name"], PromptPart::ToolName),
    at(&["tools", "[]", "function", "parameters"], PromptPart::Schema),
    at(&["tools", "[]", "name"], PromptPart::ToolName),
    at(&["tools", "[]", "type"], PromptPart::ToolName),
    at(&["tools", "[]"], PromptPart::Tool),
    at(&["temperature"], PromptPart::Temperature),
    at(&["reasoning_effort"], PromptPart::Effort),
    at(&["reasoning", "effort"], PromptPart::Effort),
    at(&["reasoning", "max_tokens"], PromptPart::Budget),
    at(&["thinking", "budget_tokens"], PromptPart::Budget),
    at(&["thinking", "token_budget"], PromptPart::Budget),
    at(&[], PromptPart::Body),
];

static RESPONSES: PromptTable = &[
    at(&["input"], PromptPart::Content),
    at(&["input"], PromptPart::ContentHash),
    at(&["input", "[]", "role"], PromptPart::Role),
    at(&["input", "[]", "type"], PromptPart::ItemType),
    at(&["input", "[]", "content"], PromptPart::Content),
    at(&["input", "[]", "content"], PromptPart::ContentHash),
    at(&["input", "[]", "content", "[]", "text"], PromptPart::PartText),
    at(&["input", "[]", "content", "[]"], PromptPart::Part),
    at(&["input", "[]", "call_id"], PromptPart::CallId),
    at(&["input", "[]", "name"], PromptPart::CallName),
    at(&["input", "[]", "arguments"], PromptPart::CallArguments),
    at(&["input", "[]", "arguments"], PromptPart::CallText),
    at(&["input", "[]", "output"], PromptPart::ResultContent),
    at(&["input", "[]", "output"], PromptPart::Head),
    at(&["input", "[]", "encrypted_content"], PromptPart::Reasoning),
    at(&["input", "[]"], PromptPart::Message),
    at(&["instructions"], PromptPart::System),
    at(&["instructions"], PromptPart::SystemHash),
    at(&["tools", "[]", "name"], PromptPart::ToolName),
    at(&["tools", "[]", "parameters"], PromptPart::Schema),
    at(&["tools", "[]", "type"], PromptPart::ToolName),
    at(&["tools", "[]"], PromptPart::Tool),
    at(&["temperature"], PromptPart::Temperature),
    at(&["reasoning", "effort"], PromptPart::Effort),
    at(&["previous_response_id"], PromptPart::ServerHeld),
    at(&["conversation"], PromptPart::ServerHeld),
    at(&[], PromptPart::Body),
];

static ANTHROPIC: PromptTable = &[
    at(&["system"], PromptPart::System),
    at(&["system"], PromptPart::SystemHash),
    at(&["system", "[]", "text"], PromptPart::SystemText),
    at(&["system", "[]", "cache_control"], PromptPart::Mark),
    at(&["messages", "[]", "role"], PromptPart::Role),
    at(&["messages", "[]", "content"], PromptPart::Content),
    at(&["messages", "[]", "content"], PromptPart::ContentHash),
    at(&["messages", "[]", "content", "[]", "text"], PromptPart::PartText),
    at(&["messages", "[]", "content", "[]", "id"], PromptPart::CallId),
    at(&["messages", "[]", "content", "[]", "name"], PromptPart::CallName),
    at(&["messages", "[]", "content", "[]", "input"], PromptPart::CallArguments),
    at(&["messages", "[]", "content", "[]", "input"], PromptPart::CallText),
    at(&["messages", "[]", "content", "[]", "tool_use_id"], PromptPart::ResultId),
    at(&["messages", "[]", "content", "[]", "content"], PromptPart::ResultContent),
    at(&["messages", "[]", "content", "[]", "content"], PromptPart::Head),
    at(&["messages", "[]", "content", "[]", "is_error"], PromptPart::ResultError),
    at(&["messages", "[]", "content", "[]", "thinking"], PromptPart::Reasoning),
    at(&["messages", "[]", "content", "[]", "cache_control"], PromptPart::Mark),
    at(&["messages", "[]", "content", "[]"], PromptPart::Part),
    at(&["messages", "[]"], PromptPart::Message),
    at(&["tools", "[]", "name"], PromptPart::ToolName),
    at(&["tools", "[]", "input_schema"], PromptPart::Schema),
    at(&["tools", "[]", "cache_control"], PromptPart::Mark),
    at(&["tools", "[]"], PromptPart::Tool),
    at(&["temperature"], PromptPart::Temperature),
    at(&["output_config", "effort"], PromptPart::Effort),
    at(&["thinking", "budget_tokens"], PromptPart::Budget),
    at(&[], PromptPart::Body),
];

static GEMINI: PromptTable = &[
    at(&["systemInstruction", "parts", "[]", "text"], PromptPart::SystemText),
    at(&["system_instruction", "parts", "[]", "text"], PromptPart::SystemText),
    at(&["contents", "[]", "role"], PromptPart::Role),
    at(&["contents", "[]", "parts", "[]", "text"], PromptPart::PartText),
    at(&["contents", "[]", "parts", "[]", "functionCall", "id"], PromptPart::CallId),
    at(&["contents", "[]", "parts", "[]", "functionCall", "name"], PromptPart::CallName),
    at(&["contents", "[]", "parts", "[]", "functionCall", "args"], PromptPart::CallArguments),
    at(&["contents", "[]", "parts", "[]", "functionCall", "args"], PromptPart::CallText),
    at(&["contents", "[]", "parts", "[]", "functionResponse", "id"], PromptPart::ResultId),
    at(&["contents", "[]", "parts", "[]", "functionResponse", "name"], PromptPart::ResultName),
    at(&["contents", "[]", "parts", "[]", "functionResponse", "response"], PromptPart::ResultContent),
    at(&["contents", "[]", "parts", "[]", "functionResponse", "response", "error"], PromptPart::ErrorMember),
    at(&["contents", "[]", "parts", "[]", "thoughtSignature"], PromptPart::Reasoning),
    at(&["contents", "[]", "parts", "[]"], PromptPart::Part),
    at(&["contents", "[]"], PromptPart::Message),
    at(&["tools", "[]", "functionDeclarations", "[]", "name"], PromptPart::ToolName),
    at(&["tools", "[]", "functionDeclarations", "[]", "parameters"], PromptPart::Schema),
    at(&["tools", "[]", "functionDeclarations", "[]"], PromptPart::Tool),
    at(&["generationConfig", "temperature"], PromptPart::Temperature),
    at(&["generationConfig", "thinkingConfig", "thinkingLevel"], PromptPart::Effort),
    at(&["generationConfig", "thinkingConfig", "thinkingBudget"], PromptPart::Budget),
    at(&["cachedContent"], PromptPart::ServerHeld),
    at(&[], PromptPart::Body),
];

static CONVERSE: PromptTable = &[
    at(&["system", "[]", "text"], PromptPart::SystemText),
    at(&["system", "[]", "cachePoint"], PromptPart::Mark),
    at(&["messages", "[]", "role"], PromptPart::Role),
    at(&["messages", "[]", "content", "[]", "text"], PromptPart::PartText),
    at(&["messages", "[]", "content", "[]", "cachePoint"], PromptPart::Mark),
    at(&["messages", "[]", "content", "[]", "toolUse", "toolUseId"], PromptPart::CallId),
    at(&["messages", "[]", "content", "[]", "toolUse", "name"], PromptPart::CallName),
    at(&["messages", "[]", "content", "[]", "toolUse", "input"], PromptPart::CallArguments),
    at(&["messages", "[]", "content", "[]", "toolUse", "input"], PromptPart::CallText),
    at(&["messages", "[]", "content", "[]", "toolResult", "toolUseId"], PromptPart::ResultId),
    at(&["messages", "[]", "content", "[]", "toolResult", "content"], PromptPart::ResultContent),
    at(&["messages", "[]", "content", "[]", "toolResult", "status"], PromptPart::ResultStatus),
    at(&["messages", "[]", "content", "[]", "reasoningContent", "reasoningText", "text"], PromptPart::Reasoning),
    at(&["messages", "[]", "content", "[]"], PromptPart::Part),
    at(&["messages", "[]"], PromptPart::Message),
    at(&["toolConfig", "tools", "[]", "toolSpec", "name"], PromptPart::ToolName),
    at(&["toolConfig", "tools", "[]", "toolSpec", "inputSchema", "json"], PromptPart::Schema),
    at(&["toolConfig", "tools", "[]"], PromptPart::Tool),
    at(&["inferenceConfig", "temperature"], PromptPart::Temperature),
    at(&["additionalModelRequestFields", "thinking", "budget_tokens"], PromptPart::Budget),
    at(&[], PromptPart::Body),
];
