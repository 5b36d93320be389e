//! Bytes that are missing: whose they are, and how the place is found again.

use super::*;

#[test]
fn a_gap_inside_a_payload_belongs_to_its_stream() {
    let mut talk = Talk::new();
    talk.get(1).get(3).stream(1).stream(3).said();
    let bytes = [event(1, 1), data(1, "data: 2\n\ndata: 3\n\ndata: 4\n\n"), event(3, 1), last(1)].concat();
    talk.read(&bytes[..41]).gap(Direction::Read, Some(3)).read(&bytes[44..]);
    assert_eq!(talk.said(), ["1: 1.1", "1: 2", "1: gap Some(3)", "1: 4", "3: 3.1", "1: Complete"]);
}

#[test]
fn a_gap_to_the_end_of_a_payload_ends_its_frame() {
    let mut talk = Talk::new();
    talk.get(1).stream(1).said();
    let bytes = frame(0, 9, 1, b"\x02data: 1\n\nPP");
    talk.read(&bytes[..12]).gap(Direction::Read, Some(bytes.len() as u64 - 12));
    assert_eq!(talk.said(), ["1: gap Some(7)", "1: Complete"]);
}

#[test]
fn a_lost_head_loses_its_stream_alone() {
    let mut talk = Talk::new();
    talk.get(1).get(3).said();
    let (one, three) = (talk.answer(1, 0, STREAM), talk.answer(3, 0, STREAM));
    talk.read(&one[..12]).gap(Direction::Read, Some(one.len() as u64 - 12));
    assert_eq!(talk.said(), ["0: note desynced", "1: note lost_response_head", "1: Lost"]);
    // A field of the second answer is an index into what was lost: the first bytes of its body tell what it is.
    talk.read(three).read(event(1, 1)).read(event(3, 1)).read(last(3));
    assert_eq!(talk.said(), ["3: note unknown_headers", "3: status 200", "3: 3.1", "3: Complete"]);
    let lost = talk.head(5, 1, GET);
    talk.write(&lost[..10]).gap(Direction::Write, Some(lost.len() as u64 - 10)).get(7);
    let said = talk.said();
    assert_eq!(said[..2], ["0: note desynced", "0: note lost_request_head"]);
    assert_eq!(said[2..4], ["7: GET /v1/models", "7: note unknown_headers"]);
    talk.write(frame(1, 5, 9, b"\x82\xc5"));
    assert_eq!(talk.said(), ["9: GET ", "9: note unknown_path", "9: request end, lost false"]);
}

#[test]
fn frames_are_found_again_after_a_hole_between_them() {
    for told in [true, false] {
        let mut talk = Talk::new();
        talk.get(1).get(3).stream(1).stream(3).read(event(1, 1)).said();
        talk.gap(Direction::Read, told.then_some(50)).read(event(3, 2)).read(event(3, 3)).read(event(1, 3));
        talk.read(event(1, 4)).read(last(1)).close(ConnClosing::Peer);
        // The first event behind a gap is not trusted: it might be the end of a longer one.
        let expected =
            ["0: note desynced", "1: gap None", "3: gap None", "3: 3.3", "1: 1.4", "1: Complete", "3: PeerClosed"];
        assert_eq!(talk.said(), expected);
    }
}

#[test]
fn a_stream_whose_end_may_be_lost_is_not_called_cut_off() {
    let mut talk = Talk::new();
    talk.get(1).get(3).stream(1).stream(3).said();
    talk.gap(Direction::Read, Some(9)).read(event(3, 1)).read(event(3, 2)).close(ConnClosing::Peer);
    assert_eq!(talk.said()[3..], ["3: 3.2", "3: PeerClosed", "1: Lost"]);
}

#[test]
fn what_only_looks_like_a_frame_is_not_believed() {
    let mut talk = Talk::new();
    talk.get(1).get(3).stream(1).stream(3).said();
    // The rest of a payload begins like a frame of stream 3 whose payload goes on.
    let lie = [&frame(0, 0, 3, "")[..2], &[200, 0, 0, 0, 0, 0, 3], b"data: lie\n\ndata: lie\n\n"].concat();
    talk.gap(Direction::Read, Some(100)).read(lie).read([b'x'; 300]).read(event(1, 1)).read(event(1, 2)).read(last(3));
    let said = talk.said();
    assert!(!said.iter().any(|line| line.contains("lie")), "{said:?}");
    assert_eq!(said.iter().filter(|line| line.contains("1.2")).count(), 1, "{said:?}");
}

#[test]
fn a_connection_joined_in_the_middle_reads_what_can_be_known() {
    let mut talk = Talk::new();
    talk.get(1).stream(1).said();
    talk.parser = Http2Parser::new(Salt::random());
    let post = talk.head(3, 1, &[(":method", "POST"), (":path", "/v1/new"), ("x-stainless-lang", "js")]);
    talk.write(post).gap(Direction::Read, None).stream(3).read(event(3, 1)).read(last(3));
    let said = talk.said();
    let notes = ["0: note late_attach", "0: note desynced"];
    assert_eq!(said[..2], notes);
    let told: Vec<_> = said.iter().filter(|line| line.starts_with("3: ") && !line.contains("gap")).collect();
    let expected =
        ["3: POST /v1/new", "3: note unknown_headers", "3: request end, lost false", "3: note unknown_headers"];
    assert_eq!(told[..4], expected, "{said:?}");
    assert!(talk.log.0.is_empty() && told[4..] == ["3: status 200", "3: 3.1", "3: Complete"], "{said:?}");
}
