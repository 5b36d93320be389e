//! What a request asked for: one table of paths serves every dialect whose body is a JSON document.
//! What the address says (a model, a verb) is put in by the dialect; forms are read by `multipart`.

mod multipart;

use self::multipart::MultipartForm;
use super::json::scan::JsonScanner;
use super::json::want::{JsonExtract, JsonMatch, JsonQuery};
use super::path::{self, PathPreset};
use super::{RequestFacts, cap};
use capture::proto::RequestHead;
use capture::proto::body::is_media;
use capture::proto::headers::media_type;

#[derive(Clone, Copy, Debug)]
enum Ask {
    Model,
    Stream,
    Messages,
    /// Of two fields that together are the messages.
    MoreMessages,
    Tools,
    /// Functions inside one item of `Tools`.
    Functions,
    /// A newer name of the output limit, which outweighs the older one.
    Limit,
    OldLimit,
}

const fn ask(path: &'static [&'static str], what: Ask) -> JsonQuery<Ask> {
    let take = match what {
        Ask::Messages | Ask::MoreMessages | Ask::Tools | Ask::Functions => JsonExtract::Items,
        _ => JsonExtract::Value,
    };
    JsonQuery { path, take, what }
}

/// The names that the APIs give to the same things, in any order in the body.
static ASKS: &[JsonQuery<Ask>] = &[
    ask(&["model"], Ask::Model),
    ask(&["model_id"], Ask::Model),
    ask(&["modelId"], Ask::Model),
    ask(&["stream"], Ask::Stream),
    ask(&["messages"], Ask::Messages),
    ask(&["input"], Ask::Messages),
    ask(&["prompt"], Ask::Messages),
    // Gemini, Vertex.
    ask(&["contents"], Ask::Messages),
    // Mistral's conversations, TGI.
    ask(&["inputs"], Ask::Messages),
    // SGLang, text to speech.
    ask(&["text"], Ask::Messages),
    // Titan.
    ask(&["inputText"], Ask::Messages),
    // Cohere v1.
    ask(&["message"], Ask::MoreMessages),
    ask(&["chat_history"], Ask::MoreMessages),
    ask(&["tools"], Ask::Tools),
    ask(&["functions"], Ask::Tools),
    ask(&["toolConfig", "tools"], Ask::Tools),
    ask(&["tools", "[]", "functionDeclarations"], Ask::Functions),
    ask(&["tools", "[]", "function_declarations"], Ask::Functions),
    ask(&["max_completion_tokens"], Ask::Limit),
    ask(&["max_output_tokens"], Ask::Limit),
    ask(&["max_tokens"], Ask::OldLimit),
    ask(&["max_new_tokens"], Ask::OldLimit),
    ask(&["max_tokens_to_sample"], Ask::OldLimit),
    ask(&["max_gen_len"], Ask::OldLimit),
    ask(&["n_predict"], Ask::OldLimit),
    ask(&["generationConfig", "maxOutputTokens"], Ask::Limit),
    ask(&["generationConfig", "max_output_tokens"], Ask::Limit),
    ask(&["generation_config", "max_output_tokens"], Ask::Limit),
    ask(&["inferenceConfig", "maxTokens"], Ask::Limit),
    ask(&["inferenceConfig", "max_new_tokens"], Ask::OldLimit),
    ask(&["textGenerationConfig", "maxTokenCount"], Ask::OldLimit),
    ask(&["options", "num_predict"], Ask::OldLimit),
    ask(&["parameters", "max_new_tokens"], Ask::OldLimit),
    ask(&["sampling_params", "max_new_tokens"], Ask::OldLimit),
    ask(&["completion_args", "max_tokens"], Ask::OldLimit),
];

/// Reads a request body as it is written. Constant memory: `model` may stand behind ten megabytes of messages.
pub(crate) struct RequestScan {
    body: Body,
    facts: RequestSoFar,
    stream_default: Option<bool>,
}

enum Body {
    Json(Box<JsonScanner<Ask>>),
    Form(MultipartForm),
    /// Sound, of which nothing is read.
    Media,
    Over,
}

/// What was asked so far.
#[derive(Default)]
struct RequestSoFar {
    facts: RequestFacts,
    old_limit: Option<u64>,
    more_messages: Option<u32>,
    /// Items of `tools` that hold functions, and those functions.
    groups: u32,
    functions: u32,
}

