//! Whether a request is what its path says, where the path is a word that ordinary applications use
//! too (`/api/chat`): its body must look like the API's. Constant memory, in one pass, whatever
//! comes first in the body. Where that tells too little (an application's own chat has a model and
//! messages as well), the answer must look like the API's too.

use super::json::member;
use super::json::scan::JsonScanner;
use super::json::want::{JsonExtract, JsonMatch, JsonQuery};
use super::table::{DeclaredRoute, DialectRow};
use capture::proto::{RequestHead, ResponseHead};

/// What a field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldEvidence {
    /// The API cannot be asked without it.
    Own,
    /// The API does not know it.
    Foreign,
}

const fn own(path: &'static [&'static str], take: JsonExtract) -> JsonQuery<FieldEvidence> {
    JsonQuery { path, take, what: FieldEvidence::Own }
}

/// The user interfaces of the Vercel AI SDK post their messages to `/api/chat`, some of them with a
/// model: theirs have parts, Ollama's have content.
static OLLAMA_CHAT: &[JsonQuery<FieldEvidence>] = &[
    own(&["model"], JsonExtract::Value),
    JsonQuery { path: &["messages", "[]", "parts"], take: JsonExtract::Items, what: FieldEvidence::Foreign },
];

static OLLAMA_GENERATE: &[JsonQuery<FieldEvidence>] = &[own(&["model"], JsonExtract::Value)];

/// A text, tokens, several of them, or an object of text and pictures.
static LLAMA_CPP: &[JsonQuery<FieldEvidence>] = &[
    own(&["prompt"], JsonExtract::Items),
    own(&["prompt"], JsonExtract::Close),
    own(&["input_prefix"], JsonExtract::Items),
    own(&["input_suffix"], JsonExtract::Items),
];

static TGI: &[JsonQuery<FieldEvidence>] = &[own(&["inputs"], JsonExtract::Items)];

/// Whole answers at this path are TGI's too.
static SGLANG: &[JsonQuery<FieldEvidence>] = &[
    own(&["text"], JsonExtract::Items),
    own(&["input_ids"], JsonExtract::Items),
    own(&["input_embeds"], JsonExtract::Items),
    own(&["inputs"], JsonExtract::Items),
];

/// An API whose path alone tells too little.
struct AmbiguousPath {
    api: &'static str,
    wants: &'static [JsonQuery<FieldEvidence>],
    /// Name of the field that tells it.
    sign: &'static str,
    /// Whether nobody else asks in this way, as the head shows. `None`: the body is proof enough.
    sure: Option<fn(&RequestHead) -> bool>,
}

static DOUBTFUL: &[AmbiguousPath] = &[
    AmbiguousPath { api: "ollama.chat", wants: OLLAMA_CHAT, sign: "model", sure: Some(ollama) },
    AmbiguousPath { api: "ollama.generate", wants: OLLAMA_GENERATE, sign: "model", sure: Some(ollama) },
    AmbiguousPath { api: "llama_cpp.completion", wants: LLAMA_CPP, sign: "prompt", sure: None },
    AmbiguousPath { api: "tgi.generate", wants: TGI, sign: "inputs", sure: None },
    AmbiguousPath { api: "sglang.generate", wants: SGLANG, sign: "text", sure: None },
];

/// At its own port or host, or of its own SDKs.
fn ollama(head: &RequestHead) -> bool {
    let host = head.host.as_deref().unwrap_or_default();
    let agent = head.header("user-agent").unwrap_or_default();
    host.ends_with(":11434") || host == "ollama.com" || host.ends_with(".ollama.com") || agent.starts_with(AGENT)
}

/// What the beginning of an answer says of a request that looks like the API's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerEvidence {
    /// It is the API's.
    Fits,
    /// It is not.
    Foreign,
    /// Too little came.
    Open,
}

