//! The command line from the outside: output formats, exit codes, one clear sentence for every
//! mistake, and no secret in anything that is printed.
#![expect(clippy::panic, clippy::string_slice, reason = "a test")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;

use crate::support::{
    ANSWER, KEY, Live, PROMPT, answering, asked, call, chunks, command, completed, eventually, observer, recording,
    stderr, stdout,
};
use observer::export::inspect::server::{BindError, InspectSocket};
use observer::recording::PayloadMode;
use serde_json::Value;

fn json(output: &std::process::Output) -> Value {
    serde_json::from_str(&stdout(output))
        .unwrap_or_else(|error| panic!("{error}: {} {}", stdout(output), stderr(output)))
}

/// A daemon that has seen one whole call (process 7) and one that is open (process 8).
fn two_calls() -> Live {
    let live = Live::start();
    let mut open = asked(8, "gpt-open");
    answering(&mut open);
    chunks(&mut open, 3);
    live.happen(&[call(7, "gpt-x", 20), open]);
    eventually("both streams", || {
        (json(&live.inspect(&["streams", "-o", "json"])).as_array()?.len() == 2).then_some(())
    });
    live
}

#[test]
fn streams_as_json_keep_the_contract() {
    let live = two_calls();
    let streams = json(&live.inspect(&["streams", "-o", "json"]));
    let done = streams.as_array().unwrap().iter().find(|s| s["pid"] == 7).unwrap();
    for key in [
        "id",
        "conversation",
        "service",
        "pid",
        "comm",
        "k8s",
        "provider",
        "server_address",
        "remote",
        "protocol",
        "api",
        "request_model",
        "response_model",
        "status",
        "outcome",
        "started",
        "duration_seconds",
        "first_seconds",
        "events",
        "chunks",
        "visible_chars",
        "reasoning_chars",
        "gaps",
        "stalls",
        "tokens",
        "finish_reason",
        "attempt",
        "hop_of",
        "visibility",
        "lost",
        "notes",
    ] {
        assert!(done.get(key).is_some(), "{key} is missing");
    }
    let nested = [
        ("k8s", &["namespace", "workload", "pod", "container"][..]),
        ("remote", &["ip", "port"]),
        ("first_seconds", &["byte", "event", "emitted", "reasoning", "visible", "tool", "audio", "sentence"]),
        ("gaps", &["p50", "p95", "max"]),
        ("tokens", &["input", "output", "cached", "reasoning"]),
        ("lost", &["bytes", "cause"]),
    ];
    for (outer, inner) in nested {
        inner.iter().for_each(|key| assert!(done[outer].get(key).is_some(), "{outer}.{key} is missing"));
    }
    assert_eq!(
        (&done["chunks"], &done["visible_chars"], &done["outcome"]),
        (&20.into(), &300.into(), &"complete".into())
    );
    assert_eq!((&done["request_model"], &done["response_model"]), (&"gpt-x".into(), &"gpt-x-2026".into()));
    assert_eq!((&done["tokens"]["input"], &done["tokens"]["output"]), (&100.into(), &60.into()));
    assert!((done["first_seconds"]["visible"].as_f64().unwrap() - 0.15).abs() < 1e-3);
    assert!((done["gaps"]["p50"].as_f64().unwrap() - 0.05).abs() < 1e-4);
    for unseen in [
        &done["tokens"]["cached"],
        &done["first_seconds"]["reasoning"],
        &done["hop_of"],
        &done["remote"]["ip"],
        &done["attempt"],
    ] {
        assert!(unseen.is_null(), "what was not seen is null: {unseen}");
    }
    assert_eq!(done["conversation"].as_str().map(str::len), Some(12));
    let started = done["started"].as_str().unwrap();
    assert!(started.ends_with('Z') && started.len() == "2026-11-23T16:49:17.000000001Z".len(), "{started}");
    let open = streams.as_array().unwrap().iter().find(|s| s["pid"] == 8).unwrap();
    assert!(open["outcome"].is_null() && open["ended"].is_null() && open["idle_seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn one_stream_has_a_timeline_and_a_prefix_is_enough() {
    let live = two_calls();
    let streams = json(&live.inspect(&["streams", "-o", "json"]));
    let done = streams.as_array().unwrap().iter().find(|s| s["pid"] == 7).unwrap();
    let id = done["id"].as_str().unwrap();
    let detail = json(&live.inspect(&["stream", &id[..6], "-o", "json"]));
    assert_eq!(detail[0]["id"], id);
    let timeline = detail[0]["timeline"].as_array().unwrap();
    assert_eq!(timeline.iter().filter(|p| p["kind"] == "visible").count(), 20);
    for key in ["t_arrival", "t_read", "kind", "chars", "bytes", "wire_bytes"] {
        assert!(timeline[0].get(key).is_some(), "{key}");
    }
    let table = stdout(&live.inspect(&["stream", id]));
    assert!(table.contains("visible 150ms") && table.lines().count() > 35, "{table}");
    let none = live.inspect(&["stream", "zz"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("no stream with an id that begins with \"zz\""), "{}", stderr(&none));
    let many = live.inspect(&["stream", ""]);
    assert!(stderr(&many).contains("give more of the id"), "{}", stderr(&many));
}

#[test]
fn tables_fit_and_wide_only_adds() {
    let live = two_calls();
    let table = stdout(&live.inspect(&["streams"]));
    let heads: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heads, ["ID", "SERVICE", "MODEL", "OUTCOME", "TIME", "VISIBLE", "CHUNKS", "CHARS", "GAP50", "MAXGAP"]);
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    assert!(table.contains("complete") && table.contains("streaming"), "{table}");
    let wide = stdout(&live.inspect(&["streams", "-o", "wide"]));
    let wide_heads: Vec<&str> = wide.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(wide_heads[..heads.len()], heads);
    let processes = stdout(&live.inspect(&["processes"]));
    assert!(processes.contains("go_crypto_tls") && processes.contains("probed"), "{processes}");
    let probes = json(&live.inspect(&["probes", "-o", "json"]));
    assert_eq!(
        (&probes[0]["probe"], &probes[0]["hits"], &probes[0]["placement"]),
        (&"ssl_read".into(), &42.into(), &"callee+0".into())
    );
    assert!(!table.contains('\x1b'), "no colour into a pipe");
}

#[test]
fn top_is_one_plain_table_where_there_is_no_terminal() {
    let live = two_calls();
    let output = live.ask(&["top"]);
    let text = stdout(&output);
    assert!(output.status.success() && stderr(&output).is_empty(), "{}", stderr(&output));
    assert!(text.starts_with("open streams 1  connections ") && !text.contains('\x1b'), "{text}");
    // Nothing came between its two rounds.
    assert!(text.contains("  events/s 0.0  lost bytes 0  ") && text.contains("\nno open findings\n"), "{text}");
    let cells = |model: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.contains(model)).unwrap_or_else(|| panic!("no {model}: {text}"));
        line.split_whitespace().map(str::to_owned).collect()
    };
    // SERVICE PROVIDER MODEL OPEN OLDEST IDLE ENDED VISIBLE50 GAP95 MAXGAP STALLS NOT-COMPLETE
    let open = cells("gpt-open");
    assert_eq!((open[3].as_str(), open[6].as_str(), open[7].as_str()), ("1", "0", "-"), "{text}");
    let whole = cells("gpt-x");
    assert_eq!(
        (whole[3..6].join(" "), whole[6..].join(" ")),
        ("0 - -".into(), "1 150ms 50ms 50ms 0 0".into()),
        "{text}"
    );
    let rows = text.lines().skip(3).take(2).map(|line| line.contains("gpt-open")).collect::<Vec<_>>();
    assert_eq!(rows, [true, false], "open ones first: {text}");
}

