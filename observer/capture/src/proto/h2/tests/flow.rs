//! Windows, resets and goodbyes by their codes, and answers whose request was missed.

use super::*;

fn update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(8, 0, stream, bytes.to_be_bytes())
}

fn filled(id: u32, bytes: usize) -> Vec<u8> {
    frame(0, 0, id, vec![b'x'; bytes])
}

/// What was said of windows, by the number of the exchange.
fn windows(talk: &mut Talk) -> Vec<String> {
    talk.said().into_iter().filter(|line| line.contains("window")).collect()
}

#[test]
fn a_used_up_window_is_said_once_until_it_is_opened() {
    let mut talk = Talk::new();
    talk.write(update(0, 1 << 20)).get(1).stream(1).read(filled(1, 40_000));
    assert_eq!(windows(&mut talk), [""; 0]);
    talk.read(filled(1, 25_535));
    assert_eq!(windows(&mut talk), ["1: note window_exhausted"]);
    talk.read(frame(0, 0, 1, ""));
    assert_eq!(windows(&mut talk), [""; 0]);
    talk.write(update(1, 1000)).read(filled(1, 999));
    assert_eq!(windows(&mut talk), [""; 0]);
    talk.read(filled(1, 1));
    assert_eq!(windows(&mut talk), ["1: note window_exhausted"]);
    // The last bytes of an answer wait for nobody.
    talk.write(update(1, 5)).read(frame(0, frame::END_STREAM, 1, "12345"));
    assert_eq!(windows(&mut talk), [""; 0]);
}

#[test]
fn the_window_of_the_connection_and_its_settings_count_too() {
    let mut talk = Talk::new();
    // Streams may carry 1,000,000 each, all together 65,535.
    talk.write(frame(4, 0, 0, b"\0\x04\0\x0f\x42\x40")).get(1).get(3).stream(1).stream(3);
    talk.read(filled(1, 40_000)).read(filled(3, 25_535));
    assert_eq!(windows(&mut talk), ["3: note window_exhausted"]);
    talk.write(update(0, 100)).read(filled(1, 100));
    assert_eq!(windows(&mut talk), ["1: note window_exhausted"]);
    // A setting changes the windows of open streams: 140,000 of stream 1 remain of what it was, which is now 0.
    talk.write(update(0, 1 << 20)).write(frame(4, 0, 0, b"\0\x04\0\0\x9c\xa4")).read(filled(1, 0));
    assert_eq!(windows(&mut talk), ["1: note window_exhausted"]);
}

#[test]
fn a_request_may_wait_for_its_window() {
    let mut talk = Talk::new();
    let head = talk.head(1, 0, &[(":method", "POST"), (":path", "/v1/x")]);
    talk.write(head).write(filled(1, 65_535));
    assert_eq!(windows(&mut talk), ["1: note upload_window_exhausted"]);
    talk.read(update(1, 10)).read(update(0, 10)).write(frame(0, frame::END_STREAM, 1, "0123456789"));
    assert_eq!(windows(&mut talk), [""; 0]);
}

#[test]
fn what_was_not_heard_makes_windows_unknown() {
    let mut talk = Talk::new();
    talk.get(1).stream(1).gap(Direction::Write, None).read(filled(1, 70_000));
    assert_eq!(windows(&mut talk), [""; 0]);
}

