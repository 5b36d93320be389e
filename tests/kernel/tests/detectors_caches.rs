//! Prompt caches that are lost, and histories that the provider holds, on live traffic. The client
//! is this program itself, over plain HTTP: no SDK changes its system prompt by itself.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use kernel_tests::cases::Expected;
use kernel_tests::raw::Raw;
use kernel_tests::rig::Rig;
use kernel_tests::skipped;
use kernel_tests::steady::on_a_steady_host;
use provider::script::{Reply, Scenario, Tokens, answer, deltas};
use serde_json::{Value, json};

const DETECTOR: &str = "stale_results";

/// Where all of these calls go: caches are those of one model.
const MODEL: &str = "scenario:cached#live";

/// So many conversations of two turns, `from` on: of 30,000 tokens of the first so many come from
/// the cache, of the second none.
fn talks(rig: &Rig, from: usize, times: usize, cached: u64, systems: [&str; 2]) {
    for n in from..from + times {
        let mut messages = vec![json!({"role": "user", "content": format!("talk {n}")})];
        for (system, cached) in systems.into_iter().zip([cached, 0]) {
            let usage = Tokens { input: 30_000, output: 10, cached, ..Tokens::default() };
            let reply = Reply::of(answer(vec![deltas(3, 8, 1_000)], "stop")).usage(usage);
            rig.provider.register("cached", Scenario::always(reply));
            send(
                rig,
                "/v1/messages",
                &json!({"model": MODEL, "stream": true, "max_tokens": 100, "system": system, "messages": messages}),
            );
            messages.push(json!({"role": "assistant", "content": "so it is"}));
            messages.push(json!({"role": "user", "content": "and then?"}));
        }
    }
}

fn send(rig: &Rig, path: &str, body: &Value) {
    let mut connection = Raw::connect(rig.provider.plain_address()).unwrap();
    connection.post(path, body).unwrap();
    connection.read().unwrap();
}

#[test]
fn caches_that_three_conversations_lose_are_told_with_whose_doing_it_was() {
    if skipped() {
        return;
    }
    on_a_steady_host(|| {
        let rig = Rig::new().unwrap();
        let same = ["You help."; 2];
        let changed = ["You help.", "You help. Today is Sunday."];
        talks(&rig, 0, 3, 1_000, changed);
        rig.quiet_after(DETECTOR, 3.0).unwrap();
        rig.case(DETECTOR, "three conversations lose a cache of 1,000 tokens", Expected::Quiet).unwrap();
        talks(&rig, 10, 2, 27_800, changed);
        rig.quiet_after(DETECTOR, 5.0).unwrap();
        rig.case(DETECTOR, "two conversations lose 27,800 cached tokens", Expected::Quiet).unwrap();
        talks(&rig, 20, 1, 27_800, changed);
        rig.case(
            DETECTOR,
            "a third one, each time as the system prompt changed",
            Expected::Findings(&["cache_broken"]),
        )
        .unwrap();
        let finding = rig.finding_when(DETECTOR, |finding| finding["kind"] == "cache_broken").unwrap();
        let (now, then) = (&finding["inputs"], &finding["baseline"]);
        assert_eq!((&finding["severity"], &finding["model"]), (&json!("warning"), &json!(MODEL)), "{finding}");
        assert_eq!(
            (&now["cliffs"], &now["cached_tokens"], &then["cached_tokens"]),
            (&json!(3), &json!(0), &json!(27_800))
        );
        rig.number_is("llm_prompt_cache_cliff_total", &["why=\"prefix_changed\""], 3.0).unwrap();
        talks(&rig, 30, 3, 27_800, same);
        rig.case(
            DETECTOR,
            "three conversations lose it with an unchanged prompt",
            Expected::Findings(&["cache_evicted"]),
        )
        .unwrap();
        rig.number_is("llm_prompt_cache_cliff_total", &["why=\"evicted\""], 3.0).unwrap();
        rig.number_is("llm_prompt_cache_cliff_total", &[], 6.0).unwrap();
        // What the provider holds is not sent again: nobody sees how old it is.
        let held = json!({"model": MODEL, "stream": true, "previous_response_id": "resp_0", "input": "and now?"});
        send(&rig, "/v1/responses", &held);
        rig.case(DETECTOR, "a history that the provider holds", Expected::Withheld("server_held")).unwrap();
        assert_eq!(rig.withheld(DETECTOR, "server_held").unwrap(), 1.0);
    });
}