#[test]
fn since_leaves_out_what_ended_before() {
    let live = two_calls();
    let recent = json(&live.inspect(&["streams", "-o", "json", "--since", "1s"]));
    let pids: Vec<_> = recent.as_array().unwrap().iter().map(|s| s["pid"].as_u64().unwrap()).collect();
    assert_eq!(pids, [8], "the open one only");
    assert_eq!(live.inspect(&["streams", "--since", "tomorrow"]).status.code(), Some(2));
}

/// A live stream is shown while it is open, again when it grows, and once more when it ends.
#[test]
fn follow_shows_each_change_on_a_line() {
    let live = Live::start();
    let mut script = asked(8, "gpt-x");
    answering(&mut script);
    chunks(&mut script, 3);
    live.happen(std::slice::from_ref(&script));
    let mut child =
        command(&["inspect", "streams", "-f", "-o", "json", "--inspect.socket", live.socket.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let first = lines.next().unwrap();
    assert_eq!((&first["chunks"], &first["outcome"]), (&3.into(), &Value::Null));
    let before = script.records().len();
    chunks(&mut script, 2);
    completed(&mut script, 5);
    live.happen_from(&script, before);
    let last = lines.find(|line| !line["outcome"].is_null()).unwrap();
    assert_eq!((&last["id"], &last["chunks"], &last["outcome"]), (&first["id"], &5.into(), &"complete".into()));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_closed_pipe_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r");
    let calls: Vec<_> = (0..500).map(|n| call(100 + n, "gpt-x", 2)).collect();
    recording(&file, PayloadMode::Full, &calls);
    let mut child = command(&["replay", file.to_str().unwrap(), "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    assert_eq!(stderr(&output), "");
}

/// Keys, prompts and answers were in the traffic; nothing that is printed or recorded in part holds them.
#[test]
fn planted_secrets_are_nowhere() {
    let live = two_calls();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (full, sse, none) = (path("full"), path("sse"), path("none"));
    for (file, payload) in [(&full, PayloadMode::Full), (&sse, PayloadMode::Sse), (&none, PayloadMode::None)] {
        recording(file.as_ref(), payload, &[call(7, "gpt-x", 20)]);
    }
    let mut printed = vec![live.get("/metrics"), live.get("/")];
    for args in [
        &["streams", "-o", "json"][..],
        &["streams", "-o", "wide"],
        &["stream", "", "-o", "json"],
        &["processes"],
        &["probes"],
    ] {
        let output = live.inspect(args);
        printed.push(stdout(&output) + &stderr(&output));
    }
    let id = json(&live.inspect(&["streams", "-o", "json"]))[0]["id"].as_str().unwrap().to_owned();
    printed.push(stdout(&live.inspect(&["stream", &id, "-o", "json"])));
    for view in ["metrics", "streams", "json"] {
        let output =
            command(&["replay", &full, &sse, &none, "-o", view]).env("LLM_OBSERVER_LOG", "trace").output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        printed.push(stdout(&output) + &stderr(&output));
    }
    for file in [&sse, &none] {
        printed.push(String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned());
    }
    for (index, text) in printed.iter().enumerate() {
        for secret in [KEY, PROMPT, ANSWER.trim()] {
            assert!(!text.contains(secret), "output {index} holds {secret:?}");
        }
    }
    let raw = String::from_utf8_lossy(&std::fs::read(&full).unwrap()).into_owned();
    assert!(raw.contains(KEY) && raw.contains(PROMPT), "the secrets were planted");
}

#[test]
fn replays_show_the_same_stream() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r");
    recording(&file, PayloadMode::Full, &[call(7, "gpt-x", 20)]);
    let file = file.to_str().unwrap();
    let streams = json(&observer(&["replay", file, "-o", "json"]));
    assert_eq!(
        (&streams[0]["chunks"], &streams[0]["outcome"], &streams[0]["pid"]),
        (&20.into(), &"complete".into(), &7.into())
    );
    assert!(stdout(&observer(&["replay", file])).contains("gpt-x-2026"));
    let findings = observer(&["replay", file, "-o", "findings"]);
    assert_eq!((findings.status.code(), stdout(&findings).as_str()), (Some(0), "[]\n"));
}

#[test]
fn what_is_no_recording_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r");
    std::fs::write(&file, "not a recording at all, but long enough").unwrap();
    let output = observer(&["replay", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("not a recording"), "{}", stderr(&output));
    let output = observer(&["replay", "/nonexistent"]);
    assert_eq!(stderr(&output), "llm-observer: cannot open /nonexistent: No such file or directory (os error 2)\n");
}

#[test]
fn mistakes_are_one_sentence_and_exit_2() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("c.yml");
    std::fs::write(&config, "web:\n  listen_adress: x\n").unwrap();
    let config = config.to_str().unwrap();
    let missing = dir.path().join("none.sock");
    let missing = missing.to_str().unwrap();
    for (args, part) in [
        (&["run", "--config", config][..], ":2: unknown key `listen_adress`: did you mean `listen_addresses`?"),
        (&["replay", "x", "--config", config], "unknown key"),
        (&["run", "--config", "/nonexistent"], "cannot read /nonexistent"),
        // An empty state file is none, and no mistake.
        (&["run", "--state.file", "", "--config", "/nonexistent"], "cannot read /nonexistent"),
        (&["run", "--web.config.file", "/nonexistent"], "cannot read /nonexistent"),
        (&["run", "--target", "0"], "is no process"),
        (&["run", "--web.telemetry-path", "metrics"], "must begin with /"),
        (&["inspect", "streams", "--inspect.socket", missing], "no daemon is listening on"),
        (&["inspect", "findings", "--inspect.socket", missing], "no daemon is listening on"),
        (&["inspect", "quota", "--inspect.socket", missing], "no daemon is listening on"),
        (&["top", "--inspect.socket", missing], "no daemon is listening on"),
    ] {
        let output = observer(args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(said.starts_with("llm-observer: ") && said.contains(part), "{args:?}: {said}");
        assert_eq!((said.lines().count(), stdout(&output).as_str()), (1, ""), "{args:?}: {said}");
    }
    assert_eq!(observer(&["bogus"]).status.code(), Some(2));
}

#[test]
fn the_environment_stands_behind_the_flag() {
    let live = two_calls();
    let socket = live.socket.to_str().unwrap();
    let by_env =
        command(&["inspect", "streams", "-o", "json"]).env("LLM_OBSERVER_INSPECT_SOCKET", socket).output().unwrap();
    assert!(by_env.status.success());
    let by_flag = command(&["inspect", "streams", "--inspect.socket", "/nonexistent"])
        .env("LLM_OBSERVER_INSPECT_SOCKET", socket)
        .output()
        .unwrap();
    assert_eq!(by_flag.status.code(), Some(2), "the flag wins");
}

#[test]
fn small_verbs() {
    let version = json(&observer(&["version", "-o", "json"]));
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["kernel_part"], true);
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&observer(&["completion", shell]));
        assert!(script.contains("llm-observer") && script.contains("top"), "{shell}");
    }
    let help = stdout(&observer(&["--help"]));
    for verb in ["run", "inspect", "top", "doctor", "record", "replay", "completion", "version"] {
        assert!(help.contains(&format!("  {verb}")), "{verb}");
    }
}

