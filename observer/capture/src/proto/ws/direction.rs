//! One direction of a socket: its frames become messages.

use super::deflate::MessageInflater;
use super::frame::{BINARY, CONTINUATION, TEXT, WsFrameHead, WsFramer, unmask};
use super::note;
use crate::limits::{SSE_EVENT, SSE_EVENT_HEAD, SSE_IDLE};
use crate::proto::{BodyEvent, BodyEventKind, ExchangeId, Message, MessageSink};
use crate::units::{Direction, Moment};

/// One direction of a socket.
pub(super) struct WsDirection {
    pub(super) framer: WsFramer,
    /// `None`: no compression was agreed on.
    pub(super) inflater: Option<MessageInflater>,
    pub(super) message: PartialMessage,
    /// Payload of the control frame in progress.
    pub(super) control: Vec<u8>,
    /// When the message in progress began.
    pub(super) began: Moment,
    /// An extension is in use that we do not know: what messages hold is not read.
    opaque: bool,
}

/// The message in progress.
#[derive(Debug, Default)]
pub(super) struct PartialMessage {
    /// The kind of the message; `None`: there is none.
    opcode: Option<u8>,
    compressed: bool,
    /// The bytes kept of the message.
    bytes: Vec<u8>,
    /// Bytes on the wire, frame heads included.
    wire: usize,
    /// The message is too large: `bytes` is its head.
    truncated: bool,
    /// The message was handed out already, without a copy.
    pub(super) delivered: bool,
    /// Why the message will not be handed out.
    spoilt: Option<&'static str>,
}

impl WsDirection {
    /// A direction in which nothing was sent yet. `opaque`: with an extension that we do not know.
    pub(super) fn new(inflater: Option<MessageInflater>, opaque: bool) -> WsDirection {
        WsDirection {
            framer: WsFramer::default(),
            inflater,
            message: PartialMessage::default(),
            control: Vec::new(),
            began: Moment::default(),
            opaque,
        }
    }

    /// A frame begins.
    pub(super) fn begin(&mut self, frame: WsFrameHead, at: Moment) -> Result<(), ()> {
        if frame.is_control() {
            self.control.clear();
            return Ok(());
        }
        match (frame.opcode, self.message.opcode) {
            (CONTINUATION, Some(_)) => {}
            // The beginning of the message was lost.
            (CONTINUATION, None) if self.framer.hurt() => self.message.spoilt = Some("lost_bytes"),
            (CONTINUATION, None) => return Err(()),
            // The end of the message before was lost.
            (_, Some(_)) if !self.framer.hurt() => return Err(()),
            (opcode, _) => {
                if frame.compressed && self.inflater.is_none() && !self.opaque {
                    return Err(());
                }
                let bytes = std::mem::take(&mut self.message.bytes);
                self.message = PartialMessage {
                    opcode: Some(opcode),
                    compressed: frame.compressed,
                    bytes,
                    ..PartialMessage::default()
                };
                self.message.bytes.clear();
                self.began = at;
            }
        }
        self.message.wire = self.message.wire.saturating_add(frame.head);
        Ok(())
    }

    /// A message of one frame that lies in one piece: nothing need be copied.
    pub(super) fn lies_whole(&self, frame: WsFrameHead, offset: u64, bytes: &[u8]) -> bool {
        let plain = frame.mask.is_none() && !frame.compressed && !self.opaque && self.message.spoilt.is_none();
        plain
            && frame.fin
            && frame.opcode != CONTINUATION
            && offset == 0
            && bytes.len() as u64 == frame.length
            && bytes.len() <= SSE_EVENT
    }

    /// A piece of a data frame.
    pub(super) fn payload(&mut self, frame: WsFrameHead, offset: u64, bytes: &[u8]) {
        let message = &mut self.message;
        message.wire = message.wire.saturating_add(bytes.len());
        if message.spoilt.is_some() || self.opaque {
            return;
        }
        let from = message.bytes.len();
        match (&mut self.inflater, message.compressed) {
            (Some(inflater), true) => {
                let mut plain = bytes.to_vec();
                if let Some(mask) = frame.mask {
                    unmask(&mut plain, mask, offset);
                }
                if let Err(reason) = inflater.push(&plain, &mut |bytes| message.keep(bytes)) {
                    self.spoil(reason);
                }
            }
            _ => {
                message.keep(bytes);
                if let (Some(mask), Some(new)) = (frame.mask, message.bytes.get_mut(from..)) {
                    unmask(new, mask, offset);
                }
            }
        }
    }

    /// The message in progress will not be had.
    pub(super) fn spoil(&mut self, reason: &'static str) {
        self.message.spoilt = self.message.spoilt.or(Some(reason));
        self.message.bytes = Vec::new();
        if let Some(inflater) = self.inflater.as_mut().filter(|_| self.message.compressed) {
            inflater.gap();
        }
    }

    /// The message in progress is complete.
    pub(super) fn end(&mut self, id: ExchangeId, direction: Direction, at: Moment, sink: &mut dyn MessageSink) {
        if let Some(inflater) = self.inflater.as_mut().filter(|_| self.message.compressed) {
            if self.message.spoilt.is_some() {
                inflater.over();
            } else {
                let message = &mut self.message;
                if let Err(reason) = inflater.end(&mut |bytes| message.keep(bytes)) {
                    self.message.spoilt = Some(reason);
                }
            }
        }
        let PartialMessage { opcode, bytes, wire, truncated, delivered, spoilt, .. } =
            std::mem::take(&mut self.message);
        match spoilt {
            _ if delivered => {}
            Some(reason) => sink.message(id, at, note(reason)),
            None => {
                if truncated {
                    sink.message(id, at, note("event_too_large"));
                }
                let kind = if self.opaque { BodyEventKind::Opaque } else { kind(opcode.unwrap_or(BINARY)) };
                let data = if self.opaque { &[][..] } else { bytes.as_slice() };
                emit(
                    id,
                    direction,
                    BodyEvent { kind, data, wire_bytes: wire, truncated, name: None },
                    self.began,
                    at,
                    sink,
                );
            }
        }
        self.message.bytes = bytes;
        self.message.bytes.clear();
        self.message.bytes.shrink_to(SSE_IDLE);
    }

    pub(super) fn held(&self) -> usize {
        let inflater = self.inflater.as_ref().map_or(0, MessageInflater::held);
        self.message.bytes.capacity() + self.control.capacity() + inflater
    }
}

impl PartialMessage {
    /// Keeps as many bytes as there is room for.
    fn keep(&mut self, bytes: &[u8]) {
        if self.truncated {
            return;
        }
        if self.bytes.len() + bytes.len() <= SSE_EVENT {
            return self.bytes.extend_from_slice(bytes);
        }
        self.truncated = true;
        let room = SSE_EVENT_HEAD.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.bytes.truncate(SSE_EVENT_HEAD);
        self.bytes.shrink_to(SSE_IDLE);
    }
}

pub(super) fn kind(opcode: u8) -> BodyEventKind {
    if opcode == TEXT { BodyEventKind::Text } else { BodyEventKind::Binary }
}

/// Emits one whole message.
pub(super) fn emit(
    id: ExchangeId,
    direction: Direction,
    message: BodyEvent<'_>,
    began: Moment,
    at: Moment,
    sink: &mut dyn MessageSink,
) {
    match direction {
        Direction::Read => sink.message(id, at, Message::Event(message)),
        Direction::Write => sink.message(id, at, Message::Sent { message, began }),
    }
}
