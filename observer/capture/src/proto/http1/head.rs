//! HTTP/1 heads: collected until the blank line, then read by `httparse`. Tolerant where clients and servers are known
//! to be sloppy (line ends without `\r`, folded or invalid header lines), because we judge nobody's syntax.

use super::body::Http1Framing;
use crate::limits::{HTTP1_HEAD, HTTP1_HEADERS};
use crate::proto::content::{ContentCoding, codings};
use crate::proto::headers::{self, CredentialHash, Salt};
use crate::proto::{RequestHead, ResponseHead};
use crate::units::Moment;

/// Collects one head.
#[derive(Debug, Default)]
pub(super) struct HeadCollector {
    buffer: Vec<u8>,
    /// When the head's first byte came.
    pub(super) began: Moment,
}

impl HeadCollector {
    /// Takes bytes from `input`; the head once it is whole. Call `clear` when it was read.
    ///
    /// # Errors
    /// The head is over its cap.
    pub(super) fn take<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
        at: Moment,
    ) -> Result<Option<&'s [u8]>, &'static str> {
        if self.buffer.is_empty() {
            // Line ends before a head belong to nothing (RFC 9112 2.2).
            *input = skip_line_ends(input);
            if input.is_empty() {
                return Ok(None);
            }
            self.began = at;
            if let Some((head, rest)) = end_of_head(input, 0).and_then(|end| input.split_at_checked(end)) {
                *input = rest;
                return if head.len() > HTTP1_HEAD { Err("head_too_large") } else { Ok(Some(head)) };
            }
        }
        let before = self.buffer.len();
        let room = HTTP1_HEAD.saturating_sub(before);
        self.buffer.extend_from_slice(input.get(..room).unwrap_or(input));
        let Some(end) = end_of_head(&self.buffer, before.saturating_sub(2)) else {
            let full = input.len() >= room;
            *input = &[];
            return if full { Err("head_too_large") } else { Ok(None) };
        };
        *input = input.get(end.saturating_sub(before)..).unwrap_or_default();
        Ok(self.buffer.get(..end))
    }

    pub(super) fn clear(&mut self) {
        // Given back, not kept: a connection spends its life in bodies.
        self.buffer = Vec::new();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    pub(super) fn held(&self) -> usize {
        self.buffer.capacity()
    }
}

fn skip_line_ends(bytes: &[u8]) -> &[u8] {
    let at = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    bytes.get(at..).unwrap_or_default()
}

/// Where the head ends: after its first blank line, looked for from `from` on.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let searched = bytes.get(from..)?;
    memchr::memchr_iter(b'\n', searched).find_map(|at| match searched.get(at + 1..)? {
        [b'\n', ..] => Some(from + at + 2),
        [b'\r', b'\n', ..] => Some(from + at + 3),
        _ => None,
    })
}

/// What a request head says.
pub(super) struct Http1RequestHead {
    pub(super) head: RequestHead,
    pub(super) framing: Http1Framing,
    pub(super) codings: Option<Vec<ContentCoding>>,
}

/// What a response head says.
pub(super) struct Http1ResponseHead {
    pub(super) head: ResponseHead,
    pub(super) framing: Http1Framing,
    pub(super) codings: Option<Vec<ContentCoding>>,
    pub(super) odd: Option<&'static str>,
}

/// Reads a whole request head.
///
/// # Errors
/// Why it is none.
pub(super) fn request(bytes: &[u8], salt: &Salt) -> Result<Http1RequestHead, &'static str> {
    let mut slots = [httparse::EMPTY_HEADER; HTTP1_HEADERS];
    let mut parsed = httparse::Request::new(&mut slots);
    let mut config = httparse::ParserConfig::default();
    config.ignore_invalid_headers_in_requests(true).allow_multiple_spaces_in_request_line_delimiters(true);
    complete(config.parse_request(&mut parsed, bytes))?;
    let mut credential = CredentialHash::default();
    let target = headers::target(parsed.path.unwrap_or_default(), &mut credential, salt);
    let fields = Fields::read(parsed.headers)?;
    let mut head = RequestHead {
        method: headers::value(parsed.method.unwrap_or_default().as_bytes()),
        path: target.path,
        query: target.query,
        host: target.host,
        protocol: if parsed.version == Some(0) { "http/1.0" } else { "http/1.1" },
        ..RequestHead::default()
    };
    for header in parsed.headers.iter() {
        let name = header.name.to_ascii_lowercase();
        credential.header(&name, header.value, salt);
        if name == "host" && head.host.is_none() {
            head.host = Some(headers::host(header.value));
        } else if headers::kept_request(&name) {
            head.headers.push((name, headers::value(header.value)));
        }
    }
    head.credential_hash = credential.hash();
    let framing = match (fields.chunked, fields.transfer, fields.length) {
        (true, ..) => Http1Framing::chunked(),
        (false, true, _) => return Err("bad_transfer_encoding"),
        (false, false, length) => Http1Framing::Length(length.unwrap_or(0)),
    };
    Ok(Http1RequestHead { head, framing, codings: fields.codings })
}

