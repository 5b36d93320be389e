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

use observer::cli::daemon::Daemon;
use observer::cli::wake::Signals;
use observer::clock;
use observer::conn::testing::{Owned, Script};
use observer::coverage::{Edge, KernelCounters, ProbeRow, ProbeState, ProcessRow, Visibility};
use observer::export::audience::{Metrics, READER_RATE};
use observer::export::http::{self, Health, Site};
use observer::export::inspect::server::Socket;
use observer::export::store::Caps;
use observer::export::{ask, text};
use observer::pipeline::{Pipeline, Settings, Verdict};
use observer::record::{ConnKey, Record};
use observer::recording::{Payload, Recorder};
use observer::units::{LossCause, Ns};
use tempfile::TempDir;

pub const KEY: &str = "sk-planted-0123456789";
pub const PROMPT: &str = "planted prompt about a merger";
pub const ANSWER: &str = "planted answer ";

/// A connection whose request has been written; its clock stands near now.
pub fn asked(tgid: u32, model: &str) -> Script {
    let mut script = Script::new(tgid, 0x1000);
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
pub fn answering(script: &mut Script) {
    script.wait_ms(100);
    script.read("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
}

/// `count` chunks of 15 characters, 50 ms apart, each in a read of its own.
pub fn chunks(script: &mut Script, count: usize) {
    for _ in 0..count {
        script.wait_ms(50);
        script.read(event(&format!(
            r#"{{"id":"c1","model":"gpt-x-2026","choices":[{{"index":0,"delta":{{"content":"{ANSWER}"}}}}]}}"#
        )));
    }
}

/// Usage (`count` tokens out, 100 in), the end marker and the end of the connection.
pub fn completed(script: &mut Script, count: usize) {
    script.read(event(r#"{"id":"c1","model":"gpt-x-2026","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#));
    script.read(event(&format!(
        r#"{{"id":"c1","model":"gpt-x-2026","choices":[],"usage":{{"prompt_tokens":100,"completion_tokens":{count},"total_tokens":{}}}}}"#,
        100 + count
    )));
    script.read(event("[DONE]")).read("0\r\n\r\n").shutdown().close().exit();
}

/// A whole call: `count` chunks, `3 × count` tokens.
pub fn call(tgid: u32, model: &str, count: usize) -> Script {
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
pub fn recording(path: &Path, payload: Payload, scripts: &[Script]) {
    let file = std::fs::File::create(path).unwrap();
    let wall = i64::try_from(clock::Wall::read().offset()).unwrap();
    let mut recorder = Recorder::new(file, payload, wall, Settings::default()).unwrap();
    for owned in Script::merge(scripts) {
        recorder.record(&owned.get()).unwrap();
    }
    recorder.finish().unwrap();
}

/// The program under test.
pub fn observer(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// The same, to be changed first.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-observer"));
    command.args(args).env_remove("NO_COLOR");
    for name in ["CONFIG", "INSPECT_SOCKET", "WEB_LISTEN_ADDRESS", "TARGET", "LOG"] {
        command.env_remove(format!("LLM_OBSERVER_{name}"));
    }
    command
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A daemon in this process, without a kernel. Its threads end with the test program.
pub struct Live {
    pub address: SocketAddr,
    pub socket: PathBuf,
    pub dir: TempDir,
    feed: Sender<Vec<Owned>>,
}

impl Live {
    pub fn start() -> Live {
        Live::with_web_config(|_| None)
    }

    /// `web_config` writes the file into the directory it is given.
    pub fn with_web_config(web_config: impl FnOnce(&Path) -> Option<PathBuf>) -> Live {
        let dir = tempfile::tempdir().unwrap();
        let (feed, fed) = channel();
        let (asker, asks) = ask::channel();
        let health = Arc::new(Health::default());
        let site = Arc::new(Site {
            registry: text::registry(asker.clone()).unwrap(),
            health: Arc::clone(&health),
            telemetry_path: "/metrics".into(),
            web_config: web_config(dir.path()),
            auth: Default::default(),
        });
        let socket = dir.path().join("inspect.sock");
        let servers = servers();
        let address = servers.block_on(async {
            let listener = http::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(http::serve(listener, site, http::room()));
            tokio::spawn(Socket::bind(&socket).unwrap().serve(asker));
            address
        });
        thread::spawn(move || {
            let metrics = Metrics::new(Caps { values: 50, series: 500 }, READER_RATE);
            let mut daemon = Daemon::new(Box::new(Fed { fed }), Pipeline::new(Settings::default(), metrics), health);
            let own = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            own.block_on(async { daemon.run(Signals::new().unwrap(), asks).await }).unwrap();
        });
        Live { address, socket, dir, feed }
    }

    /// These things happen on the host, in the order of their stamps.
    pub fn happen(&self, scripts: &[Script]) {
        self.feed.send(Script::merge(scripts)).unwrap();
    }

    /// What happened from the `from`th record of `script` on.
    pub fn happen_from(&self, script: &Script, from: usize) {
        self.feed.send(script.records()[from..].to_vec()).unwrap();
    }

    /// The whole answer to `GET path`, head and body.
    pub fn get(&self, path: &str) -> String {
        get(self.address, path)
    }

    /// `llm-observer inspect …` against this daemon.
    pub fn inspect(&self, args: &[&str]) -> Output {
        self.ask(&[&["inspect"], args].concat())
    }

    /// `llm-observer …`, of a verb that asks this daemon.
    pub fn ask(&self, args: &[&str]) -> Output {
        let mut all = args.to_vec();
        let socket = self.socket.to_str().unwrap();
        all.extend(["--inspect.socket", socket]);
        observer(&all)
    }
}

/// Empty if the server closes without an answer.
pub fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut answer = Vec::new();
    let asked = stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
    let _ = asked.and_then(|()| stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// The value of the sample whose line begins with `name` and contains all of `labels`.
pub fn sample(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = text.lines().find(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits for something that other threads or programs bring about.
pub fn eventually<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
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
    fed: Receiver<Vec<Owned>>,
}

impl Edge for Fed {
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
        let row = |pid, comm: &str, visibility, reason| ProcessRow {
            pid,
            start_ns: 1,
            comm: comm.into(),
            service: comm.into(),
            visibility,
            reason,
            library: Some("/usr/lib/libssl.so.3".into()),
            hellos: Some(3),
        };
        vec![row(10, "python3", Visibility::Plaintext, "probed"), row(11, "agent", Visibility::None, "go_crypto_tls")]
    }
    fn probes(&self) -> Vec<ProbeRow> {
        vec![ProbeRow {
            probe: "ssl_read",
            target: "/usr/lib/libssl.so.3".into(),
            build_id: Some("ab".into()),
            placement: "callee+0".into(),
            reason: "the kernel emulates its first instruction".into(),
            state: ProbeState::Ok,
            hits: Some(42),
        }]
    }
    fn counters(&self) -> KernelCounters {
        KernelCounters {
            lost_calls: vec![(LossCause::RingFull, 5)],
            lost_bytes: vec![(LossCause::RingFull, 500)],
            ..Default::default()
        }
    }
}
