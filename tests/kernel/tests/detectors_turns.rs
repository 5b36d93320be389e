//! Detectors of whole turns on live traffic: results of tools in the history, speech behind a
//! model's text; and what several detectors withhold. The client is this program itself, over plain
//! HTTP: no SDK writes such histories by itself.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::net::TcpListener;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use kernel_tests::cases::Expected;
use kernel_tests::far::Listener;
use kernel_tests::raw::Raw;
use kernel_tests::rig::Rig;
use kernel_tests::steady::on_a_steady_host;
use kernel_tests::{places, skipped};
use provider::script::{Reply, Say, Scenario, Step, answer, deltas};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A conversation with one call of a tool, so many turns after its result.
fn history(tool: &str, turns: usize) -> Value {
    let call = json!({"id": format!("call_{tool}"), "type": "function", "function": {"name": tool, "arguments": "{}"}});
    let mut messages = vec![
        json!({"role": "user", "content": format!("how is {tool}?")}),
        json!({"role": "assistant", "content": null, "tool_calls": [call]}),
        json!({"role": "tool", "tool_call_id": format!("call_{tool}"), "content": "5"}),
    ];
    for turn in 0..turns {
        messages.push(json!({"role": "assistant", "content": "it is 5"}));
        messages.push(json!({"role": "user", "content": format!("and now? {turn}")}));
    }
    json!({"model": format!("scenario:rests#{tool}"), "stream": true, "messages": messages})
}

/// The result comes, and two later answers rest on it.
fn rest_on(connection: &mut Raw, tool: &str, age: Duration) {
    for turn in 0..3 {
        if turn == 1 {
            sleep(age);
        }
        connection.post("/v1/chat/completions", &history(tool, turn)).unwrap();
        connection.read().unwrap();
    }
}

#[test]
fn two_answers_on_a_result_older_than_it_stays_fresh_are_told() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        const DETECTOR: &str = "stale_results";
        let rig = Rig::tuned("detect: {stale_results: {freshness_seconds: {status: 1, weather: 3600}}}\n").unwrap();
        rig.provider.register("rests", Scenario::always(Reply::of(answer(vec![deltas(3, 8, 1_000)], "stop"))));
        let mut connection = Raw::connect(rig.provider.plain_address()).unwrap();
        // Fresh for an hour.
        rest_on(&mut connection, "weather", Duration::ZERO);
        rig.quiet_after(DETECTOR, 2.0).unwrap();
        rig.case(DETECTOR, "two answers on a result that stays fresh for an hour", Expected::Quiet).unwrap();
        // Nobody said for how long, and it was never seen to change.
        rest_on(&mut connection, "prices", Duration::ZERO);
        rig.judged_when(DETECTOR, 4.0).unwrap();
        assert_eq!(rig.withheld(DETECTOR, "no_freshness").unwrap(), 2.0);
        rig.case(DETECTOR, "nobody said for how long a result stays fresh", Expected::Withheld("no_freshness"))
            .unwrap();
        rest_on(&mut connection, "status", Duration::from_millis(1_500));
        assert_eq!(rig.judged_when(DETECTOR, 6.0).unwrap().evaluated, 4.0);
        rig.case(DETECTOR, "two answers on a result older than it stays fresh", Expected::Findings(&["stale_reuse"]))
            .unwrap();
        let finding = rig.finding_when(DETECTOR, |finding| finding["kind"] == "stale_reuse").unwrap();
        let inputs = &finding["inputs"];
        assert_eq!((&finding["severity"], &inputs["tool"]), (&json!("warning"), &json!("status")), "{finding}");
        assert!(inputs["reuses"] == 2 && inputs["age_seconds"].as_f64().unwrap() >= 1.5, "{finding}");
        rig.number_is("llm_tool_result_stale_reuse_total", &[], 2.0).unwrap();
        rig.number_is("llm_tool_result_stale_reuse_total", &["tool=\"status\""], 2.0).unwrap();
    });
}

