//! WebSockets that no dialect claims, of a process that has speech made: what it sends there may be
//! that speech, on its way to who listens. Of a message its time and size are emitted, nothing else.

use super::context::SessionContext;
use crate::HostEvent;
use capture::limits;
use capture::proto::{ExchangeId, Message, RequestHead, ws};

/// Such sockets of one connection: one, unless a peer plays tricks.
#[derive(Default)]
pub(super) struct MediaSockets {
    open: Vec<ExchangeId>,
}

impl MediaSockets {
    /// Takes on the upgrade to such a socket. False: it is none, or its process has had no speech made yet.
    pub(super) fn take(&mut self, exchange: ExchangeId, head: &RequestHead, env: &SessionContext<'_>) -> bool {
        let room = self.open.len() < limits::PENDING_REQUESTS;
        let taken = room && ws::is_requested(head) && env.call_table.has_speech_made(env.key.tgid);
        if taken {
            self.open.push(exchange);
        }
        taken
    }

    /// A message arrived. False: it is of no such socket.
    pub(super) fn on_message(
        &mut self,
        exchange: ExchangeId,
        message: &Message<'_>,
        env: &mut SessionContext<'_>,
    ) -> bool {
        if !self.open.contains(&exchange) {
            return false;
        }
        match message {
            Message::Sent { message, began } => {
                let (identity, bytes) = (env.identity, message.wire_bytes);
                env.events.on_host_event(&HostEvent::SentOn { identity, bytes, at: began.at });
            }
            // Refused: it is a request like any other.
            Message::Response(head) if head.status >= 300 => _ = self.end(exchange),
            Message::Note(note) => env.events.on_host_event(&HostEvent::ParserNote(*note)),
            _ => {}
        }
        true
    }

    /// An exchange is over. False: it was no such socket.
    pub(super) fn end(&mut self, exchange: ExchangeId) -> bool {
        let before = self.open.len();
        self.open.retain(|open| *open != exchange);
        self.open.len() < before
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
