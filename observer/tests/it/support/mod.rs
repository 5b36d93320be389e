//! Shared by the black-box tests: calls to a model as records, and a daemon whose kernel side is a channel.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic, its helpers too")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use capture::record::{ConnKey, Record};
use capture::stacks::{LayoutCertainty, UnseenReason};
use capture::units::{LossCause, Ns};
use edge::clock;
use edge::coverage::{
    CaptureEdge, DiscoveryCounters, HealthCheck, KernelCounters, ProbeRow, ProbeState, ProcessRow, TlsVisibility,
};
use ledger::pipeline::{Pipeline, PipelineSettings, Verdict};
use observer::cli::daemon::Daemon;
use observer::cli::wake::StopSignals;
use observer::export::ask;
use observer::export::http::{self, DaemonHealth, HttpContext};
use observer::export::inspect::server::InspectSocket;
use observer::export::refusals::RefusalCounts;
use observer::export::store::SeriesCaps;
use observer::recording::{PayloadMode, Recorder};
use observer::sinks::{self, DaemonSinks};
use tempfile::TempDir;
use testkit::{FakeTlsConn, OwnedRecord};

pub(crate) const KEY: &str = "sk-planted-0123456789";
pub(crate) const PROMPT: &str = "planted prompt about a merger";
pub(crate) const ANSWER: &str = "planted answer ";

