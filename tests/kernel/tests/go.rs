//! Go's own TLS: programs of every kind that Go builds, each stream against the provider's log.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeSet;
use std::fs;

use kernel_tests::clients::{Kind, Run};
use kernel_tests::exact::{assert_exact, rows};
use kernel_tests::kinds::GO;
use kernel_tests::layer::finish;
use kernel_tests::overlay::{Overlay, Way};
use kernel_tests::rig::Rig;
use kernel_tests::{first, golang, matrix, skipped};
use provider::log::Protocol;
use provider::script::{Reply, Scenario, answer, deltas};

/// What a client is asked to hear. Over HTTP/2 some of these end the connection, and with it what else it carries:
/// so each call has one of its own.
const STREAMED: [&str; 17] = [
    "text",
    "tools",
    "reasoning",
    "pings",
    "gzip",
    "padding",
    "split",
    "coalesced",
    "corked",
    "until-close",
    "large",
    "reset",
    "closed",
    "goodbye",
    "no-end",
    "error-event",
    "529",
];

/// In which ways this machine builds; `None`: not at all.
fn kinds() -> Option<Vec<Kind>> {
    if skipped() || golang::absent() {
        return None;
    }
    Some(
        GO.into_iter()
            .filter(
                |kind| matches!(kind.program, kernel_tests::kinds::Program::Go(way) if golang::place(way).is_file()),
            )
            .collect(),
    )
}

fn run(rig: &Rig, kind: Kind) -> Run {
    rig.clients.run(kind, &rig.provider)
}

/// Models of one scenario, told apart by their number.
fn models(kind: Kind, scenario: &str, calls: usize) -> Vec<String> {
    (0..calls).map(|call| format!("{}-{call}", kind.model(scenario))).collect()
}

/// Probes of a client before it is judged: its first call may come before them.
fn warm(rig: &Rig, kinds: &[Kind]) {
    let start = |kind: &Kind| run(rig, *kind).start(&models(*kind, "length", 1)).unwrap();
    finish(kinds.iter().map(start).collect()).unwrap();
}

#[test]
fn every_stream_of_every_build_is_as_the_provider_wrote_it() {
    let Some(kinds) = kinds() else { return };
    let rig = Rig::new().unwrap();
    warm(&rig, &kinds);
    let mut asked = Vec::new();
    for some in kinds.chunks(2) {
        let mut running = Vec::new();
        for kind in some {
            let models: Vec<String> = STREAMED.iter().map(|scenario| kind.model(scenario)).collect();
            let client = run(&rig, *kind).env("CLIENT_NEW", "1").env("CLIENT_PARALLEL", "3");
            running.push(client.start(&models).unwrap());
            asked.extend(models);
        }
        running.into_iter().for_each(|client| drop(client.finish().unwrap()));
    }
    let spoken =
        |protocol| asked.iter().flat_map(|model| rig.truth(model)).any(|truth| truth.request.protocol == protocol);
    assert!(spoken(Protocol::Http1) && spoken(Protocol::Http2), "one protocol was not spoken");
    matrix::judge(&rig, &matrix::report(&rig, &asked).unwrap());
}

/// One call after the other on one connection, and forty at once on two threads.
#[test]
fn goroutines_that_go_from_thread_to_thread_are_told_apart() {
    let Some(kinds) = kinds() else { return };
    let rig = Rig::new().unwrap();
    let kinds: Vec<Kind> = kinds.into_iter().filter(|kind| kind.name.starts_with("go-stripped")).collect();
    warm(&rig, &kinds);
    rig.provider.register("steady", Scenario::always(Reply::of(answer(vec![deltas(40, 12, 10_000)], "stop"))));
    for kind in kinds {
        let mut asked = models(kind, "steady", 40);
        let client = run(&rig, kind).env("GOMAXPROCS", "2").env("CLIENT_PARALLEL", "40").start(&asked).unwrap();
        finish(vec![client]).unwrap();
        let turns = models(kind, "text", 5);
        finish(vec![run(&rig, kind).start(&turns).unwrap()]).unwrap();
        let connections: BTreeSet<u64> =
            turns.iter().flat_map(|model| rig.truth(model)).map(|truth| truth.request.conn).collect();
        assert_eq!(connections.len(), 1, "it did not keep its connection: {}", kind.name);
        asked.extend(turns);
        assert_exact(&rig, &asked);
    }
}

#[test]
fn calls_that_are_given_up_are_told_as_such() {
    let Some(kinds) = kinds() else { return };
    let rig = Rig::new().unwrap();
    warm(&rig, &kinds);
    rig.provider.register("long", Scenario::always(Reply::of(answer(vec![deltas(400, 12, 20_000)], "stop"))));
    let mut asked = Vec::new();
    for kind in kinds {
        let models = models(kind, "long", 2);
        finish(vec![run(&rig, kind).env("CLIENT_CANCEL", "120").start(&models).unwrap()]).unwrap();
        asked.extend(models);
    }
    let ledgers = rig.ended(&asked).unwrap();
    let wrong: Vec<_> = ledgers
        .iter()
        .filter(|ledger| ledger.outcome.as_deref() != Some("client_cancel") || ledger.chunks < 10)
        .map(|ledger| format!("{:?} {:?} {}", ledger.request_model, ledger.outcome, ledger.chunks))
        .collect();
    assert!(wrong.is_empty() && ledgers.len() == asked.len(), "{} of {}: {wrong:?}", ledgers.len(), asked.len());
}

