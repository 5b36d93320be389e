//! One connection's life: which protocol it speaks, and requests over HTTP/1.1.

use std::sync::Arc;

use anyhow::Result;
use rustls::ServerConfig;
use tokio::net::TcpStream;

use crate::Shared;
use crate::carry::{h1::H1, h2, ws};
use crate::clock::Stamp;
use crate::dialect::Asked;
use crate::headers::header;
use crate::http;
use crate::log::{Line, Protocol};
use crate::play::{Over, Received, choose, play};
use crate::wire::{Gone, Wire};

/// Serves a connection until it ends.
pub(crate) async fn connection(shared: Arc<Shared>, socket: TcpStream, tls: Option<Arc<ServerConfig>>, conn: u64) {
    let peer_port = socket.peer_addr().map_or(0, |addr| addr.port());
    shared.log.push(Line::Accept { conn, peer_port, at: Stamp::now() });
    let how = match Wire::accept(socket, tls).await {
        Ok(wire) => {
            let (wire, over) = exchanges(&shared, wire, conn).await;
            let over = over.unwrap_or(Over::Fin);
            match wire {
                Some(wire) => end(wire, over).await,
                None => "fin",
            }
        }
        Err(_) => "tls_failed",
    };
    shared.log.push(Line::Close { conn, how: how.to_owned(), at: Stamp::now() });
}

async fn end(mut wire: Wire, over: Over) -> &'static str {
    match over {
        Over::Peer(gone) => gone.name(),
        Over::Close | Over::Cancelled => {
            wire.close_notify().await;
            "fin"
        }
        Over::Fin => "fin",
        Over::Reset => {
            wire.reset();
            "reset"
        }
    }
}

/// HTTP/2 shows itself by its preface, with or without TLS.
async fn exchanges(shared: &Arc<Shared>, mut wire: Wire, conn: u64) -> (Option<Wire>, Result<Over>) {
    while wire.input.len() < 3 {
        match wire.read_some().await {
            Ok(None) => {}
            Ok(Some(gone)) => return (Some(wire), Ok(Over::Peer(gone))),
            Err(error) => return (Some(wire), Err(error)),
        }
    }
    if wire.input.starts_with(b"PRI") {
        return h2::serve(shared, wire, conn).await;
    }
    let over = http1(shared, &mut wire, conn).await;
    (Some(wire), over)
}

async fn http1(shared: &Arc<Shared>, wire: &mut Wire, conn: u64) -> Result<Over> {
    for ordinal in 0.. {
        let request = match request(wire).await? {
            Ok(request) => request,
            Err(gone) => return Ok(Over::Peer(gone)),
        };
        if let Some(api) = ws::api(&request.head) {
            return ws::serve(shared, wire, conn, &request.head, api).await;
        }
        if let Some(over) = answer(shared, wire, conn, ordinal, &request).await? {
            return Ok(over);
        }
        if !request.head.keep_alive {
            break;
        }
    }
    Ok(Over::Close)
}

/// A whole request.
struct Whole {
    head: http::Head,
    body: Vec<u8>,
    first_byte: Stamp,
}

async fn request(wire: &mut Wire) -> Result<std::result::Result<Whole, Gone>> {
    let mut continued = false;
    loop {
        if let Some(head) = http::parse_head(&wire.input)? {
            let whole = head.len + head.content_length;
            if wire.input.len() >= whole {
                let mut bytes: Vec<u8> = wire.input.drain(..whole).collect();
                let body = bytes.split_off(head.len);
                let first_byte = wire.input_since;
                wire.input_since = wire.last_read;
                return Ok(Ok(Whole { head, body, first_byte }));
            }
            if head.expects && !std::mem::replace(&mut continued, true) {
                wire.hold(b"HTTP/1.1 100 Continue\r\n\r\n");
                wire.seal()?;
                wire.flush().await?;
            }
        }
        if let Some(gone) = wire.read_some().await? {
            return Ok(Err(gone));
        }
    }
}

async fn answer(
    shared: &Arc<Shared>,
    wire: &mut Wire,
    conn: u64,
    ordinal: u64,
    request: &Whole,
) -> Result<Option<Over>> {
    let Whole { head, body, first_byte } = request;
    let received = Received {
        conn,
        request: ordinal,
        protocol: Protocol::Http1,
        method: &head.method,
        target: &head.path,
        attempt: head.attempt,
        body_bytes: body.len(),
        first_byte: *first_byte,
        end: wire.last_read,
    };
    let asked = (head.method == "POST").then(|| Asked::read(&head.host, &head.path, body)).flatten();
    match choose(shared, &received, asked) {
        Some(chosen) => play(H1::new(wire, &chosen.teller), &chosen).await,
        None => unscripted(wire, head, body).await,
    }
}

/// Anything that is not a scripted model call: `/bytes/N` gives N bytes of text, `/echo` the body, the rest 404.
async fn unscripted(wire: &mut Wire, head: &http::Head, body: &[u8]) -> Result<Option<Over>> {
    let wanted = head.path.strip_prefix("/bytes/").and_then(|count| count.parse::<usize>().ok());
    let (status, answer) = match (wanted, head.path.as_str()) {
        (Some(count), _) => (200, vec![b'.'; count.min(1 << 24)]),
        (None, "/echo") => (200, body.to_vec()),
        _ => (404, br#"{"error":{"message":"no such scenario","type":"not_found_error","code":"not_found"}}"#.to_vec()),
    };
    let headers = [header("content-type", "application/json"), header("content-length", &answer.len().to_string())];
    wire.hold(&http::response_head(status, &headers));
    wire.hold(&answer);
    wire.seal()?;
    wire.flush().await?;
    Ok(None)
}
