//! The clients against the provider alone: what the matrix takes for granted.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic, its helpers too")]

use kernel_tests::clients::{Clients, Kind};
use kernel_tests::truth;
use provider::{Options, Provider};

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

fn check(kind: Kind, said: &[kernel_tests::clients::Said], provider: &Provider) {
    for (scenario, chars) in [("text", Some(240)), ("gzip", Some(144)), ("tools", Some(30)), ("529", None)] {
        let model = kind.model(scenario);
        let line = said.iter().find(|line| line.end.as_deref() == Some(&model)).unwrap();
        // curl reports no characters, and a 529 is no failure to it.
        if kind.is_sdk() {
            assert_eq!(line.chars, chars, "{model}: {line:?}");
            assert_eq!(line.error.is_some(), scenario == "529", "{model}: {line:?}");
        }
        let exchanges = truth::exchanges(&provider.lines(), &model);
        assert_eq!(exchanges.len(), 1, "{model}");
        let outcome = if scenario == "529" { "http_error" } else { "complete" };
        assert_eq!(exchanges[0].outcome(), Some(outcome), "{model}");
    }
}
