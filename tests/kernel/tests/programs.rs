//! The clients against the provider alone: what the matrix takes for granted.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::time::Duration;

use kernel_tests::clients::{self, Clients, Kind, SDKS};
use kernel_tests::truth::{self, Exchange};
use kernel_tests::wait_for;
use provider::script::Kind as LogKind;
use provider::{Options, Provider};

/// The provider's log is some steps of a task behind what it wrote.
const WRITTEN_DOWN: Duration = Duration::from_secs(10);

#[test]
fn every_client_hears_what_the_provider_says() {
    let dir = tempfile::tempdir().unwrap();
    let provider = Provider::start(&Options::in_memory(dir.path().to_owned())).unwrap();
    let clients = Clients::set_up().unwrap();
    let (available, absent) = clients.available();
    for reason in absent {
        println!("not run here: {reason}");
    }
    for kind in available {
        let models = ["text", "gzip", "tools", "529"].map(|scenario| kind.model(scenario));
        let client = clients.run(kind, &provider).env("CLIENT_PARALLEL", "4").start(&models).unwrap();
        let (said, status) = client.finish().unwrap();
        assert!(status.success(), "{}", kind.name);
        check(kind, &said, &provider);
    }
}

/// Every dialect, protocol and SDK: what is said is what is heard, and the provider knows it as what it is.
#[test]
fn every_sdk_hears_what_the_provider_says_in_its_own_transport() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { names: clients::hosts(), ..Options::in_memory(dir.path().to_owned()) };
    let provider = Provider::start(&options).unwrap();
    let clients = Clients::set_up().unwrap();
    let (available, absent) = clients.available_of(&SDKS);
    for reason in absent {
        println!("not run here: {reason}");
    }
    // Some at a time: two cores, and half of each SDK's time is its start.
    for some in available.chunks(4) {
        let models = |kind: Kind| ["text", "tools", "large"].map(|scenario| kind.model(scenario));
        let start = |kind: &Kind| {
            let parallel = if kind.takes_turns() { "1" } else { "3" };
            clients.run(*kind, &provider).env("CLIENT_PARALLEL", parallel).start(&models(*kind)).unwrap()
        };
        let running: Vec<_> = some.iter().map(start).collect();
        for (kind, client) in some.iter().zip(running) {
            let (said, status) = client.finish().unwrap();
            assert!(status.success(), "{}", kind.name);
            for (model, chars) in models(*kind).iter().zip([240, 30, 40_000]) {
                let line = said.iter().find(|line| line.end.as_ref() == Some(model)).unwrap();
                assert_eq!(line.error, None, "{model}");
                let exchange = over(&provider, model);
                // Who writes down what it is told was not asked at a moment: it has no milestones.
                let told = kind.hears() || exchange.firsts().emitted.is_some();
                assert!(told, "{model}: {exchange:?}");
                if kind.speaks() {
                    assert!(exchange.firsts().audio.is_some(), "{model}");
                } else if kind.is_sdk() {
                    assert_eq!((line.chars, exchange.chars(LogKind::Visible)), (Some(chars), chars), "{model}");
                }
                assert_eq!(exchange.request.protocol, kind.protocol(), "{model}");
            }
        }
    }
}

fn check(kind: Kind, said: &[kernel_tests::clients::Said], provider: &Provider) {
    for (scenario, chars) in [("text", Some(240)), ("gzip", Some(144)), ("tools", Some(30)), ("529", None)] {
        let model = kind.model(scenario);
        let line = said.iter().find(|line| line.end.as_deref() == Some(&model)).unwrap();
        // curl reports no characters, and a 529 is no failure to it.
        if kind.is_sdk() {
            assert_eq!(line.chars, chars, "{model}: {line:?}");
            assert_eq!(line.error.is_some(), scenario == "529", "{model}: {line:?}");
        }
        let outcome = if scenario == "529" { "http_error" } else { "complete" };
        assert_eq!(over(provider, &model).outcome(), Some(outcome), "{model}");
    }
}

/// The one exchange of a model, once the provider has written down its end: a client may be gone before.
fn over(provider: &Provider, model: &str) -> Exchange {
    let ended = || {
        let mut exchanges = truth::exchanges(&provider.lines(), model);
        assert!(exchanges.len() <= 1, "{model}");
        exchanges.pop().filter(Exchange::over)
    };
    wait_for(&format!("the end of {model}"), WRITTEN_DOWN, ended).unwrap()
}
