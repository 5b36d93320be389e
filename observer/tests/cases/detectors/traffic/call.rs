//! A call, and what is chosen about it: provider, answer, faults and times.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Chat,
    Anthropic,
    Responses,
}

/// A piece of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Step {
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
pub(crate) enum End {
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
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
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
    pub(crate) fn new(api: Api, model: &str) -> Call {
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

    pub(crate) fn chat(model: &str) -> Call {
        Call::new(Api::Chat, model)
    }

    pub(crate) fn anthropic(model: &str) -> Call {
        Call::new(Api::Anthropic, model)
    }

    pub(crate) fn service(mut self, service: &str, pid: u32) -> Call {
        self.service = service.into();
        self.pid = pid;
        self
    }

    pub(crate) fn user(self, text: &str) -> Call {
        self.message("user", text)
    }

    pub(crate) fn message(mut self, role: &str, text: &str) -> Call {
        self.messages.push((role.into(), serde_json::to_string(text).unwrap()));
        self
    }

    /// A message whose content is JSON.
    pub(crate) fn message_json(mut self, role: &str, content: &str) -> Call {
        self.messages.push((role.into(), content.into()));
        self
    }

    pub(crate) fn system(mut self, text: &str) -> Call {
        self.system = Some(text.into());
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Call {
        self.request_headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn answers_header(mut self, name: &str, value: &str) -> Call {
        self.response_headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn member(mut self, name: &str, json: &str) -> Call {
        self.body.push((name.into(), json.into()));
        self
    }

    /// An error of the provider before any stream.
    pub(crate) fn fails(mut self, status: u16, kind: &str) -> Call {
        self.status = status;
        self.document = Some(format!(r#"{{"error":{{"type":"{kind}","code":"{kind}","message":"no"}}}}"#));
        self
    }

    pub(crate) fn step(mut self, step: Step) -> Call {
        self.steps.push(step);
        self
    }

    /// `chunks` chunks of `chars` characters, `gap_ms` apart.
    pub(crate) fn says(mut self, chunks: usize, chars: usize, gap_ms: u64) -> Call {
        for n in 0..chunks {
            let text = (b'a'..=b'z').cycle().skip(n * chars % 26).take(chars).map(char::from).collect();
            self.steps.extend([Step::Wait(gap_ms), Step::Say(text)]);
        }
        self
    }

    pub(crate) fn ends(mut self, end: End) -> Call {
        self.end = end;
        self
    }

    pub(crate) fn usage(mut self, input: u64, output: u64) -> Call {
        self.usage = Some((input, output, 0, 0));
        self
    }
}
