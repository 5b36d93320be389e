//! Inside the virtual machine: loads the real daemon, lets the suite's own curl talk TLS to the provider, and
//! compares what `inspect` says with the provider's log. The last line is the verdict.

mod daemon;
mod overlays;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use provider::log::Line;
use provider::script::Kind;
use provider::{Options, Provider};
use serde_json::Value;

use daemon::Daemon;

/// What the verdict line begins with; the host looks for it.
const VERDICT: &str = "GUEST-VERDICT: ";
/// The exchange: twenty visible deltas, twenty milliseconds apart.
const MODEL: &str = "scenario:text";
/// Emulation without KVM is some ten times slower than a machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut errors = Vec::new();
    let seen = check(&mut errors).unwrap_or_else(|error| {
        errors.push(format!("{error:#}"));
        String::new()
    });
    if !errors.is_empty() {
        println!("--- the daemon's log:\n{}", Daemon::log());
    }
    let kernel = kernel.trim();
    let outcome = if errors.is_empty() { format!("ok: {seen}") } else { format!("FAILED: {}", errors.join("; ")) };
    println!("{VERDICT}{kernel}: {outcome}");
}

/// Everything that is checked. Errors that do not stop the rest are gathered in `errors`.
fn check(errors: &mut Vec<String>) -> Result<String> {
    let mut gather = |what: &str, result: Result<()>| {
        if let Err(error) = result {
            errors.push(format!("{what}: {error:#}"));
        }
    };
    let before = bpf_programs()?;
    let provider = Provider::start(&Options::in_memory(PathBuf::from("/tmp")))?;
    exchange(&provider).context("already without the daemon")?;
    let daemon = Daemon::start()?;
    daemon.wait_until_it_answers(PATIENCE)?;
    ensure!(bpf_programs()? > before, "the daemon answers, but no BPF program is loaded");
    exchange(&provider)?;
    daemon.wait_for_probe("libssl", PATIENCE)?;
    exchange(&provider)?;
    let seen = compare(&daemon, &provider, MODEL);
    gather("plain HTTP over IPv4", plain(&daemon, "127.0.0.1:0"));
    gather("plain HTTP over IPv6", plain(&daemon, "[::1]:0"));
    gather("the wall clock", clock_set(&daemon, &provider));
    gather("containers", overlays::check(&daemon, &provider));
    gather("probes", daemon.every_probe_is_well());
    gather("metrics", daemon.counts_a_complete_stream());
    gather("stop", daemon.stop(PATIENCE).and_then(|()| nothing_left(before)));
    gather("kill -9", killed(before));
    seen
}

/// The socket layer: an exchange that no TLS library carries, counted once although both its ends are here.
fn plain(daemon: &Daemon, listen: &str) -> Result<()> {
    let options = Options { plain: true, listen: listen.parse()?, ..Options::in_memory(PathBuf::from("/tmp")) };
    let provider = Provider::start(&options)?;
    let model = format!("{MODEL}#{}", provider.address());
    call(&provider, &model)?;
    compare(daemon, &provider, &model)?;
    let streams = daemon.inspect("streams")?;
    let of = |stream: &&Value| stream.get("request_model").is_some_and(|had| *had == model);
    let found: Vec<_> = streams.as_array().into_iter().flatten().filter(of).collect();
    let [stream] = found.as_slice() else { bail!("{} streams of {model}, not one", found.len()) };
    let port = stream.pointer("/remote/port").and_then(Value::as_u64);
    ensure!(port == Some(provider.address().port().into()), "the other end is {:?}", stream.get("remote"));
    Ok(())
}

/// How far the wall clock is set, seconds.
const STEP: u64 = 3_600;

/// The wall clock is set while a call goes on, as only a machine of one's own allows: that is told,
/// and the call takes no hour.
fn clock_set(daemon: &Daemon, provider: &Provider) -> Result<()> {
    let steps = |daemon: &Daemon| -> Result<Vec<Value>> {
        let findings = daemon.inspect("findings")?;
        Ok(findings.as_array().into_iter().flatten().filter(|one| one["kind"] == "host_step").cloned().collect())
    };
    ensure!(steps(daemon)?.is_empty(), "a step is told of a clock that nobody set: {:?}", steps(daemon)?);
    let setting = thread::spawn(|| {
        thread::sleep(Duration::from_millis(100));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() + STEP;
        let status = Command::new("/bin/busybox").args(["date", "-s", &format!("@{now}")]).status()?;
        anyhow::Ok(status.success())
    });
    exchange(provider)?;
    ensure!(setting.join().is_ok_and(|set| set.unwrap_or(false)), "the clock cannot be set");
    daemon.wait_for("the step as a finding", PATIENCE, |daemon| Ok(!steps(daemon)?.is_empty()))?;
    let steps = steps(daemon)?;
    let told = steps.first().and_then(|step| step.pointer("/inputs/step_seconds")?.as_f64());
    // Less the part of the second that the command cuts off, and the time it takes.
    let near = told.is_some_and(|told| (told - STEP as f64).abs() < 30.0);
    ensure!(steps.len() == 1 && near, "{steps:?}");
    let streams = daemon.inspect("streams")?;
    let long = |stream: &&Value| stream["duration_seconds"].as_f64().is_none_or(|seconds| seconds > STEP as f64 / 2.0);
    let bent = streams.as_array().into_iter().flatten().find(long);
    ensure!(bent.is_none(), "the clock bent a duration: {bent:?}");
    Ok(())
}

