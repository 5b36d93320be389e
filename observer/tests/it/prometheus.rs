//! What promtool and a real Prometheus make of `/metrics`.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::env;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::metrics::scraped;
use crate::support::{Live, answering, asked, call, eventually, stdout};

/// Stops what a test started, also when it fails.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn promtool_has_nothing_to_say() {
    let live = Live::start();
    let mut open = asked(8, "gpt-y");
    answering(&mut open);
    live.happen(&[call(7, "gpt-x", 20), open]);
    let text = scraped(&live, "llm_stream_duration_seconds_count");
    let Some(promtool) = tool("promtool") else { return };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let body = text.split_once("\r\n\r\n").unwrap().1;
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = format!("{}{}", stdout(&output), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// A real Prometheus scrapes and answers queries with the right numbers.
#[test]
fn prometheus_scrapes_and_answers() {
    let Some(prometheus) = tool("prometheus") else { return };
    let live = Live::start();
    live.happen(&[call(7, "gpt-x", 20), call(8, "gpt-x", 10)]);
    scraped(&live, "llm_stream_duration_seconds_count");
    let config = live.dir.path().join("prometheus.yml");
    let target = live.address;
    std::fs::write(&config, format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: llmo\n  static_configs: [{{targets: ['{target}']}}]\n")).unwrap();
    let own = free_port();
    let child = Command::new(prometheus)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", live.dir.path().join("tsdb").display()))
        .arg(format!("--web.listen-address={own}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _stopped = Stopped(child);
    let ask = |query: &str| query_value(own, query);
    eventually("Prometheus has scraped", || ask("up{job=\"llmo\"}").filter(|up| *up == 1.0));
    eventually("the sample is there", || ask("sum(llm_streams_total{outcome=\"complete\"})").filter(|n| *n == 2.0));
    assert_eq!(ask("sum(llm_chunk_visible_chars_count)"), Some(30.0));
    assert_eq!(ask("sum(llm_chunk_visible_chars_sum)"), Some(450.0));
    assert_eq!(ask("sum(gen_ai_client_inference_usage_output_tokens_total)"), Some(90.0));
    // 50 ms gaps lie in the bucket (0.03, 0.05] up to the microsecond that the calls themselves take: (0.05, 0.075].
    let median = ask("histogram_quantile(0.5, sum by (le) (llm_chunk_gap_seconds_bucket))").unwrap();
    assert!((0.05..=0.075).contains(&median), "{median}");
    assert_eq!(ask("count({__name__=~\"exported_.*\"}) or vector(0)"), Some(0.0));
    assert_eq!(ask("count({exported_job=~\".+\"}) or vector(0)"), Some(0.0), "no label collides with the target's");
}

/// A tool of the host, or one that set-up only unpacked; a test that cannot run says so.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let home = env::var_os("HOME").map_or_else(PathBuf::new, PathBuf::from);
    let cache = env::var_os("LLM_OBSERVER_CACHE").map_or_else(|| home.join(".cache/llm-observer"), PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([cache.join("tools/usr/bin")]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        println!("SKIPPED: {name} is not installed (`cargo xtask setup` brings it)");
    }
    found
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The first value of an instant query; `None` while Prometheus cannot answer.
fn query_value(prometheus: SocketAddr, query: &str) -> Option<f64> {
    let encoded: String = query
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect();
    let mut stream = TcpStream::connect(prometheus).ok()?;
    write!(stream, "GET /api/v1/query?query={encoded} HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let answer: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}
