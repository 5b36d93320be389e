//! How a client asks a proxy to connect it to somebody else. What follows on the socket is the
//! conversation that matters.
//!
//! HTTP's CONNECT (RFC 9110, 9.3.6) and SOCKS5 (RFC 1928). SOCKS4 greets with too little to be told
//! from other protocols.

/// The first bytes of a connection ask for a tunnel.
#[must_use]
pub fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(b"CONNECT ") || greets_socks(bytes)
}

/// Version, number of ways to authenticate (at least one), and the ways; nothing else before the proxy has answered.
fn greets_socks(bytes: &[u8]) -> bool {
    matches!(bytes, [5, count, ways @ ..] if *count > 0 && ways.len() == usize::from(*count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_are_whole_or_none() {
        for (bytes, yes) in [
            (&b"CONNECT api.openai.com:443 HTTP/1.1\r\n"[..], true),
            (b"\x05\x01\x00", true),
            (b"\x05\x02\x00\x02", true),
            (b"\x05\x02\x00", false),
            (b"\x05\x00", false),
            (b"\x05\x01\x00\x00", false),
            (b"CONNECTED", false),
            (b"POST / HTTP/1.1\r\n", false),
            (b"\x16\x03\x01", false),
            (b"", false),
        ] {
            assert_eq!(begins(bytes), yes, "{bytes:?}");
        }
    }
}
