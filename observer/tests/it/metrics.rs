//! `/metrics` from the outside: what a scraper gets, what promtool and a real Prometheus make of it, and what a hostile
//! peer can do to the server.

use std::env;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::prometheus::tool;
use crate::support::{Live, answering, asked, call, chunks, eventually, get, observer, recording, sample, stdout};
use observer::recording::PayloadMode;

pub(crate) fn scraped(live: &Live, until: &str) -> String {
    eventually(until, || Some(live.get("/metrics")).filter(|text| text.contains(until)))
}

const MODEL: &str = "gen_ai_request_model=\"gpt-x\"";

#[test]
fn a_call_is_counted_to_the_chunk() {
    let live = Live::start();
    live.happen(&[call(7, "gpt-x", 20)]);
    let text = scraped(&live, "llm_stream_duration_seconds_count");
    let of = |name: &str, labels: &[&str]| sample(&text, name, &[labels, &[MODEL]].concat());
    assert_eq!(of("llm_streams_total", &["outcome=\"complete\""]), Some(1.0), "{text}");
    assert_eq!(of("llm_streams_total", &["outcome=\"reset\""]), Some(0.0), "known label sets start at 0");
    assert_eq!(of("llm_chunk_visible_chars_count", &[]), Some(20.0));
    assert_eq!(of("llm_chunk_visible_chars_sum", &[]), Some(300.0));
    assert_eq!(of("llm_chunk_gap_seconds_count", &["clock=\"read\""]), Some(19.0));
    let gaps = of("llm_chunk_gap_seconds_sum", &[]).unwrap();
    assert!((gaps - 19.0 * 0.050_001).abs() < 1e-6, "{gaps}");
    assert_eq!(of("llm_chunk_tokens_estimate_sum", &[]), Some(3.0));
    // 20 chunks, the finish, the usage and the end marker, each read by itself.
    assert_eq!(of("llm_events_per_read_count", &[]), Some(23.0));
    assert_eq!(of("gen_ai_client_inference_usage_input_tokens_total", &[]), Some(100.0));
    assert_eq!(of("gen_ai_client_inference_usage_output_tokens_total", &[]), Some(60.0));
    assert_eq!(of("gen_ai_client_inference_usage_reasoning_output_tokens_total", &[]), None, "not reported, not 0");
    assert_eq!(of("gen_ai_client_operation_time_per_output_chunk_seconds_count", &[]), Some(19.0));
    let first = of("gen_ai_client_operation_time_to_first_chunk_seconds_sum", &[]).unwrap();
    assert!((first - 0.150).abs() < 0.001, "{first}");
    for milestone in ["byte", "event", "emitted", "visible"] {
        let label = format!("milestone=\"{milestone}\"");
        assert_eq!(of("llm_time_to_first_seconds_count", &[&label]), Some(1.0), "{milestone}");
    }
    for label in ["service=\"app.service\"", "server_address=\"api.openai.com\"", "gen_ai_provider_name=\"openai\""] {
        assert!(of("llm_stream_duration_seconds_count", &[label]).is_some(), "{label}");
    }
    assert!(
        of("gen_ai_client_operation_duration_seconds_count", &["server_port=\"443\"", "error_type=\"\""]).is_some()
    );
    assert_eq!(of("llm_streams_active", &[]), Some(0.0), "a service that had streams shows 0, not nothing");
}

#[test]
fn open_streams_are_live_gauges() {
    let live = Live::start();
    let mut script = asked(7, "gpt-x");
    answering(&mut script);
    chunks(&mut script, 3);
    live.happen(&[script]);
    let text = scraped(&live, "llm_streams_active{");
    assert_eq!(sample(&text, "llm_streams_active", &[MODEL, "k8s_pod_name=\"\""]), Some(1.0));
    // The request was written a minute ago, on the clock of this host.
    let age = sample(&text, "llm_stream_oldest_age_seconds", &[MODEL]).unwrap();
    let idle = sample(&text, "llm_stream_idle_seconds_max", &[MODEL]).unwrap();
    assert!((59.0..75.0).contains(&age), "{age}");
    assert!((age - idle - 0.25).abs() < 0.01, "{age} {idle}");
    assert!(!text.contains("llm_stream_duration_seconds_count"), "nothing has ended");
}

