//! Where each API puts what.

use super::super::json::want::{Take, Want};

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
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

pub(super) type Table = &'static [Want<Ask>];

const fn at(path: &'static [&'static str], what: Ask) -> Want<Ask> {
    let take = match what {
        Ask::Content | Ask::System | Ask::Reasoning => Take::Chars,
        Ask::Message | Ask::Call | Ask::Mark => Take::Close,
        Ask::CallText | Ask::Schema => Take::Raw,
        Ask::Role
        | Ask::Head
        | Ask::Prefix
        | Ask::CallName
        | Ask::ResultName
        | Ask::ResultError
        | Ask::ResultStatus
        | Ask::ItemType
        | Ask::ToolName
        | Ask::Temperature
        | Ask::Effort
        | Ask::Budget => Take::Value,
        _ => Take::Hash,
    };
    Want { path, take, what }
}

/// The table for a dialect. Most APIs speak like OpenAI's chat.
pub(super) fn table(api: &str) -> Table {
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

static CHAT: Table = &[
    at(&["messages", "[]", "role"], Ask::Role),
    at(&["messages", "[]", "content"], Ask::Content),
    at(&["messages", "[]", "content"], Ask::ContentHash),
    at(&["messages", "[]", "content"], Ask::Head),
    at(&["messages", "[]", "content", "[]", "text"], Ask::PartText),
    at(&["messages", "[]", "content", "[]", "cache_control"], Ask::Mark),
    at(&["messages", "[]", "content", "[]"], Ask::Part),
    at(&["messages", "[]", "prefix"], Ask::Prefix),
    at(&["messages", "[]", "tool_calls", "[]", "id"], Ask::CallId),
    at(&["messages", "[]", "tool_calls", "[]", "function", "name"], Ask::CallName),
    at(&["messages", "[]", "tool_calls", "[]", "function", "arguments"], Ask::CallArguments),
    at(&["messages", "[]", "tool_calls", "[]", "function", "arguments"], Ask::CallText),
    at(&["messages", "[]", "tool_calls", "[]"], Ask::Call),
    at(&["messages", "[]", "tool_call_id"], Ask::ResultId),
    at(&["messages", "[]", "tool_name"], Ask::ResultName),
    at(&["messages", "[]", "reasoning_content"], Ask::Reasoning),
    at(&["messages", "[]", "thinking"], Ask::Reasoning),
    at(&["messages", "[]"], Ask::Message),
    at(&["prompt"], Ask::Content),
    at(&["prompt"], Ask::ContentHash),
    at(&["tools", "[]", "function", "name"], Ask::ToolName),
    at(&["tools", "[]", "function", "parameters"], Ask::Schema),
    at(&["tools", "[]", "name"], Ask::ToolName),
    at(&["tools", "[]", "type"], Ask::ToolName),
    at(&["tools", "[]"], Ask::Tool),
    at(&["temperature"], Ask::Temperature),
    at(&["reasoning_effort"], Ask::Effort),
    at(&["reasoning", "effort"], Ask::Effort),
    at(&["reasoning", "max_tokens"], Ask::Budget),
    at(&["thinking", "budget_tokens"], Ask::Budget),
    at(&["thinking", "token_budget"], Ask::Budget),
    at(&[], Ask::Body),
];

static RESPONSES: Table = &[
    at(&["input"], Ask::Content),
    at(&["input"], Ask::ContentHash),
    at(&["input", "[]", "role"], Ask::Role),
    at(&["input", "[]", "type"], Ask::ItemType),
    at(&["input", "[]", "content"], Ask::Content),
    at(&["input", "[]", "content"], Ask::ContentHash),
    at(&["input", "[]", "content", "[]", "text"], Ask::PartText),
    at(&["input", "[]", "content", "[]"], Ask::Part),
    at(&["input", "[]", "call_id"], Ask::CallId),
    at(&["input", "[]", "name"], Ask::CallName),
    at(&["input", "[]", "arguments"], Ask::CallArguments),
    at(&["input", "[]", "arguments"], Ask::CallText),
    at(&["input", "[]", "output"], Ask::ResultContent),
    at(&["input", "[]", "output"], Ask::Head),
    at(&["input", "[]", "encrypted_content"], Ask::Reasoning),
    at(&["input", "[]"], Ask::Message),
    at(&["instructions"], Ask::System),
    at(&["instructions"], Ask::SystemHash),
    at(&["tools", "[]", "name"], Ask::ToolName),
    at(&["tools", "[]", "parameters"], Ask::Schema),
    at(&["tools", "[]", "type"], Ask::ToolName),
    at(&["tools", "[]"], Ask::Tool),
    at(&["temperature"], Ask::Temperature),
    at(&["reasoning", "effort"], Ask::Effort),
    at(&["previous_response_id"], Ask::ServerHeld),
    at(&["conversation"], Ask::ServerHeld),
    at(&[], Ask::Body),
];

static ANTHROPIC: Table = &[
    at(&["system"], Ask::System),
    at(&["system"], Ask::SystemHash),
    at(&["system", "[]", "text"], Ask::SystemText),
    at(&["system", "[]", "cache_control"], Ask::Mark),
    at(&["messages", "[]", "role"], Ask::Role),
    at(&["messages", "[]", "content"], Ask::Content),
    at(&["messages", "[]", "content"], Ask::ContentHash),
    at(&["messages", "[]", "content", "[]", "text"], Ask::PartText),
    at(&["messages", "[]", "content", "[]", "id"], Ask::CallId),
    at(&["messages", "[]", "content", "[]", "name"], Ask::CallName),
    at(&["messages", "[]", "content", "[]", "input"], Ask::CallArguments),
    at(&["messages", "[]", "content", "[]", "input"], Ask::CallText),
    at(&["messages", "[]", "content", "[]", "tool_use_id"], Ask::ResultId),
    at(&["messages", "[]", "content", "[]", "content"], Ask::ResultContent),
    at(&["messages", "[]", "content", "[]", "content"], Ask::Head),
    at(&["messages", "[]", "content", "[]", "is_error"], Ask::ResultError),
    at(&["messages", "[]", "content", "[]", "thinking"], Ask::Reasoning),
    at(&["messages", "[]", "content", "[]", "cache_control"], Ask::Mark),
    at(&["messages", "[]", "content", "[]"], Ask::Part),
    at(&["messages", "[]"], Ask::Message),
    at(&["tools", "[]", "name"], Ask::ToolName),
    at(&["tools", "[]", "input_schema"], Ask::Schema),
    at(&["tools", "[]", "cache_control"], Ask::Mark),
    at(&["tools", "[]"], Ask::Tool),
    at(&["temperature"], Ask::Temperature),
    at(&["output_config", "effort"], Ask::Effort),
    at(&["thinking", "budget_tokens"], Ask::Budget),
    at(&[], Ask::Body),
];

static GEMINI: Table = &[
    at(&["systemInstruction", "parts", "[]", "text"], Ask::SystemText),
    at(&["system_instruction", "parts", "[]", "text"], Ask::SystemText),
    at(&["contents", "[]", "role"], Ask::Role),
    at(&["contents", "[]", "parts", "[]", "text"], Ask::PartText),
    at(&["contents", "[]", "parts", "[]", "functionCall", "id"], Ask::CallId),
    at(&["contents", "[]", "parts", "[]", "functionCall", "name"], Ask::CallName),
    at(&["contents", "[]", "parts", "[]", "functionCall", "args"], Ask::CallArguments),
    at(&["contents", "[]", "parts", "[]", "functionCall", "args"], Ask::CallText),
    at(&["contents", "[]", "parts", "[]", "functionResponse", "id"], Ask::ResultId),
    at(&["contents", "[]", "parts", "[]", "functionResponse", "name"], Ask::ResultName),
    at(&["contents", "[]", "parts", "[]", "functionResponse", "response"], Ask::ResultContent),
    at(&["contents", "[]", "parts", "[]", "functionResponse", "response", "error"], Ask::ErrorMember),
    at(&["contents", "[]", "parts", "[]", "thoughtSignature"], Ask::Reasoning),
    at(&["contents", "[]", "parts", "[]"], Ask::Part),
    at(&["contents", "[]"], Ask::Message),
    at(&["tools", "[]", "functionDeclarations", "[]", "name"], Ask::ToolName),
    at(&["tools", "[]", "functionDeclarations", "[]", "parameters"], Ask::Schema),
    at(&["tools", "[]", "functionDeclarations", "[]"], Ask::Tool),
    at(&["generationConfig", "temperature"], Ask::Temperature),
    at(&["generationConfig", "thinkingConfig", "thinkingLevel"], Ask::Effort),
    at(&["generationConfig", "thinkingConfig", "thinkingBudget"], Ask::Budget),
    at(&["cachedContent"], Ask::ServerHeld),
    at(&[], Ask::Body),
];

static CONVERSE: Table = &[
    at(&["system", "[]", "text"], Ask::SystemText),
    at(&["system", "[]", "cachePoint"], Ask::Mark),
    at(&["messages", "[]", "role"], Ask::Role),
    at(&["messages", "[]", "content", "[]", "text"], Ask::PartText),
    at(&["messages", "[]", "content", "[]", "cachePoint"], Ask::Mark),
    at(&["messages", "[]", "content", "[]", "toolUse", "toolUseId"], Ask::CallId),
    at(&["messages", "[]", "content", "[]", "toolUse", "name"], Ask::CallName),
    at(&["messages", "[]", "content", "[]", "toolUse", "input"], Ask::CallArguments),
    at(&["messages", "[]", "content", "[]", "toolUse", "input"], Ask::CallText),
    at(&["messages", "[]", "content", "[]", "toolResult", "toolUseId"], Ask::ResultId),
    at(&["messages", "[]", "content", "[]", "toolResult", "content"], Ask::ResultContent),
    at(&["messages", "[]", "content", "[]", "toolResult", "status"], Ask::ResultStatus),
    at(&["messages", "[]", "content", "[]", "reasoningContent", "reasoningText", "text"], Ask::Reasoning),
    at(&["messages", "[]", "content", "[]"], Ask::Part),
    at(&["messages", "[]"], Ask::Message),
    at(&["toolConfig", "tools", "[]", "toolSpec", "name"], Ask::ToolName),
    at(&["toolConfig", "tools", "[]", "toolSpec", "inputSchema", "json"], Ask::Schema),
    at(&["toolConfig", "tools", "[]"], Ask::Tool),
    at(&["inferenceConfig", "temperature"], Ask::Temperature),
    at(&["additionalModelRequestFields", "thinking", "budget_tokens"], Ask::Budget),
    at(&[], Ask::Body),
];
