//! One connection's life: requests in, scripted replies out.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::Shared;
use crate::clock::Stamp;
use crate::dialect::{self, Api, Asked, Piece, Renderer};
use crate::encode::Encoder;
use crate::http;
use crate::log::{Line, Part, Request, WriteLine};
use crate::script::{Encoding, Fault, Framing, Kind, Reply, Say, Shape, Step};
use crate::wire::{Gone, Wire};

/// Why a connection is over.
enum Over {
    Peer(Gone),
    /// The provider ends it in order.
    Close,
    /// ... without a word.
    Fin,
    Reset,
}

/// One reply being played.
struct Play<'a> {
    wire: &'a mut Wire,
    shared: &'a Shared,
    conn: u64,
    ordinal: u64,
    scenario: String,
    model: String,
    framing: Framing,
    encoder: Encoder,
    /// Pieces whose bytes are not written yet.
    parts: Vec<Part>,
    /// When the next step is due, so that delays do not add up errors.
    due: Instant,
}

/// Serves a connection until it ends.
pub async fn connection(shared: Arc<Shared>, socket: TcpStream, conn: u64) {
    let peer_port = socket.peer_addr().map_or(0, |addr| addr.port());
    shared.log.push(Line::Accept { conn, peer_port, at: Stamp::now() });
    let how = match Wire::accept(socket, shared.tls.clone()).await {
        Ok(mut wire) => {
            let over = exchanges(&shared, &mut wire, conn).await.unwrap_or(Over::Fin);
            end(wire, over).await
        }
        Err(_) => "tls_failed",
    };
    shared.log.push(Line::Close { conn, how: how.to_owned(), at: Stamp::now() });
}

