//! A recording through the pipeline, in virtual time.

use std::io::Read;

use super::{RecordingError, RecordingReader};
use capture::limits;
use capture::units::Ns;
use ledger::pipeline::Pipeline;
use ledger::{EventSink, MessageTap};

/// Virtual time between two ticks.
const TICK_NS: u64 = 100_000_000;

/// What a replay went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplaySummary {
    /// Records.
    pub records: u64,
    /// Frames of unknown kinds.
    pub skipped: u64,
    /// The file ended inside a frame.
    pub cut: bool,
    /// Wall clock minus CLOCK_BOOTTIME of the recorded host, nanoseconds.
    pub wall: i64,
}

/// Feeds a recording to `pipeline`. Time is that of the stamps: a recording of an hour takes as long as its bytes take.
/// It ends a second after the last one, so that what only waited for silence is decided; calls still open stay open.
///
/// # Errors
/// The recording is damaged or cannot be read; what came before was fed.
pub fn replay<R: Read, S: EventSink, T: MessageTap>(
    reader: &mut RecordingReader<R>,
    pipeline: &mut Pipeline<S, T>,
) -> Result<ReplaySummary, RecordingError> {
    let mut done = ReplaySummary { wall: reader.wall(), ..ReplaySummary::default() };
    let mut ticked = Ns(0);
    while let Some(record) = reader.next_record()? {
        pipeline.record(&record);
        done.records += 1;
        if pipeline.now() - ticked >= TICK_NS {
            ticked = pipeline.now();
            pipeline.tick(ticked);
            pipeline.verdicts().for_each(drop);
        }
    }
    pipeline.tick(Ns(pipeline.now().0.saturating_add(limits::LOCAL_GRACE_NS)));
    pipeline.verdicts().for_each(drop);
    (done.skipped, done.cut) = (reader.skipped(), reader.cut());
    Ok(done)
}
