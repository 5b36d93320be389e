//! Spans that a process exports which also calls models: such a request is read to its end, and its
//! connection goes on coming up for the next one. Exports of other processes are passed over by
//! their head alone, and never make a connection a stranger's: the process may call a model yet.

use super::context::SessionContext;
use crate::HostEvent;
use capture::limits;
use capture::proto::{ExchangeId, Message, RequestHead};
use capture::units::Ns;
use dialects::spans::ExportReader;

/// Exports that are under way on one connection.
#[derive(Default)]
pub(super) struct SpanExports {
    open: Vec<PendingExport>,
}

/// One export, until it has been answered.
struct PendingExport {
    exchange: ExchangeId,
    /// Until the request is complete.
    reader: Option<Box<ExportReader>>,
}

impl SpanExports {
    /// Takes on a request that exports spans. False: its process calls no models, or too many are under way.
    pub(super) fn take(&mut self, exchange: ExchangeId, head: &RequestHead, env: &SessionContext<'_>) -> bool {
        let wanted = env.call_table.calls_models(env.key.tgid) && self.open.len() < limits::PENDING_REQUESTS;
        let reader = if wanted { ExportReader::new(head, &env.settings.salt) } else { None };
        let taken = reader.is_some();
        self.open.extend(reader.map(|reader| PendingExport { exchange, reader: Some(Box::new(reader)) }));
        taken
    }

    /// A message arrived. False: it is of no export that is under way.
    pub(super) fn on_message(
        &mut self,
        exchange: ExchangeId,
        at: Ns,
        message: &Message<'_>,
        env: &mut SessionContext<'_>,
    ) -> bool {
        let Some(export) = self.open.iter_mut().find(|export| export.exchange == exchange) else { return false };
        match message {
            Message::RequestBody(bytes) => {
                let (identity, salt, peer) = (env.identity, &env.settings.salt, env.remote);
                let mut out =
                    |span: &_| env.events.on_host_event(&HostEvent::Exported { identity, span, salt, peer, at });
                if let Some(reader) = &mut export.reader {
                    reader.push(bytes, &mut out);
                }
            }
            Message::RequestEnd { lost } => {
                if let Some(why) = export.reader.take().and_then(|reader| reader.end(*lost)) {
                    unread(why, at, env);
                }
            }
            Message::Note(note) => env.events.on_host_event(&HostEvent::ParserNote(*note)),
            _ => {}
        }
        true
    }

    /// An exchange is over. False: it was no export that is under way.
    pub(super) fn end(&mut self, exchange: ExchangeId) -> bool {
        let before = self.open.len();
        self.open.retain(|export| export.exchange != exchange);
        self.open.len() < before
    }

    /// Every export under way is given up.
    pub(super) fn abandon(self, at: Ns, env: &mut SessionContext<'_>) {
        self.open.iter().filter(|export| export.reader.is_some()).for_each(|_| unread("export_lost", at, env));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        let readers = self.open.iter().filter_map(|export| export.reader.as_ref());
        self.open.capacity() * size_of::<PendingExport>() + readers.map(|reader| reader.held()).sum::<usize>()
    }
}

fn unread(why: &'static str, at: Ns, env: &mut SessionContext<'_>) {
    env.events.on_host_event(&HostEvent::Unexported { identity: env.identity, why, at });
}
