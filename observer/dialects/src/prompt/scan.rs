//! Puts a prompt together from what the scanner finds, in whatever order the members come.

use super::super::json::scan::JsonScanner;
use super::super::json::want::JsonMatch;
use super::tables::{PromptPart, table};
use super::{HiddenText, MessageRole, Prompt, ResultTrouble, ToolCall, ToolDefinition, ToolResult};
use capture::hash::mix;
use capture::limits;
use capture::proto::Salt;

/// Reads a request body as it is written.
pub struct PromptScan {
    scanner: Option<Box<JsonScanner<PromptPart>>>,
    build: Build,
}

/// The prompt so far, and the message, part, call and tool being read.
#[derive(Default)]
struct Build {
    prompt: Prompt,
    history: u64,
    turn: u64,
    system: u64,
    /// Texts of a system prompt that stands beside the messages: as if it were one message.
    system_texts: u64,
    tools: u64,
    message: Message,
    part: Part,
    tool: Option<Box<str>>,
    schema: Option<HiddenText>,
    /// Bytes of texts kept so far.
    raw: usize,
    /// A string has just been found where an array may stand too.
    string: bool,
}

#[derive(Default)]
struct Message {
    role: MessageRole,
    role_seen: bool,
    texts: u64,
    has_text: bool,
    last_text: Option<u64>,
    /// Calls, results and parts that are no text.
    others: u64,
    prefix: bool,
    results: usize,
}

#[derive(Default)]
struct Part {
    text: Option<u64>,
    id: Option<u64>,
    name: Option<Box<str>>,
    arguments: Option<u64>,
    text_of_call: Option<HiddenText>,
    trouble: ResultTrouble,
    result_id: Option<u64>,
    result_name: Option<Box<str>>,
    content: Option<u64>,
    is_error: bool,
    error_like: bool,
    reasoning: bool,
}

impl PromptScan {
    /// For a body of this dialect.
    #[must_use]
    pub fn new(api: &str, salt: &Salt) -> Self {
        Self { scanner: Some(Box::new(JsonScanner::with_hashes(table(api), salt))), build: Build::default() }
    }

    /// A piece of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        let build = &mut self.build;
        build.prompt.bytes = build.prompt.bytes.saturating_add(bytes.len() as u64);
        if let Some(scanner) = &mut self.scanner {
            scanner.push(bytes, &mut |ask, found| build.note(ask, found));
        }
    }

    /// The body ended; memory is given back.
    pub fn end(&mut self, lost: bool) -> Prompt {
        let whole = self.scanner.take().is_some_and(|scanner| scanner.complete());
        let mut build = std::mem::take(&mut self.build);
        build.lone_message();
        Prompt { truncated: lost || !whole, ..build.prompt }
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        let prompt = &self.build.prompt;
        let lists = prompt.chain.len() * 8
            + prompt.tools.len() * (size_of::<ToolDefinition>() + limits::TOOL_NAME)
            + prompt.calls.len() * (size_of::<ToolCall>() + limits::TOOL_NAME)
            + prompt.results.len() * size_of::<ToolResult>()
            + self.build.raw.min(limits::RAW_VALUES);
        self.scanner.as_ref().map_or(0, |scanner| size_of_val(&**scanner) + scanner.held()) + lists
    }
}

impl Build {
    fn note(&mut self, ask: PromptPart, found: JsonMatch<'_>) {
        match (ask, found) {
            (PromptPart::Role, JsonMatch::Text(role)) => {
                self.message.role = MessageRole::of(role);
                self.message.role_seen = true;
            }
            (PromptPart::Content | PromptPart::System, JsonMatch::Chars(_)) => self.string = true,
            (PromptPart::ContentHash, JsonMatch::Hash(hash)) if std::mem::take(&mut self.string) => {
                self.message.text(hash);
            }
            (PromptPart::PartText, JsonMatch::Hash(hash)) => self.part.text = Some(hash),
            (PromptPart::Part, JsonMatch::Hash(hash)) => self.part(hash),
            (PromptPart::Message, JsonMatch::Close) => self.message(),
            (PromptPart::Prefix, JsonMatch::Bool(prefix)) => self.message.prefix = prefix,
            (PromptPart::SystemHash, JsonMatch::Hash(hash)) if std::mem::take(&mut self.string) => {
                self.system_text(hash);
            }
            (PromptPart::SystemText, JsonMatch::Hash(hash)) => self.system_text(hash),
            (PromptPart::Body, JsonMatch::Hash(hash)) => self.prompt.body = hash,
            (PromptPart::Call, JsonMatch::Close) => self.call(),
            (PromptPart::Tool, JsonMatch::Hash(hash)) => self.tool(hash),
            (PromptPart::ToolName, JsonMatch::Text(name)) => self.tool_name(name),
            (PromptPart::Reasoning, JsonMatch::Chars(1..)) => {
                self.part.reasoning = true;
                self.prompt.reasoning_resent = true;
            }
            (PromptPart::Mark, JsonMatch::Close) => {
                self.prompt.cache_marks += 1;
                self.prompt.last_mark = Some(self.prompt.bytes);
            }
            (PromptPart::ServerHeld, JsonMatch::Hash(hash)) => self.prompt.server_held = Some(hash),
            _ => self.detail(ask, found),
        }
    }

