//! One reply, played step by step over whatever carries it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::Shared;
use crate::clock::Stamp;
use crate::dialect::{self, Asked, Renderer};
use crate::encode::Encoder;
use crate::form::Piece;
use crate::headers::{self, Headers, Left, header};
use crate::log::{Line, Part, Protocol, Request, WriteLine};
use crate::script::{Encoding, Fault, Framing, Kind, Reply, Say, Shape, Step};
use crate::wire::{Gone, Written};

/// Why an answer, or its connection, is over.
pub(crate) enum Over {
    Peer(Gone),
    /// The client wants no more of this answer, and keeps the connection.
    Cancelled,
    /// The provider ends it in order.
    Close,
    /// ... without a word.
    Fin,
    Reset,
}

/// What every log line of one exchange has.
#[derive(Clone)]
pub(crate) struct Teller {
    pub shared: Arc<Shared>,
    pub conn: u64,
    pub request: u64,
    pub scenario: String,
    pub model: String,
}

impl Teller {
    /// Logs a write.
    pub(crate) fn wrote(&self, written: &Written, parts: Vec<Part>) {
        self.shared.log.push(Line::Write(WriteLine {
            conn: self.conn,
            request: self.request,
            scenario: self.scenario.clone(),
            model: self.model.clone(),
            bytes: written.bytes as u64,
            plain: written.plain as u64,
            parts,
            before: written.before,
            after: written.after,
        }));
    }

    /// Logs that the client gave up.
    pub(crate) fn cancelled(&self) {
        self.shared.log.push(Line::Cancel { conn: self.conn, request: self.request, at: Stamp::now() });
    }

    fn fault(&self, fault: Fault) {
        self.shared.log.push(Line::Fault {
            conn: self.conn,
            request: self.request,
            scenario: self.scenario.clone(),
            model: self.model.clone(),
            fault: format!("{fault:?}").to_lowercase(),
            at: Stamp::now(),
        });
    }
}

/// What brings an answer to the client: HTTP/1.1, a stream of HTTP/2, or a turn on a WebSocket.
pub(crate) trait Carrier: Send {
    /// The head; unless `hold`, it goes out at once.
    fn head(
        &mut self,
        status: u16,
        fields: &Headers,
        framing: Framing,
        hold: bool,
    ) -> impl Future<Output = Result<()>> + Send;
    /// A head with its whole body.
    fn whole(
        &mut self,
        status: u16,
        fields: &Headers,
        body: Vec<u8>,
        parts: [Part; 2],
    ) -> impl Future<Output = Result<()>> + Send;
    /// Bytes of the body; `part` is complete with the last of them.
    fn body(&mut self, bytes: &[u8], part: Part, shape: Shape) -> impl Future<Output = Result<()>> + Send;
    /// The end of the body, with the last bytes of its encoding.
    fn finish(&mut self, rest: &[u8]) -> impl Future<Output = Result<Option<Over>>> + Send;
    /// Breaks something.
    fn fault(&mut self, fault: Fault) -> impl Future<Output = Result<Over>> + Send;
    /// Waits, and watches for the peer's end meanwhile.
    fn wait(&mut self, until: Instant) -> impl Future<Output = Result<Option<Over>>> + Send;
}

/// A request, and how it was received.
pub(crate) struct Received<'a> {
    pub conn: u64,
    pub request: u64,
    pub protocol: Protocol,
    pub method: &'a str,
    pub target: &'a str,
    pub attempt: Option<u32>,
    pub body_bytes: usize,
    pub first_byte: Stamp,
    pub end: Stamp,
}

/// What was chosen for a request.
pub(crate) struct Chosen {
    pub teller: Teller,
    pub asked: Asked,
    pub reply: Reply,
    pub left: Option<Left>,
}

/// Chooses the reply, and logs the request. `None`: not a model call, or no such scenario.
pub(crate) fn choose(shared: &Arc<Shared>, received: &Received<'_>, asked: Option<Asked>) -> Option<Chosen> {
    let chosen = asked.as_ref().and_then(|asked| shared.choose(&asked.model));
    let asked_or_none = asked.clone().unwrap_or_default();
    let tokens = chosen.as_ref().map(|(_, reply, _)| dialect::reported(&asked_or_none, reply));
    shared.log.push(Line::Request(Request {
        conn: received.conn,
        request: received.request,
        protocol: received.protocol,
        api: asked.as_ref().map(|asked| asked.api),
        method: received.method.to_owned(),
        path: received.target.to_owned(),
        scenario: chosen.as_ref().map(|(name, ..)| name.clone()),
        status: chosen.as_ref().map(|(_, reply, _)| reply.status),
        model: asked_or_none.model.clone(),
        stream: asked_or_none.stream,
        attempt: received.attempt,
        body_bytes: received.body_bytes as u64,
        tokens: tokens.unwrap_or_default(),
        first_byte: received.first_byte,
        end: received.end,
    }));
    let ((scenario, reply, left), asked) = chosen.zip(asked)?;
    let (conn, request, model) = (received.conn, received.request, asked.model.clone());
    let teller = Teller { shared: shared.clone(), conn, request, scenario, model };
    Some(Chosen { teller, asked, reply, left })
}

