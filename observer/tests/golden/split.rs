//! The one driver: feeds a case to the protocol parser whole, byte by byte, at random cuts, followed by another
//! exchange, and with one gap; and compares what a transcript heard.

use std::path::{Path, PathBuf};

use observer::conn::Chunk;
use observer::proto::{Closing, ExchangeId, Protocol, Row, Salt, Sink, recognise};
use observer::units::{Direction, LossCause, Moment, Ns};
use serde_json::Value;

use crate::loss::{self, Losses, Overhear};

/// What listens to the parser and writes down what it heard, one JSON value a line. It must not depend on how bodies are
/// cut: join neighbouring pieces (`Lines::join`).
pub trait Transcript: Sink {
    /// What was heard, in order.
    fn lines(self: Box<Self>) -> Vec<Value>;
    /// Whether a line may appear after bytes were lost only if it appears without loss (an event of a stream must be
    /// whole or absent).
    fn survives_only_whole(&self, line: &Value) -> bool;
    /// The exchanges, since the last call, whose answer is a stream of JSON texts if it is JSON.
    fn json_streams(&mut self) -> Vec<ExchangeId> {
        Vec::new()
    }
}

/// Lines in the making.
#[derive(Default)]
pub struct Lines {
    done: Vec<Value>,
    /// A body in progress: exchange, key, bytes so far.
    body: Option<(u64, &'static str, Vec<u8>)>,
}

impl Lines {
    /// Adds a line.
    pub fn push(&mut self, line: Value) {
        self.end_body();
        self.done.push(line);
    }

    /// Adds bytes of a body, a line `{"x":exchange, key: text}` joined with the one before if that is of the same kind.
    /// What is no UTF-8 is written a character a byte.
    pub fn join(&mut self, exchange: u64, key: &'static str, bytes: &[u8]) {
        if let Some((x, k, before)) = &mut self.body
            && (*x, *k) == (exchange, key)
        {
            return before.extend_from_slice(bytes);
        }
        self.end_body();
        self.body = Some((exchange, key, bytes.to_vec()));
    }

    /// All lines.
    pub fn finish(mut self) -> Vec<Value> {
        self.end_body();
        self.done
    }

