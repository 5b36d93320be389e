//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692): every frame is the script's, so it is written by hand.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::deflate::Deflate;
use crate::Shared;
use crate::clock::Stamp;
use crate::dialect::{Api, Asked, listen};
use crate::form::base64;
use crate::headers::{Headers, header};
use crate::http::{self, Head, cut};
use crate::log::{Part, Protocol};
use crate::play::{Carrier, Over, Received, Teller, choose, part, play};
use crate::script::{Fault, Framing, Kind, Shape};
use crate::wire::{Gone, Wire};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The API that a target serves by WebSocket.
#[must_use]
pub(crate) fn api(head: &Head) -> Option<Api> {
    head.websocket.as_ref()?;
    let (path, query) = head.path.split_once('?').unwrap_or((&head.path, ""));
    let realtime = if query.contains("intent=transcription") { Api::Transcription } else { Api::Realtime };
    [("/realtime", realtime), ("/responses", Api::Responses), ("/v1/listen", Api::Listen)]
        .into_iter()
        .find_map(|(end, api)| path.ends_with(end).then_some(api))
}

/// Serves a connection from its upgrade to its end.
///
/// # Errors
/// If the client breaks the protocol or is gone.
pub(crate) async fn serve(shared: &Arc<Shared>, wire: &mut Wire, conn: u64, head: &Head, api: Api) -> Result<Over> {
    let mut socket = Socket::upgrade(wire, head).await?;
    if let Some(class) = match api {
        Api::Realtime => Some("realtime"),
        Api::Transcription => Some("transcription"),
        _ => None,
    } {
        let session = json!({"object": "realtime.session", "id": "sess_scripted", "type": class});
        socket.tell(&json!({"type": "session.created", "event_id": "event_0", "session": session})).await?;
    }
    let mut turn = 0;
    loop {
        let message = match socket.message().await? {
            Incoming::Message(message) => message,
            Incoming::Gone(gone) => return Ok(Over::Peer(gone)),
        };
        let asked = match api {
            Api::Listen => message.loud.then(|| Asked::sound(&head.path)),
            _ => Asked::message(api, &head.path, socket.model.as_deref(), &message.json),
        };
        let Some(asked) = asked else {
            socket.acknowledge(&message.json).await?;
            continue;
        };
        let received = Received {
            conn,
            request: turn,
            protocol: Protocol::Websocket,
            method: &head.method,
            target: &head.path,
            attempt: None,
            body_bytes: message.bytes,
            first_byte: message.first_byte,
            end: message.end,
        };
        turn += 1;
        let Some(chosen) = choose(shared, &received, Some(asked)) else {
            socket.tell(&json!({"type": "error", "error": {"message": "no such scenario"}})).await?;
            continue;
        };
        let carrier = Turn { socket: &mut socket, teller: &chosen.teller, parts: Vec::new() };
        match play(carrier, &chosen).await? {
            None => {}
            Some(Over::Cancelled) => chosen.teller.cancelled(),
            Some(over) => return Ok(over),
        }
    }
}

/// A message of the client.
struct Message {
    json: Value,
    /// It is sound, and no silence.
    loud: bool,
    bytes: usize,
    first_byte: Stamp,
    end: Stamp,
}

enum Incoming {
    Message(Message),
    Gone(Gone),
}

struct Socket<'a> {
    wire: &'a mut Wire,
    deflate: Option<Deflate>,
    /// Text of a message whose last frame has not come, and whether it is compressed.
    fragments: Option<(Vec<u8>, bool)>,
    message_since: Stamp,
    /// What a session of transcription was set to.
    model: Option<String>,
}