    fn detail(&mut self, ask: PromptPart, found: JsonMatch<'_>) {
        let part = &mut self.part;
        match (ask, found) {
            (PromptPart::CallId, JsonMatch::Hash(id)) => part.id = Some(id),
            (PromptPart::CallName, JsonMatch::Text(name)) => part.name = Some(short(name)),
            (PromptPart::CallArguments, JsonMatch::Hash(hash)) => part.arguments = Some(hash),
            (PromptPart::ResultId, JsonMatch::Hash(id)) => part.result_id = Some(id),
            (PromptPart::ResultName, JsonMatch::Text(name)) => part.result_name = Some(short(name)),
            (PromptPart::ResultContent, JsonMatch::Hash(hash)) => part.content = Some(hash),
            (PromptPart::ResultError, JsonMatch::Bool(is)) => part.is_error = is,
            (PromptPart::ResultStatus, JsonMatch::Text(status)) => part.is_error = status == "error",
            (PromptPart::Head, JsonMatch::Text(text)) => {
                part.error_like = like_an_error(text);
                part.trouble = trouble(text);
            }
            (PromptPart::CallText | PromptPart::Schema, JsonMatch::Raw(text)) => self.keep(ask, text),
            (PromptPart::ErrorMember, JsonMatch::Hash(_)) => part.error_like = true,
            (PromptPart::ItemType, JsonMatch::Text("function_call_output")) => self.message.role = MessageRole::Tool,
            (PromptPart::ItemType, JsonMatch::Text("function_call" | "reasoning")) => {
                self.message.role = MessageRole::Assistant;
            }
            (PromptPart::Temperature, JsonMatch::Number(number)) => self.prompt.temperature = Some(number.0.into()),
            (PromptPart::Effort, JsonMatch::Text(word)) => self.prompt.effort = Some(short(word)),
            (PromptPart::Budget, JsonMatch::Number(number)) => self.prompt.budget = number.count(),
            _ => {}
        }
    }

    /// A part of a message ended: text, a call, a result, or something opaque.
    fn part(&mut self, whole: u64) {
        if let Some(text) = self.part.text.take() {
            self.message.text(text);
        } else if self.part.arguments.is_some() || self.part.content.is_some() || self.part.result_id.is_some() {
            self.call();
        } else if !self.part.reasoning {
            self.message.others = mix(self.message.others, whole);
        }
        self.part = Part::default();
    }

    /// A call or a result ended, wherever it stood.
    fn call(&mut self) {
        let message = self.prompt.messages;
        let Part {
            id,
            name,
            arguments,
            text_of_call,
            result_id,
            result_name,
            content,
            is_error,
            error_like,
            trouble,
            ..
        } = std::mem::take(&mut self.part);
        if let Some(arguments) = arguments {
            let name = name.unwrap_or_default();
            self.message.others = mix(self.message.others, arguments);
            push(&mut self.prompt.calls, ToolCall { id, name, arguments, text: text_of_call, message });
        } else if let Some(content) = content {
            self.message.others = mix(self.message.others, content);
            self.message.results += 1;
            let (id, offset) = (result_id.or(id), self.prompt.bytes);
            let result = ToolResult {
                id,
                name: result_name,
                content,
                is_error,
                error_like,
                trouble,
                message,
                offset,
                before_user: false,
            };
            push(&mut self.prompt.results, result);
        }
    }

    fn message(&mut self) {
        let mut message = std::mem::take(&mut self.message);
        // A result that is a message of its own (chat), or an item of `input`.
        if message.role == MessageRole::Tool && self.part.content.is_none() {
            self.part.content = message.last_text;
            (message.has_text, message.texts) = (false, 0);
        }
        self.message = message;
        self.call();
        let message = std::mem::take(&mut self.message);
        self.part = Part::default();
        if message.role == MessageRole::System {
            return self.system(message.texts);
        }
        self.history = mix(mix(self.history, message.role as u64 + 1), mix(message.texts, message.others));
        self.prompt.messages = self.prompt.messages.saturating_add(1);
        if self.prompt.chain.len() >= limits::PROMPT_CHAIN {
            self.prompt.chain.remove(0);
        }
        self.prompt.chain.push(self.history);
        self.prompt.last_role = message.role;
        self.prompt.prefill = message.last_text.filter(|_| message.role == MessageRole::Assistant);
        self.prompt.prefix_mark = message.prefix;
        if message.role == MessageRole::User && message.has_text {
            self.user(&message);
        }
    }