#[test]
fn a_reset_and_a_goodbye_name_their_reason() {
    for (code, expected) in [
        (0, vec!["1: Reset"]),
        (2, vec!["1: note reset_internal_error", "1: Reset"]),
        (7, vec!["1: note reset_refused", "1: Reset"]),
        (11, vec!["1: note reset_enhance_your_calm", "1: Reset"]),
        (99, vec!["1: note reset_other", "1: Reset"]),
    ] {
        let mut talk = Talk::new();
        talk.get(1).stream(1).said();
        talk.read(frame(frame::RST_STREAM, 0, 1, u32::to_be_bytes(code)));
        assert_eq!(talk.said(), expected);
    }
    let mut talk = Talk::new();
    talk.get(1).get(3).stream(1).said();
    talk.read(frame(frame::GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\x0bplanted"));
    assert_eq!(talk.said(), ["0: note goaway_enhance_your_calm", "3: Reset"]);
    talk.read(event(1, 1)).read(last(1));
    assert_eq!(talk.said(), ["1: 1.1", "1: Complete"]);
}

#[test]
fn an_answer_in_the_middle_of_which_we_came_is_timed() {
    let mut talk = Talk { parser: Http2Parser::new(Salt::random()), ..Talk::new() };
    talk.log.0.clear();
    let late = Chunk::Gap { bytes: None, cause: LossCause::LateAttach };
    for direction in [Direction::Write, Direction::Read] {
        let at = talk.at();
        talk.parser.push(direction, late, at, &mut talk.log);
    }
    talk.said();
    talk.read(event(5, 1)).read(event(5, 2)).read(event(7, 1)).read(last(5));
    let expected = [
        "5:  ",
        "5: note unknown_path",
        "5: request end, lost true",
        "5: note lost_response_head",
        "5: status 0",
        "5: gap None",
        "5: 5.1",
        "5: 5.2",
        "7:  ",
        "7: note unknown_path",
        "7: request end, lost true",
        "7: note lost_response_head",
        "7: status 0",
        "7: gap None",
        "7: 7.1",
        "5: Complete",
    ];
    assert_eq!(talk.said(), expected);
    // It is over: what comes late begins nothing.
    talk.read(event(5, 3));
    assert_eq!(talk.said(), [""; 0]);
    // A client that asks now is followed as ever; streams between are of the past.
    talk.get(11).stream(11).read(event(11, 1)).read(event(9, 1));
    let said = talk.said();
    assert!(said.contains(&"11: 11.1".to_owned()) && said.contains(&"9: 9.1".to_owned()), "{said:?}");
}

#[test]
fn the_answer_to_a_request_that_was_lost_is_timed() {
    let mut talk = Talk::new();
    let head = talk.head(1, frame::END_STREAM, GET);
    talk.write(&head[..12]).gap(Direction::Write, Some(head.len() as u64 - 12));
    talk.get(3).said();
    talk.stream(1).read(event(1, 1)).read(last(1));
    let said = talk.said().join("|");
    assert!(said.contains("1: status 200|1: 1.1|1: Complete"), "{said}");
    talk.stream(3).read(last(3));
    assert_eq!(talk.said(), ["3: status 200", "3: Complete"]);
}

/// What is missing is told where it is missing, for the reason it is.
#[test]
fn lost_blocks_are_told_with_their_cause() {
    // The request's head: the answer is followed, and what came before it is missing as that is.
    let mut talk = Talk::new();
    let (head, answer) = (talk.head(1, frame::END_STREAM, GET), talk.answer(1, 0, STREAM));
    talk.write(&head[..12]).gap(Direction::Write, Some(head.len() as u64 - 12)).read(answer);
    let mut causes = Causes::default();
    let at = talk.at();
    talk.parser.push(Direction::Read, Chunk::Data(&event(1, 1)), at, &mut causes);
    assert_eq!(causes.0, []);
    let mut talk = Talk::new();
    let head = talk.head(1, frame::END_STREAM, GET);
    talk.write(&head[..12]).gap(Direction::Write, Some(head.len() as u64 - 12));
    talk.parser.push(Direction::Read, Chunk::Data(&event(1, 1)), at, &mut causes);
    assert_eq!(causes.0, [LossCause::RingFull]);
    // Trailers, and a reset's reason.
    let mut talk = Talk::new();
    talk.get(1).get(3).stream(1).stream(3).said();
    let trailers = talk.answer(1, frame::END_STREAM, &[("grpc-status", "13")]);
    talk.read(&trailers[..10]).gap(Direction::Read, Some(trailers.len() as u64 - 10));
    let reset = super::frame(3, 0, 3, [0, 0, 0, 2]);
    talk.read(&reset[..10]).gap(Direction::Read, Some(3));
    talk.read(super::frame(6, 0, 0, [0; 8]));
    assert_eq!(
        talk.said(),
        ["0: note desynced", "1: note lost_trailers", "1: Complete", "3: note reset_unknown", "3: Reset"]
    );
    // Bytes that are passed over while the place is looked for may be any stream's.
    let mut talk = Talk::new();
    talk.gap(Direction::Read, None).get(1);
    let answer = talk.answer(1, 0, STREAM);
    talk.read(&answer[1..]).close(ConnClosing::Peer);
    assert_eq!(talk.said().last().map(String::as_str), Some("1: Lost"));
}

/// Why bytes are missing.
#[derive(Default)]
struct Causes(Vec<LossCause>);

impl MessageSink for Causes {
    fn message(&mut self, _: ExchangeId, _: Moment, message: Message<'_>) {
        if let Message::Gap { cause, .. } = message {
            self.0.push(cause);
        }
    }
}