/// More than a write of HTTP/1 (4 KiB), a frame of HTTP/2 and a TLS record (16 KiB).
#[test]
fn long_prompts_are_whole() {
    let Some(kinds) = kinds() else { return };
    let rig = Rig::new().unwrap();
    warm(&rig, &kinds);
    let prompt = "Tell me all about rivers. ".repeat(4_000);
    let mut asked = Vec::new();
    for kind in kinds {
        let models = models(kind, "text", 3);
        finish(vec![run(&rig, kind).env("CLIENT_PROMPT", &prompt).start(&models).unwrap()]).unwrap();
        asked.extend(models);
    }
    assert_exact(&rig, &asked);
    let joined = rig.ended(&asked).unwrap().into_iter().filter(|ledger| ledger.remote.is_some()).count();
    assert_eq!(joined, asked.len(), "the sockets of some are not known");
}

/// Containers of one image: one file, one set of probes.
#[test]
fn three_containers_of_one_image_are_exact_and_probed_once() {
    let Some(kinds) = kinds() else { return };
    let rig = Rig::new().unwrap();
    let kind = kinds[0];
    let image = tempfile::Builder::new().prefix("llmo-go-").tempdir().unwrap();
    let folder = format!("/opt/{}", image.path().file_name().unwrap().to_string_lossy());
    let inside = image.path().join(folder.trim_start_matches('/'));
    fs::create_dir_all(&inside).unwrap();
    fs::copy(golang::place("stripped"), inside.join("agent")).unwrap();
    let containers: Vec<Overlay> = (0..3).map(|_| Overlay::over(&[image.path()], "").unwrap()).collect();
    let start = |container: &Overlay, way: Way, models: &[String]| {
        let mut with = container.command(way).unwrap();
        with.arg(format!("{folder}/agent"));
        run(&rig, kind).as_program(with).start(models).unwrap()
    };
    finish(vec![start(&containers[0], Way::Chroot, &models(kind, "length", 1))]).unwrap();
    let mut asked = Vec::new();
    for (number, container) in containers.iter().enumerate() {
        let models: Vec<String> = (0..3).map(|call| format!("{}-{number}.{call}", kind.model("text"))).collect();
        let way = if number == 1 { Way::Namespaces } else { Way::Chroot };
        finish(vec![start(container, way, &models)]).unwrap();
        asked.extend(models);
    }
    assert_exact(&rig, &asked);
    let rows = rows(&rig, "go_tls_read", &folder).unwrap();
    assert_eq!(rows.len(), 1, "one file, one row: {rows:#?}");
}

const TRIES: usize = 20;

/// Go is at its first request 20 ms after it starts, and other tests run beside: on a host with nothing
/// else to do 16 to 19 are seen whole. Half of them tells that discovery is in time at all.
const SEEN: usize = 10;

#[test]
fn the_first_call_of_a_program_that_was_never_seen_is_seen_from_its_first_byte() {
    let Some(kinds) = kinds() else { return };
    let rig = Rig::new().unwrap();
    let run = |number: usize| {
        let copy = rig.dir.path().join(format!("agent{number}"));
        fs::write(&copy, fs::read(golang::place("stripped")).unwrap()).unwrap();
        fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Ok(run(&rig, kinds[0]).as_program(std::process::Command::new(copy)))
    };
    let late = first::late_of(&rig, "go", TRIES, run).unwrap();
    println!("{} of {TRIES} first calls seen from their first byte", TRIES - late.len());
    assert!(TRIES - late.len() >= SEEN, "late: {late:?}\n{}", rig.daemon.log());
}

/// Programs of other versions of Go, or of other people: `LLMO_GO_CLIENTS` names built clients, by `:`.
#[test]
#[ignore = "needs programs that are built by hand"]
fn programs_of_other_versions_are_exact() {
    let Some(kinds) = kinds() else { return };
    let rig = Rig::new().unwrap();
    let programs = std::env::var("LLMO_GO_CLIENTS").unwrap_or_default();
    let mut asked = Vec::new();
    for (number, program) in programs.split(':').filter(|program| !program.is_empty()).enumerate() {
        for kind in [kinds[0], kinds[1]] {
            let client = |models: &[String]| {
                let run = run(&rig, kind).as_program(std::process::Command::new(program));
                run.env("CLIENT_NEW", "1").env("CLIENT_PARALLEL", "3").start(models).unwrap()
            };
            finish(vec![client(&models(kind, "length", 1))]).unwrap();
            let models: Vec<String> = ["text", "tools", "large", "split", "reasoning"]
                .iter()
                .map(|scenario| format!("{}-{number}", kind.model(scenario)))
                .collect();
            println!("{program} {}", kind.name);
            finish(vec![client(&models)]).unwrap();
            asked.extend(models);
        }
    }
    assert!(!asked.is_empty(), "no programs are named");
    assert_exact(&rig, &asked);
}
