//! How the servers ask the pipeline's thread: by message, so that the thread that owns everything is never locked.

use tokio::sync::{mpsc, oneshot};

use crate::export::inspect::{Answer, Question};
use crate::export::store::Snapshot;
use crate::export::text::Source;

/// Questions that may wait at once; more of them wait at their sender.
const WAITING: usize = 64;

/// One question and where its answer goes.
#[derive(Debug)]
pub enum Ask {
    Scrape(oneshot::Sender<Snapshot>),
    Inspect(Question, oneshot::Sender<Answer>),
}

/// The servers' end.
#[derive(Clone, Debug)]
pub struct Asker(mpsc::Sender<Ask>);

/// A way to ask, and where the questions come out.
#[must_use]
pub fn channel() -> (Asker, mpsc::Receiver<Ask>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Asker(sender), receiver)
}

impl Asker {
    /// Asks for rows.
    pub async fn inspect(&self, question: Question) -> Answer {
        let (reply, answer) = oneshot::channel();
        let gone = || "the daemon is stopping: ask again when it is back".to_owned();
        self.0.send(Ask::Inspect(question, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Source for Asker {
    /// Waits; not for an async thread.
    fn snapshot(&self) -> Option<Snapshot> {
        let (reply, answer) = oneshot::channel();
        self.0.blocking_send(Ask::Scrape(reply)).ok()?;
        answer.blocking_recv().ok()
    }
}
