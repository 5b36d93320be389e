//! Bytes that are missing: what they cost, and how the place is found again.

use super::*;

#[test]
fn a_gap_inside_a_body_of_known_length_is_counted_down() {
    let mut talk = Talk::new();
    talk.write("POST /v1 HTTP/1.1\r\nContent-Length: 10\r\n\r\nab").gap(Direction::Write, Some(6)).write("cd");
    talk.read("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab").gap(Direction::Read, Some(8));
    let said = talk.said();
    // What lies behind a hole in a request is counted down, but not said.
    assert_eq!(said[1..3], ["1: > ab", "1: request end, lost true"]);
    assert_eq!(said[3..], ["1: status 200", "1: < ab", "1: gap Some(8)", "1: Complete"]);
    assert_eq!(plain(&mut talk), PLAIN);
}

#[test]
fn a_gap_inside_a_chunk_loses_the_events_it_touches_and_no_other() {
    let mut talk = Talk::new();
    let body = "data: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n";
    talk.write(GET).read(STREAM).said();
    talk.read(["24\r\n", body.get(..11).unwrap()].concat())
        .gap(Direction::Read, Some(5))
        .read([body.get(16..).unwrap(), "\r\n0\r\n\r\n"].concat());
    assert_eq!(talk.said(), ["1: 1", "1: gap Some(5)", "1: 3", "1: 4", "1: Complete"]);
}

#[test]
fn a_chunked_stream_is_found_again_after_lost_calls() {
    for (first, last, told) in [(3, 3, true), (3, 7, true), (3, 7, false), (0, 9, true)] {
        let mut talk = Talk::new();
        talk.write(GET).read(STREAM).said();
        let mut lost = 0;
        for number in 0..20 {
            if (first..=last).contains(&number) {
                lost += event(number).len() as u64;
                if number == last {
                    talk.gap(Direction::Read, told.then_some(lost));
                }
            } else {
                talk.read(event(number));
            }
        }
        talk.read("0\r\n\r\n");
        let mut expected: Vec<_> = (0..first).map(|number| format!("1: {{\"n\":{number}}}")).collect();
        expected.push(format!("1: gap {:?}", told.then_some(lost)));
        // The first event after a gap is not trusted: it might be the end of a longer one.
        expected.extend((last + 2..20).map(|number| format!("1: {{\"n\":{number}}}")));
        expected.push("1: Complete".into());
        assert_eq!(talk.said(), expected, "{first}..={last}");
        assert_eq!(plain(&mut talk), PLAIN);
    }
}

#[test]
fn a_stream_whose_end_was_lost_is_over_when_the_next_answer_begins() {
    let mut talk = Talk::new();
    talk.write(GET).read(STREAM).read(event(1)).said();
    talk.gap(Direction::Read, Some(20)).write(GET).read(OK);
    let said = talk.said();
    assert_eq!(
        said[..],
        [
            "1: gap Some(20)",
            "2: GET /v1/models",
            "2: request end, lost false",
            "1: Lost",
            "2: status 200",
            "2: < ok",
            "2: Complete"
        ]
    );
}

#[test]
fn after_any_loss_the_next_exchange_is_read_perfectly() {
    let losses: [fn(&mut Talk) -> &mut Talk; 6] = [
        |talk| talk.gap(Direction::Write, Some(50)).read(OK),
        |talk| talk.gap(Direction::Write, None).write("rest of a body").read(OK),
        |talk| talk.write("POST /v1 HTTP/1.1\r\nHo").gap(Direction::Write, Some(3)).write("ngth: 1\r\n\r\nx").read(OK),
        |talk| talk.write(GET).gap(Direction::Read, Some(9)).read("Content-Length: 2\r\n\r\nok"),
        |talk| talk.write(GET).read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab").gap(Direction::Read, Some(9)),
        |talk| {
            talk.write("POST /v1 HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc")
                .gap(Direction::Write, None)
                .write("hi")
                .read(OK)
        },
    ];
    for (index, lose) in losses.iter().enumerate() {
        let mut talk = Talk::new();
        lose(&mut talk);
        assert_eq!(plain(&mut talk), PLAIN, "loss {index}");
        assert_eq!(plain(&mut talk), PLAIN, "loss {index}, once more");
    }
}

#[test]
fn a_compressed_stream_does_not_survive_a_gap_but_its_connection_does() {
    let mut talk = Talk::new();
    talk.write(GET).read(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nContent-Length: 30\r\n\r\n",
    );
    talk.read([0x1f, 0x8b, 8]).gap(Direction::Read, Some(20)).read([0; 7]);
    assert_eq!(talk.said()[3..], ["1: gap Some(20)", "1: note lost_bytes", "1: Lost"]);
    assert_eq!(plain(&mut talk), PLAIN);
}

/// What lay in a hole, or was passed over behind it, is our loss and not the peer's doing.
#[test]
fn an_answer_that_may_lie_in_a_hole_is_lost_and_not_refused() {
    let ask = "GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n";
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let ends = |talk: &mut Talk, how| {
        let said = talk.close(how).said();
        said.into_iter()
            .filter(|line| line.ends_with("Lost") || line.ends_with("Closed") || line.ends_with("Reset"))
            .collect::<Vec<_>>()
    };
    // Both answers are in it.
    let mut talk = Talk::new();
    talk.write(ask.repeat(2)).gap(Direction::Read, Some(200));
    assert_eq!(ends(&mut talk, ConnClosing::Peer), ["1: Lost", "2: Lost"]);
    // The second comes in pieces, none of which begins it.
    let mut talk = Talk::new();
    talk.write(ask.repeat(2))
        .gap(Direction::Read, Some(20))
        .read("TP/1.1 200 OK\r\n")
        .read("Content-Length: 2\r\n\r\nok");
    assert_eq!(ends(&mut talk, ConnClosing::Reset), ["1: Lost", "2: Lost"]);
    // In a stream whose end may be missing too.
    let mut talk = Talk::new();
    talk.write(ask.repeat(2)).read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").gap(Direction::Read, None);
    assert_eq!(ends(&mut talk, ConnClosing::Peer), ["1: PeerClosed", "2: Lost"], "the first was told of its hole");
    // One that is found is found, and what is asked later is not in doubt.
    let mut talk = Talk::new();
    talk.write(ask.repeat(3)).gap(Direction::Read, Some(20)).read(whole);
    assert!(talk.said().contains(&"2: note doubtful_answer".to_owned()), "the second's or the third's");
    let mut talk = Talk::new();
    talk.write(ask).gap(Direction::Read, Some(20)).write(ask).read(whole).write(ask);
    assert_eq!(ends(&mut talk, ConnClosing::Peer), ["1: Lost", "3: PeerClosed"]);
}
