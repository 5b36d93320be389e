//! How the servers ask the pipeline's thread: by message, so that the thread that owns everything is never locked.

use tokio::sync::{mpsc, oneshot};

use crate::export::inspect::{AnswerRow, AnswerRows, InspectQuestion, InspectRows};
use crate::export::store::MetricsSnapshot;
use crate::export::text::SnapshotSource;

/// Questions that may wait at once; more of them wait at their sender.
const WAITING: usize = 64;

/// One question and where its answer goes.
#[derive(Debug)]
pub enum PipelineQuery {
    Scrape(oneshot::Sender<MetricsSnapshot>),
    Inspect(InspectQuestion, oneshot::Sender<AnswerRows>),
}

/// The servers' end.
#[derive(Clone, Debug)]
pub struct PipelineClient(mpsc::Sender<PipelineQuery>);

/// A way to ask, and where the questions come out.
#[must_use]
pub fn channel() -> (PipelineClient, mpsc::Receiver<PipelineQuery>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (PipelineClient(sender), receiver)
}

impl PipelineClient {
    /// Asks for rows.
    ///
    /// # Errors
    /// Whose fault it is and what to do, in one sentence.
    pub async fn inspect(&self, question: InspectQuestion) -> Result<Vec<AnswerRow>, String> {
        let (reply, answer) = oneshot::channel();
        let gone = || "the daemon is stopping: ask again when it is back".to_owned();
        self.0.send(PipelineQuery::Inspect(question, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map(InspectRows::made)
    }
}

impl SnapshotSource for PipelineClient {
    /// Waits; not for an async thread.
    fn snapshot(&self) -> Option<MetricsSnapshot> {
        let (reply, answer) = oneshot::channel();
        self.0.blocking_send(PipelineQuery::Scrape(reply)).ok()?;
        answer.blocking_recv().ok()
    }
}
