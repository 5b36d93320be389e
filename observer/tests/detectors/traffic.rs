//! A host in virtual time: calls to models as bytes, with chosen providers, answers, faults and times.

use std::sync::Arc;

use observer::conn::testing::{Cable, Owned, Script};
use observer::detect::Finding;
use observer::export::audience::{Metrics, READER_RATE};
use observer::export::catalogue::CATALOGUE;
use observer::export::store::{Caps, Snapshot, Value};
use observer::identity::Identity;
use observer::pipeline::{Pipeline, Settings};
use observer::record::{Confidence, JoinMethod, Joined, Record, SockOpen};
use observer::units::{Direction, Ns};

mod media;
pub mod spans;

/// Wall time of the boot: 2026-03-01T00:00:00Z.
pub const BOOT: i128 = 1_772_323_200_000_000_000;

pub const SECOND: u64 = 1000;
pub const MINUTE: u64 = 60 * SECOND;
pub const HOUR: u64 = 60 * MINUTE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Chat,
    Anthropic,
    Responses,
}

/// A piece of an answer.
#[derive(Clone, Debug)]
pub enum Step {
    Wait(u64),
    Say(String),
    Reason(String),
    /// Reasoning that only the provider can read.
    Sealed,
    /// A call of a tool: name, arguments.
    Tool(&'static str, String),
    Refuse(&'static str),
    Ping,
    /// An error event.
    Error(&'static str),
    /// Another model answers from here on.
    Model(&'static str),
    /// Hold this many of the following events back and let one read bring them.
    Together(usize),
    /// This many bytes of the answer are lost.
    Lose(u64),
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Done(&'static str),
    /// In order, without an end marker.
    Cut,
    Reset,
    /// The same, and the TLS object goes so many milliseconds later.
    ResetLate(u64),
    /// The application closes.
    Cancel,
    /// The process ends.
    Exit,
    Open,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    pub api: Api,
    pub host: String,
    pub model: String,
    /// The model that answers.
    pub answered: String,
    pub service: String,
    pub pid: u32,
    pub key: String,
    pub request_headers: Vec<(String, String)>,
    /// Members of the body, as JSON.
    pub body: Vec<(String, String)>,
    pub system: Option<String>,
    /// (role, content as JSON) of all messages.
    pub messages: Vec<(String, String)>,
    pub status: u16,
    pub response_headers: Vec<(String, String)>,
    /// To the response head, ms.
    pub think_ms: u64,
    pub steps: Vec<Step>,
    /// (input, output, reasoning, cached) tokens.
    pub usage: Option<(u64, u64, u64, u64)>,
    pub end: End,
    /// The body of an answer that is no stream.
    pub document: Option<String>,
    /// The request body is cut after so many bytes, and the rest lost.
    pub request_cut: Option<usize>,
    /// Another path than that of the API.
    pub path_override: Option<&'static str>,
    /// The document is sound.
    pub media: bool,
    /// What a chat answer is called.
    pub id: String,
}

impl Call {
    pub fn new(api: Api, model: &str) -> Call {
        let host = match api {
            Api::Anthropic => "api.anthropic.com",
            _ => "api.openai.com",
        };
        Call {
            api,
            host: host.into(),
            model: model.into(),
            answered: model.into(),
            service: "shop".into(),
            pid: 100,
            key: "sk-1".into(),
            request_headers: Vec::new(),
            body: Vec::new(),
            system: None,
            messages: Vec::new(),
            status: 200,
            response_headers: Vec::new(),
            think_ms: 300,
            steps: Vec::new(),
            usage: None,
            end: End::Done("stop"),
            document: None,
            request_cut: None,
            path_override: None,
            media: false,
            id: "chatcmpl-1".into(),
        }
    }

    pub fn chat(model: &str) -> Call {
        Call::new(Api::Chat, model)
    }

    pub fn anthropic(model: &str) -> Call {
        Call::new(Api::Anthropic, model)
    }

    pub fn service(mut self, service: &str, pid: u32) -> Call {
        self.service = service.into();
        self.pid = pid;
        self
    }

    pub fn user(self, text: &str) -> Call {
        self.message("user", text)
    }

    pub fn message(mut self, role: &str, text: &str) -> Call {
        self.messages.push((role.into(), serde_json::to_string(text).unwrap()));
        self
    }

    /// A message whose content is JSON.
    pub fn message_json(mut self, role: &str, content: &str) -> Call {
        self.messages.push((role.into(), content.into()));
        self
    }

    pub fn system(mut self, text: &str) -> Call {
        self.system = Some(text.into());
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Call {
        self.request_headers.push((name.into(), value.into()));
        self
    }

    pub fn answers_header(mut self, name: &str, value: &str) -> Call {
        self.response_headers.push((name.into(), value.into()));
        self
    }

    pub fn member(mut self, name: &str, json: &str) -> Call {
        self.body.push((name.into(), json.into()));
        self
    }

    /// An error of the provider before any stream.
    pub fn fails(mut self, status: u16, kind: &str) -> Call {
        self.status = status;
        self.document = Some(format!(r#"{{"error":{{"type":"{kind}","code":"{kind}","message":"no"}}}}"#));
        self
    }

    pub fn step(mut self, step: Step) -> Call {
        self.steps.push(step);
        self
    }

    /// `chunks` chunks of `chars` characters, `gap_ms` apart.
    pub fn says(mut self, chunks: usize, chars: usize, gap_ms: u64) -> Call {
        for n in 0..chunks {
            let text = (b'a'..=b'z').cycle().skip(n * chars % 26).take(chars).map(char::from).collect();
            self.steps.extend([Step::Wait(gap_ms), Step::Say(text)]);
        }
        self
    }

    pub fn ends(mut self, end: End) -> Call {
        self.end = end;
        self
    }

    pub fn usage(mut self, input: u64, output: u64) -> Call {
        self.usage = Some((input, output, 0, 0));
        self
    }

    fn path(&self) -> &'static str {
        if let Some(path) = self.path_override {
            return path;
        }
        match self.api {
            Api::Chat => "/v1/chat/completions",
            Api::Anthropic => "/v1/messages",
            Api::Responses => "/v1/responses",
        }
    }

    fn request(&self) -> (String, String) {
        let mut members = vec![format!(r#""model":{:?}"#, self.model), r#""stream":true"#.into()];
        members.extend(self.body.iter().map(|(name, json)| format!("{name:?}:{json}")));
        let mut messages: Vec<String> =
            self.messages.iter().map(|(role, content)| format!(r#"{{"role":"{role}","content":{content}}}"#)).collect();
        if let Some(system) = &self.system {
            match self.api {
                Api::Chat => messages.insert(0, format!(r#"{{"role":"system","content":{system:?}}}"#)),
                Api::Anthropic => members.push(format!(r#""system":{system:?}"#)),
                Api::Responses => members.push(format!(r#""instructions":{system:?}"#)),
            }
        }
        let list = if self.api == Api::Responses { "input" } else { "messages" };
        members.push(format!(r#""{list}":[{}]"#, messages.join(",")));
        let body = format!("{{{}}}", members.join(","));
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            self.path(),
            self.host,
            self.key,
            body.len()
        );
        for (name, value) in &self.request_headers {
            head += &format!("{name}: {value}\r\n");
        }
        (head + "\r\n", body)
    }

    fn head(&self) -> String {
        let framing = match &self.document {
            Some(document) => {
                let kind = if self.media { "audio/mpeg" } else { "application/json" };
                format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", document.len())
            }
            None => "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n".into(),
        };
        let mut head = format!("HTTP/1.1 {} X\r\n{framing}", self.status);
        for (name, value) in &self.response_headers {
            head += &format!("{name}: {value}\r\n");
        }
        head + "\r\n"
    }

    fn event(&self, step: &Step) -> Option<String> {
        let json = |text: &str| serde_json::to_string(text).unwrap();
        let chat = |delta: String| {
            data(&format!(
                r#"{{"id":"{}","model":"{}","choices":[{{"index":0,"delta":{{{delta}}}}}]}}"#,
                self.id, self.answered
            ))
        };
        let block = |kind: &str, member: &str, text: &str| {
            named(
                "content_block_delta",
                &format!(
                    r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"{kind}","{member}":{}}}}}"#,
                    json(text)
                ),
            )
        };
        Some(match (self.api, step) {
            (_, Step::Wait(_) | Step::Together(_) | Step::Lose(_) | Step::Model(_)) => return None,
            (Api::Chat, Step::Say(text)) => chat(format!(r#""content":{}"#, json(text))),
            (Api::Chat, Step::Reason(text)) => chat(format!(r#""reasoning_content":{}"#, json(text))),
            (Api::Chat, Step::Refuse(text)) => chat(format!(r#""refusal":{}"#, json(text))),
            (Api::Chat, Step::Tool(name, arguments)) => chat(format!(
                r#""tool_calls":[{{"index":0,"id":"call_1","type":"function","function":{{"name":"{name}","arguments":{}}}}}]"#,
                json(arguments)
            )),
            (Api::Chat, Step::Ping) => ": ping\n\n".into(),
            (Api::Chat, Step::Error(kind)) => data(&format!(r#"{{"error":{{"type":"{kind}","message":"no"}}}}"#)),
            (Api::Anthropic, Step::Say(text)) => block("text_delta", "text", text),
            (Api::Anthropic, Step::Reason(text)) => block("thinking_delta", "thinking", text),
            (Api::Anthropic, Step::Tool(name, arguments)) => {
                named(
                    "content_block_start",
                    &format!(
                        r#"{{"type":"content_block_start","index":1,"content_block":{{"type":"tool_use","id":"t1","name":"{name}","input":{{}}}}}}"#
                    ),
                ) + &block("input_json_delta", "partial_json", arguments)
            }
            (Api::Anthropic, Step::Sealed) => named(
                "content_block_start",
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"redacted_thinking","data":"EmwKAhgB"}}"#,
            ),
            (Api::Responses, Step::Sealed) => named(
                "response.output_item.done",
                r#"{"type":"response.output_item.done","output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"gAAAAABo"}}"#,
            ),
            (Api::Chat, Step::Sealed) => return None,
            (Api::Anthropic, Step::Ping) => named("ping", r#"{"type":"ping"}"#),
            (Api::Anthropic, Step::Error(kind)) => {
                named("error", &format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"no"}}}}"#))
            }
            (Api::Anthropic, _) => return None,
            (Api::Responses, Step::Say(text)) => {
                let delta = json(text);
                named(
                    "response.output_text.delta",
                    &format!(r#"{{"type":"response.output_text.delta","delta":{delta}}}"#),
                )
            }
            (Api::Responses, Step::Reason(text)) => named(
                "response.reasoning_summary_text.delta",
                &format!(r#"{{"type":"response.reasoning_summary_text.delta","delta":{}}}"#, json(text)),
            ),
            (Api::Responses, Step::Refuse(text)) => {
                let delta = json(text);
                named("response.refusal.delta", &format!(r#"{{"type":"response.refusal.delta","delta":{delta}}}"#))
            }
            (Api::Responses, _) => return None,
        })
    }

    fn opening(&self) -> Option<String> {
        let (input, cached) = self.usage.map_or((10, 0), |(input, _, _, cached)| (input, cached));
        match self.api {
            Api::Chat => None,
            Api::Anthropic => Some(named(
                "message_start",
                &format!(
                    r#"{{"type":"message_start","message":{{"id":"msg_1","model":"{}","usage":{{"input_tokens":{},"cache_read_input_tokens":{cached},"output_tokens":1}}}}}}"#,
                    self.answered,
                    input - cached
                ),
            )),
            Api::Responses => Some(named(
                "response.created",
                &format!(
                    r#"{{"type":"response.created","response":{{"id":"resp_1","model":"{}","status":"in_progress"}}}}"#,
                    self.answered
                ),
            )),
        }
    }

    fn closing(&self, reason: &str) -> String {
        let (input, output, reasoning, cached) = self.usage.unwrap_or_default();
        match self.api {
            Api::Chat => {
                let mut text = data(&format!(
                    r#"{{"id":"{}","model":"{}","choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]}}"#,
                    self.id, self.answered
                ));
                if self.usage.is_some() {
                    text += &data(&format!(
                        r#"{{"id":"{}","model":"{}","choices":[],"usage":{{"prompt_tokens":{input},"completion_tokens":{output},"prompt_tokens_details":{{"cached_tokens":{cached}}},"completion_tokens_details":{{"reasoning_tokens":{reasoning}}}}}}}"#,
                        self.id, self.answered
                    ));
                }
                text + &data("[DONE]")
            }
            Api::Anthropic => {
                let reason = if reason == "stop" { "end_turn" } else { reason };
                let output = self.usage.map_or(5, |_| output);
                named(
                    "message_delta",
                    &format!(
                        r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}"}},"usage":{{"output_tokens":{output}}}}}"#
                    ),
                ) + &named("message_stop", r#"{"type":"message_stop"}"#)
            }
            Api::Responses => named(
                "response.completed",
                &format!(
                    r#"{{"type":"response.completed","response":{{"id":"resp_1","model":"{}","status":"completed","usage":{{"input_tokens":{input},"output_tokens":{output},"input_tokens_details":{{"cached_tokens":{cached}}},"output_tokens_details":{{"reasoning_tokens":{reasoning}}}}}}}}}"#,
                    self.answered
                ),
            ),
        }
    }

    /// The records of the call, begun `at_ms` after the boot; the second: when it ended.
    fn records(&self, at_ms: u64, handle: u64) -> (Vec<Owned>, u64) {
        let mut script = Script::new(self.pid, handle);
        script.wait_ms(at_ms.saturating_sub(1000));
        self.play(&mut script, true);
        (self.of(&script), script.now().0 / 1_000_000)
    }

    /// The call on a connection; `last`: and the connection's end.
    fn play(&self, script: &mut Script, last: bool) {
        let (head, body) = self.request();
        script.write(&head);
        match self.request_cut {
            None => script.write(&body),
            Some(kept) => script.write(body.get(..kept).unwrap()).lose(Direction::Write, (body.len() - kept) as u64),
        };
        script.wait_ms(self.think_ms);
        if self.status > 0 {
            script.read(self.head());
            self.answer(script);
        }
        if !last {
            return;
        }
        match self.end {
            End::Done(_) => script.wait_ms(1).close(),
            End::Cut => script.read_end(true).close(),
            End::Reset => script.read_end(false).close(),
            End::ResetLate(ms) => script.read_end(false).wait_ms(ms).close(),
            End::Cancel => script.close(),
            End::Exit => script.exit(),
            End::Open => script,
        };
    }

    /// The records of a script, in the name of this call's program.
    fn of(&self, script: &Script) -> Vec<Owned> {
        self.named(script.records())
    }

    fn named(&self, records: &[Owned]) -> Vec<Owned> {
        let mut records = records.to_vec();
        for owned in &mut records {
            if let Record::Process { identity, .. } = &mut owned.record {
                let service = self.service.clone();
                *identity = Arc::new(Identity { pid: self.pid, comm: "app".into(), service, ..Identity::default() });
            }
        }
        records
    }

    fn answer(&self, script: &mut Script) {
        let mut now = self.clone();
        if let Some(document) = &self.document {
            let mut lost = 0;
            // Sound may come late after its head, or not at all; any other document comes with it.
            for step in self.steps.iter().filter(|_| self.media) {
                match step {
                    Step::Wait(ms) => _ = script.wait_ms(*ms),
                    Step::Lose(bytes) => {
                        script.lose(Direction::Read, *bytes);
                        lost += usize::try_from(*bytes).unwrap();
                    }
                    _ => {}
                }
            }
            script.read(&document.as_bytes()[lost..]);
            return;
        }
        if let Some(opening) = self.opening() {
            script.read(framed(&opening));
        }
        let (mut together, mut held) = (0, String::new());
        for step in &self.steps {
            match step {
                Step::Wait(ms) => {
                    script.wait_ms(*ms);
                }
                Step::Together(events) => together = *events,
                Step::Lose(bytes) => {
                    script.lose(Direction::Read, *bytes);
                }
                Step::Model(name) => now.answered = (*name).into(),
                step => {
                    held += &framed(&now.event(step).expect("this API cannot say that"));
                    together = usize::saturating_sub(together, 1);
                    if together == 0 {
                        script.read(std::mem::take(&mut held));
                    }
                }
            }
        }
        if let End::Done(reason) = self.end {
            script.read(held + &framed(&now.closing(reason)) + "0\r\n\r\n");
        }
    }
}

fn framed(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n", body.len())
}

fn data(json: &str) -> String {
    format!("data: {json}\n\n")
}

fn named(name: &str, json: &str) -> String {
    format!("event: {name}\ndata: {json}\n\n")
}

/// What a process does besides its calls.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// A program is started below it.
    Program,
    Connect(&'static str),
}

/// Calls of any number of programs.
pub struct Host {
    records: Vec<Owned>,
    next: u64,
    /// Noise, the same in every run.
    seed: u64,
    tick_ms: u64,
    pub wall: Option<i128>,
    /// When the CPU of a service was looked at, the cores it used since the look before, and seconds between the two.
    cpu: Vec<(u64, &'static str, f64, f64)>,
    /// When the wall clock is set, and by how much.
    steps: Vec<(u64, i128)>,
    /// When a TLS object's socket becomes known.
    joins: Vec<(Ns, Owned)>,
    /// When it goes wrong; `None`: with the first call.
    wrong: Option<Ns>,
    /// When calls began.
    calls: Vec<Ns>,
}

fn data_of(owned: &Owned) -> Option<&observer::record::Data<'static>> {
    match &owned.record {
        Record::Data(data) => Some(data),
        _ => None,
    }
}

/// The handshake's messages, as recorded.
fn tls_hello(which: &str) -> Vec<u8> {
    let text = include_str!("../../../tests/vectors/tls/tls13.txt");
    let hex = text.lines().find_map(|line| line.strip_prefix(which)).unwrap();
    hex.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// A record of application data that carries `plain` bytes.
fn tls_record(plain: usize) -> Vec<u8> {
    let len = u16::try_from(plain + 17).unwrap();
    let mut bytes = vec![23, 3, 3];
    bytes.extend(len.to_be_bytes());
    bytes.resize(5 + usize::from(len), 0xaa);
    bytes
}

/// All that came within a period is read at its end, a TLS record a call, as OpenSSL gives them.
fn read_later(mut records: Vec<Owned>, period: u64) -> Vec<Owned> {
    if period == 0 {
        return records;
    }
    let mut last = 0;
    for owned in &mut records {
        let due = (owned.at().0 / period + 1) * period;
        match &mut owned.record {
            Record::Data(data) if data.direction == Direction::Read => {
                last = due.max(last + 1000);
                (data.at, data.entered) = (Ns(last), Ns(last - 500));
            }
            Record::Close { at, .. } => *at = Ns(due + 1_000_000),
            _ => {}
        }
    }
    records
}

impl Host {
    pub fn new() -> Host {
        Host {
            records: Vec::new(),
            next: 0x1000,
            seed: 7,
            tick_ms: 1000,
            wall: Some(BOOT),
            cpu: Vec::new(),
            steps: Vec::new(),
            joins: Vec::new(),
            wrong: None,
            calls: Vec::new(),
        }
    }

    /// A call that begins `at_ms` after the boot; when it ends.
    pub fn call(&mut self, at_ms: u64, call: &Call) -> u64 {
        self.next += 16;
        self.calls.push(Ns(at_ms.max(1000) * 1_000_000));
        let (records, end) = call.records(at_ms.max(1000), self.next);
        self.records.extend(records);
        end
    }

    /// The same over TLS on a socket that is followed: bytes arrive at the call's times, and the application reads what
    /// came each time that many milliseconds have passed (0: at once).
    pub fn call_arriving(&mut self, at_ms: u64, call: &Call, reads_every_ms: u64) -> u64 {
        self.next += 16;
        self.calls.push(Ns(at_ms.max(1000) * 1_000_000));
        let (records, end) = call.records(at_ms.max(1000), self.next);
        let (first, conn) = records.iter().find_map(|owned| data_of(owned).map(|data| (data.at, data.conn))).unwrap();
        let mut cable = Cable::new(call.pid, self.next, "192.0.2.7:443".parse().unwrap());
        cable.at(Ns(first.0 - 9_000_000)).write(tls_hello("c ")).wait_ms(1).read(tls_hello("s ")).wait_ms(1);
        cable.write(tls_record(52)).wait_ms(1).read(tls_record(233)).read(tls_record(233));
        let peer = "192.0.2.7:443".parse().unwrap();
        let (method, confidence) = (JoinMethod::Inside, Confidence::High);
        let join = Joined { conn, sock: cable.sock(), peer, method, confidence };
        // It is stamped with the end of the handshake: `Joined` has no stamp of its own.
        self.joins.push((cable.now(), Owned { record: Record::Joined(join), bytes: Vec::new() }));
        for owned in &records {
            let Some(data) = data_of(owned) else { continue };
            cable.at(data.at);
            match data.direction {
                Direction::Write => cable.write(tls_record(owned.bytes.len())),
                Direction::Read => cable.read(tls_record(owned.bytes.len())),
            };
        }
        let records = read_later(records, reads_every_ms * 1_000_000);
        // The socket goes after the TLS object.
        cable.at(Ns(records.iter().map(|owned| owned.at().0).max().unwrap() + 1_000_000)).close();
        self.records.extend(call.named(cable.records()));
        self.records.extend(records);
        end + reads_every_ms
    }

    /// A call of program 100 to `host` (14 letters, as in the recorded hello) that no probe enters: only its shape is seen. `reset`: after
    /// ten records of its answer the provider breaks it. When it ends.
    pub fn call_outside(&mut self, at_ms: u64, host: &str, reset: bool) -> u64 {
        const RECORDED: &str = "API.OpenAI.com";
        assert_eq!(host.len(), RECORDED.len(), "the lengths in the hello are the recorded ones");
        let mut hello = tls_hello("c ");
        let at = hello.windows(RECORDED.len()).position(|part| part == RECORDED.as_bytes()).unwrap();
        hello[at..at + host.len()].copy_from_slice(host.as_bytes());
        self.next += 16;
        self.calls.push(Ns(at_ms * 1_000_000));
        let mut cable = Cable::new(100, self.next, "192.0.2.7:443".parse().unwrap());
        cable.at(Ns(at_ms * 1_000_000)).write(hello).wait_ms(1).read(tls_hello("s ")).wait_ms(1);
        cable.write(tls_record(52)).wait_ms(1).read(tls_record(233)).read(tls_record(233)).wait_ms(20);
        cable.write(tls_record(700)).wait_ms(200).read(tls_record(300));
        for _ in 0..10 {
            cable.wait_ms(50).read(tls_record(60));
        }
        if reset {
            cable.rst(Direction::Read).close();
        } else {
            cable.wait_ms(50).read(tls_record(5)).wait_ms(50).fin(Direction::Write).fin(Direction::Read).close();
        }
        self.records.extend(Call::chat("unseen").named(cable.records()));
        cable.now().0 / 1_000_000
    }

    /// Calls on one connection, `idle_ms` between them.
    pub fn calls_on_one(&mut self, at_ms: u64, idle_ms: u64, calls: &[Call]) {
        self.next += 16;
        let mut script = Script::new(calls[0].pid, self.next);
        script.wait_ms(at_ms.saturating_sub(1000));
        for (index, call) in calls.iter().enumerate() {
            if index > 0 {
                script.wait_ms(idle_ms);
            }
            self.calls.push(script.now());
            call.play(&mut script, index + 1 == calls.len());
        }
        self.records.extend(calls[0].of(&script));
    }

    /// A process does something; nobody: some of it was not seen.
    pub fn act(&mut self, at_ms: u64, pid: Option<u32>, act: Act) {
        let at = Ns(at_ms * 1_000_000);
        match act {
            Act::Program => {
                let record = Record::Started { tgid: pid, at };
                self.records.push(Owned { record, bytes: Vec::new() });
            }
            Act::Connect(peer) => {
                self.next += 16;
                let cable = Cable::new(pid.unwrap(), self.next, peer.parse().unwrap());
                // A cable is plugged in at the beginning of time.
                let opens = cable.records().iter().filter_map(|owned| match owned.record {
                    Record::SockOpen(open) => Some(Record::SockOpen(SockOpen { at, ..open })),
                    _ => None,
                });
                self.records.extend(opens.map(|record| Owned { record, bytes: Vec::new() }));
            }
        }
    }

    /// A service's processes use `cores` from one minute to another.
    pub fn cpu(&mut self, service: &'static str, from: u64, to: u64, cores: f64) {
        self.cpu_each(1, service, from, to, cores);
    }

    /// The same, looked at once in so many minutes.
    pub fn cpu_each(&mut self, minutes: usize, service: &'static str, from: u64, to: u64, cores: f64) {
        let seconds = 60.0 * minutes as f64;
        self.cpu.extend((from..to).step_by(minutes).map(|minute| (minute * MINUTE, service, cores, seconds)));
    }

    /// The wall clock is set.
    pub fn step_wall(&mut self, at_ms: u64, by_ns: i128) {
        self.steps.push((at_ms, by_ns));
    }

    /// From here on it is as the detector should tell: what the delay of a verdict counts from.
    pub fn goes_wrong(&mut self, at_ms: u64) {
        self.wrong = Some(Ns(at_ms * 1_000_000));
    }

    /// From the beginning of what is wrong to the first verdict.
    fn delay(&self, told: Ns) -> Delay {
        let first = self.calls.iter().min().copied().unwrap_or_default();
        let wrong = self.wrong.unwrap_or(first);
        let streams = self.calls.iter().filter(|at| (wrong..=told).contains(at)).count();
        Delay { streams, seconds: told.seconds_since(wrong) }
    }

    /// A number below `below`, the same in every run.
    pub fn random(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    /// What came so far, in the order of time: for traffic that is too long to be held.
    pub fn take(&mut self) -> Vec<Owned> {
        self.calls.clear();
        let mut records = std::mem::take(&mut self.records);
        records.sort_by_key(Owned::at);
        records
    }

    /// Everything through the pipeline, in the order of time.
    pub fn run(mut self) -> Ran {
        let own = self.records.drain(..).map(|owned| (owned.at(), owned));
        let mut records: Vec<(Ns, Owned)> = own.chain(self.joins.drain(..)).collect();
        records.sort_by_key(|(at, _)| *at);
        let mut pipeline = Pipeline::new(Settings::default(), Metrics::new(Caps::default(), READER_RATE));
        if let Some(wall) = self.wall {
            pipeline.audience_mut().detectors.set_wall(wall);
        }
        let mut told = None;
        let mut ticked = Ns(0);
        let mut cpu = self.cpu.iter().peekable();
        let mut steps = self.steps.iter().peekable();
        for (now, owned) in &records {
            while let Some((_, by)) = steps.next_if(|(at, _)| at * 1_000_000 <= now.0) {
                self.wall = self.wall.map(|wall| wall + by);
                pipeline.audience_mut().detectors.set_wall(self.wall.unwrap());
            }
            while let Some((_, service, cores, seconds)) = cpu.next_if(|(at, ..)| at * 1_000_000 <= now.0) {
                pipeline.audience_mut().detectors.cpu(service, cores * seconds, *seconds);
            }
            pipeline.record(&owned.get());
            if pipeline.now() - ticked >= self.tick_ms * 1_000_000 {
                ticked = pipeline.now();
                pipeline.tick(ticked);
                pipeline.verdicts().for_each(drop);
            }
            if told.is_none() && !pipeline.audience().detectors.findings().list().is_empty() {
                told = Some(pipeline.now());
            }
        }
        pipeline.tick(Ns(pipeline.now().0 + 2_000_000_000));
        if told.is_none() && !pipeline.audience().detectors.findings().list().is_empty() {
            told = Some(pipeline.now());
        }
        let now = pipeline.now();
        pipeline.show(|book, links, sockets, metrics| metrics.publish(book, links, sockets, now));
        let snapshot = pipeline.audience_mut().store.snapshot();
        Ran { pipeline, snapshot, delay: told.map(|told| self.delay(told)) }
    }
}

/// What came of it.
pub struct Ran {
    pub pipeline: Pipeline<Metrics>,
    snapshot: Snapshot,
    /// Of the first finding.
    pub delay: Option<Delay>,
}

/// How long it went wrong before it was told.
#[derive(Clone, Copy, Debug)]
pub struct Delay {
    /// Calls begun in that time.
    pub streams: usize,
    pub seconds: f64,
}

impl Ran {
    pub fn findings(&self) -> Vec<&Finding> {
        self.pipeline.audience().detectors.findings().list()
    }

    /// The one finding there must be.
    pub fn finding(&self) -> &Finding {
        match self.findings().as_slice() {
            [one] => one,
            many => panic!("{} findings\n{}", many.len(), self.explain()),
        }
    }

    /// The sum of the series with these labels; of a histogram, its count.
    pub fn number(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(metric, labels)
            .iter()
            .map(|value| match value {
                Value::Number(number) => *number,
                Value::Buckets { counts, .. } => counts.iter().sum::<u64>() as f64,
            })
            .sum()
    }

    /// Series of all metrics.
    pub fn series_count(&self) -> usize {
        self.snapshot.families.iter().map(Vec::len).sum()
    }

    /// Whether the metric has any series.
    pub fn fed(&self, metric: &str) -> bool {
        !self.series(metric, &[]).is_empty()
    }

    /// The sum of a histogram's samples.
    pub fn sum(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(metric, labels)
            .iter()
            .map(|value| match value {
                Value::Number(_) => panic!("{metric} is no histogram"),
                Value::Buckets { sum, .. } => *sum,
            })
            .sum()
    }

    fn series(&self, metric: &str, labels: &[(&str, &str)]) -> Vec<&Value> {
        let row = CATALOGUE.iter().find(|row| row.name == metric).unwrap_or_else(|| panic!("no metric {metric}"));
        let names: Vec<&str> = row.labels().map(|label| label.name).collect();
        let at = |name: &str| names.iter().position(|n| *n == name).unwrap_or_else(|| panic!("{metric} has no {name}"));
        self.snapshot.families[row.id as usize]
            .iter()
            .filter(|(values, _)| labels.iter().all(|(name, value)| &*values[at(name)] == *value))
            .map(|(_, value)| value)
            .collect()
    }

    /// Everything that detectors said, for a failed test.
    pub fn explain(&self) -> String {
        let mut text = String::new();
        for finding in self.findings() {
            text += &format!("{finding:#?}\n");
        }
        for row in CATALOGUE.iter().filter(|row| row.name.starts_with("llm_detector")) {
            for (labels, value) in &self.snapshot.families[row.id as usize] {
                text += &format!("{} {labels:?} {value:?}\n", row.name);
            }
        }
        let outcomes =
            self.pipeline.book().ended().take(20).map(|e| format!("{} {:?} {:?}\n", e.id, e.outcome, e.notes));
        text + &outcomes.collect::<String>()
    }
}

/// `Sun, 01 Mar 2026 00:02:00 GMT`, cut to the second.
pub fn http_date(ns: i128) -> String {
    let time = jiff::Timestamp::from_nanosecond(ns).unwrap();
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap()
}
