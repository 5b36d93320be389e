//! What a request says, without its words: salted hashes of messages, tools and tool results, so that a turn, a
//! conversation or a repeated call can be told again. No text is kept, and memory does not grow with the body.
//!
//! Two APIs put the same words in different places; the hash of a message is over its role and its
//! texts, so a turn that goes from one API to another keeps its hashes.

mod scan;
mod tables;
#[cfg(test)]
mod tests;

pub use scan::PromptScan;

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MessageRole {
    System,
    User,
    Assistant,
    /// The result of a tool, where it is a message of its own.
    Tool,
    #[default]
    Other,
}

impl MessageRole {
    fn of(word: &str) -> MessageRole {
        match word {
            "system" | "developer" => MessageRole::System,
            "user" | "human" => MessageRole::User,
            "assistant" | "model" | "ai" | "CHATBOT" => MessageRole::Assistant,
            "tool" | "function" => MessageRole::Tool,
            _ => MessageRole::Other,
        }
    }
}

/// What a request says. All hashes are salted: equal within a run of the observer, meaningless outside of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// The body was not seen whole: what is absent is unknown, and nothing may be concluded from a difference.
    pub truncated: bool,
    /// Bytes of the body.
    pub bytes: u64,
    /// The whole body but for members that change from call to call.
    pub body: u64,
    /// Messages that are no system prompt.
    pub messages: u32,
    /// The history after each of the last `limits::PROMPT_CHAIN` messages, oldest first: a hash
    /// over all messages so far.
    pub chain: Vec<u64>,
    /// Texts of all system messages.
    pub system: Option<u64>,
    /// What people said, all of it: the same in every attempt at one turn.
    pub turn: Option<u64>,
    /// Messages of people.
    pub turns: u32,
    pub first_user: Option<u64>,
    pub last_user: Option<u64>,
    /// Who spoke last.
    pub last_role: MessageRole,
    /// The text of a last message that is the assistant's: the answer is to go on from there.
    pub prefill: Option<u64>,
    /// The request says that the last message is to be continued (`prefix: true`).
    pub prefix_mark: bool,
    /// Definitions of all tools.
    pub tools_hash: Option<u64>,
    /// The first `limits::PROMPT_TOOLS` of them.
    pub tools: Vec<ToolDefinition>,
    /// Calls in the history, the last `limits::PROMPT_CALLS`.
    pub calls: Vec<ToolCall>,
    /// Results in the history, the last `limits::PROMPT_CALLS`.
    pub results: Vec<ToolResult>,
    /// As typed.
    pub temperature: Option<Box<str>>,
    /// Word for how hard to think (`reasoning_effort`, `reasoning.effort`, `output_config.effort`).
    pub effort: Option<Box<str>>,
    /// Tokens to think with, at most.
    pub budget: Option<u64>,
    /// Reasoning of earlier turns is sent again.
    pub reasoning_resent: bool,
    /// Marks for the provider's cache.
    pub cache_marks: u32,
    /// Body offset of the last mark, to the piece.
    pub last_mark: Option<u64>,
    /// The history lies with the provider under this id (`previous_response_id`, `conversation`, `cachedContent`).
    pub server_held: Option<u64>,
}

/// One tool offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolDefinition {
    /// Empty for tools of the provider that have a type only.
    pub name: Box<str>,
    /// The whole object but for cache marks.
    pub hash: u64,
    /// What it says of its arguments, until the request has been heard of.
    pub schema: Option<HiddenText>,
}

/// One call in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Hash of its id.
    pub id: Option<u64>,
    pub name: Box<str>,
    pub arguments: u64,
    /// The arguments as written, until the request has been heard of.
    pub text: Option<HiddenText>,
    /// Which message of the body it stands in.
    pub message: u32,
}

/// What the text of a failed result reads like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResultTrouble {
    /// Something about the arguments: a field that is missing, unknown or wrong.
    Validation,
    /// A time-out, a limit, a server that is not there.
    Transient,
    #[default]
    Other,
}

/// Text that a detector must read and nobody may see: it is not kept, and prints as its length.
#[derive(Clone, PartialEq, Eq)]
pub struct HiddenText(pub Box<str>);

impl std::fmt::Debug for HiddenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl ToolResult {
    /// The tool says that the call went wrong.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.is_error || self.error_like
    }
}

/// One result in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolResult {
    /// Hash of the id of its call.
    pub id: Option<u64>,
    /// Where the API names the tool beside the result.
    pub name: Option<Box<str>>,
    pub content: u64,
    /// The request marks it as an error. Text that only reads like one does not count.
    pub is_error: bool,
    /// The result's text begins like an error (`Error: …`, `{"error": …`): where the API has no mark.
    pub error_like: bool,
    /// What kind of error it reads like.
    pub trouble: ResultTrouble,
    /// Which message of the body it stands in.
    pub message: u32,
    /// How far into the body it ends, bytes, to the piece that was written.
    pub offset: u64,
    /// People have spoken since.
    pub before_user: bool,
}