impl RequestScan {
    /// For the request of `head`; what its address says (`preset`) stands in for what the body does
    /// not name, as an Azure deployment does for the model.
    #[must_use]
    pub(crate) fn new(head: &RequestHead, preset: PathPreset) -> Self {
        let PathPreset { model, stream, stream_default } = preset;
        let model = model.or_else(|| path::deployment(&head.path).map(str::to_owned));
        let facts = RequestSoFar {
            facts: RequestFacts { model, stream, ..RequestFacts::default() },
            ..RequestSoFar::default()
        };
        let body = match head.header("content-type") {
            Some(media) if is_media(&media_type(media.as_bytes())) => Body::Media,
            media => match media.and_then(multipart::boundary) {
                Some(mark) => Body::Form(MultipartForm::new(mark)),
                None => Body::Json(Box::new(JsonScanner::new(ASKS))),
            },
        };
        Self { body, facts, stream_default }
    }

    /// A piece of the body.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let facts = &mut self.facts;
        match &mut self.body {
            Body::Json(scanner) => scanner.push(bytes, &mut |ask, found| facts.note(ask, found)),
            Body::Form(form) => form.push(bytes, &mut |name, value| facts.field(name, value)),
            Body::Media | Body::Over => {}
        }
    }

    /// The body ended; the scanner's memory is given back.
    pub(crate) fn end(&mut self, lost: bool) -> RequestFacts {
        let whole = match std::mem::replace(&mut self.body, Body::Over) {
            Body::Json(scanner) => scanner.complete(),
            Body::Form(form) => form.complete(),
            Body::Media => true,
            Body::Over => false,
        };
        let mut facts = std::mem::take(&mut self.facts).settle();
        facts.truncated = lost || !whole;
        if !facts.truncated {
            facts.stream = facts.stream.or(self.stream_default);
        }
        facts
    }

    /// Bytes held now.
    #[must_use]
    pub(crate) fn held(&self) -> usize {
        let body = match &self.body {
            Body::Json(scanner) => size_of_val(&**scanner) + scanner.held(),
            Body::Form(form) => form.held(),
            Body::Media | Body::Over => 0,
        };
        body + self.facts.facts.model.as_ref().map_or(0, String::capacity)
    }
}

impl RequestSoFar {
    fn note(&mut self, ask: Ask, found: JsonMatch<'_>) {
        let facts = &mut self.facts;
        match (ask, found) {
            (Ask::Model, JsonMatch::Text(model)) if !model.is_empty() => facts.model = Some(cap(model).to_owned()),
            (Ask::Stream, JsonMatch::Bool(stream)) => facts.stream = Some(stream),
            (Ask::Messages, JsonMatch::Items(n)) => facts.messages = Some(count(n)),
            (Ask::MoreMessages, JsonMatch::Items(n)) => {
                self.more_messages = Some(self.more_messages.unwrap_or(0).saturating_add(count(n)));
            }
            (Ask::Tools, JsonMatch::Items(n)) => facts.tools = Some(count(n)),
            (Ask::Functions, JsonMatch::Items(n)) => {
                self.groups = self.groups.saturating_add(1);
                self.functions = self.functions.saturating_add(count(n));
            }
            (Ask::Limit, JsonMatch::Number(limit)) => facts.max_tokens = limit.count(),
            (Ask::OldLimit, JsonMatch::Number(limit)) => self.old_limit = limit.count(),
            _ => {}
        }
    }

    /// A field of a form.
    fn field(&mut self, name: &str, value: &str) {
        match (name, value.trim()) {
            ("model" | "model_id", model) if !model.is_empty() => self.facts.model = Some(cap(model).to_owned()),
            ("stream", "true" | "True" | "1") => self.facts.stream = Some(true),
            ("stream", _) => self.facts.stream = Some(false),
            _ => {}
        }
    }

    fn settle(mut self) -> RequestFacts {
        self.facts.max_tokens = self.facts.max_tokens.or(self.old_limit);
        self.facts.messages = self.facts.messages.or(self.more_messages);
        let tools = self.facts.tools.map(|items| items.saturating_sub(self.groups).saturating_add(self.functions));
        RequestFacts { tools, ..self.facts }
    }
}

