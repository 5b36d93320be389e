//! Model calls through a proxy: what is said to the proxy is passed over, what goes through is seen as ever.

use std::net::SocketAddr;

use super::timelines::{Pair, hello, record};
use super::*;
use capture::units::Direction;
use testkit::FakeSocket;

const CONNECT: &str = "CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n";
const OPENED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";
const NOTE: &str = "through_a_proxy";

fn proxy() -> SocketAddr {
    "192.0.2.9:3128".parse().unwrap()
}

fn cable() -> FakeSocket {
    FakeSocket::new(7, 99, proxy())
}

/// Each way to ask for a tunnel.
fn tunnels() -> Vec<FakeSocket> {
    let mut http = cable();
    http.write(CONNECT).read(OPENED);
    let mut in_parts = cable();
    in_parts.write(&CONNECT[..20]).write(&CONNECT[20..]).read(&OPENED[..9]).read(&OPENED[9..]);
    let mut again = cable();
    again.write(CONNECT).read("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 3\r\n\r\nno\n");
    again.write(CONNECT).read(OPENED);
    let mut socks = cable();
    socks.write([5, 2, 0, 2]).read([5, 2]).write([1, 1, b'u', 1, b'p']).read([1, 0]);
    socks.write([5, 1, 0, 3, 4, b'h', b'o', b's', b't', 1, 187]).read([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    vec![http, in_parts, again, socks]
}

#[test]
fn tls_through_a_proxy_has_both_timelines() {
    for cable in tunnels() {
        let mut pair = Pair::over(cable, proxy());
        pair.piece(100, 100, HEAD);
        for n in 0..20 {
            // All arrives evenly; the application looks once in 100 ms.
            pair.piece(120 + 20 * n, 200 + 100 * (n / 5), &delta(&format!("word {n}")));
        }
        let run = run(&pair.records());
        let entry = run.only();
        assert_eq!((entry.chunks, entry.notes.as_slice()), (20, &[NOTE][..]));
        close_to(Some(entry.arrival_gaps.stats().unwrap().p50), 20.0 * MS);
        assert_eq!(entry.remote, Some(proxy()));
    }
}

#[test]
fn a_shape_through_a_proxy_is_that_of_its_host() {
    for mut cable in tunnels() {
        cable.write(hello("c ")).wait_ms(1).read(hello("s ")).wait_ms(1).write(record(52)).wait_ms(1);
        cable.read(record(233)).read(record(233)).wait_ms(20).write(record(700)).wait_ms(200).read(record(300));
        for _ in 0..20 {
            cable.wait_ms(50).read(record(60));
        }
        cable.wait_ms(500);
        let mut run = run(cable.records());
        run.pipeline.tick(cable.now());
        let entry = run.only();
        assert_eq!((entry.provider, entry.server_address.as_deref()), ("openai", Some("api.openai.com")));
        assert!(entry.notes.contains(&NOTE) && entry.shape, "{:?}", entry.notes);
        assert_eq!(entry.wire.records, 21);
    }
}

#[test]
fn plain_text_through_a_proxy_is_a_call_like_any_other() {
    for mut cable in tunnels() {
        cable.wait_ms(1).write(chat()).wait_ms(100).read(HEAD).read(delta("word")).read(DONE).read(LAST);
        cable.fin(Direction::Write).fin(Direction::Read).close();
        let run = run(cable.records());
        let entry = run.only();
        assert_eq!((entry.chunks, entry.outcome), (1, Some(CallOutcome::Complete)));
        assert_eq!(entry.notes, [NOTE]);
    }
}

/// The near miss: what goes through is none of ours.
#[test]
fn a_tunnel_for_something_else_is_ignored_in_time() {
    let mut cable = cable();
    cable.write(CONNECT).read(OPENED);
    for _ in 0..=limits::TUNNEL_PIECES {
        cable.write("SSH-2.0-OpenSSH_9.6\r\n").read("SSH-2.0-OpenSSH_9.6\r\n");
    }
    let run = run(cable.records());
    assert!(run.outcomes().is_empty());
    assert_eq!(run.verdicts.last(), Some(&Verdict::Ignore));
}