/// The request after a call of a tool, in the manner of Anthropic: the call and its result are in the history.
fn called(scenario: &str, n: usize, input: &Value, result: &str) -> Value {
    let call = json!([{"type": "tool_use", "id": format!("t{n}"), "name": scenario, "input": input}]);
    let failed = result.starts_with("Error");
    let result =
        json!([{"type": "tool_result", "tool_use_id": format!("t{n}"), "content": result, "is_error": failed}]);
    let schema = json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}});
    json!({
        "model": format!("scenario:{scenario}"), "stream": true, "max_tokens": 100,
        "tools": [{"name": scenario, "description": "d", "input_schema": schema}],
        "messages": [
            {"role": "user", "content": format!("order {n}")},
            {"role": "assistant", "content": call},
            {"role": "user", "content": result},
        ],
    })
}

fn send(rig: &Rig, body: &Value) {
    let mut connection = Raw::connect(rig.provider.plain_address()).unwrap();
    connection.post("/v1/messages", body).unwrap();
    connection.read().unwrap();
}

#[test]
fn rejections_of_valid_calls_and_claims_without_evidence_are_told() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::tuned("detect: {claims: {claims: 5}}\n").unwrap();
        let says = |words: &str| {
            let steps = vec![Step::new(1_000, Say::Words(format!("Done: {words} the sum.")))];
            Scenario::always(Reply::of(answer(steps, "stop")))
        };
        for tool in ["charge", "refund", "lost"] {
            rig.provider.register(tool, says("here is"));
        }
        rotten(&rig);
        rig.provider.register("sum", says("I've checked"));
        claims(&rig);
        // Time to do something between question and claim.
        let Scenario { replies } = says("I confirmed");
        let slow = Reply { head_delay_us: 400_000, ..replies[0].clone() };
        rig.provider.register("agent", Scenario::always(slow));
        agents(&rig);
    });
}

fn rotten(rig: &Rig) {
    const DETECTOR: &str = "tool_rot";
    let missing = "Error 422: missing required field key";
    (0..4).for_each(|n| send(rig, &called("charge", n, &json!({"id": "seven"}), missing)));
    rig.quiet_after(DETECTOR, 4.0).unwrap();
    rig.case(DETECTOR, "arguments that the schema does not allow are rejected", Expected::Quiet).unwrap();
    (4..6).for_each(|n| send(rig, &called("refund", n, &json!({"id": 7}), missing)));
    rig.quiet_after(DETECTOR, 6.0).unwrap();
    rig.case(DETECTOR, "a valid call is rejected twice", Expected::Quiet).unwrap();
    send(rig, &called("refund", 6, &json!({"id": 7}), missing));
    rig.case(DETECTOR, "the same valid call a third time", Expected::Findings(&["contract_rot"])).unwrap();
    let mut forgotten = called("lost", 7, &json!({"id": 7}), missing);
    *forgotten.pointer_mut("/messages/1").unwrap() = json!({"role": "assistant", "content": "I asked."});
    send(rig, &forgotten);
    rig.case(DETECTOR, "a result whose call is not in the history", Expected::Withheld("call_not_in_history")).unwrap();
}

fn claims(rig: &Rig) {
    const DETECTOR: &str = "claims";
    (10..15).for_each(|n| send(rig, &called("sum", n, &json!({"id": n}), "5")));
    rig.number_is("llm_verification_claims_total", &["evidence=\"tool_call\""], 5.0).unwrap();
    rig.case(DETECTOR, "five claims, a tool was called before each", Expected::Quiet).unwrap();
}

/// An agent of its own process: a call for each of these acts.
fn agent(rig: &Rig, model: &str, acts: &[&str]) {
    let mut python = Command::new(rig.clients.python());
    python.arg(places::programs().join("agent.py")).arg(rig.provider.plain_address().to_string()).arg(model);
    assert!(python.args(acts).status().unwrap().success());
}