#[test]
fn doctor_speaks_to_programs_too() {
    let live = two_calls();
    let output = observer(&["doctor", "-o", "json", "--inspect.socket", live.socket.to_str().unwrap()]);
    let checks = json(&output);
    let status = |name: &str| {
        checks.as_array().unwrap().iter().find(|c| c["name"] == name).map(|c| c["status"].as_str().unwrap().to_owned())
    };
    assert_eq!(status("coverage").as_deref(), Some("degraded"), "one of two processes is not seen into: {checks}");
    assert_eq!(status("probes").as_deref(), Some("ok"));
    let told = |name: &str| checks.as_array().unwrap().iter().find(|c| c["name"] == name).unwrap()["found"].clone();
    assert_eq!(told("sockets"), "fed by hand", "the daemon's own account, not this host's: {checks}");
    let worst = checks
        .as_array()
        .unwrap()
        .iter()
        .map(|c| match c["status"].as_str().unwrap() {
            "ok" => 0,
            "degraded" => 1,
            _ => 2,
        })
        .max();
    assert_eq!(output.status.code(), worst);
    for check in checks.as_array().unwrap().iter().filter(|c| c["status"] != "ok") {
        assert!(!check["lost"].as_str().unwrap().is_empty() && !check["fix"].as_str().unwrap().is_empty(), "{check}");
    }
}

