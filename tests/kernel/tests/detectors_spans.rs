//! Spans of the OpenTelemetry SDK on live traffic: how far their clock is off is known to the test, which shifts it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic, its helpers too")]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use kernel_tests::cases::Expected;
use kernel_tests::rig::Rig;
use kernel_tests::steady::on_a_steady_host;
use kernel_tests::{places, skipped, wait_for};
use provider::script::{Reply, Scenario, answer, deltas};
use serde_json::Value;

const DETECTOR: &str = "clocks";

/// What a client does around a call, and the clock of the daemon, on a busy host.
const SLACK: f64 = 0.05;

/// OpenTelemetry's own servers, in a process of their own.
struct Collector {
    child: Child,
    lines: BufReader<ChildStdout>,
    addresses: Value,
}

impl Collector {
    fn start(rig: &Rig) -> Self {
        let mut command = Command::new(rig.clients.python());
        command.arg(places::programs().join("collector.py")).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let addresses = line(&mut lines).unwrap();
        Self { child, lines, addresses }
    }

    fn address(&self, exporter: &str) -> &str {
        self.addresses[exporter].as_str().unwrap()
    }

    /// How many spans each export brought.
    fn finish(mut self) -> Vec<u64> {
        drop(self.child.stdin.take());
        let counts = std::iter::from_fn(|| line(&mut self.lines)).map(|said| said["spans"].as_u64().unwrap()).collect();
        self.child.wait().unwrap();
        counts
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // One whose test failed must not stay; one that ended is unaffected.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(lines: &mut BufReader<ChildStdout>) -> Option<Value> {
    let mut text = String::new();
    (lines.read_line(&mut text).unwrap() > 0).then(|| serde_json::from_str(&text).unwrap())
}

/// So many calls of the Python SDK, one after the other, each of them with a span.
fn ask(rig: &Rig, times: usize, settings: &[(&str, &str)]) {
    run(rig, "instrumented", times, times, settings);
}

/// The same of the AI SDK on Node, which exports JSON; so many spans in all.
fn ask_node(rig: &Rig, times: usize, spans: usize, settings: &[(&str, &str)]) {
    run(rig, "instrumented-node", times, spans, settings);
}

fn run(rig: &Rig, client: &str, times: usize, spans: usize, settings: &[(&str, &str)]) {
    let reply = Reply::of(answer(vec![deltas(5, 8, 30_000)], "stop")).clock_ahead(None);
    rig.provider.register("traced", Scenario::always(reply));
    let collector = Collector::start(rig);
    let exporter = settings.iter().find(|(name, _)| *name == "SPAN_EXPORTER").map_or("http", |(_, value)| value);
    let mut run = rig.run(client).unwrap().env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address(exporter));
    for (name, value) in settings {
        run = run.env(name, value);
    }
    let (ended, status) = run.start(&vec!["scenario:traced#live".to_owned(); times]).unwrap().finish().unwrap();
    assert!(status.success() && ended.iter().all(|said| said.error.is_none()), "{ended:?}");
    let counts = collector.finish();
    assert_eq!(counts.iter().sum::<u64>(), spans as u64, "every span was exported: {counts:?}");
    assert!(counts.len() > 1, "several exports: {counts:?}");
}

/// The gauges say how far the spans' clock can be off; that is how far it is.
fn gauges_hold(rig: &Rig, truth: f64) {
    let middle = rig.number("llm_span_skew_seconds", &["service="]).unwrap();
    let uncertainty = rig.number("llm_span_skew_uncertainty_seconds", &["service="]).unwrap();
    assert!((middle - truth).abs() <= uncertainty, "{truth} is not within {middle} ± {uncertainty}");
    assert!(uncertainty > 0.0 && uncertainty < 0.2 + SLACK, "{uncertainty}");
}

