//! An answer over HTTP/1.1: every write is the script's.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::headers::{Headers, header};
use crate::http;
use crate::log::Part;
use crate::play::{Carrier, Over, Teller, part};
use crate::script::{Fault, Framing, Kind, Shape};
use crate::wire::{Gone, Wire};

/// One answer on a connection.
pub(crate) struct H1<'a> {
    wire: &'a mut Wire,
    teller: &'a Teller,
    framing: Framing,
    /// Pieces whose bytes are not written yet.
    parts: Vec<Part>,
}

impl<'a> H1<'a> {
    pub(crate) fn new(wire: &'a mut Wire, teller: &'a Teller) -> Self {
        Self { wire, teller, framing: Framing::Chunked, parts: Vec::new() }
    }

    async fn write(&mut self) -> Result<()> {
        let written = self.wire.flush().await?;
        self.teller.wrote(&written, std::mem::take(&mut self.parts));
        Ok(())
    }

    async fn until_gone(&mut self) -> Result<Gone> {
        loop {
            if let Some(gone) = self.wire.read_some().await? {
                return Ok(gone);
            }
        }
    }
}

impl Carrier for H1<'_> {
    async fn head(&mut self, status: u16, fields: &Headers, framing: Framing, hold: bool) -> Result<()> {
        self.framing = framing;
        let mut fields = fields.clone();
        fields.push(match framing {
            Framing::Chunked => header("transfer-encoding", "chunked"),
            Framing::Close => header("connection", "close"),
        });
        self.parts.push(part(0, Kind::Head, 0));
        self.wire.hold(&http::response_head(status, &fields));
        if hold {
            return Ok(());
        }
        self.wire.seal()?;
        self.write().await
    }

    async fn whole(&mut self, status: u16, fields: &Headers, body: Vec<u8>, parts: [Part; 2]) -> Result<()> {
        self.parts.extend(parts);
        self.wire.hold(&http::response_head(status, fields));
        self.wire.hold(&body);
        self.wire.seal()?;
        self.write().await
    }

    async fn body(&mut self, bytes: &[u8], part: Part, shape: Shape) -> Result<()> {
        let framed = match self.framing {
            Framing::Chunked => http::chunked(bytes, shape.chunks),
            Framing::Close => bytes.to_vec(),
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
        self.parts.push(part);
        if shape.hold {
            return Ok(());
        }
        self.wire.seal()?;
        if shape.cork { Ok(()) } else { self.write().await }
    }

    async fn finish(&mut self, rest: &[u8]) -> Result<Option<Over>> {
        let last = match self.framing {
            Framing::Chunked if rest.is_empty() => b"0\r\n\r\n".to_vec(),
            Framing::Chunked => [http::chunked(rest, 1), b"0\r\n\r\n".to_vec()].concat(),
            Framing::Close => rest.to_vec(),
        };
        self.wire.hold(&last);
        self.parts.push(part(u32::MAX, Kind::Trailer, 0));
        self.wire.seal()?;
        self.write().await?;
        Ok((self.framing == Framing::Close).then_some(Over::Close))
    }

    async fn fault(&mut self, fault: Fault) -> Result<Over> {
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
                self.parts.push(part(u32::MAX, Kind::Raw, 0));
                self.wire.seal()?;
                self.write().await?;
                Over::Close
            }
        })
    }

    async fn wait(&mut self, until: Instant) -> Result<Option<Over>> {
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(until) => return Ok(None),
                read = self.wire.read_some() => if let Some(gone) = read? {
                    return Ok(Some(Over::Peer(gone)));
                },
            }
        }
    }
}
