//! Conversations of any kind, cut and holed anywhere.

use proptest::prelude::*;

use super::*;
use crate::proto::check::OrderChecker;

/// What one stream carries: texts up, events down; how it ends.
#[derive(Clone, Debug)]
struct Plan {
    up: Vec<String>,
    down: Vec<String>,
    pad: bool,
    reset: bool,
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let texts = || prop::collection::vec("[a-z ]{1,60}", 0..6);
    let plan = (texts(), texts(), any::<bool>(), any::<bool>());
    prop::collection::vec(plan.prop_map(|(up, down, pad, reset)| Plan { up, down, pad, reset }), 1..6)
}

/// The frames of some streams, interleaved at will: each with its direction. Every event names its stream.
fn conversation(plans: &[Plan], order: &[prop::sample::Index]) -> Vec<(Direction, Vec<u8>)> {
    let (mut client, mut server) = (loona_hpack::Encoder::new(), loona_hpack::Encoder::new());
    let mut waiting: Vec<(u32, usize)> = (1..).step_by(2).take(plans.len()).map(|id| (id, 0)).collect();
    let mut frames = vec![(Direction::Write, frame::PREFACE.to_vec()), (Direction::Read, frame(4, 0, 0, []))];
    let mut order = order.iter().cycle();
    while !waiting.is_empty() {
        // Streams begin in the order of their ids.
        let begun = waiting.iter().take_while(|(_, step)| *step > 0).count();
        let at = order.next().unwrap().index(waiting.len().min(begun + 1));
        let (id, step) = &mut waiting[at];
        let (id, plan) = (*id, &plans[(*id as usize - 1) / 2]);
        let path = format!("/v1/{id}");
        let (ups, downs) = (plan.up.len(), plan.down.len());
        let (direction, bytes) = match *step {
            0 => {
                let fields = [(":method", "POST"), (":path", path.as_str()), (":authority", "h"), ("user-agent", "t")];
                (Direction::Write, frame(1, 4, id, block(&mut client, &fields)))
            }
            s if s <= ups => (Direction::Write, data(id, &plan.up[s - 1])),
            s if s == ups + 1 => (Direction::Write, last(id)),
            s if s == ups + 2 => (Direction::Read, frame(1, 4, id, block(&mut server, STREAM))),
            s if s <= ups + 2 + downs => {
                let text = format!("data: {id} {}\n\n", plan.down[s - ups - 3]);
                let bytes =
                    if plan.pad { frame(0, 8, id, [&[4], text.as_bytes(), &[0; 4]].concat()) } else { data(id, &text) };
                (Direction::Read, bytes)
            }
            _ if plan.reset => (Direction::Read, frame(3, 0, id, [0, 0, 0, 2])),
            _ => (Direction::Read, last(id)),
        };
        *step += 1;
        if *step > ups + downs + 3 {
            waiting.remove(at);
        }
        frames.push((direction, bytes));
    }
    frames
}

/// Feeds pieces, some of which are lost; each is a call of its own.
fn drive(pieces: &[(Direction, &[u8], bool)], told: bool) -> OrderChecker {
    let (mut parser, mut checker) = (Http2Parser::new(Salt::random()), OrderChecker::default());
    for (call, (direction, piece, lost)) in pieces.iter().enumerate() {
        let at = Moment { call: call as u64, ..Moment::default() };
        let bytes = told.then_some(piece.len() as u64);
        let gap = Chunk::Gap { bytes, cause: LossCause::RingFull };
        checker.burst = 0;
        parser.push(*direction, if *lost { gap } else { Chunk::Data(piece) }, at, &mut checker);
        assert!(parser.held() < 1 << 20, "{} held", parser.held());
    }
    parser.close(ConnClosing::Peer, Moment::default(), &mut checker);
    assert!(checker.all_over());
    checker
}

/// What was said of each stream, in order: cuts move one stream's words among another's.
fn by_stream(checker: OrderChecker) -> Vec<crate::proto::check::OwnedMessage> {
    let mut said: Vec<crate::proto::check::OwnedMessage> = Vec::new();
    let mut list = checker.said;
    list.sort_by_key(|said| said.0);
    for one in list {
        match said.last_mut() {
            Some(before) if before.0 == one.0 && before.1 == one.1 && one.1.ends_with("body") => before.2.extend(one.2),
            _ => said.push(one),
        }
    }
    said
}

proptest! {
    #[test]
    fn any_cut_says_the_same(
        plans in plans(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
        size in 1..60usize,
    ) {
        let frames = conversation(&plans, &order);
        let whole: Vec<_> = frames.iter().map(|(direction, bytes)| (*direction, &bytes[..], false)).collect();
        let cut: Vec<_> = frames
            .iter()
            .flat_map(|(direction, bytes)| bytes.chunks(size).map(|piece| (*direction, piece, false)))
            .collect();
        let said = by_stream(drive(&whole, true));
        prop_assert_eq!(&said, &by_stream(drive(&cut, true)));
        let events = said.iter().filter(|said| said.1.starts_with("event")).count();
        prop_assert_eq!(events, plans.iter().map(|plan| plan.down.len()).sum::<usize>());
        let complete = said.iter().filter(|said| said.1 == "End(Complete)").count();
        prop_assert_eq!(complete, plans.iter().filter(|plan| !plan.reset).count());
    }

    /// Whatever is lost, an event comes whole, and on the stream it names.
    #[test]
    fn no_loss_crosses_streams(
        plans in plans(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
        size in 1..60usize,
        lost in prop::collection::vec(prop::bool::weighted(0.1), 1..60),
        told: bool,
    ) {
        let frames = conversation(&plans, &order);
        let pieces: Vec<_> = frames
            .iter()
            .flat_map(|(direction, bytes)| bytes.chunks(size).map(|piece| (*direction, piece)))
            .zip(lost.iter().cycle())
            .map(|((direction, piece), lost)| (direction, piece, *lost))
            .collect();
        let all = by_stream(drive(&pieces.iter().map(|(d, p, _)| (*d, *p, false)).collect::<Vec<_>>(), true));
        for said in drive(&pieces, told).said {
            if said.1.starts_with("event") {
                prop_assert!(said.2.starts_with(format!("{} ", said.0).as_bytes()), "{:?}", said);
                prop_assert!(all.contains(&said), "{:?}", said);
            }
            if said.1.starts_with("RequestHead") {
                let known = [format!("/v1/{}\"", said.0), "path: \"\"".into()];
                prop_assert!(known.iter().any(|path| said.1.contains(path)), "{:?}", said);
            }
        }
    }

    #[test]
    fn no_operation_panics(data in prop::collection::vec(any::<u8>(), 0..2000)) {
        super::fuzz(&data);
    }
}
