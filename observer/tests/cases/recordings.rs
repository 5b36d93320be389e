//! Recordings through the whole pipeline: `tests/recordings` with their expectations, and every vector of the dialects
//! recorded in each payload mode.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use capture::units::{Direction, LossCause, Ns};
use ledger::pipeline::{Pipeline, PipelineSettings};
use ledger::{CallEvent, Entry, EventSink, HostEvent};
use libtest_mimic::Trial;
use observer::recording::{PayloadMode, Recorder, RecordingReader, replay};
use testkit::{FakeTlsConn, OwnedRecord};

use testkit::named::{folders, trial};

/// What happens on a host.
type Ring = fn() -> Vec<OwnedRecord>;

/// The rings made here: name, payload mode, and what happens.
const RINGS: &[(&str, PayloadMode, Ring)] = &[
    ("three_dialects", PayloadMode::Full, three_dialects),
    ("three_dialects_masked", PayloadMode::Sse, three_dialects),
    ("three_dialects_sizes_only", PayloadMode::None, three_dialects),
    ("losses", PayloadMode::Full, losses),
    ("ends", PayloadMode::Full, ends),
    ("filter", PayloadMode::Full, filter),
];

/// Dialects whose vectors are recorded with their words masked.
const MASKED: [&str; 3] = ["openai_chat", "openai_responses", "anthropic_messages"];

/// A test for each recording, one for each vector that a masked recording is made of, and one of time.
pub(crate) fn trials() -> Vec<Trial> {
    let stem = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let mut names: BTreeSet<String> = files(&folder("recordings"), "llmorec").iter().map(stem).collect();
    names.extend(RINGS.iter().map(|(name, ..)| (*name).to_owned()));
    let replayed = |name: String| trial(format!("recordings::{name}"), move || replays_to_what_was_expected(&name));
    let mut trials: Vec<Trial> = names.into_iter().map(replayed).collect();
    for dialect in MASKED {
        // Reasoning between tags is text to the mask: see `recording::mask`.
        let cases = folders(&folder("vectors").join(dialect))
            .unwrap()
            .into_iter()
            .filter(|(name, _)| !["flavour_think_tags", "flavour_minimax"].contains(&name.as_str()));
        trials.extend(cases.map(|(name, case)| {
            trial(format!("recordings::masked::{dialect}::{name}"), move || masking_keeps_every_stream(&case))
        }));
    }
    trials.push(trial("recordings::time_is_that_of_the_stamps", time_is_that_of_the_stamps));
    trials
}

/// `BLESS=1` makes those that are made here and writes all expectations.
fn replays_to_what_was_expected(name: &str) {
    let path = folder("recordings").join(format!("{name}.llmorec"));
    let made = RINGS.iter().find(|(made, ..)| *made == name);
    if let Some((_, payload, ring)) = made.filter(|_| blessing()) {
        std::fs::write(&path, record(&ring(), *payload)).unwrap();
    }
    let told = tell(&std::fs::read(&path).unwrap());
    let expected = path.with_extension("txt");
    if blessing() {
        std::fs::write(&expected, &told).unwrap();
    }
    assert_eq!(told, std::fs::read_to_string(&expected).unwrap());
}

/// What a masked recording keeps of a stream is all that its entry says; the words are gone.
fn masking_keeps_every_stream(case: &Path) {
    let mut script = FakeTlsConn::new(1, 1);
    exchange(&mut script, case, 20);
    script.wait_ms(5).read_end(true).close();
    let masked = record(script.records(), PayloadMode::Sse);
    let (want, got) = (entries(&record(script.records(), PayloadMode::Full)), entries(&masked));
    assert_eq!(want.len(), got.len());
    let files = std::fs::read_dir(case).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    let streams = files.into_iter().any(|bytes| String::from_utf8_lossy(&bytes).contains("text/event-stream"));
    assert!(!streams || want.iter().any(|want| want.streaming), "nothing streams that could be masked");
    for (want, got) in want.iter().zip(&got).filter(|(want, _)| want.streaming) {
        assert_eq!(essence(got), essence(want));
    }
}

fn three_dialects() -> Vec<OwnedRecord> {
    let script = |tgid: u32, case: &str, ms| {
        let mut script = FakeTlsConn::new(tgid, 0x1000);
        script.wait_ms(u64::from(tgid));
        for _ in 0..2 {
            exchange(script.wait_ms(40), &folder("vectors").join(case), ms);
        }
        script.wait_ms(5).close().wait_ms(5).exit();
        script
    };
    FakeTlsConn::merge(&[
        script(100, "openai_chat/tools_parallel", 20),
        script(101, "openai_responses/reasoning", 35),
        script(102, "anthropic_messages/pings", 15),
        script(103, "openai_chat/http_error", 10),
    ])
}