fn count(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(path: &str, body: &str, lost: bool) -> RequestFacts {
        let head = RequestHead { path: path.into(), ..RequestHead::default() };
        read(&head, PathPreset::default(), body, lost)
    }

    fn read(head: &RequestHead, preset: PathPreset, body: &str, lost: bool) -> RequestFacts {
        let mut scan = RequestScan::new(head, preset);
        for piece in body.as_bytes().chunks(3) {
            scan.push(piece);
        }
        scan.end(lost)
    }

    #[test]
    fn facts_in_any_order_behind_a_long_list() {
        let long = format!(r#"{{"role":"user","content":"{} \"model\":\"no\""}},"#, "x".repeat(100_000));
        let body = format!(
            r#"{{"messages":[{}{{"role":"user","content":[{{"type":"text","text":"{{[,"}}],"model":"no"}}],
            "tools":[{{"model":"no"}},{{}}],"max_tokens":7,"max_completion_tokens":9.0,"stream":true,"model":"m-\u00e9"}}"#,
            long.repeat(3)
        );
        let expected = RequestFacts {
            model: Some("m-é".into()),
            stream: Some(true),
            messages: Some(4),
            tools: Some(2),
            max_tokens: Some(9),
            truncated: false,
        };
        assert_eq!(facts("/v1/chat/completions", &body, false), expected);
    }

    #[test]
    fn responses_and_messages_bodies() {
        let text = facts("/v1/responses", r#"{"model":"m","input":"hi","max_output_tokens":5}"#, false);
        assert_eq!((text.messages, text.max_tokens, text.stream), (Some(1), Some(5), None));
        let items = facts("/v1/responses", r#"{"input":[{"role":"user"},{}],"tools":[]}"#, false);
        assert_eq!((items.messages, items.tools, items.model), (Some(2), Some(0), None));
        let anthropic =
            facts("/v1/messages", r#"{"max_tokens":1024,"messages":[{}],"model":"claude","stream":false}"#, false);
        assert_eq!((anthropic.max_tokens, anthropic.stream), (Some(1024), Some(false)));
    }

    #[test]
    fn names_of_the_other_apis() {
        let gemini = facts(
            "/v1/models/g:generateContent",
            r#"{"contents":[{},{}],"tools":[{"functionDeclarations":[{},{},{}]},{"googleSearch":{}}],"generationConfig":{"maxOutputTokens":64}}"#,
            false,
        );
        assert_eq!((gemini.messages, gemini.tools, gemini.max_tokens), (Some(2), Some(4), Some(64)));
        let converse = facts(
            "/model/m/converse",
            r#"{"messages":[{}],"toolConfig":{"tools":[{},{}]},"inferenceConfig":{"maxTokens":8}}"#,
            false,
        );
        assert_eq!((converse.messages, converse.tools, converse.max_tokens), (Some(1), Some(2), Some(8)));
        let cohere = facts("/v1/chat", r#"{"message":"hi","chat_history":[{},{}],"model":"c"}"#, false);
        assert_eq!((cohere.messages, cohere.model.as_deref()), (Some(3), Some("c")));
        let ollama = facts("/api/chat", r#"{"model":"l","messages":[{}],"options":{"num_predict":5}}"#, false);
        assert_eq!((ollama.messages, ollama.max_tokens), (Some(1), Some(5)));
        let tgi = facts("/generate_stream", r#"{"inputs":"hi","parameters":{"max_new_tokens":9}}"#, false);
        assert_eq!((tgi.messages, tgi.max_tokens), (Some(1), Some(9)));
    }

    #[test]
    fn a_default_holds_only_for_a_body_seen_whole() {
        let preset = || PathPreset { stream_default: Some(true), ..PathPreset::default() };
        let head = RequestHead::default();
        assert_eq!(read(&head, preset(), r#"{"model":"m"}"#, false).stream, Some(true));
        assert_eq!(read(&head, preset(), r#"{"stream":false}"#, false).stream, Some(false));
        assert_eq!(read(&head, preset(), r#"{"model":"m""#, true).stream, None);
    }

    #[test]
    fn a_form_is_read_too() {
        let head = RequestHead {
            headers: vec![("content-type".into(), "multipart/form-data; boundary=\"b-1\"".into())],
            ..RequestHead::default()
        };
        let body = "--b-1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n\
                    RIFF\r\n--b-\r\nmodel\r\n--b-1\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n\
                    --b-1\r\nContent-Disposition: form-data; name=\"stream\"\r\n\r\ntrue\r\n--b-1--\r\n";
        let got = read(&head, PathPreset::default(), body, false);
        assert_eq!((got.model.as_deref(), got.stream, got.truncated), (Some("whisper"), Some(true), false));
        let cut = read(&head, PathPreset::default(), body.split_at(150).0, false);
        assert_eq!((cut.model, cut.truncated), (None, true));
    }

    #[test]
    fn a_cut_body_leaves_the_rest_unknown() {
        let cut = facts("/v1/chat/completions", r#"{"stream":true,"messages":[{"content":"a"#, true);
        let expected = RequestFacts { stream: Some(true), truncated: true, ..RequestFacts::default() };
        assert_eq!(cut, expected);
        assert!(facts("/v1/chat/completions", "--boundary\r\n", false).truncated);
    }

    #[test]
    fn an_azure_deployment_names_the_model() {
        let path = "/openai/deployments/gpt-x/chat/completions";
        assert_eq!(facts(path, "{}", false).model.as_deref(), Some("gpt-x"));
        assert_eq!(facts(path, r#"{"model":"m"}"#, false).model.as_deref(), Some("m"));
    }

    #[test]
    fn odd_types_are_absent() {
        let odd = facts("/", r#"{"model":7,"stream":"yes","messages":{},"tools":null,"max_tokens":-1}"#, false);
        assert_eq!(odd, RequestFacts::default());
    }
}