#[test]
fn the_observers_own_state_is_there() {
    let live = Live::start();
    let text = scraped(&live, "llm_observer_build_info");
    let of = |name: &str, labels: &[&str]| sample(&text, name, labels);
    assert_eq!(of("llm_observer_events_lost_total", &["cause=\"ring_full\""]), Some(5.0));
    assert_eq!(of("llm_observer_lost_bytes_total", &["cause=\"ring_full\""]), Some(500.0));
    assert_eq!(of("llm_observer_lost_bytes_total", &["cause=\"fault\""]), Some(0.0));
    assert_eq!(of("llm_observer_probe_state", &["probe=\"ssl_read\"", "state=\"ok\""]), Some(1.0));
    assert_eq!(of("llm_observer_probe_hits_total", &["probe=\"ssl_read\""]), Some(42.0));
    assert_eq!(of("llm_observer_coverage_processes", &["visibility=\"none\"", "reason=\"go_crypto_tls\""]), Some(1.0));
    assert!(of("process_resident_memory_bytes", &[]).unwrap() > 1e6);
    assert!(of("process_start_time_seconds", &[]).unwrap() > 1.6e9);
    assert!(!text.contains("llm_observer_kernel_seconds_total"), "not measured, so not there");
}

/// A hostile client: each call with another model.
#[test]
fn a_thousand_models_stay_fifty() {
    let live = Live::start();
    let calls: Vec<_> = (0..1000).map(|n| call(100 + n, &format!("model-{n}"), 2)).collect();
    live.happen(&calls);
    let text = eventually("all ended", || {
        let text = live.get("/metrics");
        let sum: f64 = text
            .lines()
            .filter(|l| l.starts_with("llm_streams_total") && l.contains("\"complete\""))
            .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        (sum == 1000.0).then_some(text)
    });
    let series = text.lines().filter(|line| line.starts_with("llm_stream_duration_seconds_count")).count();
    assert_eq!(series, 51);
    assert_eq!(sample(&text, "llm_streams_total", &["_OTHER", "complete"]), Some(950.0));
    let folded = sample(&text, "llm_observer_series_overflow_total", &["\"llm_streams_total\""]).unwrap();
    assert!(folded >= 950.0, "{folded}");
}

#[test]
fn pages_answer_as_habit_wants() {
    let live = Live::start();
    for path in ["/-/healthy", "/healthz", "/-/ready", "/readyz"] {
        eventually(path, || live.get(path).starts_with("HTTP/1.1 200").then_some(()));
    }
    assert!(live.get("/").contains("<a href=\"/metrics\">"));
    assert!(live.get("/nothing").starts_with("HTTP/1.1 404"));
    assert!(live.get("/metrics").contains("content-type: text/plain; version=0.0.4"));
    let mut stream = TcpStream::connect(live.address).unwrap();
    stream.write_all(b"POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET, HEAD"), "{answer}");
}

#[test]
fn gzip_when_asked() {
    let live = Live::start();
    let mut stream = TcpStream::connect(live.address).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: br, gzip;q=0.5\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&answer[end..]).read_to_string(&mut text).unwrap();
    assert!(text.contains("llm_observer_build_info"));
}

/// More slow peers than one may have: they leave for the scrape. (Attacks on the port are tested in
/// `export/http/tests.rs`.)
#[test]
fn slow_peers_do_not_keep_scrapers_out() {
    let live = Live::start();
    let mut slow: Vec<TcpStream> = (0..150).map(|_| TcpStream::connect(live.address).unwrap()).collect();
    slow.iter_mut().for_each(|peer| peer.write_all(b"GET /metrics HTTP/1.1\r\nHost:").unwrap());
    let begun = Instant::now();
    assert!(live.get("/metrics").contains("llm_observer_build_info"));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn tls_and_passwords_as_in_the_exporter_toolkit() {
    if tool("curl").is_none() {
        return;
    }
    let live = Live::with_web_config(|dir| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let hash = bcrypt::hash("right", 4).unwrap();
        let text = format!(
            "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\nbasic_auth_users:\n  scraper: {hash}\n\
             http_server_config:\n  headers:\n    X-Frame-Options: deny\n"
        );
        std::fs::write(dir.join("web.yml"), text).unwrap();
        Some(dir.join("web.yml"))
    });
    let cert = live.dir.path().join("cert.pem");
    let url = format!("https://localhost:{}/metrics", live.address.port());
    let curl = |user: &str| {
        let output = Command::new("curl")
            .args(["-s", "-i", "--noproxy", "*", "--cacert"])
            .arg(&cert)
            .args(["-u", user, &url])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let good = curl("scraper:right");
    assert!(
        good.contains(" 200 ") && good.contains("x-frame-options: deny") && good.contains("llm_observer_build_info"),
        "{good}"
    );
    assert!(curl("scraper:wrong").contains(" 401 "));
    assert!(curl("other:right").contains(" 401 "));
    assert!(!get(live.address, "/metrics").contains("llm_"), "no plaintext beside TLS");
    // The file is read again: another password, without a restart.
    let text = std::fs::read_to_string(live.dir.path().join("web.yml")).unwrap();
    let (before, after) = text.split_once("  scraper: ").unwrap();
    let (_, rest) = after.split_once('\n').unwrap();
    let changed = format!("{before}  scraper: {}\n{rest}", bcrypt::hash("new", 4).unwrap());
    std::fs::write(live.dir.path().join("web.yml"), changed).unwrap();
    assert!(curl("scraper:right").contains(" 401 "));
    assert!(curl("scraper:new").contains(" 200 "));
}

/// What the daemon would say at the end of a recording, without root and kernel.
#[test]
fn replay_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("calls.rec");
    recording(&file, PayloadMode::Full, &[call(7, "gpt-x", 20), call(8, "gpt-x", 10)]);
    let output = observer(&["replay", file.to_str().unwrap(), "-o", "metrics"]);
    let text = stdout(&output);
    assert!(output.status.success());
    assert_eq!(sample(&text, "llm_streams_total", &[MODEL, "complete"]), Some(2.0));
    assert_eq!(sample(&text, "llm_chunk_visible_chars_count", &[MODEL]), Some(30.0));
    assert!(!text.contains("process_cpu"), "a replay is no daemon");
}