fn agents(rig: &Rig) {
    const DETECTOR: &str = "claims";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = listener.local_addr().unwrap().to_string();
    agent(rig, "scenario:agent#busy", &["program", "program", "program", &elsewhere, &elsewhere]);
    rig.number_is("llm_verification_claims_total", &["evidence=\"host_activity\""], 5.0).unwrap();
    rig.case(DETECTOR, "a program or another host between question and claim", Expected::Quiet).unwrap();
    agent(rig, "scenario:agent#idle", &["again", "late", "late", "nothing"]);
    rig.number_is("llm_verification_claims_total", &["agent#idle", "evidence=\"none\""], 4.0).unwrap();
    rig.case(DETECTOR, "four claims are too few", Expected::Withheld("few_claims")).unwrap();
    agent(rig, "scenario:agent#idle", &["late"]);
    let fifth = "the fifth claim, only the model's own host was called, and programs were run after the answers";
    rig.case(DETECTOR, fifth, Expected::Findings(&["no_evidence"])).unwrap();
}

const VOICE: &str = "voice";

/// Text, and then the sound of it, as one program asks for them.
fn turn(rig: &Rig, speech: &str) {
    let mut connection = Raw::connect(rig.provider.plain_address()).unwrap();
    connection.ask("scenario:said").unwrap();
    speak(&mut connection, speech);
}

fn speak(connection: &mut Raw, speech: &str) {
    let body = json!({"model": format!("scenario:{speech}"), "input": "Hello there.", "voice": "alloy"});
    connection.post("/v1/audio/speech", &body).unwrap();
    connection.read().unwrap();
}

#[test]
fn sound_that_is_late_in_most_turns_is_told_with_the_stage_it_waits_for() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        // Far above what two short calls take on a busy host, far below what the slow voice takes.
        let rig = Rig::tuned("detect: {voice: {budget_seconds: 3, turns: 5}}\n").unwrap();
        rig.provider.register("said", Scenario::always(Reply::of(answer(vec![deltas(12, 12, 5_000)], "stop"))));
        // The head of an answer comes at once, as vendors send it: what users wait for is the sound.
        let sound = |first_us| {
            let all = vec![Step::new(first_us, Say::Audio(2_400)), Step::new(5_000, Say::Audio(2_400)).times(3)];
            Scenario::always(Reply::of(answer(all, "stop")))
        };
        rig.provider.register("slow-voice", sound(3_200_000));
        rig.provider.register("voice", sound(5_000));
        // Sound without a model's text belongs to no turn.
        speak(&mut Raw::connect(rig.provider.plain_address()).unwrap(), "voice");
        rig.judged_when(VOICE, 1.0).unwrap();
        assert_eq!(rig.withheld(VOICE, "no_turn").unwrap(), 1.0);
        rig.case(VOICE, "sound without a model's text", Expected::Withheld("no_turn")).unwrap();
        (0..5).for_each(|_| turn(&rig, "voice"));
        // That nobody sends the sound on is withheld besides, once a turn.
        let evaluated = |cases| rig.number_is("llm_detector_evaluated_total", &["detector=\"voice\""], cases);
        evaluated(5.0).unwrap();
        // Two of five are not most of them, the third is.
        (0..2).for_each(|_| turn(&rig, "slow-voice"));
        evaluated(7.0).unwrap();
        rig.case(VOICE, "two of five turns over the budget", Expected::Quiet).unwrap();
        turn(&rig, "slow-voice");
        rig.case(VOICE, "three of five turns over the budget", Expected::Findings(&["slow_first_audio"])).unwrap();
        let finding = rig.finding_when(VOICE, |finding| finding["kind"] == "slow_first_audio").unwrap();
        assert_eq!((&finding["severity"], &finding["inputs"]["share_over_budget"]), (&json!("warning"), &json!(0.6)));
        assert!(finding["inputs"]["tts_request_to_first_audio"].as_f64().unwrap() >= 3.2, "{finding}");
        assert!(finding["verdict"].as_str().unwrap().ends_with("are tts request to first audio"), "{finding}");
    });
}

/// A voice agent of its own process: a turn for each of these acts.
fn voice(rig: &Rig, sink: &Listener, acts: &[&str]) {
    let mut python = Command::new(rig.clients.python());
    python.arg(places::programs().join("voice.py")).args(["scenario:said", "scenario:voice"]);
    python.arg(sink.port.to_string()).args(acts);
    python.env("BASE_URL", rig.provider.url()).env("SSL_CERT_FILE", rig.provider.ca().unwrap());
    assert!(python.status().unwrap().success());
}

