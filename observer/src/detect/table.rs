//! The detectors: a line each.

use serde::Deserialize;

use super::config::{Fault, Section};
use super::{
    Detector, chunks, claims, clocks, failover, first_token, pressure, quota, reasoning, retry, stale, tool_rot, voice,
};

/// A row of the table.
pub struct Row {
    /// Name in labels, in the configuration and in `inspect findings`.
    pub name: &'static str,
    /// What it judges, in a sentence.
    pub about: &'static str,
    /// Metrics that it alone feeds. Gauges among them are filled anew at each scrape.
    pub metrics: &'static [&'static str],
    /// The detector, as set.
    pub make: fn(&Settings) -> Box<dyn Detector>,
}

macro_rules! detectors {
    ($($name:ident: $module:ident, $about:literal, [$($metric:literal),*];)*) => {
        /// Every detector's settings.
        #[derive(Clone, Debug, Default)]
        pub struct Settings { $(pub $name: Section<$module::Config>,)* }

        /// The `detect` section as typed.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Typed { $($name: $module::Typed,)* }

        impl Settings {
            /// Checks what was typed.
            ///
            /// # Errors
            /// A value is out of its range; the key is that below `detect`.
            pub fn new(typed: &Typed) -> Result<Settings, Fault> {
                Ok(Settings {
                    $($name: Section::new(&typed.$name).map_err(|fault| Fault {
                        key: format!("{}.{}", stringify!($name), fault.key),
                        ..fault
                    })?,)*
                })
            }
        }

        /// The table.
        pub static DETECTORS: &[Row] = &[$(Row {
            name: stringify!($name),
            about: $about,
            metrics: &[$($metric),*],
            make: |settings| Box::new($module::new(settings.$name.clone())),
        },)*];
    };
}

detectors! {
    failover: failover, "The same turn went on at another host or model after an attempt failed.",
        ["llm_failover_hops_total", "llm_failover_gap_seconds", "llm_failover_refusal_flips_total",
         "llm_failover_discarded_visible_chars_total"];
    quota: quota, "Quotas that will run dry before they are full again, and when in the day they are.",
        ["llm_ratelimit_remaining_ratio", "llm_ratelimit_reset_timestamp_seconds", "llm_ratelimit_exhaust_margin_seconds",
         "llm_ratelimit_unexplained_ratio", "llm_rate_limited_total", "llm_quota_reset_offset_seconds",
         "llm_quota_reset_offset_confidence"];
    retry: retry, "Attempts in logical calls: storms, rejected bodies sent again, retry-after ignored, budgets overdrawn, agents that plan on retries.",
        ["llm_attempts_total", "llm_logical_calls_total", "llm_retry_amplification", "llm_retry_budget_used_ratio",
         "llm_retry_wasted_tokens_total", "llm_retry_backoff_violations_total", "llm_tool_arg_repairs_total",
         "llm_tool_calls_per_task"];
    first_token: first_token, "Users wait for visible text while the first chunk comes as early as ever.",
        ["llm_first_token_definition_gap_ratio", "llm_silent_wait_seconds"];
    pressure: pressure, "Silences near idle limits, dead pooled connections, streams killed by exits, concurrency that CPU does not show.",
        ["llm_autoscale_divergence_active", "llm_stale_pool_requests_total",
         "llm_stream_idle_gap_seconds"];
    chunk_regression: chunks, "Chunks became smaller, larger, bunched or stalled at an unchanged rate of text.",
        ["llm_chunk_regression_active", "llm_chunk_size_ratio"];
    reasoning: reasoning, "The share of output spent on reasoning grew, or answers are nothing but reasoning.",
        ["llm_reasoning_tokens_total", "llm_reasoning_output_ratio", "llm_reasoning_phase_seconds",
         "llm_reasoning_hidden_streams_total", "llm_reasoning_budget_used_ratio"];
    clocks: clocks, "How far peers' clocks and those of exported spans are off, with the uncertainty, and steps of this host's wall clock.",
        ["llm_clock_offset_seconds", "llm_clock_offset_uncertainty_seconds", "llm_host_clock_steps_total",
         "llm_network_queue_seconds", "llm_span_skew_seconds", "llm_span_skew_uncertainty_seconds", "llm_impossible_order_total"];
    tool_rot: tool_rot, "Calls that are valid by a tool's description are rejected by the tool.",
        ["llm_tool_definition_age_seconds", "llm_tool_definition_changes_total", "llm_tool_errors_total",
         "llm_tool_repeat_bad_call_total"];
    stale_results: stale, "Answers rest on results of tools that are older than they stay true; prompt caches lost.",
        ["llm_tool_result_age_seconds", "llm_tool_result_stale_reuse_total", "llm_tool_result_volatility_seconds",
         "llm_prompt_cache_cliff_total"];
    claims: claims, "Answers claim a verification of which no evidence was observed.",
        ["llm_verification_claims_total", "llm_verification_claim_after_error_total"];
    voice: voice, "The first audio comes late, and which stage it waits for.",
        ["llm_voice_stage_seconds", "llm_voice_ttfa_host_seconds"];
}
