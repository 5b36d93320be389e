//! What is told of bytes that are missing: by its cause, no more than there was, to the exchanges
//! it concerns; and all others are as they would have been.

use std::collections::{BTreeMap, BTreeSet};

use capture::proto::{ExchangeEnd, ExchangeId, Message, MessageSink};
use capture::units::{Direction, LossCause, Moment};
use serde_json::Value;

use super::case::Case;
use super::drive::{Cut, Run, drive};
use super::transcript::{Make, Transcript};

/// Why bytes are missing in the runs that lose some.
pub(super) const CAUSE: LossCause = LossCause::RingFull;

/// What was told.
#[derive(Default)]
pub(super) struct Losses {
    /// Of which exchange, how many bytes, why.
    pub gaps: Vec<(u64, Option<u64>, LossCause)>,
    /// Exchanges that are marked in any way: a gap, a lost request or end, a note.
    marked: BTreeSet<u64>,
}

/// A transcript, and beside it what was told of loss.
pub(super) struct Overhear {
    pub inner: Box<dyn Transcript>,
    losses: Losses,
}

impl Overhear {
    pub(super) fn new(inner: Box<dyn Transcript>) -> Self {
        Overhear { inner, losses: Losses::default() }
    }

    pub(super) fn finish(self) -> (Vec<Value>, Losses) {
        (self.inner.lines(), self.losses)
    }
}

impl MessageSink for Overhear {
    fn message(&mut self, exchange: ExchangeId, at: Moment, message: Message<'_>) {
        let Losses { gaps, marked } = &mut self.losses;
        match &message {
            Message::Gap { bytes, cause } => {
                gaps.push((exchange.0, *bytes, *cause));
                marked.insert(exchange.0);
            }
            Message::Note(_) | Message::RequestEnd { lost: true } | Message::End(ExchangeEnd::Lost) => {
                marked.insert(exchange.0);
            }
            _ => {}
        }
        self.inner.message(exchange, at, message);
    }
}

impl Losses {
    /// After a run that lost `run.gap`.
    pub(super) fn check(&self, case: &Case, run: &Run, heard: &[Value], expected: &[Value]) {
        let whose = || format!("{}: {}", case.name(), run.name);
        let (_, lost, _) = run.gap.unwrap();
        let ours = self.gaps.iter().filter(|(.., cause)| !(case.late && *cause == LossCause::LateAttach));
        let told: u64 = ours
            .inspect(|(x, _, cause)| {
                assert_eq!(*cause, CAUSE, "{}: exchange {x} lost bytes for another cause", whose());
            })
            .filter_map(|(_, bytes, _)| *bytes)
            .sum();
        assert!(told <= lost as u64, "{}: {told} bytes are told of, and {lost} were lost", whose());
        // HTTP/1 counts exchanges: where the connection was told that a request is missing, all
        // answers behind it move up.
        if case.row().name == "http/1" && self.marked.contains(&ExchangeId::CONNECTION.0) {
            return;
        }
        let (heard, expected) = (by_exchange(heard), by_exchange(expected));
        let known: Vec<&Vec<Value>> = expected.values().collect();
        for (x, lines) in heard.iter().filter(|(x, _)| !self.marked.contains(x)) {
            assert!(
                known.contains(&lines),
                "{}: exchange {x} lacks something, and nothing is told: {lines:?}",
                whose()
            );
        }
    }
}

/// The lines of each exchange, without its number.
fn by_exchange(lines: &[Value]) -> BTreeMap<u64, Vec<Value>> {
    let mut all: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for line in lines {
        let mut line = line.clone();
        let x = line.as_object_mut().unwrap().remove("x").and_then(|x| x.as_u64()).unwrap();
        all.entry(x).or_default().push(line);
    }
    all.remove(&0); // the connection's own notes
    all
}

/// Holes of known size in the payload of one frame of HTTP/2: they concern its stream alone, which
/// is told of each byte, and every other stream says what it would have said.
pub(super) fn check_payloads(case: &Case, expected: &[Value], make: Make) {
    if case.late || case.row().name != "http/2" {
        return;
    }
    let expected = by_exchange(expected);
    let (mut told, mut answers) = (0, 0);
    for (at, length, stream, direction) in payloads(case) {
        let (at, length) = (at + length / 3, (length / 2).max(1));
        let name = format!("hole {at}+{length} of stream {stream}");
        let run =
            Run { name, cut: Cut::Random(at as u64), calls: true, gap: Some((at, length, true)), trailing: false };
        let (heard, _, losses) = drive(case, &run, make);
        let whose = format!("{}: {}", case.name(), run.name);
        let heard = by_exchange(&heard);
        for (x, lines) in expected.iter().filter(|(x, _)| **x != stream) {
            assert_eq!(heard.get(x), Some(lines), "{whose}: another stream is not what it was");
        }
        if heard.get(&stream) != expected.get(&stream) {
            assert!(losses.marked.contains(&stream), "{whose}: nothing is told");
        }
        answers += usize::from(direction == Direction::Read);
        if direction == Direction::Read && !losses.gaps.is_empty() {
            assert_eq!(losses.gaps, [(stream, Some(length as u64), CAUSE)], "{whose}");
            told += 1;
        }
    }
    assert!(told > 0 || answers == 0, "{}: no hole was told of", case.name());
}

/// Where payloads of DATA lie in all turns' bytes, counted through: place, length, stream.
fn payloads(case: &Case) -> Vec<(usize, usize, u64, Direction)> {
    const PREFACE: usize = 24;
    let (mut found, mut before) = (Vec::new(), 0);
    let mut carry = BTreeMap::from([(false, 0_usize), (true, PREFACE)]);
    for (direction, bytes) in &case.turns {
        let skip = carry.get_mut(&(*direction == Direction::Write)).unwrap();
        let mut at = std::mem::take(skip);
        while let Some(head) = bytes.get(at..at + 9) {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let stream = u64::from(u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]));
            let plain = head[3] == 0 && head[4] & 8 == 0;
            if plain && length > 0 && at + 9 + length <= bytes.len() {
                found.push((before + at + 9, length, stream, *direction));
            }
            at += 9 + length;
        }
        // A frame may go on in the next turn of its direction, but its head does not in these cases.
        assert!(at >= bytes.len(), "{}: a head is cut by a turn", case.name());
        *skip = at - bytes.len();
        before += bytes.len();
    }
    found
}
