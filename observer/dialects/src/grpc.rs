//! Model calls over gRPC: each message of the answer is timed and sized, its text is not read (no schema).
//!
//! Endpoints: POST of HTTP/2 with `content-type: application/grpc…` to a method of xAI's `xai_api.Chat`, Google's
//! `PredictionService` or `GenerativeService`, Triton's and NVIDIA's inference services.
//! Source: xai-sdk 1.21 and the public definitions of googleapis and KServe. Checked 2026-11.

use std::borrow::Cow;

use super::{Dialect, DialectRow, RequestFacts, Utterance, provider};
use capture::proto::{BodyEvent, ExchangeEnd, RequestHead, ResponseHead};

pub(super) static ROW: DialectRow = DialectRow {
    api: "grpc",
    operation: "chat",
    matches,
    provider: |head| provider::name(head, "unknown"),
    make: |_| Box::<GrpcCall>::default(),
};

/// Services (without their packages' versions), and methods of theirs that are model calls.
const METHODS: &[(&str, &[&str])] = &[
    ("xai_api.Chat", &["GetCompletion", "GetCompletionChunk"]),
    ("xai_api.Sample", &["SampleText", "SampleTextStreaming"]),
    (
        "google.cloud.aiplatform.*.PredictionService",
        &["GenerateContent", "StreamGenerateContent", "RawPredict", "StreamRawPredict", "ServerStreamingPredict"],
    ),
    ("google.ai.generativelanguage.*.GenerativeService", &["GenerateContent", "StreamGenerateContent"]),
    ("inference.GRPCInferenceService", &["ModelInfer", "ModelStreamInfer"]),
];

fn matches(head: &RequestHead) -> bool {
    let grpc = head.header("content-type").is_none_or(|kind| kind.starts_with("application/grpc"));
    let mut parts = head.path.trim_start_matches('/').rsplit('/');
    let (Some(method), Some(service)) = (parts.next(), parts.next()) else { return false };
    grpc && METHODS.iter().any(|(pattern, methods)| provider::host_fits(pattern, service) && methods.contains(&method))
}

/// One call.
#[derive(Debug, Default)]
pub struct GrpcCall {
    /// How it ended was said.
    told: bool,
    /// The status of an answer that is nothing else.
    early: Option<String>,
}

/// The names of the status codes, as gRPC's own specification has them.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl GrpcCall {
    fn status(&mut self, status: &str, out: &mut dyn FnMut(Utterance<'_>)) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let code = status.trim().parse().ok().and_then(|code: usize| CODES.get(code));
        match code {
            Some(&"OK") => out(Utterance::End),
            Some(name) => out(Utterance::Error { kind: Some(Cow::Borrowed(name)) }),
            None => out(Utterance::Error { kind: None }),
        }
    }
}

impl Dialect for GrpcCall {
    fn request_body(&mut self, _: &[u8]) {}

    /// What it asked for is not read.
    fn request_end(&mut self, _: bool) -> RequestFacts {
        RequestFacts { truncated: true, ..RequestFacts::default() }
    }

    fn response(&mut self, head: &ResponseHead) {
        self.early = head.header("grpc-status").map(str::to_owned);
    }

    fn event(&mut self, _: &BodyEvent<'_>, out: &mut dyn FnMut(Utterance<'_>)) {
        out(Utterance::Other);
    }

    fn body(&mut self, _: &[u8], _: &mut dyn FnMut(Utterance<'_>)) {}

    fn trailers(&mut self, trailers: &[(String, String)], out: &mut dyn FnMut(Utterance<'_>)) {
        if let Some((_, status)) = trailers.iter().find(|(name, _)| name == "grpc-status") {
            self.status(status, out);
        }
    }

    fn end(&mut self, _: ExchangeEnd, out: &mut dyn FnMut(Utterance<'_>)) {
        if let Some(status) = self.early.take() {
            self.status(&status, out);
        }
    }

    fn gap(&mut self) {}

    fn held(&self) -> usize {
        size_of_val(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find;

    #[test]
    fn methods_that_are_model_calls() {
        for (path, kind, expected) in [
            ("/xai_api.Chat/GetCompletionChunk", "application/grpc", Some("grpc")),
            ("/xai_api.Chat/GetCompletion", "application/grpc+proto", Some("grpc")),
            ("/google.cloud.aiplatform.v1.PredictionService/StreamGenerateContent", "application/grpc", Some("grpc")),
            (
                "/google.ai.generativelanguage.v1beta.GenerativeService/GenerateContent",
                "application/grpc",
                Some("grpc"),
            ),
            ("/xai_api.Chat/GetDeferredCompletion", "application/grpc", None),
            ("/xai_api.Models/ListModels", "application/grpc", None),
            ("/xai_api.Chat/GetCompletionChunk", "application/json", None),
            ("/GetCompletionChunk", "application/grpc", None),
        ] {
            let headers = vec![("content-type".to_owned(), kind.to_owned())];
            let head = RequestHead { method: "POST".into(), path: path.into(), headers, ..RequestHead::default() };
            assert_eq!(find(&head, &[]).map(|row| row.api), expected, "{path} {kind}");
        }
    }

    #[test]
    fn the_status_is_told_once_wherever_it_stands() {
        let status = |code: &str| vec![("grpc-status".to_owned(), code.to_owned())];
        for (code, expected) in [
            ("0", Utterance::End),
            ("8", Utterance::Error { kind: Some("RESOURCE_EXHAUSTED".into()) }),
            ("99", Utterance::Error { kind: None }),
            ("what", Utterance::Error { kind: None }),
        ] {
            let (mut grpc, mut said) = (GrpcCall::default(), 0);
            for _ in 0..2 {
                grpc.trailers(&status(code), &mut |utterance| {
                    assert_eq!(utterance, expected);
                    said += 1;
                });
            }
            assert_eq!(said, 1, "{code}");
        }
    }
}