impl<'a> Socket<'a> {
    async fn upgrade(wire: &'a mut Wire, head: &Head) -> Result<Self> {
        let key = head.websocket.as_deref().unwrap_or_default();
        let magic = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, magic.as_bytes());
        let mut fields = vec![
            header("upgrade", "websocket"),
            header("connection", "Upgrade"),
            header("sec-websocket-accept", &base64(digest.as_ref())),
        ];
        let (deflate, taken) = Deflate::negotiate(&head.extensions).unzip();
        fields.extend(taken.map(|taken: String| header("sec-websocket-extensions", &taken)));
        wire.hold(&http::response_head(101, &fields));
        wire.seal()?;
        wire.flush().await?;
        Ok(Self { wire, deflate, fragments: None, message_since: Stamp::default(), model: None })
    }

    /// The next message; pings are answered meanwhile.
    async fn message(&mut self) -> Result<Incoming> {
        loop {
            if let Some(message) = self.frame().await? {
                return Ok(message);
            }
            if let Some(gone) = self.wire.read_some().await? {
                return Ok(Incoming::Gone(gone));
            }
        }
    }

    /// Takes whole frames from what was read; `None`: none of them ends a message.
    async fn frame(&mut self) -> Result<Option<Incoming>> {
        while let Some((first, payload)) = self.take_frame()? {
            let (fin, compressed, opcode) = (first & 0x80 != 0, first & 0x40 != 0, first & 0xf);
            match opcode {
                CLOSE => {
                    // The close is answered, and the client then ends the connection.
                    self.send(CLOSE, &payload).await?;
                    return Ok(Some(Incoming::Gone(Gone::Fin)));
                }
                PING => self.send(PONG, &payload).await?,
                PONG => {}
                _ => {
                    let (mut text, squeezed) = self.fragments.take().unwrap_or((Vec::new(), compressed));
                    text.extend(payload);
                    if !fin {
                        self.fragments = Some((text, squeezed));
                        continue;
                    }
                    let text = if squeezed {
                        self.deflate.as_mut().context("compressed without leave")?.inflate(&text)?
                    } else {
                        text
                    };
                    let json: Value = serde_json::from_slice(&text).unwrap_or_default();
                    let loud = json.is_null() && text.iter().any(|sample| *sample != 0);
                    let (first_byte, end) = (self.message_since, self.wire.last_read);
                    return Ok(Some(Incoming::Message(Message { json, loud, bytes: text.len(), first_byte, end })));
                }
            }
        }
        Ok(None)
    }

    /// The first two bits and the opcode of a whole frame, and its payload.
    fn take_frame(&mut self) -> Result<Option<(u8, Vec<u8>)>> {
        let input = &self.wire.input;
        let (Some(&first), Some(&second)) = (input.first(), input.get(1)) else { return Ok(None) };
        if second & 0x80 == 0 {
            bail!("a client's frame must be masked");
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        let (long, short) = match second & 0x7f {
            126 => (2, 0),
            127 => (8, 0),
            short => (0, usize::from(short)),
        };
        let Some(length) = input.get(2..2 + long) else { return Ok(None) };
        let length = if long == 0 { short } else { number(length) };
        let body = 2 + long + 4;
        let (Some(mask), Some(payload)) = (input.get(body - 4..body), input.get(body..body + length)) else {
            return Ok(None);
        };
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        if self.fragments.is_none() {
            self.message_since = self.wire.input_since;
        }
        self.wire.input.drain(..body + length);
        self.wire.input_since = self.wire.last_read;
        Ok(Some((first, payload)))
    }

    /// A message's frames: `count` of them.
    fn frames(&mut self, text: &[u8], count: u32) -> Result<Vec<u8>> {
        let squeezed = self.deflate.as_mut().map(|deflate| deflate.squeeze(text)).transpose()?;
        let (bytes, compressed) = (squeezed.as_deref().unwrap_or(text), squeezed.is_some());
        let mut out = Vec::new();
        let pieces: Vec<&[u8]> = cut(bytes, count).collect();
        let last = pieces.len().saturating_sub(1);
        for (at, piece) in pieces.into_iter().enumerate() {
            let opcode = if at == 0 { TEXT } else { 0 };
            let first = opcode | if at == last { 0x80 } else { 0 } | if compressed && at == 0 { 0x40 } else { 0 };
            push_frame(&mut out, first, piece);
        }
        Ok(out)
    }

    /// A control frame, at once.
    async fn send(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        let mut out = Vec::new();
        push_frame(&mut out, 0x80 | opcode, payload);
        self.wire.hold(&out);
        self.wire.seal()?;
        self.wire.flush().await?;
        Ok(())
    }

    /// A message that belongs to no turn.
    async fn tell(&mut self, message: &Value) -> Result<()> {
        let frames = self.frames(message.to_string().as_bytes(), 1)?;
        self.wire.hold(&frames);
        self.wire.seal()?;
        self.wire.flush().await?;
        Ok(())
    }

    /// Answers what a client says between turns.
    async fn acknowledge(&mut self, message: &Value) -> Result<()> {
        match kind(message) {
            "session.update" => {
                let model = message.pointer("/session/audio/input/transcription/model").and_then(Value::as_str);
                self.model = model.map(str::to_owned).or(self.model.take());
                self.tell(&json!({"type": "session.updated", "event_id": "event_1", "session": message["session"]}))
                    .await
            }
            "conversation.item.create" => {
                let item = &message["item"];
                self.tell(&json!({"type": "conversation.item.added", "event_id": "event_2", "item": item})).await?;
                self.tell(&json!({"type": "conversation.item.done", "event_id": "event_3", "item": item})).await
            }
            "CloseStream" => {
                self.tell(&listen::summary()).await?;
                self.send(CLOSE, &1000_u16.to_be_bytes()).await
            }
            _ => Ok(()),
        }
    }
}