    fn user(&mut self, message: &Message) {
        self.turn = mix(self.turn, message.texts);
        self.prompt.turn = Some(self.turn);
        self.prompt.turns = self.prompt.turns.saturating_add(1);
        self.prompt.first_user.get_or_insert(message.texts);
        self.prompt.last_user = Some(message.texts);
        let fresh = message.results;
        let old = self.prompt.results.len().saturating_sub(fresh);
        self.prompt.results.iter_mut().take(old).for_each(|result| result.before_user = true);
    }

    /// A prompt that is one string and no list of messages.
    fn lone_message(&mut self) {
        if self.prompt.messages == 0 && self.message.has_text && !self.message.role_seen {
            self.message.role = MessageRole::User;
            self.message();
        }
    }

    fn system(&mut self, texts: u64) {
        self.system = mix(self.system, texts);
        self.prompt.system = Some(self.system);
    }

    /// Keeps a text for as long as the request is looked at, within a cap for all of them.
    fn keep(&mut self, ask: PromptPart, text: &str) {
        self.raw += text.len();
        let kept = (self.raw <= limits::RAW_VALUES).then(|| HiddenText(text.into()));
        if ask == PromptPart::Schema {
            self.schema = kept;
        } else {
            self.part.text_of_call = kept;
        }
    }

    fn system_text(&mut self, text: u64) {
        self.system_texts = mix(self.system_texts, text);
        self.prompt.system = Some(mix(0, self.system_texts));
    }

    fn tool_name(&mut self, name: &str) {
        // `type` stands in for a tool that has no name, and may come before it or after.
        let is_type = matches!(name, "function" | "custom");
        if !is_type && (self.tool.is_none() || name.len() < limits::TOOL_NAME) {
            self.tool = Some(short(name));
        }
    }

    fn tool(&mut self, hash: u64) {
        let (name, schema) = (self.tool.take().unwrap_or_default(), self.schema.take());
        self.tools = self.tools.wrapping_add(mix(hash, 7));
        self.prompt.tools_hash = Some(self.tools);
        if self.prompt.tools.len() < limits::PROMPT_TOOLS {
            self.prompt.tools.push(ToolDefinition { name, hash, schema });
        }
    }
}

impl Message {
    fn text(&mut self, hash: u64) {
        self.texts = mix(self.texts, hash);
        self.has_text = true;
        self.last_text = Some(hash);
    }
}

/// How results begin that are errors, in lower case.
const ERRORS: &[&str] = &[
    "error",
    "{\"error\"",
    "{\"status\":\"error\"",
    "{\"is_error\":true",
    "{\"ok\":false",
    "exception",
    "traceback",
    "validationerror",
    "invalid ",
    "failed ",
];

/// Words of errors about arguments, and of those that pass.
const VALIDATION: &[&str] = &[
    "missing",
    "required",
    "unknown",
    "unexpected",
    "invalid",
    "validation",
    "must be",
    "not allowed",
    "unprocessable",
    "400",
    "422",
];
const TRANSIENT: &[&str] = &[
    "timeout",
    "timed out",
    "time-out",
    "rate limit",
    "too many requests",
    "unavailable",
    "connection",
    "temporar",
    "429",
    "502",
    "503",
    "504",
];

/// What the beginning of an error reads like.
fn trouble(text: &str) -> ResultTrouble {
    let start: String = text.chars().take(200).collect::<String>().to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| start.contains(word));
    if says(TRANSIENT) {
        ResultTrouble::Transient
    } else if says(VALIDATION) {
        ResultTrouble::Validation
    } else {
        ResultTrouble::Other
    }
}

/// The text begins like an error.
fn like_an_error(text: &str) -> bool {
    let start: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).take(40).collect();
    let dense = start.to_ascii_lowercase().replace(": ", ":").replace("{ ", "{");
    ERRORS.iter().any(|beginning| dense.trim_start().starts_with(beginning))
}

/// Keeps the newest.
fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() >= limits::PROMPT_CALLS {
        list.remove(0);
    }
    list.push(item);
}

fn short(name: &str) -> Box<str> {
    name.get(..name.floor_char_boundary(limits::TOOL_NAME)).unwrap_or(name).into()
}
