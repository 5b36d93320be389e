//! Feeds a case to the protocol's parser, cut and with parts lost as a run says.

use capture::conn::Chunk;
use capture::proto::ProtocolParser;
use capture::units::{Direction, LossCause, Moment, Ns};
use serde_json::Value;

use super::case::Case;
use super::loss::{self, Losses, Overhear};
use super::transcript::Make;

/// How a run differs from feeding every turn whole.
#[derive(Clone)]
pub(super) struct Run {
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

impl Run {
    /// A turn a call, and nothing is missing.
    pub(super) fn whole() -> Run {
        Run { name: "whole".into(), cut: Cut::Whole, calls: false, gap: None, trailing: false }
    }
}

#[derive(Clone)]
pub(super) enum Cut {
    Whole,
    Bytes,
    Random(u64),
}

/// What was heard, whether the parser was still alive when the connection was closed, and what was told of loss.
pub(super) fn drive(case: &Case, run: &Run, make: Make) -> (Vec<Value>, bool, Losses) {
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
    let alive = !driver.parser.dead();
    if run.trailing {
        let (request, answer) = case.after();
        driver.turn(Direction::Write, request, run, &mut transcript);
        driver.turn(Direction::Read, answer, run, &mut transcript);
    }
    driver.parser.close(case.close, Moment::default(), &mut transcript);
    let (lines, losses) = transcript.finish();
    (lines, alive, losses)
}

struct Driver {
    parser: Box<dyn ProtocolParser>,
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
        let at = Moment { at: Ns(self.now), arrival: None, call: self.now };
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
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit.max(1) as u64).unwrap()
    }
}
