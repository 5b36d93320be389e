//! Sound that a process sends on over a WebSocket of its own.

use testkit::FakeTlsConn;

use super::{Call, Host};

const UPGRADE: &str = "GET /room/7 HTTP/1.1\r\nHost: avatar.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const ACCEPT: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A client's binary message, masked with zeros.
fn message(bytes: usize) -> Vec<u8> {
    let length = u16::try_from(bytes).unwrap().to_be_bytes();
    [&[0x82, 0xfe], &length[..], &[0; 4], &vec![7; bytes]].concat()
}

impl Host {
    /// The process of such calls opens a socket and sends messages of so many bytes at these times.
    pub(crate) fn media(&mut self, at_ms: u64, like: &Call, messages: &[(u64, usize)]) {
        self.next += 16;
        let mut script = FakeTlsConn::new(like.pid, self.next);
        script.wait_ms(at_ms.saturating_sub(1000)).write(UPGRADE).wait_ms(5).read(ACCEPT);
        let mut now = at_ms + 5;
        for (at, bytes) in messages {
            script.wait_ms(at - now).write(message(*bytes));
            now = *at;
        }
        script.wait_ms(100).close();
        self.records.extend(like.of(&script));
    }
}
