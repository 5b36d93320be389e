//! What the tests ask the provider, and how they read its answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use provider::Options;
use provider::Provider;
use provider::log::{Line, WriteLine};
use provider::script::{Encoding, Kind, Reply, Say, Scenario, Shape, Step, answer, deltas};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

pub(crate) fn start(plain: bool) -> (Provider, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { plain, ..Options::in_memory(dir.path().to_owned()) };
    (Provider::start(&options).unwrap(), dir)
}

pub(crate) trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

pub(crate) fn connect(provider: &Provider) -> Box<dyn Duplex> {
    let socket = TcpStream::connect(provider.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let Some(ca) = provider.ca() else { return Box::new(socket) };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    Box::new(StreamOwned::new(tls, socket))
}

pub(crate) fn request(path: &str, model: &str, stream: bool, connection: &str) -> Vec<u8> {
    let body =
        serde_json::json!({"model": model, "stream": stream, "stream_options": {"include_usage": true}}).to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: {connection}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Everything that comes until the connection ends, however it ends.
pub(crate) fn ask(provider: &Provider, path: &str, model: &str, stream: bool) -> Vec<u8> {
    let mut connection = connect(provider);
    connection.write_all(&request(path, model, stream, "close")).unwrap();
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = connection.read(&mut buffer) {
        received.extend_from_slice(&buffer[..n]);
    }
    received
}

pub(crate) fn ask_until(provider: &Provider, reply: &Reply) -> Vec<u8> {
    let large = Step::new(0, Say::Text(70_000)).shape(Shape { chunks: 3, ..Shape::default() });
    let steps = answer(vec![deltas(3, 12, 1_000), large], "stop");
    provider.register("encoded", Scenario::always(Reply { steps, ..reply.clone() }));
    ask(provider, crate::PATHS[1], "scenario:encoded", true)
}

pub(crate) fn read_to(stream: &mut dyn Duplex, end: &[u8]) {
    let mut received = Vec::new();
    while !received.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        received.push(byte[0]);
    }
}

pub(crate) fn body(response: &[u8]) -> Vec<u8> {
    let head = response.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    response[head + 4..].to_vec()
}

pub(crate) fn dechunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let line = bytes.iter().position(|byte| *byte == b'\r').unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            return out;
        }
        out.extend_from_slice(&bytes[line + 2..line + 2 + size]);
        bytes = &bytes[line + 2 + size + 2..];
    }
}

pub(crate) fn decode(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match encoding {
        Encoding::Identity => out = bytes.to_vec(),
        Encoding::Gzip => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap()),
        Encoding::Deflate => drop(flate2::read::ZlibDecoder::new(bytes).read_to_end(&mut out).unwrap()),
        Encoding::Br => drop(brotli_decompressor::Decompressor::new(bytes, 4096).read_to_end(&mut out).unwrap()),
        Encoding::Zstd => out = zstd::stream::decode_all(bytes).unwrap(),
    }
    out
}

/// The visible text of a stream, by whichever dialect's path.
pub(crate) fn deltas_in(sse: &str) -> String {
    let events = sse.lines().filter_map(|line| line.strip_prefix("data: {"));
    let json = |data| serde_json::from_str::<serde_json::Value>(&format!("{{{data}")).unwrap();
    events
        .map(json)
        .filter_map(|event| {
            let at = ["/choices/0/delta/content", "/delta/text", "/delta"];
            at.iter().find_map(|at| event.pointer(at)?.as_str().map(str::to_owned))
        })
        .collect()
}

pub(crate) fn writes(provider: &Provider, model: &str) -> Vec<WriteLine> {
    let ours = |line| match line {
        Line::Write(write) if write.model == model => Some(write),
        _ => None,
    };
    provider.lines().into_iter().filter_map(ours).collect()
}

/// Chunks and characters of visible text that the log says were written.
pub(crate) fn visible(writes: &[WriteLine]) -> (usize, u32) {
    let parts = writes.iter().flat_map(|write| &write.parts).filter(|part| part.kind == Kind::Visible);
    (parts.clone().count(), parts.map(|part| part.chars).sum())
}

/// A write of the delta steps, or of a piece of them (which completes nothing).
pub(crate) fn is_text(write: &WriteLine) -> bool {
    write.parts.iter().all(|part| part.kind == Kind::Visible)
}

pub(crate) fn wait_for(condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not happen within 5 s");
}