    fn end_body(&mut self) {
        if let Some((exchange, key, bytes)) = self.body.take() {
            let text = String::from_utf8(bytes)
                .unwrap_or_else(|error| error.as_bytes().iter().map(|&byte| char::from(byte)).collect());
            self.done.push(serde_json::json!({"x": exchange, key: text}));
        }
    }
}

pub type Make = fn() -> Box<dyn Transcript>;

/// One case as read from its folder.
pub struct Case {
    folder: PathBuf,
    /// In the order in which the parties spoke.
    pub turns: Vec<(Direction, Vec<u8>)>,
    close: Closing,
    /// The connection is joined in the middle.
    pub late: bool,
    /// The dialect expects JSON to be a stream of texts.
    json_stream: bool,
    /// What is said depends on what was said before, so that losing a part changes how the rest is put together.
    context: bool,
}

/// How a run differs from feeding every turn whole.
#[derive(Clone)]
pub struct Run {
    pub name: String,
    /// Cuts each turn's bytes.
    pub cut: Cut,
    /// Each piece is a call of its own (else each turn is one call).
    pub calls: bool,
    /// Bytes of the turns, counted through, that are lost; and whether their number is told.
    pub gap: Option<(usize, usize, bool)>,
    /// A further exchange follows.
    pub trailing: bool,
}

#[derive(Clone)]
pub enum Cut {
    Whole,
    Bytes,
    Random(u64),
}

/// Runs every case of a group.
pub fn run(group: &str, make: Make) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors").join(group);
    let mut folders: Vec<_> = std::fs::read_dir(&root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    assert!(!folders.is_empty(), "no case in {}", root.display());
    for folder in folders {
        check(&Case::read(&folder), make);
    }
}

fn check(case: &Case, make: Make) {
    let whole = Run { name: "whole".into(), cut: Cut::Whole, calls: false, gap: None, trailing: false };
    let (expected, open, _) = drive(case, &whole, make);
    bless_or_compare(case, &expected);
    for run in cuts(case, &whole) {
        let (got, _, losses) = drive(case, &run, make);
        compare(case, &run.name, &expected, &got);
        assert!(case.late || losses.gaps.is_empty(), "{}: {}: a gap where nothing is missing", case.name(), run.name);
    }
    if open {
        let run = Run { name: "trailing exchange".into(), trailing: true, ..whole.clone() };
        let (got, ..) = drive(case, &run, make);
        let kept = &got[..expected.len().min(got.len())];
        compare(case, &run.name, &expected, kept);
        assert!(got.len() > expected.len(), "{}: the exchange after it was not seen", case.name());
    }
    check_gaps(case, &expected, make);
    loss::check_payloads(case, &expected, make);
}

fn cuts(case: &Case, whole: &Run) -> Vec<Run> {
    let mut runs = vec![Run { name: "bytes".into(), cut: Cut::Bytes, ..whole.clone() }];
    // Where a place has to be found again, a call must begin with a head.
    for calls in [false, true].into_iter().filter(|calls| !(*calls && case.late)) {
        for seed in 1..=6 {
            runs.push(Run {
                name: format!("cuts {seed} calls {calls}"),
                cut: Cut::Random(seed),
                calls,
                ..whole.clone()
            });
        }
        runs.push(Run { name: format!("bytes calls {calls}"), cut: Cut::Bytes, calls, ..whole.clone() });
    }
    runs
}

/// Loses a part of the case: no event may come out changed. In a case whose lines depend on those before them, a line may be put
/// together otherwise, but says nothing that was not said. What is missing is told by its cause, and an exchange of which nothing
/// is told is as it would have been.
fn check_gaps(case: &Case, expected: &[Value], make: Make) {
    let total: usize = case.turns.iter().map(|(_, bytes)| bytes.len()).sum();
    // A lost request shifts the ordinals of those after it.
    let anonymous = |line: &Value| {
        line.as_object().map(|line| {
            line.iter().filter(|(key, _)| *key != "x").map(|(k, v)| (k.clone(), v.clone())).collect::<Value>()
        })
    };
    let known: Vec<_> = expected.iter().map(anonymous).collect();
    let mut random = Random(7);
    for index in 0..60 {
        let at = random.below(total);
        let length = 1 + random.below((total - at).min(if index % 2 == 0 { 40 } else { 4000 }));
        let run = Run {
            name: format!("gap {at}+{length}"),
            cut: Cut::Random(index),
            calls: true,
            gap: Some((at, length, index % 5 != 0)),
            trailing: false,
        };
        let (listener, (heard, _, losses)) = (make(), drive(case, &run, make));
        losses.check(case, &run, &heard, expected);
        for line in heard.iter().filter(|line| listener.survives_only_whole(line)) {
            let in_parts = || case.context && said_in_parts(line, &heard, expected, case);
            let true_still = known.contains(&anonymous(line)) || in_parts();
            assert!(true_still, "{}: {}: made up {line}", case.name(), run.name);
        }
    }
}

/// Whether all that a line says was said: names at all, a text in pieces of its kind, a number of characters up to theirs.
/// Where no reasoning is told, the tag that began it may be what was lost: text then is any text of the answer.
fn said_in_parts(line: &Value, heard: &[Value], expected: &[Value], case: &Case) -> bool {
    let pieces = |kind: &Value| -> Vec<&str> {
        expected.iter().filter(|line| line["delta"] == *kind).filter_map(|line| line["text"].as_str()).collect()
    };
    if let Some(names) = line["start"].as_object() {
        let known = |key: &str, name: &Value| expected.iter().any(|line| line["start"][key] == *name);
        return names.iter().all(|(key, name)| known(key, name) || name.is_null() || case.answers(&name.to_string()));
    }
    match (line["text"].as_str(), line["chars"].as_u64()) {
        (Some(text), _) => {
            let untold = line["delta"] == "Visible" && heard.iter().all(|line| line["delta"] != "Reasoning");
            let pieces = pieces(&line["delta"]);
            let in_order = pieces.iter().fold(text, |left, piece| left.strip_prefix(piece).unwrap_or(left)).is_empty();
            let escaped = Value::from(text).to_string();
            in_order || pieces.concat().contains(text) || (untold && case.answers(escaped.trim_matches('"')))
        }
        (_, Some(chars)) => chars <= pieces(&line["whole"]).concat().chars().count() as u64,
        _ => false,
    }
}

/// What was heard, whether the connection could go on when it was closed, and what was told of loss.
pub fn drive(case: &Case, run: &Run, make: Make) -> (Vec<Value>, bool, Losses) {
    let mut transcript = Overhear::new(make());
    let mut driver = Driver { parser: case.parser(), now: 0, gap: run.gap };
    if case.late {
        for direction in [Direction::Write, Direction::Read] {
            let gap = Chunk::Gap { bytes: None, cause: LossCause::LateAttach };
            driver.push(direction, gap, false, &mut transcript);
        }
    }
    for (direction, bytes) in &case.turns {
        driver.turn(*direction, bytes, run, &mut transcript);
        case.hint(driver.parser.as_mut());
    }
    let open = !driver.parser.dead() && case.ends_between_exchanges(make);
    if run.trailing {
        let (request, answer) = case.after();
        driver.turn(Direction::Write, request, run, &mut transcript);
        driver.turn(Direction::Read, answer, run, &mut transcript);
    }
    driver.parser.close(case.close, Moment::default(), &mut transcript);
    let (lines, losses) = transcript.finish();
    (lines, open, losses)
}

struct Driver {
    parser: Box<dyn Protocol>,
    now: u64,
    gap: Option<(usize, usize, bool)>,
}

impl Driver {
    /// Feeds one turn, cut as the run says, without the bytes that are lost.
    fn turn(&mut self, direction: Direction, bytes: &[u8], run: &Run, sink: &mut Overhear) {
        self.now += 1;
        let (before, lost, after) = self.lose(bytes);
        for (part, begins) in [(before, true), (after, false)] {
            if !begins && lost > 0 {
                let told = self.gap.is_some_and(|(.., told)| told).then_some(lost as u64);
                self.push(direction, Chunk::Gap { bytes: told, cause: loss::CAUSE }, run.calls, sink);
            }
            for piece in run.cut.pieces(part) {
                self.push(direction, Chunk::Data(piece), run.calls, sink);
            }
        }
    }