/// A connection whose request has been written; its clock stands near now.
pub(crate) fn asked(tgid: u32, model: &str) -> FakeTlsConn {
    let mut script = FakeTlsConn::new(tgid, 0x1000);
    script.wait_ms(clock::now().0 / 1_000_000 - 60_000);
    let body = format!(r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"{PROMPT}"}}]}}"#);
    script.write(format!(
        "POST /v1/chat/completions?api-key={KEY} HTTP/1.1\r\nHost: api.openai.com\r\nAuthorization: Bearer {KEY}\r\n\
         Cookie: session={KEY}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    script
}

/// The head of a streamed answer, after 100 ms.
pub(crate) fn answering(script: &mut FakeTlsConn) {
    script.wait_ms(100);
    script.read("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
}

/// `count` chunks of 15 characters, 50 ms apart, each in a read of its own.
pub(crate) fn chunks(script: &mut FakeTlsConn, count: usize) {
    for _ in 0..count {
        script.wait_ms(50);
        script.read(event(&format!(
            r#"{{"id":"c1","model":"gpt-x-2026","choices":[{{"index":0,"delta":{{"content":"{ANSWER}"}}}}]}}"#
        )));
    }
}

/// Usage (`count` tokens out, 100 in), the end marker and the end of the connection.
pub(crate) fn completed(script: &mut FakeTlsConn, count: usize) {
    script.read(event(r#"{"id":"c1","model":"gpt-x-2026","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#));
    script.read(event(&format!(
        r#"{{"id":"c1","model":"gpt-x-2026","choices":[],"usage":{{"prompt_tokens":100,"completion_tokens":{count},"total_tokens":{}}}}}"#,
        100 + count
    )));
    script.read(event("[DONE]")).read("0\r\n\r\n").shutdown().close().exit();
}

/// A whole call: `count` chunks, `3 × count` tokens.
pub(crate) fn call(tgid: u32, model: &str, count: usize) -> FakeTlsConn {
    let mut script = asked(tgid, model);
    answering(&mut script);
    chunks(&mut script, count);
    completed(&mut script, 3 * count);
    script
}

fn event(data: &str) -> String {
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len())
}

/// Writes a recording.
pub(crate) fn recording(path: &Path, payload: PayloadMode, scripts: &[FakeTlsConn]) {
    let file = std::fs::File::create(path).unwrap();
    let wall = i64::try_from(clock::WallClock::read().offset()).unwrap();
    let mut recorder = Recorder::new(file, payload, wall, PipelineSettings::default()).unwrap();
    for owned in FakeTlsConn::merge(scripts) {
        recorder.record(&owned.get()).unwrap();
    }
    recorder.finish().unwrap();
}

/// The program under test.
pub(crate) fn observer(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// The same, to be changed first.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-observer"));
    command.args(args).env_remove("NO_COLOR");
    for name in ["CONFIG", "INSPECT_SOCKET", "WEB_LISTEN_ADDRESS", "TARGET", "LOG"] {
        command.env_remove(format!("LLM_OBSERVER_{name}"));
    }
    command
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A daemon in this process, without a kernel. Its threads end with the test program.
pub(crate) struct Live {
    pub address: SocketAddr,
    pub socket: PathBuf,
    pub dir: TempDir,
    feed: Sender<Vec<OwnedRecord>>,
}

impl Live {
    pub(crate) fn start() -> Live {
        Live::with_web_config(|_| None)
    }

    /// `web_config` writes the file into the directory it is given.
    pub(crate) fn with_web_config(web_config: impl FnOnce(&Path) -> Option<PathBuf>) -> Live {
        let dir = tempfile::tempdir().unwrap();
        let (feed, fed) = channel();
        let (asker, asks) = ask::channel();
        let health = Arc::new(DaemonHealth::default());
        let refusals = Arc::new(RefusalCounts::default());
        let config = web_config(dir.path());
        let site = HttpContext::new(
            Arc::new(asker.clone()),
            Arc::clone(&health),
            "/metrics".into(),
            config,
            Arc::clone(&refusals),
        );
        let socket = dir.path().join("inspect.sock");
        let servers = servers();
        let address = servers.block_on(async {
            let listener = http::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(http::serve(listener, Arc::clone(&site), site.room()));
            tokio::spawn(InspectSocket::bind(&socket).unwrap().serve(asker, Arc::clone(&refusals)));
            address
        });
        thread::spawn(move || {
            let sinks = DaemonSinks::new(&sinks::SinkSettings {
                caps: SeriesCaps { values: 50, series: 500 },
                ..Default::default()
            });
            let pipeline = Pipeline::new(PipelineSettings::default(), sinks);
            let mut daemon = Daemon::new(Box::new(Fed { fed }), pipeline, health).with_refusals(refusals);
            let own = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            own.block_on(async { daemon.run(StopSignals::new().unwrap(), asks).await }).unwrap();
        });
        Live { address, socket, dir, feed }
    }

    /// These things happen on the host, in the order of their stamps.
    pub(crate) fn happen(&self, scripts: &[FakeTlsConn]) {
        self.feed.send(FakeTlsConn::merge(scripts)).unwrap();
    }

    /// What happened from the `from`th record of `script` on.
    pub(crate) fn happen_from(&self, script: &FakeTlsConn, from: usize) {
        self.feed.send(script.records()[from..].to_vec()).unwrap();
    }

    /// The whole answer to `GET path`, head and body.
    pub(crate) fn get(&self, path: &str) -> String {
        get(self.address, path)
    }

    /// `llm-observer inspect …` against this daemon.
    pub(crate) fn inspect(&self, args: &[&str]) -> Output {
        self.ask(&[&["inspect"], args].concat())
    }

    /// `llm-observer …`, of a verb that asks this daemon.
    pub(crate) fn ask(&self, args: &[&str]) -> Output {
        let mut all = args.to_vec();
        let socket = self.socket.to_str().unwrap();
        all.extend(["--inspect.socket", socket]);
        observer(&all)
    }
}

/// Empty if the server closes without an answer.
pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut answer = Vec::new();
    let asked = stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
    let _ = asked.and_then(|()| stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// The value of the sample whose line begins with `name` and contains all of `labels`.
pub(crate) fn sample(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = text.lines().find(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits for something that other threads or programs bring about.
pub(crate) fn eventually<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = get() {
            return value;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn servers() -> &'static tokio::runtime::Runtime {
    static SERVERS: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    SERVERS.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap())
}

/// A kernel side that hands over what it is fed.
struct Fed {
    fed: Receiver<Vec<OwnedRecord>>,
}

impl CaptureEdge for Fed {
    fn fds(&self) -> Vec<RawFd> {
        Vec::new()
    }
    fn drain(&mut self, sink: &mut dyn FnMut(&Record<'_>)) -> bool {
        for owned in self.fed.try_iter().flatten() {
            sink(&owned.get());
        }
        false
    }
    fn decide(&mut self, _: ConnKey, _: Verdict) {}
    fn tick(&mut self, _: Ns) {}
    fn processes(&self) -> Vec<ProcessRow> {
        let row = |pid, comm: &str, visibility, unseen| ProcessRow {
            pid,
            start_ns: 1,
            comm: comm.into(),
            service: comm.into(),
            uid: Some(0),
            k8s: Default::default(),
            container_id: None,
            visibility,
            unseen,
            library: Some("/usr/lib/libssl.so.3".into()),
            hellos: Some(3),
            unmatched: Some(0),
        };
        vec![
            row(10, "python3", TlsVisibility::Plaintext, None),
            row(11, "agent", TlsVisibility::None, Some(UnseenReason::GoCryptoTls)),
        ]
    }
    fn probes(&self) -> Vec<ProbeRow> {
        vec![ProbeRow {
            probe: "ssl_read",
            target: "/usr/lib/libssl.so.3".into(),
            build_id: Some("ab".into()),
            stack: Some("openssl"),
            certainty: Some(LayoutCertainty::Named),
            placement: "callee+0".into(),
            reason: "the kernel emulates its first instruction".into(),
            state: ProbeState::Ok,
            hits: Some(42),
            ..ProbeRow::default()
        }]
    }
    fn counters(&self) -> KernelCounters {
        KernelCounters {
            lost_calls: vec![(LossCause::RingFull, 5)],
            lost_bytes: vec![(LossCause::RingFull, 500)],
            discovery: DiscoveryCounters { refused: vec![(UnseenReason::FuseMount, 1)], ..Default::default() },
            ..Default::default()
        }
    }
    fn sights(&self) -> Vec<HealthCheck> {
        vec![HealthCheck::ok("sockets", "fed by hand")]
    }
}
