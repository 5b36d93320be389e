//! The daemon itself: what it leaves behind, refuses, publishes and keeps to itself.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use kernel_tests::clients::Kind;
use kernel_tests::daemon::another_runs;
use kernel_tests::rig::Rig;
use kernel_tests::{places, skipped, wait_for};
use provider::script::{Reply, Say, Scenario, Step, answer};
use rustix::process::Signal;

#[test]
fn a_killed_daemon_leaves_no_probe_and_no_client_notices() {
    if skipped() {
        return;
    }
    let mut rig = Rig::new().unwrap();
    let kinds = ["openai-sync-chat", "openai-node-chat", "anthropic-async"].map(|name| Kind::named(name).unwrap());
    let clients: Vec<_> =
        kinds.iter().map(|kind| rig.clients.run(*kind, &rig.provider).start(&[kind.model("slow")]).unwrap()).collect();
    for kind in &kinds {
        rig.stream_when(&kind.model("slow"), "an open stream with chunks", |ledger| ledger.chunks >= 2).unwrap();
    }
    let alone = alone(&rig);
    let python = clients.first().unwrap().pid();
    assert!(!altered_text(python, "libssl").is_empty(), "no breakpoint in libssl: this would test nothing");

    rig.daemon.stop(Signal::KILL).unwrap();
    let gone = || (!alone || altered_text(python, "libssl").is_empty()).then_some(());
    wait_for("the breakpoints' end", Duration::from_secs(5), gone).unwrap();
    for (kind, client) in kinds.iter().zip(clients) {
        let (said, status) = client.finish().unwrap();
        assert!(status.success() && said.iter().all(|line| line.chars == Some(120)), "{}: {said:?}", kind.name);
    }
}

#[test]
fn a_stopped_daemon_leaves_no_probe() {
    if skipped() {
        return;
    }
    let mut rig = Rig::new().unwrap();
    let model = Kind::named("openai-sync-chat").unwrap().model("slow");
    let client = rig.run("openai-sync-chat").unwrap().start(std::slice::from_ref(&model)).unwrap();
    rig.stream_when(&model, "an open stream with chunks", |ledger| ledger.chunks >= 2).unwrap();
    let alone = alone(&rig);
    let status = rig.daemon.stop(Signal::TERM).unwrap();
    assert!(status.success(), "{status}: {}", rig.daemon.log());
    if alone {
        assert_eq!(altered_text(client.pid(), "libssl"), Vec::<u64>::new());
    }
    let (said, _) = client.finish().unwrap();
    assert!(said.iter().all(|line| line.chars == Some(120)), "{said:?}");
}

#[test]
fn a_second_daemon_is_refused_and_harms_nothing() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let other_socket = dir.path().join("other.sock");
    let other_lock = dir.path().join("lock");
    let cases = [
        ("the first one's lock", rig.daemon.lock(), other_socket.clone(), "127.0.0.1:0".to_owned()),
        ("the first one's socket", other_lock.clone(), rig.daemon.socket(), "127.0.0.1:0".to_owned()),
        ("the first one's port", other_lock, other_socket, rig.daemon.web().to_string()),
    ];
    for (what, lock, socket, web) in cases {
        let [lock, socket] = [&lock, &socket].map(|path| path.to_str().unwrap());
        let output = run_to_end(&["--lock.file", lock, "--inspect.socket", socket, "--web.listen-address", &web]);
        assert_refused(what, &output);
    }
    let models = ["scenario:text#still".to_owned()];
    rig.run("curl-chat").unwrap().start(&models).unwrap().finish().unwrap();
    let ledgers = rig.ended(&models).unwrap();
    assert!(matches!(&ledgers[..], [one] if one.chunks == 20), "{ledgers:?}");
}

#[test]
fn no_secret_and_no_word_of_prompt_or_answer_leaves_the_daemon() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let planted =
        ["sk-planted-4f9c1e", "PLANTEDPROMPT7731", "PLANTEDANSWER9920", "PLANTEDTOOL5512", "planted-query-8812"];
    let [secret, prompt, word, args, query] = planted;
    let steps = vec![
        Step::new(1_000, Say::Words(word.to_owned())).times(5),
        Step::new(1_000, Say::Raw(format!("data: {{\"{args}\": 1}}\n\n"))),
        Step::new(1_000, Say::Error { kind: "server_error".to_owned(), message: word.to_owned() }),
    ];
    rig.provider.register("planted", Scenario::always(Reply::of(answer(steps, "stop")).header("set-cookie", secret)));
    let record = rig.dir.path().join("record");
    for name in ["openai-sync-chat", "anthropic-async", "openai-node-responses", "curl-messages"] {
        let run = rig.run(name).unwrap().env("CLIENT_SECRET", secret).env("CLIENT_PROMPT", prompt);
        run.start(&[Kind::named(name).unwrap().model("planted")]).unwrap().finish().unwrap();
    }
    let url = format!("{}/v1/chat/completions?key={query}&api_key={query}", rig.provider.url());
    let body = format!("{{\"model\": \"scenario:planted#query\", \"stream\": true, \"user\": \"{prompt}\"}}");
    let mut curl = Command::new("curl");
    curl.args(["-sSN", "-o", "/dev/null", "-H", &format!("api-key: {secret}"), "-H", &format!("cookie: s={secret}")]);
    curl.arg("--cacert").arg(rig.provider.ca().unwrap()).args(["-d", &body, &url]);
    assert!(curl.status().unwrap().success());
    let models: Vec<String> = rig.provider.lines().iter().filter_map(model_of).collect();
    assert!(!rig.ended(&models).unwrap().is_empty());

    let mut texts = vec![("log".to_owned(), rig.daemon.log()), ("/metrics".to_owned(), rig.daemon.metrics().unwrap())];
    texts.extend(every_inspection(&rig));
    texts.extend(recording(&record).into_iter().map(|text| ("record".to_owned(), text)));
    for (place, text) in texts {
        for plant in planted {
            assert!(!text.contains(plant), "{plant} is in {place}");
        }
    }
}