/// One real exchange by the suite's own curl.
fn exchange(provider: &Provider) -> Result<()> {
    call(provider, MODEL)
}

fn call(provider: &Provider, model: &str) -> Result<()> {
    called(curl(Command::new("/usr/bin/curl"), provider, model).output())
}

/// The arguments of one exchange behind a command that starts curl.
fn curl(mut curl: Command, provider: &Provider, model: &str) -> Command {
    let body = format!(r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"hello"}}]}}"#);
    curl.args(["-sSN", "--http1.1", "--max-time", "60", "-H", "content-type: application/json", "-d", &body]);
    let ip = provider.address().ip();
    let ip = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
    curl.arg("--resolve").arg(format!("localhost:{}:{ip}", provider.address().port()));
    if let Some(ca) = provider.ca() {
        curl.arg("--cacert").arg(ca);
    }
    curl.arg(format!("{}/v1/chat/completions", provider.url()));
    curl
}

/// It heard the stream to its end.
fn called(out: std::io::Result<Output>) -> Result<()> {
    let out = out.context("cannot start curl")?;
    let text = String::from_utf8_lossy(&out.stdout);
    ensure!(out.status.success(), "curl: {}", String::from_utf8_lossy(&out.stderr).trim());
    ensure!(text.contains("[DONE]"), "curl saw no end of the stream, but {} bytes", text.len());
    Ok(())
}

/// The last stream that `inspect` knows against the provider's log.
fn compare(daemon: &Daemon, provider: &Provider, model: &str) -> Result<String> {
    let sent: Vec<_> = visible(&provider.lines(), model);
    let (chunks, chars) = (u64::try_from(sent.len())?, sent.iter().sum::<u64>());
    let deadline = Instant::now() + PATIENCE;
    let stream = loop {
        let streams = daemon.inspect("streams")?;
        let is = |stream: &Value, field: &str, value: &str| stream.get(field).is_some_and(|had| had == value);
        let ended = |stream: &&Value| is(stream, "request_model", model) && is(stream, "outcome", "complete");
        let started = |stream: &&Value| stream.get("started").map(Value::to_string);
        let found = streams.as_array().into_iter().flatten().filter(ended).max_by_key(started);
        if let Some(stream) = found {
            break stream.clone();
        }
        if Instant::now() > deadline {
            bail!("inspect shows no complete stream of {model}, but: {streams}");
        }
        thread::sleep(Duration::from_millis(200));
    };
    let number = |field: &str| stream.get(field).and_then(Value::as_u64);
    let lost = stream.get("lost").and_then(|lost| lost.get("bytes")).and_then(Value::as_u64);
    ensure!(lost.is_none_or(|bytes| bytes == 0), "{lost:?} bytes lost");
    ensure!(number("chunks") == Some(chunks), "{:?} chunks seen, {chunks} sent", number("chunks"));
    ensure!(number("visible_chars") == Some(chars), "{:?} characters seen, {chars} sent", number("visible_chars"));
    Ok(format!(
        "loads, attaches, captures {chunks} of {chunks} chunks and {chars} of {chars} characters through {} (in containers of one image too) and over \
         plain TCP (IPv4, IPv6), and leaves nothing after SIGTERM or SIGKILL",
        libssl()
    ))
}

/// Characters of each visible delta of the model's last request, as the provider wrote them.
fn visible(lines: &[Line], model: &str) -> Vec<u64> {
    let conn = |line: &Line| if let Line::Request(r) = line { (r.model == model).then_some(r.conn) } else { None };
    let last = lines.iter().filter_map(conn).max();
    let writes = lines.iter().filter_map(|line| if let Line::Write(write) = line { Some(write) } else { None });
    let parts = writes.filter(|write| Some(write.conn) == last).flat_map(|write| &write.parts);
    parts.filter(|part| part.kind == Kind::Visible).map(|part| u64::from(part.chars)).collect()
}

/// The library's own version string, for the verdict.
fn libssl() -> String {
    let out = Command::new("/usr/bin/curl").arg("--version").output();
    let text = out.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    text.split_whitespace().find(|word| word.starts_with("OpenSSL/")).unwrap_or("an unknown libssl").to_owned()
}

/// A daemon that is killed leaves nothing behind either.
fn killed(before: usize) -> Result<()> {
    let daemon = Daemon::start()?;
    daemon.wait_until_it_answers(PATIENCE)?;
    daemon.kill()?;
    nothing_left(before)
}

/// BPF programs are freed some time after their last user: wait for it.
fn nothing_left(before: usize) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let now = bpf_programs()?;
        if now == before {
            break;
        }
        ensure!(Instant::now() < deadline, "{now} BPF programs are loaded, {before} were before");
        thread::sleep(Duration::from_millis(50));
    }
    let events = fs::read_to_string("/sys/kernel/tracing/uprobe_events").unwrap_or_default();
    ensure!(events.trim().is_empty(), "uprobe events are left in tracefs: {events}");
    ensure!(!Path::new(daemon::SOCKET).exists() || before == bpf_programs()?, "the socket is left");
    Ok(())
}

/// How many BPF programs the kernel holds.
fn bpf_programs() -> Result<usize> {
    let programs: Result<Vec<_>, _> = aya::programs::loaded_programs().collect();
    Ok(programs.context("the kernel does not list its BPF programs")?.len())
}