/// The same stream five times: whole; with a hole of two events; with a lost tail; cut by a fault;
/// joined in the middle.
fn losses() -> Vec<OwnedRecord> {
    let case = folder("vectors").join("openai_chat/text");
    let mut scripts = Vec::new();
    for number in 0..5u32 {
        let mut script = if number == 4 { FakeTlsConn::mid_stream(204, 1) } else { FakeTlsConn::new(200 + number, 1) };
        script.wait_ms(u64::from(number));
        let (request, pieces) = (bytes(&case, "client.bin"), pieces(&bytes(&case, "server.bin")));
        if number == 4 {
            script.read("data: {}\n\n").wait_ms(10);
        }
        script.write(request);
        for (index, piece) in pieces.iter().enumerate() {
            script.wait_ms(25);
            match (number, index) {
                (1, 2 | 3) => script.lose(Direction::Read, piece.len() as u64),
                (2, at) if at + 2 >= pieces.len() => script.lose(Direction::Read, piece.len() as u64),
                (3, 2) => script.cut(Direction::Read, piece, 10, LossCause::Fault),
                _ => script.read(piece),
            };
        }
        script.wait_ms(5).close();
        scripts.push(script);
    }
    FakeTlsConn::merge(&scripts)
}

/// One stream for each way it can end early.
fn ends() -> Vec<OwnedRecord> {
    let case = folder("vectors").join("anthropic_messages/text");
    let pieces = pieces(&bytes(&case, "server.bin"));
    let acts: [fn(&mut FakeTlsConn) -> &mut FakeTlsConn; 7] = [
        |s| s.read_end(true).close(),
        |s| s.read_end(false).close(),
        |s| s.shutdown().wait_ms(1).read_end(true).close(),
        |s| s.wait_ms(45_000).close(),
        FakeTlsConn::exit,
        |s| s.wait_ms(2_500).shutdown(),
        |s| s,
    ];
    let scripts: Vec<FakeTlsConn> = (300..)
        .zip(acts)
        .map(|(tgid, act)| {
            let mut script = FakeTlsConn::new(tgid, 1);
            script.wait_ms(u64::from(tgid) % 10).write(bytes(&case, "client.bin"));
            script.read_each(30, pieces.iter().take(5)).wait_ms(30);
            act(&mut script);
            script
        })
        .collect();
    FakeTlsConn::merge(&scripts)
}

/// A model call after other requests, on a connection whose bytes were left out meanwhile; and
/// connections of no interest.
fn filter() -> Vec<OwnedRecord> {
    let case = folder("vectors").join("openai_responses/text");
    let mut gateway = FakeTlsConn::new(400, 1);
    for path in ["/health", "/v1/models", "/favicon.ico"] {
        gateway.wait_ms(20).write(format!("GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n")).lose(Direction::Read, 7_000);
    }
    exchange(gateway.wait_ms(20), &case, 30);
    gateway.close();
    let mut database = FakeTlsConn::new(401, 1);
    database.wait_ms(3).write([0, 0, 0, 8, 4, 210, 22, 47]).read("S").write("more").read("and more").close();
    let mut server = FakeTlsConn::new(402, 1);
    server.wait_ms(4).read(bytes(&case, "client.bin")).wait_ms(50).write(bytes(&case, "server.bin")).close();
    FakeTlsConn::merge(&[gateway, database, server])
}

/// A vector's exchange: the request in one call, the answer's head and each event in a call of its own, `ms` apart.
fn exchange(script: &mut FakeTlsConn, case: &Path, ms: u64) {
    let files = files(case, "bin");
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        if file.to_string_lossy().ends_with("client.bin") {
            script.write(bytes);
        } else {
            script.read_each(ms, pieces(&bytes));
        }
    }
}

