//! Where a number of an answer goes in its totals: server times and token counts.

use super::super::{ServerTimes, TokenUsage};
use super::{ServerTime, TimeUnit, TokenCount};

impl ServerTimes {
    /// Takes over one time, in milliseconds.
    pub(crate) fn took(&mut self, which: ServerTime, unit: TimeUnit, time: Option<f64>) {
        let factor = match unit {
            TimeUnit::Seconds => 1e3,
            TimeUnit::Millis => 1.0,
            TimeUnit::Nanos => 1e-6,
        };
        let Some(ms) = time.filter(|time| time.is_finite() && *time >= 0.0).map(|time| time * factor) else { return };
        let slot = match which {
            ServerTime::Queue => &mut self.queue_ms,
            ServerTime::Prompt => &mut self.prompt_ms,
            ServerTime::Generation => &mut self.generation_ms,
            ServerTime::First => &mut self.first_ms,
            ServerTime::Total => &mut self.total_ms,
        };
        *slot = Some(ms);
    }
}

impl TokenUsage {
    pub(super) fn slot(&mut self, which: TokenCount) -> Option<&mut Option<u64>> {
        Some(match which {
            TokenCount::Input => &mut self.input,
            TokenCount::Output => &mut self.output,
            TokenCount::Cached => &mut self.cached,
            TokenCount::CacheWrite => &mut self.cache_write,
            TokenCount::Reasoning => &mut self.reasoning,
            TokenCount::AudioInput => &mut self.audio_input,
            TokenCount::AudioOutput => &mut self.audio_output,
            TokenCount::MoreInput | TokenCount::Total => return None,
        })
    }

    /// For APIs that report input without what was read from or written to a cache.
    #[must_use]
    pub(crate) fn with_cache(self) -> Self {
        let cache = self.cached.unwrap_or(0).saturating_add(self.cache_write.unwrap_or(0));
        Self { input: self.input.map(|input| input.saturating_add(cache)), ..self }
    }
}
