//! Sound that a process sends on over a WebSocket that no dialect claims.

use super::*;

const ROOM: &str = "GET /room HTTP/1.1\r\nHost: avatar.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const OPEN: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const REFUSED: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";

/// A masked binary message of the client.
fn message(bytes: u16) -> Vec<u8> {
    [&[0x82, 0xfe], &bytes.to_be_bytes()[..], &[0; 4], &vec![b'p'; usize::from(bytes)]].concat()
}

/// A process that has had something made at this path.
fn after(path: &str) -> Run {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(request(path, r#"{"model":"m","input":"hi","voice":"a"}"#));
    script.read("HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 2\r\n\r\nxx").close();
    let mut run = run(script.records());
    run.verdicts.clear();
    run
}

fn sent_on(run: &Run) -> Vec<&String> {
    run.ear().said.iter().filter(|said| said.starts_with("sent on")).collect()
}

#[test]
fn what_a_process_that_has_speech_made_sends_on_is_timed_and_sized() {
    let mut script = FakeTlsConn::new(10, 2);
    script.wait_ms(1000).write(ROOM).wait_ms(5).read(OPEN).wait_ms(95).write(message(400)).wait_ms(50);
    script.write(message(300)).read([0x81, 2, b'o', b'k']).wait_ms(10).close();
    let mut run = after("/v1/audio/speech");
    run.play(script.records());
    assert_eq!(sent_on(&run), ["sent on 408 2100", "sent on 308 2150"]);
    assert!(run.verdicts.is_empty() && run.pipeline.call_table().open().count() == 0 && run.pipeline.held() == 0);
    assert!(!run.debug().contains("ppp"));
}

#[test]
fn other_processes_and_refused_sockets_are_left_alone() {
    for (path, answer) in [("/v1/chat/completions", OPEN), ("/v1/audio/speech", REFUSED)] {
        let mut script = FakeTlsConn::new(10, 2);
        script.wait_ms(1000).write(ROOM).wait_ms(5).read(answer).wait_ms(95);
        if answer == OPEN {
            script.write(message(400));
        }
        let mut run = after(path);
        run.play(script.records());
        assert_eq!(sent_on(&run).len(), 0, "{path}");
        assert!(run.pipeline.held() < 1024);
    }
}