fn found(rig: &Rig, truth: f64, joined_by: &[&str]) {
    let findings = rig.findings(DETECTOR).unwrap();
    let finding = findings.iter().find(|finding| finding["kind"] == "span_skew").unwrap();
    let of = |name: &str| finding["inputs"][name].as_f64().unwrap();
    assert!((of("skew_seconds") - truth).abs() <= of("uncertainty_seconds") + 0.001, "{finding}");
    assert_eq!(finding["severity"], "warning");
    assert!(joined_by.contains(&finding["inputs"]["joined_by"].as_str().unwrap()), "{finding}");
    for id in finding["streams"].as_array().unwrap() {
        let stream = rig.daemon.stream(id.as_str().unwrap()).unwrap();
        assert_eq!(stream.request_model.as_deref(), Some("scenario:traced#live"));
    }
    gauges_hold(rig, truth);
}

/// Nothing but the calls is taken for one: an export is a POST that may look like an unknown API's.
fn only_calls(rig: &Rig, times: usize) {
    assert_eq!(rig.daemon.streams().unwrap().len(), times);
}

#[test]
fn spans_of_a_clock_three_seconds_ahead_are_told() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        ask(&rig, 8, &[("SPAN_SKEW", "3"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]);
        let scenario = "spans of a process 3 s ahead, over HTTP and compressed";
        rig.case(DETECTOR, scenario, Expected::Findings(&["span_skew"])).unwrap();
        rig.number_is("llm_impossible_order_total", &["kind=\"request_before_span\""], 8.0).unwrap();
        found(&rig, 3.0, &["response_id"]);
        only_calls(&rig, 8);
    });
}

#[test]
fn spans_of_a_clock_behind_are_told_over_grpc() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let settings = [("SPAN_SKEW", "-2"), ("SPAN_EXPORTER", "grpc"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")];
        for settings in [&settings[..2], &settings] {
            let rig = Rig::new().unwrap();
            ask(&rig, 8, settings);
            let scenario = "spans of a process 2 s behind, over gRPC";
            rig.case(DETECTOR, scenario, Expected::Findings(&["span_skew"])).unwrap();
            rig.number_is("llm_impossible_order_total", &["kind=\"span_ends_before_response\""], 8.0).unwrap();
            found(&rig, -2.0, &["response_id"]);
            only_calls(&rig, 8);
        }
    });
}

#[test]
fn spans_around_their_calls_are_quiet() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        ask(&rig, 8, &[]);
        rig.number_is("llm_detector_evaluated_total", &["detector=\"clocks\""], 8.0).unwrap();
        rig.case(DETECTOR, "spans around their calls", Expected::Quiet).unwrap();
        assert_eq!(rig.number("llm_impossible_order_total", &[]).unwrap(), 0.0);
        gauges_hold(&rig, 0.0);
        only_calls(&rig, 8);
    });
}

#[test]
fn spans_that_name_no_call_are_joined_one_at_a_time() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        ask(&rig, 8, &[("SPAN_RESPONSE_ID", "none"), ("SPAN_SKEW", "0.02")]);
        let judged = rig.judged_when(DETECTOR, 16.0).unwrap();
        let ambiguous = rig.withheld(DETECTOR, "ambiguous").unwrap();
        assert_eq!(judged.withheld, 8.0 + ambiguous, "no date, and spans that may be any call's");
    });
}

#[test]
fn spans_of_answers_that_nobody_saw_are_not_judged() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::tuned("detect: {clocks: {span_wait_seconds: 1}}\n").unwrap();
        ask(&rig, 8, &[("SPAN_RESPONSE_ID", "other"), ("SPAN_SKEW", "3")]);
        rig.number_is("llm_detector_withheld_total", &["detector=\"clocks\"", "reason=\"no_call\""], 8.0).unwrap();
        rig.case(DETECTOR, "spans of answers that nobody saw", Expected::Withheld("no_call")).unwrap();
        assert!(!rig.daemon.metrics().unwrap().contains("llm_span_skew_seconds{"), "a skew of nobody's clock");
    });
}

