//! What listens to a parser, and the lines it writes.

use capture::proto::{ExchangeId, MessageSink};
use serde_json::Value;

/// What listens to the parser and writes down what it heard, one JSON value a line. It must not
/// depend on how bodies are cut: join neighbouring pieces (`Lines::join`).
pub(super) trait Transcript: MessageSink {
    /// What was heard, in order.
    fn lines(self: Box<Self>) -> Vec<Value>;
    /// Whether a line may appear after bytes were lost only if it appears without loss (an event of a stream must be
    /// whole or absent).
    fn survives_only_whole(&self, line: &Value) -> bool;
    /// The exchanges, since the last call, whose answer is a stream of JSON texts if it is JSON.
    fn json_streams(&mut self) -> Vec<ExchangeId> {
        Vec::new()
    }
}

/// Lines in the making.
#[derive(Default)]
pub(super) struct Lines {
    done: Vec<Value>,
    /// A body in progress: exchange, key, bytes so far.
    body: Option<(u64, &'static str, Vec<u8>)>,
}

impl Lines {
    /// Adds a line.
    pub(super) fn push(&mut self, line: Value) {
        self.end_body();
        self.done.push(line);
    }

    /// Adds bytes of a body, a line `{"x":exchange, key: text}` joined with the one before if that is of the same kind.
    /// What is no UTF-8 is written a character a byte.
    pub(super) fn join(&mut self, exchange: u64, key: &'static str, bytes: &[u8]) {
        if let Some((x, k, before)) = &mut self.body
            && (*x, *k) == (exchange, key)
        {
            return before.extend_from_slice(bytes);
        }
        self.end_body();
        self.body = Some((exchange, key, bytes.to_vec()));
    }

    /// All lines.
    pub(super) fn finish(mut self) -> Vec<Value> {
        self.end_body();
        self.done
    }

    fn end_body(&mut self) {
        if let Some((exchange, key, bytes)) = self.body.take() {
            let text = String::from_utf8(bytes)
                .unwrap_or_else(|error| error.as_bytes().iter().map(|&byte| char::from(byte)).collect());
            self.done.push(serde_json::json!({"x": exchange, key: text}));
        }
    }
}

pub(super) type Make = fn() -> Box<dyn Transcript>;
