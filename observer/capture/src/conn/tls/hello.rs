//! What the two hellos say (RFC 8446 §4.1, RFC 5246 §7.4.1, RFC 6066 §3).

use super::{RecordOverhead, TLS13};

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const HOST_NAME: u8 = 0;

/// Longest host name: RFC 1035.
const NAME: usize = 253;

/// The random bytes of a ServerHello that asks for another ClientHello.
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// What the client says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The host it wants (with encrypted hellos, the one in front of it).
    pub sni: Option<String>,
    /// It offers HTTP/2.
    pub h2: bool,
}

/// What the server chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// 0x0303 for TLS 1.2, 0x0304 for 1.3.
    pub version: u16,
    /// Cipher suite.
    pub suite: u16,
    /// It asks for another ClientHello first.
    pub retry: bool,
}

impl ClientHello {
    /// Reads a whole handshake message; `None` if it is something else, or damaged.
    #[must_use]
    pub fn parse(message: &[u8]) -> Option<ClientHello> {
        let mut at = HelloCursor(message);
        if at.u8()? != CLIENT_HELLO {
            return None;
        }
        at.take(3 + 2 + 32)?;
        at.vec8()?;
        at.vec16()?;
        at.vec8()?;
        let mut hello = ClientHello::default();
        // Extensions may be absent.
        let mut extensions = HelloCursor(at.vec16().unwrap_or_default());
        while let Some((kind, body)) = extensions.extension() {
            match kind {
                SERVER_NAME => hello.sni = server_name(body),
                ALPN => hello.h2 = offers_h2(body),
                _ => {}
            }
        }
        Some(hello)
    }
}

impl ServerHello {
    /// Reads a whole handshake message; `None` if it is something else, or damaged.
    #[must_use]
    pub fn parse(message: &[u8]) -> Option<ServerHello> {
        let mut at = HelloCursor(message);
        if at.u8()? != SERVER_HELLO {
            return None;
        }
        at.take(3)?;
        let mut version = at.u16()?;
        let retry = at.take(32)? == RETRY;
        at.vec8()?;
        let suite = at.u16()?;
        at.u8()?;
        let mut extensions = HelloCursor(at.vec16().unwrap_or_default());
        while let Some((kind, body)) = extensions.extension() {
            if kind == SUPPORTED_VERSIONS {
                version = HelloCursor(body).u16()?;
            }
        }
        Some(ServerHello { version, suite, retry })
    }

    /// What a record costs beside its plaintext: content type and tag in TLS 1.3; explicit nonce
    /// and tag in TLS 1.2, where the suite's number tells. What is not an AEAD suite pads.
    #[must_use]
    pub fn overhead(&self) -> RecordOverhead {
        const TAG: u16 = 16;
        const SHORT_TAG: u16 = 8;
        const NONCE: u16 = 8;
        if self.version == TLS13 {
            let tag = if self.suite == 0x1305 { SHORT_TAG } else { TAG };
            return RecordOverhead::Bytes(1 + tag);
        }
        match self.suite {
            0xcca8..=0xccae => RecordOverhead::Bytes(TAG),
            0x009c..=0x00a9 | 0xc02b..=0xc032 | 0xc09c..=0xc09f | 0xc0ac..=0xc0ad => RecordOverhead::Bytes(NONCE + TAG),
            0xc0a0..=0xc0a3 | 0xc0ae..=0xc0af => RecordOverhead::Bytes(NONCE + SHORT_TAG),
            _ => RecordOverhead::Varies,
        }
    }
}

/// The host name in a list of one, in lower case; `None` if it is no host name.
fn server_name(body: &[u8]) -> Option<String> {
    let mut names = HelloCursor(HelloCursor(body).vec16()?);
    while let Some(kind) = names.u8() {
        let name = names.vec16()?;
        if kind == HOST_NAME {
            let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._".contains(b);
            let known = !name.is_empty() && name.len() <= NAME && name.iter().all(plain);
            return known.then(|| String::from_utf8_lossy(name).to_ascii_lowercase());
        }
    }
    None
}

fn offers_h2(body: &[u8]) -> bool {
    let mut list = HelloCursor(HelloCursor(body).vec16().unwrap_or_default());
    std::iter::from_fn(|| list.vec8()).any(|name| name == b"h2")
}

/// Reads from the front.
struct HelloCursor<'a>(&'a [u8]);

impl<'a> HelloCursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from(self.u8()?) << 8 | u16::from(self.u8()?))
    }

    fn vec8(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    fn vec16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }

    fn extension(&mut self) -> Option<(u16, &'a [u8])> {
        Some((self.u16()?, self.vec16()?))
    }
}