/// One reply being played.
pub(crate) struct Play<'a, C> {
    carrier: C,
    teller: &'a Teller,
    encoder: Encoder,
    /// When the next step is due, so that delays do not add up errors.
    due: Instant,
}

/// Plays a reply to its end or its fault.
///
/// # Errors
/// If the peer is gone.
pub(crate) async fn play<C: Carrier>(carrier: C, chosen: &Chosen) -> Result<Option<Over>> {
    let encoder = Encoder::new(chosen.reply.encoding)?;
    Play { carrier, teller: &chosen.teller, encoder, due: Instant::now() }.run(chosen).await
}

impl<C: Carrier> Play<'_, C> {
    async fn run(mut self, chosen: &Chosen) -> Result<Option<Over>> {
        let Chosen { asked, reply, left, .. } = chosen;
        if let Some(over) = self.wait(reply.head_delay_us).await? {
            return Ok(Some(over));
        }
        let mut fields = headers::usual(asked, *left, reply);
        fields.extend(self.encoder.name().map(|name| header("content-encoding", name)));
        if reply.status >= 400 {
            let (body, kind) = dialect::error_body(asked.api, reply.status);
            fields.extend(kind.map(|kind| header("x-amzn-errortype", kind)));
            return self.whole(reply, fields, body.to_string().as_bytes(), 0).await;
        }
        if !asked.stream {
            return self.after_all_steps(asked, reply, fields).await;
        }
        fields.insert(0, header("content-type", asked.form.content_type()));
        self.carrier.head(reply.status, &fields, reply.framing, reply.hold_head).await?;
        let mut renderer = Renderer::new(asked, reply);
        for (index, step) in (0..).zip(&reply.steps) {
            for _ in 0..step.repeat {
                if let Some(over) = self.step(index, step, &mut renderer).await? {
                    return Ok(Some(over));
                }
            }
        }
        let mut rest = match renderer.finish() {
            b"" => Vec::new(),
            last => self.encoder.push(last)?,
        };
        rest.extend(self.encoder()?.finish()?);
        self.carrier.finish(&rest).await
    }

    /// A whole answer comes when its last word would have.
    async fn after_all_steps(mut self, asked: &Asked, reply: &Reply, fields: Headers) -> Result<Option<Over>> {
        let total = reply.steps.iter().map(|step| step.delay_us * u64::from(step.repeat)).sum();
        if let Some(over) = self.wait(total).await? {
            return Ok(Some(over));
        }
        let (body, visible) = dialect::whole(asked, reply);
        self.whole(reply, fields, &body, visible).await
    }

    async fn whole(mut self, reply: &Reply, mut fields: Headers, body: &[u8], visible: u32) -> Result<Option<Over>> {
        let mut bytes = self.encoder.push(body)?;
        bytes.extend(self.encoder()?.finish()?);
        fields.insert(0, header("content-type", "application/json"));
        fields.push(header("content-length", &bytes.len().to_string()));
        let parts = [part(0, Kind::Head, 0), part(0, Kind::Body, visible)];
        self.carrier.whole(reply.status, &fields, bytes, parts).await?;
        Ok(None)
    }

    /// Takes the encoder out, to end it.
    fn encoder(&mut self) -> Result<Encoder> {
        Ok(std::mem::replace(&mut self.encoder, Encoder::new(Encoding::Identity)?))
    }

    async fn step(&mut self, index: u32, step: &Step, renderer: &mut Renderer) -> Result<Option<Over>> {
        if let Some(over) = self.wait(step.delay_us).await? {
            return Ok(Some(over));
        }
        if let Say::Fault(fault) = &step.say {
            self.teller.fault(*fault);
            return self.carrier.fault(*fault).await.map(Some);
        }
        for Piece { bytes, kind, chars, full_stop } in renderer.say(&step.say) {
            let encoded = self.encoder.push(&bytes)?;
            self.carrier.body(&encoded, Part { step: index, kind, chars, full_stop }, step.shape).await?;
        }
        Ok(None)
    }

    async fn wait(&mut self, delay_us: u64) -> Result<Option<Over>> {
        self.due += Duration::from_micros(delay_us);
        if delay_us == 0 { Ok(None) } else { self.carrier.wait(self.due).await }
    }
}

/// A part that is no event.
#[must_use]
pub(crate) fn part(step: u32, kind: Kind, chars: u32) -> Part {
    Part { step, kind, chars, full_stop: false }
}