#[test]
fn docs_say_what_the_catalogue_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = observer::export::docs::metrics();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/metrics.md is out of date: run this test with UPDATE_DOCS=1");
}

/// Everything that a scrape shows is in the catalogue's page, and everything there that this build can feed is fed.
#[test]
fn every_metric_of_the_catalogue_is_fed() {
    let live = Live::start();
    let mut open = asked(8, "gpt-y");
    answering(&mut open);
    chunks(&mut open, 2);
    live.happen(&[stalled(9), call(7, "gpt-x", 20), open]);
    let text = scraped(&live, "llm_stream_qoe_score_count");
    // What this traffic, or this kernel side, has nothing of.
    let absent = [
        "gen_ai_client_inference_usage_cache_read_input_tokens_total",
        "gen_ai_client_inference_usage_cache_write_input_tokens_total",
        "gen_ai_client_inference_usage_reasoning_output_tokens_total",
        "llm_observer_kernel_seconds_total",
        "llm_observer_parse_errors_total",
        "llm_observer_state_unread",
        "llm_connection_retransmits_total",
        "llm_connection_reuse_idle_seconds",
        "llm_connection_rtt_seconds",
        "llm_read_lag_seconds",
        "llm_shape_record_gap_seconds",
        "llm_stream_backpressure_seconds_total",
    ];
    // Detectors' own metrics need traffic of days: `tests/cases/detectors` has it, and wants each fed.
    let detectors: Vec<_> = detectors::DETECTORS.iter().flat_map(|row| row.metrics).copied().collect();
    for metric in observer::export::catalogue::rows().filter(|row| !detectors.contains(&row.id)) {
        let there = text.contains(&format!("# TYPE {} ", metric.name));
        assert_eq!(there, !absent.contains(&metric.name), "{}", metric.name);
    }
    assert_eq!(sample(&text, "llm_stream_stalls_total", &["gpt-stall", "cause=\"unknown\""]), Some(1.0));
    let qoe = sample(&text, "llm_stream_qoe_score_sum", &["gpt-stall"]).unwrap();
    // The reader has read 300 characters after 12 s and waits till 21 s: a triangle of 9 s of the 60 s expected.
    assert!((qoe - (1.0 - 9.0 * 9.0 / (60.0 * 60.0))).abs() < 0.003, "{qoe}");
    assert!(sample(&text, "llm_stream_qoe_score_sum", &[MODEL]).unwrap() > 0.99, "fast delivery is not");
}

/// A call with 20 s of silence in the middle of 1,500 characters.
fn stalled(tgid: u32) -> testkit::FakeTlsConn {
    let mut script = asked(tgid, "gpt-stall");
    answering(&mut script);
    chunks(&mut script, 20);
    script.wait_ms(20_000);
    chunks(&mut script, 80);
    crate::support::completed(&mut script, 300);
    script
}

/// Bytes lost in the middle: the stream is counted, and in no histogram of whole streams.
#[test]
fn a_stream_with_a_hole_is_counted_but_not_measured() {
    let live = Live::start();
    let mut script = asked(7, "gpt-x");
    answering(&mut script);
    chunks(&mut script, 5);
    script.lose(capture::units::Direction::Read, 700);
    chunks(&mut script, 5);
    crate::support::completed(&mut script, 30);
    live.happen(&[script]);
    let text = eventually("the call has ended", || {
        let text = live.get("/metrics");
        let ended: f64 = text
            .lines()
            .filter(|l| l.starts_with("llm_streams_total"))
            .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        (ended == 1.0).then_some(text)
    });
    assert_eq!(sample(&text, "llm_chunk_visible_chars_count", &[MODEL]), Some(5.0), "up to the hole");
    for name in [
        "llm_stream_duration_seconds",
        "llm_stream_qoe_score",
        "llm_chunk_tokens_estimate",
        "llm_stream_head_burst_ratio",
    ] {
        assert!(!text.contains(&format!("# TYPE {name} ")), "{name}");
    }
}