    fn push(&mut self, direction: Direction, chunk: Chunk<'_>, new_call: bool, sink: &mut Overhear) {
        self.now += u64::from(new_call);
        let at = Moment { read: Ns(self.now), arrival: None, call: self.now };
        self.parser.push(direction, chunk, at, sink);
        sink.inner.json_streams().into_iter().for_each(|exchange| self.parser.expect_json_stream(exchange));
    }

    /// Takes the lost part out of a turn.
    fn lose<'a>(&mut self, bytes: &'a [u8]) -> (&'a [u8], usize, &'a [u8]) {
        let Some((at, length, told)) = self.gap.filter(|(at, length, _)| *at < bytes.len() && *length > 0) else {
            if let Some((at, ..)) = &mut self.gap {
                *at = at.saturating_sub(bytes.len());
            }
            return (bytes, 0, b"");
        };
        let lost = length.min(bytes.len() - at);
        self.gap = Some((0, length - lost, told));
        (&bytes[..at], lost, &bytes[at + lost..])
    }
}

impl Cut {
    fn pieces<'a>(&self, bytes: &'a [u8]) -> Vec<&'a [u8]> {
        match self {
            Cut::Whole => vec![bytes],
            Cut::Bytes => bytes.chunks(1).collect(),
            Cut::Random(seed) => {
                let (mut random, mut rest, mut pieces) = (Random(*seed), bytes, Vec::new());
                while !rest.is_empty() {
                    let size = 1 + random.below(rest.len().min(if seed % 2 == 0 { 16 } else { 300 }));
                    pieces.push(&rest[..size]);
                    rest = &rest[size..];
                }
                pieces
            }
        }
    }
}

/// The same numbers each time (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit.max(1) as u64).unwrap()
    }
}

