//! What a request's address says: the shape of its path, models and verbs in it.

use super::cap;
use capture::proto::RequestHead;

/// What an address says of the request, before its body is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PathPreset {
    /// The model, where the path or the query names it.
    pub model: Option<String>,
    /// Whether a stream is asked for, where the path says so.
    pub stream: Option<bool>,
    /// The same, where the body may say otherwise and was seen whole.
    pub stream_default: Option<bool>,
}

/// Whether the path ends with one of `shapes`, whole segments each, under whatever prefix a gateway gives it.
pub(crate) fn ends(head: &RequestHead, shapes: &[&str]) -> bool {
    let path = head.path.trim_end_matches('/');
    shapes.iter().any(|shape| {
        let shape = shape.trim_matches('/');
        !shape.is_empty() && path.strip_suffix(shape).is_some_and(|prefix| prefix.ends_with('/'))
    })
}

/// `X` of `…/deployments/X/…`.
#[must_use]
pub(crate) fn deployment(path: &str) -> Option<&str> {
    let mut segments = path.split('/');
    segments.find(|segment| *segment == "deployments")?;
    segments.next().filter(|name| !name.is_empty()).map(cap)
}

/// `(m, v)` of `…/models/m:v`, as Google writes methods. The model may stand in another collection (`endpoints`,
/// `tunedModels`), and gateways escape the colon.
#[must_use]
pub(crate) fn method(path: &str) -> Option<(String, String)> {
    let last = unescaped(path.trim_end_matches('/').rsplit('/').next()?);
    let (name, verb) = last.rsplit_once(':')?;
    (!name.is_empty() && !verb.is_empty()).then(|| (cap(name).to_owned(), verb.to_owned()))
}

/// `(m, op)` of `…/model/m/op`, as Bedrock writes them: the model is an id, a profile or an ARN, more or less escaped.
#[must_use]
pub(crate) fn invocation(path: &str) -> Option<(String, &str)> {
    let (front, operation) = path.trim_end_matches('/').rsplit_once('/')?;
    let (_, model) = front.split_once("/model/")?;
    let model = unescaped(model);
    (!model.is_empty()).then(|| (cap(&model).to_owned(), operation))
}

/// The value of a query parameter.
#[must_use]
pub(crate) fn parameter(head: &RequestHead, name: &str) -> Option<String> {
    let pairs = head.query.as_deref()?.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.filter(|(key, _)| *key == name).map(|(_, value)| unescaped(value)).next()?;
    (!value.is_empty()).then(|| cap(&value).to_owned())
}

/// `%3A` undone; what is no escape stays.
#[must_use]
pub(crate) fn unescaped(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((plain, after)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let code = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.unwrap_or(b'%'));
        rest = if code.is_some() { after.get(2..).unwrap_or("") } else { after };
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn google_names_model_and_method() {
        for (path, expected) in [
            ("/v1beta/models/gemini-x:streamGenerateContent", Some(("gemini-x", "streamGenerateContent"))),
            (
                "/v1/projects/p/locations/eu/publishers/anthropic/models/claude-x@20260101:streamRawPredict",
                Some(("claude-x@20260101", "streamRawPredict")),
            ),
            ("/v1/models/a%3AgenerateContent/", Some(("a", "generateContent"))),
            ("/v1/projects/p/locations/l/endpoints/123:generateContent", Some(("123", "generateContent"))),
            ("/v1/models/gemini-x", None),
            ("/v1/models/:x", None),
            ("", None),
        ] {
            let got = method(path);
            assert_eq!(got.as_ref().map(|(m, v)| (m.as_str(), v.as_str())), expected, "{path}");
        }
    }

    #[test]
    fn bedrock_names_the_model_in_any_escape() {
        let arn = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc";
        for (path, expected) in [
            ("/model/anthropic.claude-x-v1:0/converse-stream", Some(("anthropic.claude-x-v1:0", "converse-stream"))),
            ("/model/anthropic.claude-x-v1%3A0/invoke", Some(("anthropic.claude-x-v1:0", "invoke"))),
            (
                "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Aapplication-inference-profile%2Fabc/converse",
                Some((arn, "converse")),
            ),
            (
                "/gw/model/arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc/converse",
                Some((arn, "converse")),
            ),
            ("/model//converse", None),
            ("/models/x/converse", None),
        ] {
            let got = invocation(path);
            assert_eq!(got.as_ref().map(|(m, op)| (m.as_str(), *op)), expected, "{path}");
        }
    }

    #[test]
    fn parameters_and_escapes() {
        let query = Some("model=aura-2%2Dx&encoding=&model=other".into());
        let head = RequestHead { query, ..RequestHead::default() };
        assert_eq!(parameter(&head, "model").as_deref(), Some("aura-2-x"));
        assert_eq!(parameter(&head, "encoding"), None);
        assert_eq!(parameter(&head, "odel"), None);
        for (text, plain) in [("a%2", "a%2"), ("%zz%41", "%zzA"), ("%ff", "%ff"), ("%C3%A9", "é"), ("a%é", "a%é")] {
            assert_eq!(unescaped(text), plain);
        }
    }
}
