//! What comes in by the daemon's own doors, and what strangers' names look like when they go out by
//! them. (The web server's are tested in `export/http/tests.rs`, all of them with the real daemon
//! in the kernel tier.)

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Live, call, command, eventually, sample, stderr, stdout};
use observer::export::hidden::is_hidden;

#[test]
fn silent_inspect_clients_delay_nobody() {
    let live = Live::start();
    live.happen(&[call(7, "gpt-x", 20)]);
    let silent: Vec<_> = (0..300).map(|_| UnixStream::connect(&live.socket).unwrap()).collect();
    let deaf: Vec<_> = (0..50)
        .map(|_| {
            let mut client = UnixStream::connect(&live.socket).unwrap();
            client.write_all(b"\"probes\"\n").unwrap();
            client
        })
        .collect();
    let begun = Instant::now();
    let output = live.inspect(&["streams"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let left = sample(
        &live.get("/metrics"),
        "llm_observer_refused_clients_total",
        &["door=\"inspect\"", "reason=\"connections\""],
    );
    assert!(left.unwrap() >= 150.0, "{left:?}");
    drop((silent, deaf));
}

/// A follower is not pushed out by clients that say nothing.
#[test]
fn who_follows_stays() {
    let live = Live::start();
    let mut follower = command(&["inspect", "streams", "--follow", "-o", "json", "--inspect.socket"]);
    let mut follower = follower.arg(&live.socket).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(follower.stdout.take().unwrap()));
    live.happen(&[call(7, "gpt-first", 20)]);
    assert!(lines.next().unwrap().unwrap().contains("gpt-first"));
    let silent: Vec<_> = (0..300).map(|_| UnixStream::connect(&live.socket).unwrap()).collect();
    std::thread::sleep(Duration::from_secs(1));
    assert!(live.inspect(&["streams"]).status.success());
    assert!(follower.try_wait().unwrap().is_none(), "it was cut off");
    follower.kill().unwrap();
    follower.wait().unwrap();
    drop(silent);
}

#[test]
fn names_of_strangers_command_no_terminal() {
    let live = Live::start();
    let model = "gpt-\u{9b}31m\u{7f}\u{202e}x\u{200b}";
    live.happen(&[call(7, model, 20)]);
    let metrics = eventually("the call", || Some(live.get("/metrics")).filter(|text| text.contains("gpt-")));
    let (_, metrics) = metrics.split_once("\r\n\r\n").unwrap();
    let mut printed = vec![metrics.to_owned()];
    for args in
        [&["streams"][..], &["streams", "-o", "wide"], &["streams", "-o", "json"], &["connections", "-o", "json"]]
    {
        printed.push(stdout(&live.inspect(args)));
    }
    for (index, text) in printed.iter().enumerate() {
        let hidden = text.lines().find(|line| line.chars().any(is_hidden));
        assert_eq!(hidden, None, "output {index}");
    }
    assert!(printed[0].contains(r#"gen_ai_request_model="gpt-\\u{9b}31m"#));
    // JSON means the same as before.
    let rows: serde_json::Value = serde_json::from_str(&printed[3]).unwrap();
    assert_eq!(rows[0]["request_model"], model);
}