/// By its head: the API answers in JSON, as a document or in lines.
#[must_use]
pub fn answer_head(head: &ResponseHead) -> AnswerEvidence {
    match head.content_type.as_deref() {
        Some("application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/json") => {
            AnswerEvidence::Open
        }
        // An empty body has no type, and behind a hole none may be known.
        None => AnswerEvidence::Open,
        Some(_) => AnswerEvidence::Foreign,
    }
}

/// Longest beginning of an answer that is looked at: Ollama names the model and the time before all else.
pub const ANSWER: usize = 512;

/// By its first bytes. `whole`: nothing follows.
#[must_use]
pub fn answer_begins(bytes: &[u8], whole: bool) -> AnswerEvidence {
    let has = |name| member::text(bytes, name).is_some();
    if (has("model") && has("created_at")) || has("error") {
        return AnswerEvidence::Fits;
    }
    match bytes.trim_ascii_start().first() {
        None if whole => AnswerEvidence::Fits, // what is not seen leaves the claim to the path
        None => AnswerEvidence::Open,
        Some(b'{') if !whole && bytes.len() < ANSWER => AnswerEvidence::Open,
        Some(_) => AnswerEvidence::Foreign,
    }
}

fn doubtful(api: &str) -> Option<&'static AmbiguousPath> {
    DOUBTFUL.iter().find(|doubtful| doubtful.api == api)
}

/// The field (a string) without which a request of this API is not told from others.
#[must_use]
pub fn sign(api: &str) -> Option<&'static str> {
    doubtful(api).map(|doubtful| doubtful.sign)
}

/// A `user-agent` that puts a request of this API beyond doubt, where an answer is needed otherwise.
#[must_use]
pub fn agent(api: &str) -> Option<&'static str> {
    doubtful(api)?.sure.map(|_| AGENT)
}

/// How the SDKs of Ollama begin to name themselves.
const AGENT: &str = "ollama-";

/// Looks at one request's body.
pub struct BodyProbe {
    scanner: Box<JsonScanner<FieldEvidence>>,
    own: bool,
    foreign: bool,
    /// The body is proof enough.
    sure: bool,
}

impl BodyProbe {
    /// For a request that speaks `row` by its path; `None`: there is no doubt, it cannot be looked
    /// into (compressed), or the operator has declared it.
    #[must_use]
    pub fn new(row: &DialectRow, head: &RequestHead, extras: &[DeclaredRoute]) -> Option<BodyProbe> {
        let doubtful = doubtful(row.api)?;
        if head.header("content-encoding").is_some() || extras.iter().any(|extra| extra.fits(head)) {
            return None;
        }
        let sure = doubtful.sure.is_none_or(|sure| sure(head));
        Some(BodyProbe { scanner: Box::new(JsonScanner::new(doubtful.wants)), own: false, foreign: false, sure })
    }

    /// Whether a body that fits needs no answer that does.
    #[must_use]
    pub fn sure(&self) -> bool {
        self.sure
    }