/// Reads a whole response head. `bodiless`: it answers a HEAD, or opens a tunnel.
///
/// # Errors
/// Why it is none.
pub(super) fn response(bytes: &[u8], bodiless: impl Fn(u16) -> bool) -> Result<Http1ResponseHead, &'static str> {
    let mut slots = [httparse::EMPTY_HEADER; HTTP1_HEADERS];
    let mut parsed = httparse::Response::new(&mut slots);
    let mut config = httparse::ParserConfig::default();
    config
        .ignore_invalid_headers_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_multiple_spaces_in_response_status_delimiters(true);
    complete(config.parse_response(&mut parsed, bytes))?;
    let mut head = ResponseHead { status: parsed.code.unwrap_or(0), ..ResponseHead::default() };
    let fields = Fields::read(parsed.headers)?;
    for header in parsed.headers.iter() {
        let name = header.name.to_ascii_lowercase();
        if name == "content-type" && head.content_type.is_none() {
            head.content_type = Some(headers::media_type(header.value));
        }
        if headers::kept_response(&name) {
            head.headers.push((name, headers::value(header.value)));
        }
    }
    let framing = match (fields.chunked, fields.transfer, fields.length) {
        _ if matches!(head.status, 100..=199 | 204 | 304) || bodiless(head.status) => Http1Framing::Length(0),
        (true, ..) => Http1Framing::chunked(),
        (false, false, Some(length)) => Http1Framing::Length(length),
        (false, ..) => Http1Framing::UntilClose,
    };
    let odd = (fields.chunked && fields.length.is_some()).then_some("length_and_chunked");
    Ok(Http1ResponseHead { head, framing, codings: fields.codings, odd })
}

fn complete(result: httparse::Result<usize>) -> Result<(), &'static str> {
    match result {
        Ok(httparse::Status::Complete(_)) => Ok(()),
        Ok(httparse::Status::Partial) => Err("bad_head"),
        Err(httparse::Error::TooManyHeaders) => Err("too_many_headers"),
        Err(httparse::Error::Version | httparse::Error::Token) => Err("not_http1"),
        Err(_) => Err("bad_head"),
    }
}

/// The fields that decide where a body ends and how it is coded.
struct Fields {
    length: Option<u64>,
    /// There is a transfer coding, and `chunked` is the last one.
    chunked: bool,
    transfer: bool,
    /// In the order applied, content codings before transfer codings.
    codings: Option<Vec<ContentCoding>>,
}

impl Fields {
    fn read(list: &[httparse::Header<'_>]) -> Result<Fields, &'static str> {
        let mut length = None;
        let (mut content, mut transfer) = (String::new(), String::new());
        for header in list {
            if header.name.eq_ignore_ascii_case("content-length") {
                length = Some(content_length(header.value, length)?);
            } else if header.name.eq_ignore_ascii_case("content-encoding") {
                join(&mut content, header.value);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                join(&mut transfer, header.value);
            }
        }
        let last = transfer.rsplit(',').next().unwrap_or_default().trim();
        let chunked = last.eq_ignore_ascii_case("chunked");
        let is_transfer = !matches!(last, "" | "identity");
        join(&mut content, transfer.as_bytes());
        Ok(Fields { length, chunked, transfer: is_transfer, codings: codings(&content) })
    }
}

fn join(list: &mut String, value: &[u8]) {
    list.push(',');
    list.push_str(&String::from_utf8_lossy(value));
}

/// One Content-Length value; repeated ones must agree (RFC 9112 6.3).
fn content_length(value: &[u8], before: Option<u64>) -> Result<u64, &'static str> {
    const BAD: &str = "bad_content_length";
    let text = std::str::from_utf8(value).map_err(|_| BAD)?;
    let mut length = before;
    for part in text.split(',').map(str::trim) {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| part.parse().ok()).flatten().ok_or(BAD)?;
        if length.is_some_and(|known| known != number) {
            return Err(BAD);
        }
        length = Some(number);
    }
    length.ok_or(BAD)
}