#[test]
fn metrics_are_live_while_streams_are_open() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let kind = Kind::named("openai-sync-chat").unwrap();
    let model = kind.model("long");
    let client = rig.clients.run(kind, &rig.provider).start(std::slice::from_ref(&model)).unwrap();
    rig.stream_when(&model, "an open stream with chunks", |ledger| ledger.chunks >= 5).unwrap();
    let label = format!("gen_ai_request_model=\"{model}\"");
    let value = |name: &str| sample(&rig.daemon.metrics().unwrap(), name, &label);
    assert_eq!(value("llm_streams_active"), Some(1.0));
    assert!(value("llm_chunk_visible_chars_count").unwrap() >= 5.0);
    assert!(value("llm_stream_oldest_age_seconds").unwrap() > 0.0);
    client.signal(Signal::KILL);
    rig.stream_when(&model, "its end", |ledger| ledger.outcome.is_some()).unwrap();
    let metrics = rig.daemon.metrics().unwrap();
    let ended = metrics.lines().any(|line| {
        line.starts_with("llm_streams_total{") && line.contains(&label) && line.contains("outcome=\"process_exit\"")
    });
    assert!(ended, "no llm_streams_total for {model}");
    promtool(&metrics);
}

/// Whether every breakpoint on this host is ours.
fn alone(rig: &Rig) -> bool {
    let alone = !another_runs(Some(&rig.daemon));
    if !alone {
        println!("not judged: breakpoints that stay, because another daemon observes this host");
    }
    alone
}

/// `promtool check metrics`, where there is one.
fn promtool(metrics: &str) {
    let Some(promtool) = places::tool("promtool") else {
        return println!("SKIPPED: no promtool: `cargo xtask setup` brings it");
    };
    let mut child =
        Command::new(promtool).args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), metrics.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Offsets in a process's mapped text of `library` whose bytes differ from the file: breakpoints.
fn altered_text(pid: u32, library: &str) -> Vec<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let line = maps.lines().find(|line| line.contains(library) && line.contains("r-xp")).unwrap();
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next().unwrap().split_once('-').unwrap();
    let offset = u64::from_str_radix(fields.nth(1).unwrap(), 16).unwrap();
    let start = u64::from_str_radix(start, 16).unwrap();
    let length = usize::try_from(u64::from_str_radix(end, 16).unwrap() - start).unwrap();
    let (mut memory, mut file) = (vec![0; length], vec![0; length]);
    fs::File::open(format!("/proc/{pid}/mem")).unwrap().read_exact_at(&mut memory, start).unwrap();
    let path = line.split_whitespace().last().unwrap();
    let read = fs::File::open(path).unwrap().read_at(&mut file, offset).unwrap();
    let differ = memory.iter().zip(&file).take(read).enumerate().filter(|(_, (a, b))| a != b);
    differ.map(|(at, _)| offset + at as u64).collect()
}

/// Runs a daemon that is expected to refuse.
fn run_to_end(args: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["-s", "TERM", "20"]).arg(places::daemon().unwrap()).arg("run").args(args);
    command.stdin(Stdio::null()).output().unwrap()
}

fn assert_refused(what: &str, output: &Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    // 124 would be the time limit: it ran.
    assert_eq!(output.status.code(), Some(2), "{what}: {errors}");
    assert_eq!(errors.trim().lines().count(), 1, "{what}: more than a sentence: {errors}");
}

fn model_of(line: &provider::log::Line) -> Option<String> {
    match line {
        provider::log::Line::Request(request) => Some(request.model.clone()),
        _ => None,
    }
}

/// Every answer that `inspect` gives, in every form.
fn every_inspection(rig: &Rig) -> Vec<(String, String)> {
    let ids: Vec<String> = rig.daemon.streams().unwrap().into_iter().map(|ledger| ledger.id).collect();
    let kinds =
        ["streams", "processes", "probes", "connections", "findings", "quota"].map(|kind| vec![kind.to_owned()]);
    let streams = ids.into_iter().map(|id| vec!["stream".to_owned(), id]);
    let mut all = Vec::new();
    for what in kinds.into_iter().chain(streams) {
        for form in ["table", "wide", "json"] {
            let args: Vec<&str> = what.iter().map(String::as_str).chain(["-o", form]).collect();
            let output = rig.daemon.inspect(&args).unwrap();
            let text = [output.stdout, output.stderr].concat();
            all.push((format!("inspect {args:?}"), String::from_utf8_lossy(&text).into_owned()));
        }
    }
    all
}

/// What lies in a recording (made without payload), if there is one.
fn recording(path: &std::path::Path) -> Option<String> {
    fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The value of the sample of `name` that has `label`.
fn sample(metrics: &str, name: &str, label: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name}{{")) && line.contains(label))?;
    line.rsplit(' ').next()?.parse().ok()
}
