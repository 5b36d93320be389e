//! What a request asked for: one table of paths serves every dialect whose body is a JSON document.

use super::json::scan::{Found, Scanner, Take, Want};
use super::{RequestFacts, cap};
use crate::proto::RequestHead;

#[derive(Clone, Copy, Debug)]
enum Ask {
    Model,
    Stream,
    Messages,
    Tools,
    /// A newer name of the output limit, which outweighs the older one.
    Limit,
    OldLimit,
}

/// The names that the APIs give to the same things, at the top level of the body in any order.
static ASKS: &[Want<Ask>] = &[
    Want { path: &["model"], take: Take::Value, what: Ask::Model },
    Want { path: &["stream"], take: Take::Value, what: Ask::Stream },
    Want { path: &["messages"], take: Take::Items, what: Ask::Messages },
    Want { path: &["input"], take: Take::Items, what: Ask::Messages },
    Want { path: &["prompt"], take: Take::Items, what: Ask::Messages },
    Want { path: &["tools"], take: Take::Items, what: Ask::Tools },
    Want { path: &["functions"], take: Take::Items, what: Ask::Tools },
    Want { path: &["max_completion_tokens"], take: Take::Value, what: Ask::Limit },
    Want { path: &["max_output_tokens"], take: Take::Value, what: Ask::Limit },
    Want { path: &["max_tokens"], take: Take::Value, what: Ask::OldLimit },
];

/// Reads a request body as it is written. Constant memory: `model` may stand behind ten megabytes of messages.
pub struct RequestScan {
    scanner: Option<Scanner<Ask>>,
    facts: RequestFacts,
    old_limit: Option<u64>,
}

impl RequestScan {
    /// For the request of `head`; an Azure deployment in the path stands in for a model that the body does not name.
    #[must_use]
    pub fn new(head: &RequestHead) -> Self {
        let model = deployment(&head.path).map(str::to_owned);
        let facts = RequestFacts { model, ..RequestFacts::default() };
        Self { scanner: Some(Scanner::new(ASKS)), facts, old_limit: None }
    }

    /// A piece of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        let (facts, old_limit) = (&mut self.facts, &mut self.old_limit);
        if let Some(scanner) = &mut self.scanner {
            scanner.push(bytes, &mut |ask, found| note(facts, old_limit, ask, found));
        }
    }

    /// The body ended; the scanner's memory is given back.
    pub fn end(&mut self, lost: bool) -> RequestFacts {
        let whole = self.scanner.take().is_some_and(|scanner| scanner.complete());
        let mut facts = std::mem::take(&mut self.facts);
        facts.max_tokens = facts.max_tokens.or(self.old_limit);
        facts.truncated = lost || !whole;
        facts
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.scanner.as_ref().map_or(0, Scanner::held) + self.facts.model.as_ref().map_or(0, String::capacity)
    }
}

fn note(facts: &mut RequestFacts, old_limit: &mut Option<u64>, ask: Ask, found: Found<'_>) {
    let count = |n: u64| Some(u32::try_from(n).unwrap_or(u32::MAX));
    match (ask, found) {
        (Ask::Model, Found::Text(model)) if !model.is_empty() => facts.model = Some(cap(model).to_owned()),
        (Ask::Stream, Found::Bool(stream)) => facts.stream = Some(stream),
        (Ask::Messages, Found::Items(n)) => facts.messages = count(n),
        (Ask::Tools, Found::Items(n)) => facts.tools = count(n),
        (Ask::Limit, Found::Number(limit)) => facts.max_tokens = limit.count(),
        (Ask::OldLimit, Found::Number(limit)) => *old_limit = limit.count(),
        _ => {}
    }
}

/// `X` of `…/deployments/X/…`.
fn deployment(path: &str) -> Option<&str> {
    let mut segments = path.split('/');
    segments.find(|segment| *segment == "deployments")?;
    segments.next().filter(|name| !name.is_empty()).map(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(path: &str, body: &str, lost: bool) -> RequestFacts {
        let head = RequestHead { path: path.into(), ..RequestHead::default() };
        let mut scan = RequestScan::new(&head);
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