/// What every fetch of Node says of itself is its span's name: nothing else of it tells of a model.
#[test]
fn the_fetches_of_a_clock_ahead_are_known_by_what_their_requests_name() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        let settings = [("SPAN_SKEW", "3"), ("SPAN_MODEL", "0")];
        ask_node(&rig, 4, 4, &settings);
        rig.number_is("llm_impossible_order_total", &["kind=\"request_before_span\""], 4.0).unwrap();
        rig.case(DETECTOR, "four fetches of a process 3 s ahead, as JSON", Expected::Quiet).unwrap();
        gauges_hold(&rig, 3.0);
        ask_node(&rig, 6, 6, &settings);
        let scenario = "six fetches of a process 3 s ahead, as JSON, named by `traceparent`";
        rig.case(DETECTOR, scenario, Expected::Findings(&["span_skew"])).unwrap();
        rig.number_is("llm_impossible_order_total", &["kind=\"request_before_span\""], 10.0).unwrap();
        found(&rig, 3.0, &["traceparent"]);
        only_calls(&rig, 10);
    });
}

/// Nothing is known of such a span's call when it comes: its stream has begun, and its request named it.
#[test]
fn fetches_of_python_are_told_of_while_their_streams_go_on() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        ask(&rig, 6, &[("SPAN_HTTP", "1"), ("SPAN_SKEW", "3")]);
        let scenario = "fetches of httpx 3 s ahead, exported before the end of the streams they began";
        rig.case(DETECTOR, scenario, Expected::Findings(&["span_skew"])).unwrap();
        rig.number_is("llm_impossible_order_total", &["kind=\"request_before_span\""], 6.0).unwrap();
        found(&rig, 3.0, &["traceparent"]);
        only_calls(&rig, 6);
    });
}

/// Of a call two spans tell: the fetch's by `traceparent`, the SDK's by the response's id.
#[test]
fn a_workers_clock_behind_puts_its_spans_before_the_agents() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        // A task: the agent's span, and of two calls each the SDK's two and the fetch's.
        ask_node(&rig, 3, 3 * 7, &[("SPAN_WORKER_SKEW", "-2"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]);
        let scenario = "an agent, and a worker whose clock is 2 s behind, as compressed JSON";
        rig.case(DETECTOR, scenario, Expected::Findings(&["impossible_order", "span_skew"])).unwrap();
        // The parent comes last, so its earliest child stands for all.
        rig.number_is("llm_impossible_order_total", &["kind=\"child_before_parent\""], 3.0).unwrap();
        rig.number_is("llm_impossible_order_total", &["kind=\"span_ends_before_response\""], 6.0).unwrap();
        found(&rig, -2.0, &["traceparent", "response_id"]);
        only_calls(&rig, 6);
    });
}

#[test]
fn an_agent_and_its_worker_on_one_clock_are_quiet() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        ask_node(&rig, 3, 3 * 7, &[("SPAN_WORKER_SKEW", "0")]);
        // Two spans of each of six calls with it, and a task's five parents with their children.
        let judged = || (rig.judged(DETECTOR).ok()?.evaluated >= 6.0 * 2.0 + 3.0 * 5.0).then_some(());
        wait_for("all spans", Duration::from_secs(30), judged).unwrap();
        rig.case(DETECTOR, "an agent and a worker on one clock, as JSON", Expected::Quiet).unwrap();
        assert_eq!(rig.number("llm_impossible_order_total", &[]).unwrap(), 0.0);
        gauges_hold(&rig, 0.0);
        only_calls(&rig, 6);
    });
}

#[test]
fn a_clock_that_is_set_back_within_spans_is_told_and_bounds_nothing() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        ask(&rig, 3, &[("SPAN_STEP", "-1")]);
        let scenario = "spans that end before they begin: their clock is set back 1 s";
        rig.case(DETECTOR, scenario, Expected::Findings(&["impossible_order"])).unwrap();
        rig.number_is("llm_impossible_order_total", &["kind=\"ends_before_start\""], 3.0).unwrap();
        rig.number_is("llm_detector_withheld_total", &["detector=\"clocks\"", "reason=\"no_times\""], 3.0).unwrap();
        assert!(!rig.daemon.metrics().unwrap().contains("llm_span_skew_seconds{"), "bounds of no times");
    });
}
