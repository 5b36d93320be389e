//! The little HTTP/1.1 that the provider needs: one request head at a time, Content-Length bodies, chunk framing.

use anyhow::{Result, bail};

/// A request's head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub method: String,
    pub path: String,
    pub content_length: usize,
    pub keep_alive: bool,
    pub attempt: Option<u32>,
    pub host: String,
    /// `Upgrade: websocket`'s key and the extensions offered.
    pub websocket: Option<String>,
    pub extensions: String,
    /// `Expect: 100-continue`: the client waits before it sends the body (curl, from 1 MiB on).
    pub expects: bool,
    /// Bytes of the head itself.
    pub len: usize,
}

/// Parses a head; `None`: more bytes are needed.
///
/// # Errors
/// If this is no HTTP/1 request that the provider can read.
pub(crate) fn parse_head(bytes: &[u8]) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(len) = request.parse(bytes)? else { return Ok(None) };
    let mut head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        path: request.path.unwrap_or_default().to_owned(),
        keep_alive: request.version == Some(1),
        len,
        ..Head::default()
    };
    for header in request.headers.iter() {
        let value = String::from_utf8_lossy(header.value);
        let name = header.name.to_ascii_lowercase();
        match name.as_str() {
            "content-length" => head.content_length = value.trim().parse()?,
            "transfer-encoding" => bail!("chunked request bodies are not supported"),
            "connection" if value.eq_ignore_ascii_case("close") => head.keep_alive = false,
            "host" => head.host = value.into_owned(),
            "sec-websocket-key" => head.websocket = Some(value.trim().to_owned()),
            "sec-websocket-extensions" => head.extensions = value.into_owned(),
            "expect" => head.expects = true,
            _ if attempt(&name, &value).is_some() => head.attempt = attempt(&name, &value),
            _ => {}
        }
    }
    Ok(Some(head))
}

/// How many attempts came before, if this header tells: Stainless SDKs count from 0, AWS's from 1 (`attempt=2; max=3`).
#[must_use]
pub(crate) fn attempt(name: &str, value: &str) -> Option<u32> {
    match name {
        "x-stainless-retry-count" => value.trim().parse().ok(),
        "amz-sdk-request" => {
            let number = value.split(';').find_map(|pair| pair.trim().strip_prefix("attempt="))?;
            number.parse::<u32>().ok()?.checked_sub(1)
        }
        _ => None,
    }
}

/// A response head.
#[must_use]
pub(crate) fn response_head(status: u16, headers: &[(String, String)]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// `bytes` as HTTP chunks: `count` of about the same size.
#[must_use]
pub(crate) fn chunked(bytes: &[u8], count: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 16);
    for piece in cut(bytes, count) {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Cuts bytes into at most `count` non-empty pieces of about the same size.
pub(crate) fn cut(bytes: &[u8], count: u32) -> impl Iterator<Item = &[u8]> {
    let size = bytes.len().div_ceil(count.max(1) as usize).max(1);
    bytes.chunks(size)
}

fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        529 => "Overloaded",
        _ => "Scripted",
    }
}