fn pieces(bytes: &[u8]) -> Vec<Vec<u8>> {
    let text = bytes.to_vec();
    let mut pieces: Vec<Vec<u8>> = vec![Vec::new()];
    for byte in text {
        let last = pieces.last_mut().unwrap();
        last.push(byte);
        if last.ends_with(b"\n\n") || last.ends_with(b"\r\n\r\n") {
            pieces.push(Vec::new());
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

fn record(records: &[OwnedRecord], payload: PayloadMode) -> Vec<u8> {
    let mut recorder =
        Recorder::new(Vec::new(), payload, 1_700_000_000_000_000_000, PipelineSettings::default()).unwrap();
    records.iter().for_each(|record| recorder.record(&record.get()).unwrap());
    recorder.finish().unwrap()
}

/// Counts what is said besides the entries.
#[derive(Default)]
struct Ear(BTreeMap<String, u64>);

impl EventSink for Ear {
    fn on_call_event(&mut self, _: &CallEvent<'_>) {}

    fn on_host_event(&mut self, event: &HostEvent<'_>) {
        let (name, count) = match event {
            HostEvent::Lost { bytes, cause } => (format!("lost {}", cause.name()), bytes.unwrap_or(0)),
            HostEvent::ParserNote(note) => (format!("odd {} {}", note.protocol, note.reason), 1),
            _ => return,
        };
        *self.0.entry(name).or_default() += count;
    }
}

fn play(recording: &[u8]) -> Pipeline<Ear> {
    let mut pipeline = Pipeline::new(PipelineSettings::default(), Ear::default());
    let done = replay(&mut RecordingReader::new(recording).unwrap(), &mut pipeline).unwrap();
    assert!(!done.cut && done.skipped == 0);
    pipeline
}

fn entries(recording: &[u8]) -> Vec<Entry> {
    entries_of(&play(recording))
}

fn entries_of(pipeline: &Pipeline<Ear>) -> Vec<Entry> {
    let mut all: Vec<Entry> = pipeline.call_table().ended().cloned().collect();
    all.reverse();
    let mut open: Vec<Entry> = pipeline.call_table().open().cloned().collect();
    open.sort_by_key(|entry| entry.started);
    all.extend(open);
    all
}

/// All that a replay found, for people and for comparison.
fn tell(recording: &[u8]) -> String {
    let mut text = String::new();
    let pipeline = play(recording);
    for entry in entries_of(&pipeline) {
        writeln!(text, "{}", line(&entry)).unwrap();
    }
    for (name, count) in &pipeline.sink().0 {
        writeln!(text, "{name}: {count}").unwrap();
    }
    text
}

fn line(entry: &Entry) -> String {
    let ms = |seconds: Option<f64>| seconds.map_or("-".into(), |s| format!("{:.1}", s * 1e3));
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let gaps = entry.gap_stats();
    let lost: Vec<String> = entry
        .lost
        .iter()
        .map(|loss| format!("{}:{}", loss.cause.name(), loss.bytes.map_or("?".into(), |n| n.to_string())))
        .collect();
    let f = &entry.firsts;
    let u = &entry.usage;
    let firsts = [f.byte, f.event, f.emitted, f.reasoning, f.visible, f.tool, f.sentence].map(ms).join("/");
    let count = |n: Option<u64>| n.map_or("-".into(), |n| n.to_string());
    let tokens = [u.input, u.output, u.cached, u.reasoning].map(count).join("/");
    let model = entry.request.as_ref().and_then(|request| request.model.as_deref());
    [
        format!("pid={}", entry.identity.pid),
        format!("id={}", entry.id),
        format!("api={}", entry.api),
        format!("model={}>{}", or_dash(model), or_dash(entry.response_model.as_deref())),
        format!("status={}", entry.status.map_or("-".into(), |status| status.to_string())),
        format!("outcome={}", or_dash(entry.outcome.map(ledger::CallOutcome::name))),
        format!("ms={}", ms(entry.ended.map(|ended| ended.seconds_since(entry.started)))),
        format!("events={}/{}", entry.events, entry.keepalives),
        format!("reads={}", entry.reads),
        format!("chunks={}", entry.chunks),
        format!("chars={}/{}/{}", entry.visible_chars, entry.reasoning_chars, entry.tool_chars),
        format!("firsts={firsts}"),
        format!("gaps={}/{}", ms(gaps.map(|g| g.p50)), ms(gaps.map(|g| g.max))),
        format!("stalls={}", entry.stalls.len()),
        format!("tokens={tokens}"),
        format!("finish={}", or_dash(entry.finish_reason.as_deref())),
        format!("error={}", or_dash(entry.error_kind.as_deref())),
        format!("lost={}", if lost.is_empty() { "-".into() } else { lost.join(",") }),
        format!("notes={}", entry.notes.join(",")),
    ]
    .join(" ")
}

/// What must survive masking: a line without the id (each call becomes a connection of its own).
fn essence(entry: &Entry) -> String {
    let line = line(entry);
    line.split(' ').filter(|field| !field.starts_with("id=")).collect::<Vec<_>>().join(" ")
}

fn bytes(case: &Path, name: &str) -> Vec<u8> {
    std::fs::read(case.join(name)).unwrap_or_else(|error| panic!("{}/{name}: {error}", case.display()))
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.extension().is_some_and(|e| e == extension));
    all.sort();
    all
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").join(name)
}

fn blessing() -> bool {
    std::env::var_os("BLESS").is_some()
}

/// Virtual time: a ring of an hour replays at once.
fn time_is_that_of_the_stamps() {
    let mut script = FakeTlsConn::new(1, 1);
    exchange(&mut script, &folder("vectors").join("openai_chat/text"), 600_000);
    let entry = entries(&record(script.records(), PayloadMode::Full)).remove(0);
    assert!(entry.ended.unwrap() - Ns(0) > 3_600_000_000_000, "{}", line(&entry));
}