#[tokio::test]
async fn the_socket_belongs_to_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/er/s");
    let socket = InspectSocket::bind(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(InspectSocket::bind(&path), Err(BindError::Busy(_))), "a living daemon is not pushed aside");
    drop(socket);
    assert!(!path.exists(), "nothing is left");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a daemon that was killed leaves its socket");
    drop(InspectSocket::bind(&path).unwrap());
    std::fs::write(&path, "data").unwrap();
    let error = InspectSocket::bind(&path).unwrap_err().to_string();
    assert!(error.contains("not a socket"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"data", "what is not ours stays");
}

#[test]
fn nonsense_on_the_socket_gets_a_sentence() {
    let live = Live::start();
    for question in ["\n", "{}\n", "{\"streams\":{}}\n", "GET / HTTP/1.1\r\n\r\n", "[1,2\n"] {
        let mut client = UnixStream::connect(&live.socket).unwrap();
        client.write_all(question.as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(client).read_line(&mut answer).unwrap();
        assert!(answer.contains("\"error\"") && answer.contains("does not understand"), "{question:?}: {answer}");
    }
    let mut endless = UnixStream::connect(&live.socket).unwrap();
    let _ = endless.write_all(&vec![b'x'; 1_000_000]);
    let mut answer = String::new();
    let _ = BufReader::new(endless).read_line(&mut answer);
    assert!(live.inspect(&["probes"]).status.success(), "the daemon is not impressed");
}

/// Before anything is attached, everything that can be refused is refused.
mod before_attaching {
    use std::net::TcpListener;
    use std::os::unix::process::CommandExt;

    use super::*;

    fn is_root() -> bool {
        let root = std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
        if !root {
            eprintln!("SKIPPED: needs root");
        }
        root
    }

    #[test]
    fn others_than_root_are_told_what_is_missing() {
        // A copy that others may reach: the checkout can lie in root's home.
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let copy = dir.path().join("llm-observer");
        // Not by this process: what another test starts meanwhile would hold the copy open for
        // writing, and it could not be run.
        let mut cp = std::process::Command::new("cp");
        assert!(cp.arg(env!("CARGO_BIN_EXE_llm-observer")).arg(&copy).status().unwrap().success());
        for verb in [&["run"][..], &["record", "/dev/null"]] {
            let mut command = std::process::Command::new(&copy);
            command.args(verb).current_dir("/");
            if is_root() {
                command.uid(65_534);
            }
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(2));
            let said = stderr(&output);
            // The capabilities that it lacks, and both ways to get them.
            for part in ["cannot observe this host", "CAP_BPF", "sudo", "securityContext.capabilities.add"] {
                assert!(said.contains(part), "{part} is missing from: {said}");
            }
        }
    }

    #[test]
    fn ports_sockets_and_hosts_are_taken_once() {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let (lock, socket, busy, free) = (path("lock"), path("s"), path("busy"), "127.0.0.1:0");
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().to_string();
        let _living = UnixListener::bind(&busy).unwrap();
        let run = |args: &[&str]| observer(&[&["run", "--lock.file", &lock][..], args].concat());
        let port_taken = run(&["--web.listen-address", &port, "--inspect.socket", &socket]);
        let socket_taken = run(&["--web.listen-address", free, "--inspect.socket", &busy]);
        let held = std::fs::File::create(&lock).unwrap();
        held.lock().unwrap();
        let second = run(&["--web.listen-address", free, "--inspect.socket", &socket]);
        for (output, part) in [
            (port_taken, "the port is in use"),
            (socket_taken, "another llm-observer is listening on"),
            (second, "another llm-observer already observes this host"),
        ] {
            let said = stderr(&output);
            let last = said.lines().last().unwrap();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(last.starts_with("llm-observer: ") && last.contains(part), "{said}");
        }
        assert!(!std::path::Path::new(&socket).exists(), "no socket is left behind");
    }
}