fn kind(message: &Value) -> &str {
    message.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn push_frame(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    out.push(first);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..126), _) => out.push(length),
        (_, Ok(length)) => {
            out.push(126);
            out.extend(length.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// One answer on a socket.
struct Turn<'a, 'b> {
    socket: &'a mut Socket<'b>,
    teller: &'a Teller,
    /// Pieces whose bytes are not written yet.
    parts: Vec<Part>,
}

impl Turn<'_, '_> {
    async fn write(&mut self) -> Result<()> {
        let written = self.socket.wire.flush().await?;
        self.teller.wrote(&written, std::mem::take(&mut self.parts));
        Ok(())
    }

    async fn close(&mut self, code: u16) -> Result<Over> {
        self.socket.send(CLOSE, &code.to_be_bytes()).await?;
        self.until_gone().await.map(Over::Peer)
    }

    async fn until_gone(&mut self) -> Result<Gone> {
        loop {
            if let Incoming::Gone(gone) = self.socket.message().await? {
                return Ok(gone);
            }
        }
    }
}

impl Carrier for Turn<'_, '_> {
    /// A turn has no head of its own.
    async fn head(&mut self, _status: u16, _fields: &Headers, _framing: Framing, _hold: bool) -> Result<()> {
        Ok(())
    }

    /// An error instead of an answer: an event.
    async fn whole(&mut self, _status: u16, _fields: &Headers, body: Vec<u8>, _parts: [Part; 2]) -> Result<()> {
        let mut error: Value = serde_json::from_slice(&body)?;
        if let Some(error) = error.as_object_mut() {
            error.insert("type".to_owned(), "error".into());
        }
        self.body(error.to_string().as_bytes(), part(0, Kind::Error, 0), Shape::default()).await
    }

    async fn body(&mut self, bytes: &[u8], part: Part, shape: Shape) -> Result<()> {
        let frames = self.socket.frames(bytes, shape.chunks)?;
        let mut cuts: Vec<&[u8]> = cut(&frames, shape.records).collect();
        let last = cuts.pop().unwrap_or_default();
        for cut in cuts {
            self.socket.wire.hold(cut);
            self.socket.wire.seal()?;
            self.write().await?;
            tokio::time::sleep(Duration::from_micros(shape.between_us)).await;
        }
        self.socket.wire.hold(last);
        self.parts.push(part);
        if shape.hold {
            return Ok(());
        }
        self.socket.wire.seal()?;
        if shape.cork { Ok(()) } else { self.write().await }
    }

    async fn finish(&mut self, _rest: &[u8]) -> Result<Option<Over>> {
        // What was held and had nothing after it.
        self.socket.wire.seal()?;
        if self.socket.wire.corked() {
            self.write().await?;
        }
        Ok(None)
    }

    async fn fault(&mut self, fault: Fault) -> Result<Over> {
        Ok(match fault {
            Fault::Reset => Over::Reset,
            // 1011: the server met a condition that it did not expect.
            Fault::Close | Fault::TruncatedChunk => self.close(1011).await?,
            Fault::Goodbye => {
                self.socket.wire.goodbye()?;
                self.write().await?;
                Over::Peer(self.until_gone().await?)
            }
            Fault::Fin => Over::Fin,
            Fault::Stall => Over::Peer(self.until_gone().await?),
        })
    }

    async fn wait(&mut self, until: Instant) -> Result<Option<Over>> {
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(until) => return Ok(None),
                message = self.socket.message() => match message? {
                    Incoming::Gone(gone) => return Ok(Some(Over::Peer(gone))),
                    Incoming::Message(message) if kind(&message.json) == "response.cancel" => {
                        return Ok(Some(Over::Cancelled));
                    }
                    Incoming::Message(message) => self.socket.acknowledge(&message.json).await?,
                },
            }
        }
    }
}
