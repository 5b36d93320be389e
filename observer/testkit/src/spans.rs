//! Exports as SDKs write them, for tests.

/// A span to be written.
#[derive(Clone, Debug, Default)]
pub struct FakeSpan {
    pub trace: u8,
    pub id: u8,
    pub parent: u8,
    pub kind: u8,
    pub start: u64,
    pub end: u64,
    pub attributes: Vec<(&'static str, String)>,
    /// No attribute of a model call but those.
    pub bare: bool,
}

impl FakeSpan {
    fn all(&self) -> impl Iterator<Item = (&'static str, String)> {
        let own = (!self.bare).then(|| ("gen_ai.input.messages", "planted-text".to_owned()));
        own.into_iter().chain(self.attributes.iter().cloned())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut len = bytes.len();
    while len > 0x7f {
        out.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(bytes);
    out
}

fn fixed(number: u8, value: u64) -> Vec<u8> {
    [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
}

fn attribute(key: &str, value: &str) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, &field(1, value.as_bytes()))].concat()
}

/// `ExportTraceServiceRequest`.
pub fn protobuf(spans: &[FakeSpan]) -> Vec<u8> {
    let resource = field(1, &field(1, &attribute("service.name", "planted-service")));
    let mut scope = field(1, &field(1, b"planted-scope"));
    for told in spans {
        let mut span = [field(1, &[told.trace; 16]), field(2, &[told.id; 8])].concat();
        if told.parent != 0 {
            span.extend(field(4, &[told.parent; 8]));
        }
        span.extend([field(5, b"planted-name"), vec![6 << 3, told.kind]].concat());
        span.extend([fixed(7, told.start), fixed(8, told.end)].concat());
        for (key, value) in told.all() {
            span.extend(field(9, &attribute(key, &value)));
        }
        span.extend(field(11, &[fixed(1, told.start), field(2, b"planted-event")].concat()));
        scope.extend(field(2, &span));
    }
    field(1, &[resource, field(2, &scope)].concat())
}

/// The same in JSON.
pub fn json(spans: &[FakeSpan]) -> String {
    let hex = |byte: u8, times: usize| format!("{byte:02x}").repeat(times);
    let spans: Vec<_> = spans
        .iter()
        .map(|told| {
            let attribute = |(key, value): (&str, String)| serde_json::json!({"key": key, "value": {"stringValue": value}});
            let attributes: Vec<_> = told.all().map(attribute).collect();
            serde_json::json!({
                "traceId": hex(told.trace, 16), "spanId": hex(told.id, 8), "name": "planted-name",
                "parentSpanId": if told.parent == 0 { String::new() } else { hex(told.parent, 8) },
                "kind": told.kind, "attributes": attributes, "events": [{"name": "planted-event", "spanId": "0102030405060708"}],
                "startTimeUnixNano": told.start.to_string(), "endTimeUnixNano": told.end.to_string(),
            })
        })
        .collect();
    let scope = serde_json::json!({"scope": {"name": "planted-scope"}, "spans": spans});
    serde_json::json!({"resourceSpans": [{"resource": {}, "scopeSpans": [scope]}]}).to_string()
}
