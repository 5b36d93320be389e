//! The command line from the outside: output formats, exit codes, one clear sentence for every
//! mistake, and no secret in anything that is printed.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;

use crate::streams::{json, two_calls};
use crate::support::{ANSWER, KEY, Live, PROMPT, call, command, observer, recording, stderr, stdout};
use observer::export::inspect::server::{BindError, InspectSocket};
use observer::recording::PayloadMode;

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