    /// A piece of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        let BodyProbe { scanner, own, foreign, .. } = self;
        scanner.push(bytes, &mut |sign, found| match sign {
            FieldEvidence::Own => *own |= matches!(found, JsonMatch::Text(_) | JsonMatch::Items(_) | JsonMatch::Close),
            FieldEvidence::Foreign => *foreign = true,
        });
    }

    /// Whether it is what its path says. `lost`: the body was not seen whole, so what is missing may be there.
    #[must_use]
    pub fn fits(&self, lost: bool) -> bool {
        !self.foreign && (self.own || lost)
    }

    /// Bytes held.
    #[must_use]
    pub fn held(&self) -> usize {
        size_of::<BodyProbe>() + size_of_val(&*self.scanner) + self.scanner.held()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{find, row};

    fn fits(path: &str, body: &str, lost: bool) -> bool {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let head = RequestHead { method: "POST".into(), path: path.into(), headers, ..RequestHead::default() };
        let mut look = BodyProbe::new(find(&head, &[]).unwrap(), &head, &[]).unwrap();
        body.as_bytes().chunks(3).for_each(|piece| look.push(piece));
        look.fits(lost)
    }

    #[test]
    fn bodies_of_the_apis_and_near_misses() {
        for (path, body, expected) in [
            ("/api/chat", r#"{"model":"llama3.2","messages":[{"role":"user","content":"hi"}]}"#, true),
            (
                "/api/chat",
                r#"{"messages":[{"role":"user","content":"{\"model\":1}"}],"stream":false,"model":"m"}"#,
                true,
            ),
            // Loads the model.
            ("/api/chat", r#"{"model":"m"}"#, true),
            (
                "/api/chat",
                r#"{"id":"x","messages":[{"role":"user","parts":[{"type":"text","text":"hi"}]}],"trigger":"submit-message"}"#,
                false,
            ),
            (
                "/api/chat",
                r#"{"model":"gpt-x","messages":[{"role":"user","parts":[{"type":"text","text":"hi"}]}]}"#,
                false,
            ),
            ("/api/chat", r#"{"id":"x","messages":[{"role":"user","content":"hi"}]}"#, false),
            ("/api/chat", r#"{"message":"hi","options":{"model":"m"}}"#, false),
            ("/api/chat", r#"{"model":{"name":"m"},"messages":[]}"#, false),
            ("/api/chat", r#"{"model":null}"#, false),
            ("/api/chat", r#"[{"model":"m"}]"#, false),
            ("/api/chat", r#""model""#, false),
            ("/api/chat", "model=m&text=hi", false),
            ("/api/chat", "", false),
            ("/api/generate", r#"{"model":"m","prompt":"hi"}"#, true),
            ("/api/generate", r#"{"prompt":"a cat","size":"512"}"#, false),
            ("/completion", r#"{"prompt":"hi","n_predict":4}"#, true),
            ("/completion", r#"{"prompt":[12,34,"hi"]}"#, true),
            ("/completion", r#"{"prompt":{"prompt_string":"hi","multimodal_data":[]}}"#, true),
            ("/completion", r#"{"course":7,"done":true}"#, false),
            ("/completion", r#"{"prompt":null}"#, false),
            ("/completion", r#"{"data":{"prompt":"hi"}}"#, false),
            ("/infill", r#"{"input_prefix":"fn a","input_suffix":"}"}"#, true),
            ("/infill", r#"{"prefix":"fn a"}"#, false),
            ("/generate_stream", r#"{"inputs":"hi","parameters":{}}"#, true),
            ("/generate_stream", r#"{"input":"hi"}"#, false),
            ("/generate", r#"{"text":"hi","stream":true}"#, true),
            ("/generate", r#"{"text":["a","b"]}"#, true),
            ("/generate", r#"{"input_ids":[1,2],"stream":true}"#, true),
            ("/generate", r#"{"inputs":"hi"}"#, true),
            ("/generate", r#"{"template":"invoice","fields":{"text":"x"}}"#, false),
            ("/generate", r#"{"text":7}"#, false),
        ] {
            assert_eq!(fits(path, body, false), expected, "{path} {body}");
        }
    }

    #[test]
    fn what_was_not_seen_may_have_been_there() {
        assert!(fits("/api/chat", r#"{"messages":[{"content":"a"#, true));
        assert!(fits("/generate", "", true));
        // What was seen is no request of Ollama's, whatever is missing.
        assert!(!fits("/api/chat", r#"{"messages":[{"parts":[]},{"content":"#, true));
    }

    #[test]
    fn no_doubt_where_none_can_be_settled_or_the_operator_knows() {
        let head = RequestHead { path: "/api/chat".into(), host: Some("llm.test".into()), ..RequestHead::default() };
        let of = |api: &str, head: &RequestHead, extras: &[DeclaredRoute]| {
            BodyProbe::new(row(api).unwrap(), head, extras).is_some()
        };
        assert!(of("ollama.chat", &head, &[]) && !of("openai.chat", &head, &[]));
        let zipped = RequestHead { headers: vec![("content-encoding".into(), "gzip".into())], ..head.clone() };
        assert!(!of("ollama.chat", &zipped, &[]));
        let extra =
            DeclaredRoute { host: Some("llm.test".into()), api: "ollama.chat".into(), ..DeclaredRoute::default() };
        assert!(!of("ollama.chat", &head, &[extra]));
    }

    #[test]
    fn every_sign_is_one() {
        for AmbiguousPath { api, wants, sign, .. } in DOUBTFUL {
            assert!(row(api).is_some(), "{api}");
            let mut look =
                BodyProbe { scanner: Box::new(JsonScanner::new(wants)), own: false, foreign: false, sure: true };
            look.push(format!("{{\"{sign}\":\"\"}}").as_bytes());
            assert!(look.fits(false), "{api}: {sign}");
            let headers = agent(api).map(|agent| ("user-agent".to_owned(), agent.to_owned())).into_iter().collect();
            let head = RequestHead { headers, ..RequestHead::default() };
            assert!(BodyProbe::new(row(api).unwrap(), &head, &[]).unwrap().sure(), "{api}");
        }
    }

    #[test]
    fn answers_of_the_api_and_near_misses() {
        let head = |kind: &str| {
            let content_type = (!kind.is_empty()).then(|| kind.to_owned());
            answer_head(&ResponseHead { status: 200, content_type, ..ResponseHead::default() })
        };
        for kind in ["application/x-ndjson", "application/json", ""] {
            assert_eq!(head(kind), AnswerEvidence::Open, "{kind}");
        }
        for kind in ["text/event-stream", "text/plain", "text/html", "audio/mpeg", "text/x-component"] {
            assert_eq!(head(kind), AnswerEvidence::Foreign, "{kind}");
        }
        for (bytes, whole, expected) in [
            (r#"{"model":"llama3.2","created_at":"2026-11-28T00:00:00Z","mess"#, false, AnswerEvidence::Fits),
            (r#"{"model":"llama3.2","created_at":"2026"#, false, AnswerEvidence::Open),
            (r#"{"model":"gpt-x","reply":"planted"}"#, true, AnswerEvidence::Foreign),
            (r#"{"created_at":"2026","text":"planted"}"#, true, AnswerEvidence::Foreign),
            (r#"{"error":"model not found"}"#, false, AnswerEvidence::Fits),
            (r#"{"mod"#, false, AnswerEvidence::Open),
            (r#"{"mod"#, true, AnswerEvidence::Foreign),
            ("", false, AnswerEvidence::Open),
            ("", true, AnswerEvidence::Fits),
            (r#"{"reply":"planted","usage":{"model":"m"}}"#, true, AnswerEvidence::Foreign),
            (r#"{"model":{"name":"m"}}"#, true, AnswerEvidence::Foreign),
            (r#"[{"model":"m"}]"#, false, AnswerEvidence::Foreign),
            ("0:\"planted\"", false, AnswerEvidence::Foreign),
        ] {
            assert_eq!(answer_begins(bytes.as_bytes(), whole), expected, "{bytes} {whole}");
        }
        let long = format!(r#"{{"id":"{}"#, "x".repeat(ANSWER));
        assert_eq!(answer_begins(long.as_bytes(), false), AnswerEvidence::Foreign, "the model would have come first");
    }

    #[test]
    fn who_asks_may_need_no_answer() {
        for (host, agent, expected) in [
            ("localhost:11434", "curl/8", true),
            ("ollama.com", "x", true),
            ("app.example", "ollama-python/0.6.3", true),
            ("app.example:1434", "curl/8", false),
            ("notollama.com", "myollama-app", false),
        ] {
            let headers = vec![("user-agent".to_owned(), agent.to_owned())];
            let head =
                RequestHead { path: "/api/chat".into(), host: Some(host.into()), headers, ..RequestHead::default() };
            assert_eq!(
                BodyProbe::new(row("ollama.chat").unwrap(), &head, &[]).unwrap().sure(),
                expected,
                "{host} {agent}"
            );
        }
        let head = RequestHead { path: "/completion".into(), ..RequestHead::default() };
        assert!(BodyProbe::new(row("llama_cpp.completion").unwrap(), &head, &[]).unwrap().sure());
    }
}