#[test]
fn sound_that_waits_in_the_process_before_it_is_sent_on_is_told() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        // A second is far above what a busy host takes, two seconds is what the late program takes.
        let rig = Rig::tuned("detect: {voice: {budget_seconds: 60, media_seconds: 1, turns: 5}}\n").unwrap();
        rig.provider.register("said", Scenario::always(Reply::of(answer(vec![deltas(12, 12, 5_000)], "stop"))));
        let sound = answer(vec![Step::new(5_000, Say::Audio(2_400)).times(4)], "stop");
        rig.provider.register("voice", Scenario::always(Reply::of(sound)));
        let sink = Listener::start(&rig, "sink.py").unwrap();
        let stage = ["stage=\"first_audio_to_media_out\""];
        let stage = |count| rig.number_is("llm_voice_stage_seconds_count", &stage, count);
        voice(&rig, &sink, &["unsent", "unsent"]);
        rig.case(VOICE, "sound that is not sent on", Expected::Withheld("media_unseen")).unwrap();
        voice(&rig, &sink, &["unsent", "prompt", "prompt", "prompt", "late", "late"]);
        stage(5.0).unwrap();
        rig.case(VOICE, "the sound of two of five turns waits in the process", Expected::Quiet).unwrap();
        voice(&rig, &sink, &["unsent", "late"]);
        stage(6.0).unwrap();
        let case = "the sound of three of five turns waits in the process";
        rig.case(VOICE, case, Expected::Findings(&["slow_media_out"])).unwrap();
        let finding = rig.finding_when(VOICE, |finding| finding["kind"] == "slow_media_out").unwrap();
        assert_eq!(finding["inputs"]["share_over_budget"], json!(0.6), "{finding}");
        assert!(finding["inputs"]["first_audio_to_media_out"].as_f64().unwrap() >= 1.9, "{finding}");
    });
}

/// A small ring: a question many times as large does not fit while the daemon is stopped.
const RING: usize = 131_072;

#[test]
fn what_cannot_be_judged_is_withheld_with_its_reason() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::tuned(&format!("kernel: {{ring_bytes: {RING}}}\n")).unwrap();
        // The answer comes when the daemon has long made room again.
        let steps = answer(vec![deltas(3, 8, 1_000)], "stop");
        rig.provider.register("later", Scenario::always(Reply { head_delay_us: 3_000_000, ..Reply::of(steps) }));
        let mut connection = Raw::connect(rig.provider.plain_address()).unwrap();
        let pid = Pid::from_raw(i32::try_from(rig.daemon.pid()).unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        let written = connection.write("scenario:later", 16 * RING);
        kill_process(pid, Signal::CONT).unwrap();
        written.unwrap();
        connection.read().unwrap();
        for detector in ["failover", "retry"] {
            assert_eq!(rig.judged_when(detector, 1.0).unwrap().evaluated, 0.0, "{detector}");
            assert_eq!(rig.withheld(detector, "truncated_body").unwrap(), 1.0, "{detector}");
            rig.case(detector, "a question that was not seen whole", Expected::Withheld("truncated_body")).unwrap();
        }
        // Calls of tools and no text; text; text that breaks off.
        let models = ["calls#w", "text#w", "reset#w"].map(|name| format!("scenario:{name}"));
        rig.run("openai-sync-chat").unwrap().start(&models).unwrap().finish().unwrap();
        for (detector, scenario, reason, want) in [
            ("quota", "answers without headers of limits", "no_headers", 4.0),
            ("first_token", "a call of a tool and no text", "nothing_visible", 1.0),
            ("reasoning", "an answer that breaks off", "incomplete", 1.0),
        ] {
            assert_eq!(rig.judged_when(detector, 4.0).unwrap().evaluated, 0.0, "{detector}");
            assert_eq!(rig.withheld(detector, reason).unwrap(), want, "{detector}");
            rig.case(detector, scenario, Expected::Withheld(reason)).unwrap();
        }
    });
}
