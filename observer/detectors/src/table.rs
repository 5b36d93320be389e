//! The detectors: a line each.

use serde::Deserialize;

use super::config::{ConfigFault, ConfigSection};
use super::metrics;
use super::{
    Detector, chunk_regression, claims, clocks, failover, first_token, pressure, quota, reasoning, retry,
    stale_results, tool_rot, voice,
};
use ledger::metric::MetricId;
use ledger::{EventKind, EventKinds};

/// A row of the table.
pub struct DetectorRow {
    /// Name in labels, in the configuration and in `inspect findings`.
    pub name: &'static str,
    /// What the detector judges, in a sentence.
    pub about: &'static str,
    /// The kinds of events that the detector is called for.
    pub events: EventKinds,
    /// Metrics that this detector alone feeds. Gauges among them are filled anew at each scrape.
    pub metrics: &'static [MetricId],
    /// The detector, as set.
    pub make: fn(&DetectorSettings) -> Box<dyn Detector>,
}

macro_rules! detectors {
    ($($name:ident: $about:literal, [$($event:ident),*], [$($metric:ident),*];)*) => {
        /// Every detector's settings.
        #[derive(Clone, Debug, Default)]
        pub struct DetectorSettings { $(pub $name: ConfigSection<$name::Config>,)* }

        /// The `detect` section as the operator wrote it, not checked yet.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct RawDetectorSettings { $($name: $name::RawConfig,)* }

        impl DetectorSettings {
            /// Checks what was typed.
            ///
            /// # Errors
            /// A value is out of its range; the key is that below `detect`.
            pub fn new(typed: &RawDetectorSettings) -> Result<DetectorSettings, ConfigFault> {
                Ok(DetectorSettings {
                    $($name: ConfigSection::new(&typed.$name).map_err(|fault| ConfigFault {
                        key: format!("{}.{}", stringify!($name), fault.key),
                        ..fault
                    })?,)*
                })
            }
        }

        /// The table.
        pub static DETECTORS: &[DetectorRow] = &[$(DetectorRow {
            name: stringify!($name),
            about: $about,
            events: EventKinds::of(&[$(EventKind::$event),*]),
            metrics: &[$(metrics::$metric.id()),*],
            make: |settings| Box::new($name::new(settings.$name.clone())),
        },)*];
    };
}

detectors! {
    failover: "The same turn went on at another host or model after an attempt failed.",
        [Opened, Prompt, Chunk, First, Closed],
        [FAILOVER_HOPS, FAILOVER_GAP, FAILOVER_FLIPS,
         FAILOVER_DISCARDED];
    quota: "Quotas that will run dry before they are full again, and when in the day they are.",
        [Responded, Closed],
        [RATELIMIT_REMAINING, RATELIMIT_RESET, RATELIMIT_MARGIN,
         RATELIMIT_UNEXPLAINED, RATE_LIMITED, QUOTA_OFFSET,
         QUOTA_CONFIDENCE];
    retry: "Attempts in logical calls: storms, rejected bodies sent again, retry-after ignored, budgets overdrawn, agents that plan on retries.",
        [Prompt, Closed],
        [ATTEMPTS, LOGICAL_CALLS, RETRY_AMPLIFICATION, RETRY_BUDGET,
         RETRY_WASTED, BACKOFF_VIOLATIONS, TOOL_REPAIRS,
         TOOL_CALLS_PER_TASK];
    first_token: "Users wait for visible text while the first chunk comes as early as ever.",
        [First, Closed],
        [DEFINITION_GAP, SILENT_WAIT];
    pressure: "Silences near idle limits, dead pooled connections, streams killed by exits, concurrency that CPU does not show.",
        [Opened, Closed, CpuUsed],
        [DIVERGENCE_ACTIVE, STALE_POOL,
         IDLE_GAP];
    chunk_regression: "Chunks became smaller, larger, bunched or stalled at an unchanged rate of text.",
        [Chunk, Closed],
        [CHUNK_REGRESSION, CHUNK_RATIO];
    reasoning: "The share of output spent on reasoning grew, or answers are nothing but reasoning.",
        [Prompt, Closed],
        [DETECT_REASONING_TOKENS, REASONING_RATIO, REASONING_PHASE,
         REASONING_HIDDEN, REASONING_BUDGET];
    clocks: "How far peers' clocks and those of exported spans are off, with the uncertainty, and steps of this host's wall clock.",
        [Opened, Responded, Closed, Exported, Unexported],
        [CLOCK_OFFSET, CLOCK_UNCERTAINTY, CLOCK_STEPS,
         NETWORK_QUEUE, SPAN_SKEW, SPAN_SKEW_UNCERTAINTY, IMPOSSIBLE_ORDER];
    tool_rot: "Calls that are valid by a tool's description are rejected by the tool.",
        [Prompt],
        [TOOL_AGE, TOOL_CHANGES, TOOL_ERRORS,
         TOOL_REPEATS];
    stale_results: "Answers rest on results of tools that are older than they stay true; prompt caches lost.",
        [Prompt, Closed],
        [RESULT_AGE, RESULT_STALE, RESULT_VOLATILITY,
         CACHE_CLIFF];
    claims: "Answers claim a verification of which no evidence was observed.",
        [Prompt, Text, Acted, Closed, Exported],
        [CLAIMS, CLAIMS_AFTER_ERROR];
    voice: "The first audio comes late, and which stage it waits for.",
        [Opened, First, Closed, SentOn],
        [VOICE_STAGE, VOICE_TTFA];
}
