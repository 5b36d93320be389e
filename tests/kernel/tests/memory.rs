//! What stays in the daemon's memory of what was said.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use kernel_tests::clients::Kind;
use kernel_tests::rig::Rig;
use kernel_tests::skipped;
use provider::script::{Reply, Say, Scenario, Step, answer};
use serde_json::json;

/// What is planted: each in another place of a call. (The first product of a user agent is a name that is kept.)
const PLANTED: [&str; 9] = [
    "sk-planted-51b2a7c9d0",
    "PLANTEDPROMPT8842",
    "PLANTEDANSWER6613",
    "PLANTEDARGUMENT2290",
    "PLANTEDAGENT7716",
    "PLANTEDQUERY3308",
    "PLANTEDRESULT1145",
    "PLANTEDDESCRIPTION9071",
    "PLANTEDCOOKIE4425",
];

/// After streams have ended, their words are in the ring until it is overwritten (the kernel gives
/// its reader no right to wipe it) and nowhere else: neither in the heap nor on a stack.
#[test]
fn what_was_said_does_not_stay_in_the_daemons_memory() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let [key, prompt, word, argument, agent, query, result, description, cookie] = PLANTED;
    let part = |text: &str| {
        let call =
            json!([{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": text}}]);
        Step::new(
            1_000,
            Say::Raw(format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"tool_calls": call}}]}))),
        )
    };
    let (half, rest) = argument.split_at(7);
    let mut steps = vec![Step::new(1_000, Say::Words(format!("{word}. "))).times(5)];
    steps.extend([part(&format!("{{\"{argument}\": \"{half}")), part(rest), part("\"}")]);
    rig.provider.register("planted", Scenario::always(Reply::of(answer(steps, "tool")).header("set-cookie", cookie)));
    for name in ["openai-sync-chat", "anthropic-async", "openai-node-responses", "curl-messages"] {
        let run = rig.run(name).unwrap().env("CLIENT_SECRET", key).env("CLIENT_PROMPT", prompt);
        run.start(&[Kind::named(name).unwrap().model("planted")]).unwrap().finish().unwrap();
    }
    let tools = json!([{"type": "function", "function": {"name": "f", "description": description, "parameters": {"properties": {argument: {}}}}}]);
    let calls = json!([{"id": "call_0", "type": "function", "function": {"name": "f", "arguments": format!("{{\"{argument}\": 1}}")}}]);
    for n in 0..4 {
        let body = json!({"model": format!("scenario:planted#memory-{n}"), "stream": true, "tools": tools, "messages": [
            {"role": "system", "content": prompt}, {"role": "user", "content": prompt}, {"role": "assistant", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "call_0", "content": format!("error: {result}")}]});
        let mut curl = Command::new("curl");
        // HTTP/2 too, whose heads are packed in the ring and unpacked in the heap.
        curl.args([
            "-sSN",
            ["--http1.1", "--http2"][n % 2],
            "-o",
            "/dev/null",
            "-A",
            &format!("curl/8.5 ({agent})"),
            "-H",
            &format!("authorization: Bearer {key}"),
            "-H",
            &format!("cookie: {cookie}"),
        ]);
        curl.args(["-H", "content-type: application/json", "--cacert"])
            .arg(rig.provider.ca().unwrap())
            .args(["-d", &body.to_string()]);
        assert!(
            curl.arg(format!("{}/v1/chat/completions?api_key={query}&user={query}", rig.provider.url()))
                .status()
                .unwrap()
                .success()
        );
    }
    let models: Vec<String> = rig.provider.lines().iter().filter_map(model_of).collect();
    assert!(!rig.ended(&models).unwrap().is_empty());
    // Connections that are kept are gone with their programs; tables of a few seconds too.
    std::thread::sleep(Duration::from_secs(3));
    let (ring, elsewhere) = found(rig.daemon.pid(), &PLANTED);
    println!("in the ring: {ring:?}; elsewhere: {elsewhere:?}");
    assert!(ring.iter().all(|count| *count > 0), "not all of it was captured: this would test nothing");
    let (_, names) = found(rig.daemon.pid(), &["scenario:planted#memory-1"]);
    assert!(names[0] > 0, "a model's name is kept, and not found: the search does not work");
    assert_eq!(elsewhere, [0; PLANTED.len()], "{PLANTED:?}");
    let limits = fs::read_to_string(format!("/proc/{}/limits", rig.daemon.pid())).unwrap();
    assert!(limits.lines().any(|line| line.starts_with("Max core file size        0")), "{limits}");
}

fn model_of(line: &provider::log::Line) -> Option<String> {
    match line {
        provider::log::Line::Request(request) => Some(request.model.clone()),
        _ => None,
    }
}

/// How often each text is in a process's memory: in the kernel's ring (mapped twice, so mostly
/// twice), and elsewhere. Python looks: a hundred megabytes take an unoptimised test minutes.
fn found<const N: usize>(pid: u32, texts: &[&str; N]) -> ([usize; N], [usize; N]) {
    const LOOK: &str = "import json, sys\npid, texts = sys.argv[1], [t.encode() for t in sys.argv[2:]]\n\
        counts = [[0] * len(texts), [0] * len(texts)]\nmemory = open(f'/proc/{pid}/mem', 'rb', 0)\n\
        for line in open(f'/proc/{pid}/maps'):\n if '[v' in line: continue\n start, end = (int(n, 16) for n in line.split()[0].split('-'))\n \
        parts = []\n try:\n  memory.seek(start)\n  while start < end:\n   part = memory.read(end - start)\n   if not part: break\n   \
        parts.append(part); start += len(part)\n except (OSError, OverflowError): pass\n data = b''.join(parts)\n \
        for n, text in enumerate(texts): counts['bpf-map' not in line][n] += data.count(text)\nprint(json.dumps(counts))\n";
    let output = Command::new("/usr/bin/python3").args(["-c", LOOK, &pid.to_string()]).args(texts).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let counts: [Vec<usize>; 2] = serde_json::from_slice(&output.stdout).unwrap();
    counts.map(|counts| counts.try_into().unwrap()).into()
}
