//! From header fields to heads. What is kept of a field is decided where it is read, so that the dynamic table, which
//! lives as long as the connection, holds no secret either.

use crate::limits::HTTP2_HEADERS;
use crate::proto::content::{ContentCoding, codings};
use crate::proto::headers::{self, CredentialHash, RequestTarget, Salt};
use crate::proto::ws::PROTOCOL;
use crate::proto::{RequestHead, ResponseHead};
use crate::units::Direction;

/// What is kept of one field.
#[derive(Debug)]
pub(super) enum HeaderField {
    Method(String),
    /// With the credential of its query.
    Path(RequestTarget, CredentialHash),
    Authority(String),
    /// Of an extended CONNECT: what the stream is to speak (RFC 8441).
    Protocol(String),
    Status(Option<u16>),
    /// A header on our list.
    Kept(String, String),
    Credential(CredentialHash),
    Dropped,
}

/// What is kept of a field of this direction.
pub(super) fn field(direction: Direction, name: &[u8], value: &[u8], salt: &Salt) -> HeaderField {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    match (direction, name.as_str()) {
        (Direction::Read, ":status") => {
            HeaderField::Status(std::str::from_utf8(value).ok().and_then(|v| v.parse().ok()))
        }
        (Direction::Read, name) if headers::kept_response(name) => {
            HeaderField::Kept(name.into(), headers::value(value))
        }
        (Direction::Read, _) => HeaderField::Dropped,
        (Direction::Write, ":method") => HeaderField::Method(headers::value(value)),
        (Direction::Write, ":path") => {
            let mut credential = CredentialHash::default();
            let target = headers::target(&String::from_utf8_lossy(value), &mut credential, salt);
            HeaderField::Path(target, credential)
        }
        (Direction::Write, PROTOCOL) => HeaderField::Protocol(headers::value(value)),
        (Direction::Write, ":authority" | "host") => HeaderField::Authority(headers::host(value)),
        (Direction::Write, name) if headers::kept_request(name) => {
            HeaderField::Kept(name.into(), headers::value(value))
        }
        (Direction::Write, name) => {
            let mut credential = CredentialHash::default();
            credential.header(name, value, salt);
            if credential.hash().is_some() { HeaderField::Credential(credential) } else { HeaderField::Dropped }
        }
    }
}

/// The fields of one block.
#[derive(Debug, Default)]
pub(super) struct HeaderFields {
    pub(super) method: Option<String>,
    target: Option<RequestTarget>,
    authority: Option<String>,
    protocol: Option<String>,
    pub(super) status: Option<u16>,
    headers: Vec<(String, String)>,
    credential: CredentialHash,
    /// Some field is not known.
    pub(super) unknown: bool,
}

impl HeaderFields {
    /// Adds the next field; the first of a name counts.
    pub(super) fn add(&mut self, field: Option<&HeaderField>) {
        match field {
            None => self.unknown = true,
            Some(HeaderField::Method(method)) => set(&mut self.method, method),
            Some(HeaderField::Path(target, credential)) => {
                set(&mut self.target, target);
                self.credential.merge(*credential);
            }
            Some(HeaderField::Authority(host)) => set(&mut self.authority, host),
            Some(HeaderField::Protocol(protocol)) => set(&mut self.protocol, protocol),
            Some(HeaderField::Status(Some(status))) => set(&mut self.status, status),
            Some(HeaderField::Kept(name, value)) if self.headers.len() < HTTP2_HEADERS => {
                self.headers.push((name.clone(), value.clone()));
            }
            Some(HeaderField::Credential(credential)) => self.credential.merge(*credential),
            Some(HeaderField::Kept(..) | HeaderField::Status(None) | HeaderField::Dropped) => {}
        }
    }

    /// The codings of the body, in the order applied; `None`: unknown ones. A known head without any is identity.
    pub(super) fn codings(&self) -> Option<Vec<ContentCoding>> {
        let values =
            self.headers.iter().filter(|(name, _)| name == "content-encoding").map(|(_, value)| value.as_str());
        codings(&values.collect::<Vec<_>>().join(","))
    }

    /// The head of a request; its path is empty if not known.
    pub(super) fn request(mut self) -> RequestHead {
        if let Some(protocol) = self.protocol {
            self.headers.push((PROTOCOL.to_owned(), protocol));
        }
        let target = self.target.unwrap_or_default();
        RequestHead {
            method: self.method.unwrap_or_default(),
            path: target.path,
            query: target.query,
            host: target.host.or(self.authority),
            headers: self.headers,
            credential_hash: self.credential.hash(),
            protocol: "h2",
        }
    }

    /// The head of a response, if its status is known.
    pub(super) fn response(self) -> Option<ResponseHead> {
        let content_type = self.headers.iter().find(|(name, _)| name == "content-type");
        let content_type = content_type.map(|(_, value)| headers::media_type(value.as_bytes()));
        Some(ResponseHead { status: self.status?, content_type, headers: self.headers })
    }

    /// The kept fields of trailers.
    pub(super) fn trailers(self) -> Vec<(String, String)> {
        self.headers
    }

    /// Whether the path of a request is known.
    pub(super) fn has_path(&self) -> bool {
        self.target.is_some()
    }
}

fn set<T: Clone>(place: &mut Option<T>, value: &T) {
    if place.is_none() {
        *place = Some(value.clone());
    }
}
