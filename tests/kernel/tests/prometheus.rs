//! A real Prometheus scrapes the daemon while a stream is open, and answers queries about it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic, its helpers too")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kernel_tests::clients::Kind;
use kernel_tests::rig::Rig;
use kernel_tests::{places, skipped, wait_for};
use rustix::process::Signal;

#[test]
fn prometheus_sees_an_open_stream_and_its_end() {
    if skipped() {
        return;
    }
    let Some(prometheus) = places::tool("prometheus") else {
        return println!("SKIPPED: no prometheus: `cargo xtask setup` brings it");
    };
    let rig = Rig::new().unwrap();
    let server = Prometheus::start(&prometheus, rig.dir.path(), rig.daemon.web());
    let kind = Kind::named("openai-sync-chat").unwrap();
    let model = kind.model("long");
    let client = rig.clients.run(kind, &rig.provider).start(std::slice::from_ref(&model)).unwrap();

    let selector = format!("{{gen_ai_request_model=\"{model}\"}}");
    server.wait_for("the open stream", &format!("llm_streams_active{selector} == 1"));
    server.wait_for("its chunks", &format!("llm_chunk_visible_chars_count{selector} > 10"));
    let quantile = format!("histogram_quantile(0.5, rate(llm_chunk_gap_seconds_bucket{selector}[10s])) < 0.5");
    server.wait_for("a quantile of its gaps", &quantile);

    client.signal(Signal::KILL);
    server.wait_for(
        "its end",
        &format!("llm_streams_total{{gen_ai_request_model=\"{model}\",outcome=\"process_exit\"}} == 1"),
    );
    server.wait_for("none open", &format!("llm_streams_active{selector} == 0"));
}

struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Prometheus {
    fn start(program: &Path, dir: &Path, target: SocketAddr) -> Self {
        let config = dir.join("prometheus.yml");
        let scrape = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: observer\n  static_configs: [{{targets: ['{target}']}}]\n"
        );
        fs::write(&config, scrape).unwrap();
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(dir.join("prometheus.log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, address }
    }

    /// Waits until a query has a result.
    fn wait_for(&self, what: &str, query: &str) {
        let answered = || self.query(query).filter(|answer| answer.contains("\"metric\""));
        wait_for(what, Duration::from_secs(30), answered).unwrap_or_else(|error| {
            panic!("{error}: {query} answered {:?}", self.query(query));
        });
    }

    fn query(&self, query: &str) -> Option<String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut socket = TcpStream::connect(self.address).ok()?;
        write!(socket, "GET /api/v1/query?query={encoded} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
