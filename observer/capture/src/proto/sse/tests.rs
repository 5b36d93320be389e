use proptest::prelude::*;

use super::*;

/// Events as (name, data, wire bytes), comments and notes by name.
fn scan(pieces: &[&[u8]]) -> Vec<String> {
    let (mut scanner, mut said) = (SseScanner::default(), Vec::new());
    let mut out = |message: Message<'_>| said.push(say(&message));
    for piece in pieces {
        scanner.push(piece, &mut out);
    }
    scanner.finish(&mut out);
    said
}

fn say(message: &Message<'_>) -> String {
    match message {
        Message::Event(event) => format!(
            "{}:{} {}{}",
            event.name.unwrap_or(""),
            String::from_utf8_lossy(event.data),
            event.wire_bytes,
            if event.truncated { " cut" } else { "" },
        ),
        Message::Comment => "comment".into(),
        Message::Note(note) => note.reason.into(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_whole_event_is_not_copied() {
    let input = b"event: e\ndata: payload\n\n".as_slice();
    let mut scanner = SseScanner::default();
    let mut seen = 0;
    scanner.push(input, &mut |message| {
        let Message::Event(event) = message else { panic!() };
        assert!(input.as_ptr_range().contains(&event.data.as_ptr()), "the data was copied");
        seen += 1;
    });
    assert_eq!((seen, scanner.held()), (1, size_of::<SseScanner>()));
}

#[test]
fn an_event_need_not_wait_for_the_line_feed_of_its_blank_line() {
    let mut scanner = SseScanner::default();
    let mut said = Vec::new();
    scanner.push(b"data: a\r\n\r", &mut |message| said.push(say(&message)));
    assert_eq!(said, [":a 11"]);
    scanner.push(b"\ndata: b\r\n\r\n", &mut |message| said.push(say(&message)));
    assert_eq!(said, [":a 11", ":b 11"]);
}

#[test]
fn an_event_over_the_cap_keeps_its_head_and_the_stream_goes_on() {
    let mut large = b"data: a\n\nevent: response.completed\ndata: {\"type\":\"x\"".to_vec();
    large.extend(std::iter::repeat_n(b'y', SSE_EVENT + 5));
    large.extend_from_slice(b"\ndata: more\n\ndata: [DONE]\n\n");
    let mut expected = scan(&[&large]);
    for size in [1000, 16_384, 65_536] {
        let pieces: Vec<_> = large.chunks(size).collect();
        assert_eq!(scan(&pieces), expected, "pieces of {size}");
    }
    let cut = expected.remove(2);
    assert_eq!(expected, [":a 9", "event_too_large", ":[DONE] 14"]);
    assert!(cut.starts_with("response.completed:{\"type\":\"x\"yyy") && cut.ends_with(" cut"));
    assert!(cut.len() < SSE_EVENT_HEAD + 100);
}

#[test]
fn a_hundred_megabytes_without_a_line_end_are_survived_in_bounded_memory() {
    let piece = vec![b'x'; 1 << 20];
    let mut scanner = SseScanner::default();
    let mut said = Vec::new();
    for _ in 0..100 {
        scanner.push(&piece, &mut |message| said.push(say(&message)));
        assert!(scanner.held() <= 4 * SSE_EVENT, "{} bytes held", scanner.held());
    }
    scanner.push(b"\n\ndata: after\n\n", &mut |message| said.push(say(&message)));
    assert_eq!(said.first().unwrap(), "event_too_large");
    assert_eq!(said.last().unwrap(), ":after 13");
}

#[test]
fn after_a_gap_the_next_blank_line_is_the_beginning() {
    for (rest, expected) in [
        ("lf a line\"}\n\ndata: b\n\n", vec![":b 9"]),
        ("\n\ndata: b\n\n", vec![":b 9"]),
        ("\ndata: of the lost event\n\ndata: b\n\n", vec![":b 9"]),
        ("\r\n\r\ndata: b\r\n\r\n", vec![":b 11"]),
        ("data: whole, but who knows\n\ndata: b\n\n", vec![":b 9"]),
    ] {
        let (mut scanner, mut said) = (SseScanner::default(), Vec::new());
        scanner.push(b"event: x\ndata: ha", &mut |message| said.push(say(&message)));
        scanner.gap();
        scanner.push(rest.as_bytes(), &mut |message| said.push(say(&message)));
        scanner.finish(&mut |message| said.push(say(&message)));
        assert_eq!(said, expected, "{rest:?}");
    }
}

#[test]
fn raw_json_is_one_event_as_soon_as_it_is_closed() {
    let mut scanner = SseScanner::default();
    let mut said = Vec::new();
    let mut out = |message: Message<'_>| said.push(say(&message));
    scanner.push(b"data: {}\n\n{\n \"error\": {\"m\": \"a } \\\" b\"", &mut out);
    scanner.push(b"}\n}\n", &mut out);
    assert_eq!(said, [":{} 10", "raw_json", ":{\n \"error\": {\"m\": \"a } \\\" b\"}\n} 32"]);
}

proptest! {
    /// Text made of what matters to a scanner: any cut says the same.
    #[test]
    fn any_cut_says_the_same(parts in prop::collection::vec(prop::sample::select(vec![
        "\n", "\r", "\r\n", "data", "data:", "data: ", "event: e", ":", "{", "}", "[", "\"", "\\", "id: 1", "retry", "error: {", "x", "\u{feff}", "é",
    ]), 0..60), size in 1..9_usize) {
        let text = parts.concat();
        let pieces: Vec<_> = text.as_bytes().chunks(size).collect();
        prop_assert_eq!(scan(&[text.as_bytes()]), scan(&pieces));
    }

    #[test]
    fn what_was_sent_comes_out(events in prop::collection::vec(("[a-z.]{0,9}", "[^\r\n\u{feff}]{0,60}(\n[^\r\n]{0,20})?"), 0..20), end in prop::sample::select(vec!["\n", "\r\n", "\r"])) {
        let mut stream = String::new();
        let mut expected = Vec::new();
        for (name, data) in &events {
            let mut block = String::new();
            if !name.is_empty() {
                block += &format!("event: {name}{end}");
            }
            for line in data.split('\n') {
                block += &format!("data: {line}{end}");
            }
            block += end;
            expected.push(format!("{name}:{data} {}", block.len()));
            stream += &block;
        }
        prop_assert_eq!(scan(&[stream.as_bytes()]), expected);
    }
}