async fn end(mut wire: Wire, over: Over) -> &'static str {
    match over {
        Over::Peer(gone) => gone.name(),
        Over::Close => {
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

async fn exchanges(shared: &Shared, wire: &mut Wire, conn: u64) -> Result<Over> {
    for ordinal in 0.. {
        let (head, body, first_byte) = match request(wire).await? {
            Ok(request) => request,
            Err(gone) => return Ok(Over::Peer(gone)),
        };
        let over = answer(shared, wire, conn, ordinal, &head, &body, first_byte).await?;
        if let Some(over) = over {
            return Ok(over);
        }
        if !head.keep_alive {
            break;
        }
    }
    Ok(Over::Close)
}

type Received = (http::Head, Vec<u8>, Stamp);

/// Reads one whole request.
async fn request(wire: &mut Wire) -> Result<std::result::Result<Received, Gone>> {
    let mut continued = false;
    loop {
        if let Some(head) = http::parse_head(&wire.input)? {
            let whole = head.len + head.content_length;
            if wire.input.len() >= whole {
                let mut bytes: Vec<u8> = wire.input.drain(..whole).collect();
                let body = bytes.split_off(head.len);
                let first_byte = wire.input_since;
                wire.input_since = wire.last_read;
                return Ok(Ok((head, body, first_byte)));
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
    shared: &Shared,
    wire: &mut Wire,
    conn: u64,
    ordinal: u64,
    head: &http::Head,
    body: &[u8],
    first_byte: Stamp,
) -> Result<Option<Over>> {
    let asked = asked(body);
    let api = Api::of_path(&head.path).filter(|_| head.method == "POST");
    let chosen = api.and_then(|api| shared.choose(&asked.model).map(|(name, reply)| (api, name, reply)));
    shared.log.push(Line::Request(Request {
        conn,
        request: ordinal,
        method: head.method.clone(),
        path: head.path.clone(),
        scenario: chosen.as_ref().map(|(_, name, _)| name.clone()),
        status: chosen.as_ref().map(|(_, _, reply)| reply.status),
        model: asked.model.clone(),
        stream: asked.stream,
        attempt: head.attempt,
        body_bytes: body.len() as u64,
        first_byte,
        end: wire.last_read,
    }));
    let Some((api, scenario, reply)) = chosen else {
        return unscripted(wire, head, body).await;
    };
    let play = Play {
        wire,
        shared,
        conn,
        ordinal,
        scenario,
        model: asked.model.clone(),
        framing: reply.framing,
        encoder: Encoder::new(reply.encoding)?,
        parts: Vec::new(),
        due: Instant::now(),
    };
    play.run(api, &asked, &reply).await
}

fn asked(body: &[u8]) -> Asked {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    Asked {
        model: body.get("model").and_then(Value::as_str).unwrap_or_default().to_owned(),
        stream: body.get("stream").and_then(Value::as_bool).unwrap_or(false),
        include_usage: body.pointer("/stream_options/include_usage").and_then(Value::as_bool).unwrap_or(false),
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

impl Play<'_> {
    async fn run(mut self, api: Api, asked: &Asked, reply: &Reply) -> Result<Option<Over>> {
        if let Some(over) = self.wait(reply.head_delay_us).await? {
            return Ok(Some(over));
        }
        if reply.status >= 400 {
            let body = dialect::error_body(api, reply.status);
            return self.whole(reply, &body, 0).await;
        }
        if !asked.stream {
            return self.after_all_steps(api, asked, reply).await;
        }
        self.head(reply).await?;
        let mut renderer = Renderer::new(api, asked, reply);
        for (index, step) in (0..).zip(&reply.steps) {
            for _ in 0..step.repeat {
                if let Some(over) = self.step(index, step, &mut renderer).await? {
                    return Ok(Some(over));
                }
            }
        }
        self.trailer().await
    }

    /// A whole answer comes when its last word would have.
    async fn after_all_steps(mut self, api: Api, asked: &Asked, reply: &Reply) -> Result<Option<Over>> {
        let total = reply.steps.iter().map(|step| step.delay_us * u64::from(step.repeat)).sum();
        if let Some(over) = self.wait(total).await? {
            return Ok(Some(over));
        }
        let (body, visible) = dialect::whole(api, asked, reply);
        self.whole(reply, &body, visible).await
    }

    async fn whole(mut self, reply: &Reply, body: &Value, visible: u32) -> Result<Option<Over>> {
        let mut bytes = self.encoder.push(body.to_string().as_bytes())?;
        let encoding = self.encoder.name();
        let encoder = std::mem::replace(&mut self.encoder, Encoder::new(Encoding::Identity)?);
        bytes.extend(encoder.finish()?);
        let mut headers = vec![header("content-type", "application/json")];
        headers.push(header("content-length", &bytes.len().to_string()));
        headers.extend(encoding.map(|name| header("content-encoding", name)));
        headers.extend_from_slice(&reply.headers);
        self.part(0, Kind::Head, 0);
        self.wire.hold(&http::response_head(reply.status, &headers));
        self.part(0, Kind::Body, visible);
        self.wire.hold(&bytes);
        self.wire.seal()?;
        self.write().await?;
        Ok(None)
    }

    async fn head(&mut self, reply: &Reply) -> Result<()> {
        let mut headers = vec![header("content-type", "text/event-stream; charset=utf-8")];
        match reply.framing {
            Framing::Chunked => headers.push(header("transfer-encoding", "chunked")),
            Framing::Close => headers.push(header("connection", "close")),
        }
        headers.extend(self.encoder.name().map(|name| header("content-encoding", name)));
        headers.extend_from_slice(&reply.headers);
        self.part(0, Kind::Head, 0);
        self.wire.hold(&http::response_head(reply.status, &headers));
        if reply.hold_head {
            return Ok(());
        }
        self.wire.seal()?;
        self.write().await
    }

    async fn step(&mut self, index: u32, step: &Step, renderer: &mut Renderer) -> Result<Option<Over>> {
        if let Some(over) = self.wait(step.delay_us).await? {
            return Ok(Some(over));
        }
        if let Say::Fault(fault) = &step.say {
            return self.fault(*fault).await.map(Some);
        }
        for piece in renderer.say(&step.say) {
            self.send(index, &piece, step.shape).await?;
        }
        Ok(None)
    }

    /// One event onto the wire, in the shape asked for.
    async fn send(&mut self, step: u32, piece: &Piece, shape: Shape) -> Result<()> {
        let encoded = self.encoder.push(&piece.bytes)?;
        let framed = match self.framing {
            Framing::Chunked => http::chunked(&encoded, shape.chunks),
            Framing::Close => encoded,
        };
        let mut cuts: Vec<&[u8]> = http::cut(&framed, shape.records).collect();
        let last = cuts.pop().unwrap_or_default();
        for cut in cuts {
            self.wire.hold(cut);
            self.wire.seal()?;
            self.write().await?;
            tokio::time::sleep(Duration::from_micros(shape.between_us)).await;
        }
        self.wire.hold(last);
        self.parts.push(Part { step, kind: piece.kind, chars: piece.chars, full_stop: piece.full_stop });
        if shape.hold {
            return Ok(());
        }
        self.wire.seal()?;
        if shape.cork { Ok(()) } else { self.write().await }
    }

    async fn trailer(mut self) -> Result<Option<Over>> {
        let encoder = std::mem::replace(&mut self.encoder, Encoder::new(Encoding::Identity)?);
        let rest = encoder.finish()?;
        let last = match self.framing {
            Framing::Chunked if rest.is_empty() => b"0\r\n\r\n".to_vec(),
            Framing::Chunked => [http::chunked(&rest, 1), b"0\r\n\r\n".to_vec()].concat(),
            Framing::Close => rest,
        };
        self.wire.hold(&last);
        self.part(u32::MAX, Kind::Trailer, 0);
        self.wire.seal()?;
        self.write().await?;
        Ok((self.framing == Framing::Close).then_some(Over::Close))
    }

    async fn fault(&mut self, fault: Fault) -> Result<Over> {
        self.shared.log.push(Line::Fault {
            conn: self.conn,
            request: self.ordinal,
            scenario: self.scenario.clone(),
            model: self.model.clone(),
            fault: format!("{fault:?}").to_lowercase(),
            at: Stamp::now(),
        });
        Ok(match fault {
            Fault::Reset => Over::Reset,
            Fault::Close => Over::Close,
            Fault::Goodbye => {
                self.wire.goodbye()?;
                self.write().await?;
                Over::Peer(self.until_gone().await?)
            }
            Fault::Fin => Over::Fin,
            Fault::Stall => Over::Peer(self.until_gone().await?),
            Fault::TruncatedChunk => {
                self.wire.hold(b"400\r\ndata: {\"cut\": \"of");
                self.part(u32::MAX, Kind::Raw, 0);
                self.wire.seal()?;
                self.write().await?;
                Over::Close
            }
        })
    }

    async fn until_gone(&mut self) -> Result<Gone> {
        loop {
            if let Some(gone) = self.wire.read_some().await? {
                return Ok(gone);
            }
        }
    }

    /// Waits for the next step, and watches for the peer's end meanwhile.
    async fn wait(&mut self, delay_us: u64) -> Result<Option<Over>> {
        self.due += Duration::from_micros(delay_us);
        if delay_us == 0 {
            return Ok(None);
        }
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.due) => return Ok(None),
                read = self.wire.read_some() => if let Some(gone) = read? {
                    return Ok(Some(Over::Peer(gone)));
                },
            }
        }
    }

    fn part(&mut self, step: u32, kind: Kind, chars: u32) {
        self.parts.push(Part { step, kind, chars, full_stop: false });
    }

    async fn write(&mut self) -> Result<()> {
        let written = self.wire.flush().await?;
        self.shared.log.push(Line::Write(WriteLine {
            conn: self.conn,
            request: self.ordinal,
            scenario: self.scenario.clone(),
            model: self.model.clone(),
            bytes: written.bytes as u64,
            plain: written.plain as u64,
            parts: std::mem::take(&mut self.parts),
            before: written.before,
            after: written.after,
        }));
        Ok(())
    }
}

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
