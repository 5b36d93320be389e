//! Clients that must go through a proxy, as in most companies: unmodified SDKs and curl that find
//! it in their environment.

use kernel_tests::far::Listener;
use kernel_tests::rig::Rig;
use kernel_tests::skipped;
use provider::script::{Reply, Scenario, answer, deltas};

/// Each with how it is told of the proxy. CPython's own sockets, memory BIOs, and curl, by HTTP and by SOCKS5.
const CLIENTS: [(&str, &str, &str); 5] = [
    ("openai-sync-chat", "HTTPS_PROXY", "http"),
    ("openai-async-chat", "HTTPS_PROXY", "http"),
    ("anthropic-async", "HTTPS_PROXY", "http"),
    ("curl-chat", "HTTPS_PROXY", "http"),
    ("curl-messages", "ALL_PROXY", "socks5h"),
];

/// The ledger is the provider's log, the arrival of every chunk is known, and it is said that there is a proxy.
#[test]
fn calls_through_a_proxy_have_both_timelines() {
    if skipped() {
        return;
    }
    let rig = Rig::new().unwrap();
    let proxy = Listener::start(&rig, "proxy.py").unwrap();
    rig.provider.register("proxied", Scenario::always(Reply::of(answer(vec![deltas(40, 12, 20_000)], "stop"))));
    for (client, variable, scheme) in CLIENTS {
        let models: Vec<String> = (0..2).map(|n| format!("{}proxied#{client}-{n}", provider::PREFIX)).collect();
        let run = rig.run(client).unwrap().env(variable, &format!("{scheme}://127.0.0.1:{}", proxy.port));
        let (said, status) = run.env("NO_PROXY", "").start(&models).unwrap().finish().unwrap();
        assert!(status.success() && said.iter().all(|said| said.error.is_none()), "{client}: {said:?}");
        for (model, stream) in models.iter().zip(rig.ended(&models).unwrap()) {
            let truth = rig.truth(model).remove(0);
            assert_eq!((stream.chunks, stream.outcome.as_deref()), (truth.chunks(), Some("complete")), "{client}");
            assert_eq!(stream.remote.as_ref().unwrap().port, Some(proxy.port), "{client}");
            assert!(stream.notes.iter().any(|note| note == "through_a_proxy"), "{client}: {:?}", stream.notes);
            let p50 = stream.arrival_gaps.p50.unwrap();
            assert!((0.015..0.03).contains(&p50), "{client}: {p50}");
        }
    }
}