impl Case {
    fn read(folder: &Path) -> Case {
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let turns: Vec<_> = files
            .iter()
            .filter_map(|path| {
                let name = path.file_name()?.to_str()?;
                let direction = match () {
                    () if name.ends_with("client.bin") => Direction::Write,
                    () if name.ends_with("server.bin") => Direction::Read,
                    () => return None,
                };
                Some((direction, std::fs::read(path).unwrap()))
            })
            .collect();
        assert!(!turns.is_empty(), "no client.bin or server.bin in {}", folder.display());
        let options = std::fs::read_to_string(folder.join("case.json")).unwrap_or_else(|_| "{}".into());
        let options: Value = serde_json::from_str(&options).unwrap();
        let close = match options["close"].as_str().unwrap_or("peer") {
            "peer" => Closing::Peer,
            "reset" => Closing::Reset,
            "local" => Closing::Local,
            "exit" => Closing::ProcessExit,
            other => panic!("{}: close is {other:?}", folder.display()),
        };
        Case {
            folder: folder.into(),
            turns,
            close,
            late: options["late"] == true,
            json_stream: options["json_stream"] == true,
            context: options["context"] == true,
        }
    }

    pub fn name(&self) -> String {
        self.folder.iter().rev().take(2).map(|part| part.to_string_lossy()).collect::<Vec<_>>().join(" of ")
    }

    /// Whether these bytes stand in an answer.
    fn answers(&self, text: &str) -> bool {
        let mut answers = self.turns.iter().filter(|(direction, _)| *direction == Direction::Read);
        answers.any(|(_, bytes)| memchr::memmem::find(bytes, text.as_bytes()).is_some())
    }

    /// The parser that the table names for the first bytes; on a connection joined in the middle, for the first turn
    /// that is recognised.
    fn parser(&self) -> Box<dyn Protocol> {
        (self.row().make)(&Salt::random())
    }

    fn hint(&self, parser: &mut dyn Protocol) {
        (1..16).filter(|_| self.json_stream).for_each(|id| parser.expect_json_stream(ExchangeId(id)));
    }

    pub fn row(&self) -> &'static Row {
        let row = self.turns.iter().find_map(|(direction, bytes)| recognise(*direction, bytes).1);
        row.unwrap_or_else(|| panic!("{}: no protocol recognises it", self.name()))
    }

    /// A further request and its answer, in the case's protocol; of HTTP/2 one block each, from the static table.
    fn after(&self) -> (&'static [u8], &'static [u8]) {
        match self.row().name {
            "http/2" => (b"\0\0\x02\x01\x05\x7f\xff\xff\xf1\x82\x84", b"\0\0\x01\x01\x05\x7f\xff\xff\xf1\x89"),
            _ => (b"GET /after HTTP/1.1\r\nHost: after\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"),
        }
    }

    /// Whether nothing is left to close when the last turn is over: closing then says nothing.
    fn ends_between_exchanges(&self, make: Make) -> bool {
        let heard = |close: bool| {
            let (mut parser, mut transcript) = (self.parser(), make());
            if self.late {
                return vec![Value::Null; usize::from(close)];
            }
            for (call, (direction, bytes)) in self.turns.iter().enumerate() {
                let at = Moment { call: call as u64, ..Moment::default() };
                parser.push(*direction, Chunk::Data(bytes), at, transcript.as_mut());
                transcript.json_streams().into_iter().for_each(|exchange| parser.expect_json_stream(exchange));
                self.hint(parser.as_mut());
            }
            if close {
                parser.close(self.close, Moment::default(), transcript.as_mut());
            }
            transcript.lines()
        };
        heard(false) == heard(true)
    }
}

/// Compares with `expect.jsonl`; with `BLESS=1` writes it instead (then read the difference before you commit it).
fn bless_or_compare(case: &Case, got: &[Value]) {
    let path = case.folder.join("expect.jsonl");
    if std::env::var_os("BLESS").is_some() {
        let text: String = got.iter().map(|line| format!("{line}\n")).collect();
        return std::fs::write(&path, text).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let expected: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    compare(case, "whole", &expected, got);
}

fn compare(case: &Case, run: &str, expected: &[Value], got: &[Value]) {
    for (index, (expected, got)) in expected.iter().zip(got).enumerate() {
        assert_eq!(expected, got, "{}: {run}: line {}", case.name(), index + 1);
    }
    let (more, less) = (got.get(expected.len()), expected.get(got.len()));
    assert!(more.is_none() && less.is_none(), "{}: {run}: too much {more:?}, missing {less:?}", case.name());
}
