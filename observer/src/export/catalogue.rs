//! Every metric there is: the exporter, the store and `docs/metrics.md` come from this one table.
//!
//! Only what is fed is listed: a metric that nothing measures yet must not appear as 0. `gen_ai_*` names and bucket
//! bounds are those of the OpenTelemetry GenAI conventions (`open-telemetry/semantic-conventions-genai` at 066d4a7f);
//! bounds are only ever added to, so that queries written for the conventions stay right.

use std::collections::HashMap;
use std::sync::LazyLock;

use Kind::{Counter, Gauge, Histogram};

/// What kind of series; for histograms the upper bounds of the buckets (without +Inf).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram(&'static [f64]),
}

/// A label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    pub name: &'static str,
    /// Its values come from a client, a provider or the host, so they are capped. The values of a label that is
    /// not open are a handful of our own words.
    pub open: bool,
}

/// One row of the table.
#[derive(Debug)]
pub struct Metric {
    pub id: Id,
    pub name: &'static str,
    pub kind: Kind,
    /// The labels it shares with its neighbours, first.
    pub common: &'static [Label],
    /// Its own labels, after them.
    pub own: &'static [Label],
    pub help: &'static str,
}

impl Metric {
    /// All labels, in the order in which values are given to the store.
    pub fn labels(&self) -> impl Iterator<Item = Label> + '_ {
        self.common.iter().chain(self.own).copied()
    }

    /// Whether strangers can make series of it.
    #[must_use]
    pub fn capped(&self) -> bool {
        self.labels().any(|label| label.open)
    }
}

/// The row of `id`.
#[must_use]
pub fn metric(id: Id) -> &'static Metric {
    // The table is in the order of `Id` (tested), so this never falls back.
    CATALOGUE.get(id as usize).unwrap_or(&CATALOGUE_FIRST)
}

/// The metric of this name, for who knows names only.
#[must_use]
pub fn metric_named(name: &str) -> Option<Id> {
    static NAMES: LazyLock<HashMap<&str, Id>> =
        LazyLock::new(|| CATALOGUE.iter().map(|metric| (metric.name, metric.id)).collect());
    NAMES.get(name).copied()
}

const fn open(name: &'static str) -> Label {
    Label { name, open: true }
}

const fn closed(name: &'static str) -> Label {
    Label { name, open: false }
}

/// Labels of what is measured of streams.
const STREAM: &[Label] = &[
    closed("gen_ai_provider_name"),
    open("gen_ai_request_model"),
    open("server_address"),
    open("service"),
    open("k8s_namespace_name"),
    open("k8s_workload_name"),
];

/// Labels of what is about a program and not one of its providers.
const SERVICE: &[Label] = &[open("service"), open("k8s_namespace_name"), open("k8s_workload_name")];

/// Labels of the OpenTelemetry metrics: what the conventions ask for, and who made the call.
const OPERATION: &[Label] = &[
    closed("gen_ai_operation_name"),
    closed("gen_ai_provider_name"),
    open("gen_ai_request_model"),
    open("gen_ai_response_model"),
    open("server_address"),
    open("server_port"),
    open("service"),
    open("k8s_namespace_name"),
    open("k8s_workload_name"),
];

/// Labels of what is measured of connections.
const CONNECTION: &[Label] = &[
    closed("gen_ai_provider_name"),
    open("server_address"),
    open("service"),
    open("k8s_namespace_name"),
    open("k8s_workload_name"),
];

const POD: &[Label] = &[open("k8s_pod_name")];
const MODALITY: &[Label] = &[closed("gen_ai_token_modality")];
const CAUSE: &[Label] = &[closed("cause")];
const NONE: &[Label] = &[];

/// Whole streams: agents' answers last minutes, so the bounds go to an hour.
const DURATION: &[f64] =
    &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0];
/// Waiting for something to show: fine below a second, where people notice.
const FIRST: &[f64] =
    &[0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 4.0, 6.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0];
/// Between chunks: fast decoding is 5-20 ms a token, a stall is minutes.
const GAP: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
    300.0,
];
/// A reader that waits takes tens of microseconds; a busy event loop tens of milliseconds, a blocked one seconds.
const LAG: &[f64] = &[
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0,
];
/// A token is about 4 characters; gateways that buffer send kilobytes.
const CHARS: &[f64] =
    &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0];
const TOKENS: &[f64] = &[0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0, 64.0, 128.0];
const EVENTS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0, 64.0, 128.0];
const COUNT: &[f64] = &[1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];
/// One host, one rack, one region, across an ocean, and what is broken.
const RTT: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.12, 0.16, 0.25, 0.5, 1.0, 2.5];
/// SDKs make 3 attempts; an SDK in a gateway in a loop 27.
const ATTEMPTS: &[f64] = &[1.0, 2.0, 3.0, 5.0, 9.0, 15.0, 27.0];
const RATIO: &[f64] = &[0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0];
/// The conventions' bounds for durations (0.01 to 81.92), with finer ones below for fast decoding and coarser ones
/// above for agents.
const OTEL_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
    163.84, 327.68, 655.36, 1310.72,
];

macro_rules! catalogue {
    ($($id:ident = $name:literal, $kind:expr, $common:expr, $own:expr, $help:literal;)*) => {
        /// The name of a metric inside the program.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Id { $($id),* }

        /// The table.
        pub static CATALOGUE: &[Metric] = &[$(
            Metric { id: Id::$id, name: $name, kind: $kind, common: $common, own: $own, help: $help }
        ),*];
    };
}

static CATALOGUE_FIRST: Metric = Metric {
    id: Id::StreamsActive,
    name: "llm_streams_active",
    kind: Gauge,
    common: STREAM,
    own: POD,
    help: "Calls to a model that are open now.",
};

catalogue! {
    // Streams.
    StreamsActive = "llm_streams_active", Gauge, STREAM, POD,
        "Calls to a model that are open now.";
    StreamOldestAge = "llm_stream_oldest_age_seconds", Gauge, STREAM, POD,
        "Age of the oldest open call, from the first byte of its request.";
    StreamIdleMax = "llm_stream_idle_seconds_max", Gauge, STREAM, POD,
        "Longest time since the last event of any open stream that has begun to answer.";
    Streams = "llm_streams_total", Counter, STREAM, &[closed("outcome")],
        "Calls that ended, by how: complete, truncated, reset, client_cancel, error_event, http_error, idle_timeout, process_exit, lost.";
    StreamDuration = "llm_stream_duration_seconds", Histogram(DURATION), STREAM, NONE,
        "From the first byte of the request to the end of the streamed answer. Streams with lost bytes are left out.";
    TimeToFirst = "llm_time_to_first_seconds", Histogram(FIRST), STREAM, &[closed("milestone")],
        "From the first byte of the request to the first byte, event, emitted delta of any kind, reasoning, visible text, tool call, audio or whole sentence of a streamed answer.";
    InvisibleWait = "llm_invisible_wait_seconds", Histogram(FIRST), STREAM, NONE,
        "From the first delta of any kind to the first visible text: what a time to first chunk hides.";
    // Chunks. A chunk is one event that carries a non-empty visible delta.
    ChunkGap = "llm_chunk_gap_seconds", Histogram(GAP), STREAM, &[closed("clock")],
        "Time between successive chunks that different reads brought; chunks of one read arrive together and are counted by llm_events_per_read. clock=read: when the application read them (TLS only); clock=arrival: when they reached the host, where the socket layer could tell.";
    ChunkChars = "llm_chunk_visible_chars", Histogram(CHARS), STREAM, NONE,
        "Visible characters of one chunk (an event that carries a non-empty visible delta).";
    ChunkTokens = "llm_chunk_tokens_estimate", Histogram(TOKENS), STREAM, NONE,
        "Visible output tokens per chunk, one sample a stream, where the provider reported usage and the answer was text only. An estimate.";
    EventsPerRead = "llm_events_per_read", Histogram(EVENTS), STREAM, NONE,
        "Events that one read by the application brought.";
    HeadBurst = "llm_stream_head_burst_ratio", Histogram(RATIO), STREAM, NONE,
        "Share of the visible characters that came within 200 ms of the first visible text, one sample a stream of two chunks or more.";
    Stalls = "llm_stream_stalls_total", Counter, STREAM, CAUSE,
        "Silences inside a stream longer than 500 ms and than 8 times its median gap, by who caused them: local (the bytes were there, the application did not read or had left no room), network (a loss, a retransmission, a jump of the round-trip time), provider (nothing else explains it); unknown where the socket layer cannot tell.";
    ReadLag = "llm_read_lag_seconds", Histogram(LAG), STREAM, NONE,
        "From the arrival of bytes at the host to the return of the application's read that took them, one sample for each read that brought events; TLS only.";
    Qoe = "llm_stream_qoe_score", Histogram(RATIO), STREAM, NONE,
        "How well the delivery kept ahead of a reader: 1 minus the share of the reader's expected timeline by which the text was late. One sample a stream of two chunks or more.";
    // Pressure.
    StreamOpenSeconds = "llm_stream_open_seconds_total", Counter, STREAM, NONE,
        "Seconds that calls have been open, summed over calls, those open now included: its rate is the mean number of calls in flight (L), to be checked against the rate of llm_streams_total (λ) times their mean duration (W).";
    StreamsKilledByExit = "llm_streams_killed_by_exit_total", Counter, STREAM, NONE,
        "Calls that were open when their process ended.";
    ConnectionsOpen = "llm_connections_open", Gauge, CONNECTION, POD,
        "Connections open now that have carried a model call.";
    ConnectionOpens = "llm_connection_opens_total", Counter, CONNECTION, NONE,
        "Connections that carried their first model call.";
    ConnectionEnd = "llm_connection_end_total", Counter, CONNECTION, &[closed("how")],
        "Connections that ended, by who ended them first and how: peer_fin, peer_rst, local_fin, local_rst, exit (the process ended), lost (not seen).";
    ConnectionAge = "llm_connection_age_seconds", Histogram(DURATION), CONNECTION, NONE,
        "Age of a connection when it ended; those that were open before the observer came are left out.";
    ConnectionStreams = "llm_connection_streams", Histogram(COUNT), CONNECTION, NONE,
        "Model calls that a connection had carried when it ended.";
    ConnectionReuseIdle = "llm_connection_reuse_idle_seconds", Histogram(DURATION), CONNECTION, NONE,
        "Time a connection had been without a call when the next one began on it.";
    ConnectionRtt = "llm_connection_rtt_seconds", Histogram(RTT), CONNECTION, NONE,
        "Smoothed round-trip time of the connection, as the kernel's TCP knows it, at the end of each call.";
    ConnectionRetransmits = "llm_connection_retransmits_total", Counter, CONNECTION, &[closed("side")],
        "Segments sent again by this side; or by the peer, as far as it shows here: segments that came twice, and holes that were filled later.";
    StaleConnection = "llm_stale_connection_total", Counter, CONNECTION, NONE,
        "Requests on a connection idle for 55 s or more that were sent again and again without an answer, or answered by a reset: the peer, or a box on the way, had forgotten the connection.";
    Backpressure = "llm_stream_backpressure_seconds_total", Counter, CONNECTION, NONE,
        "Seconds in which an application left its peer no room to send (zero window): it did not read.";
    SocketsFollowed = "llm_observer_sockets_followed", Gauge, NONE, NONE,
        "TCP sockets that are followed now, those that carry no model calls included.";
    RecordGap = "llm_shape_record_gap_seconds", Histogram(GAP), STREAM, NONE,
        "Time between TLS records of an answer of which only the shape is seen (no probe enters its TLS). Records are no chunks: keep-alives and reasoning are among them.";
    ShapesWithheld = "llm_observer_shapes_withheld_total", Counter, NONE, NONE,
        "Calls of which only the shape was seen, on connections of processes whose plaintext is seen elsewhere: not shown, since they may be shown already.";
    // OpenTelemetry GenAI client metrics.
    OperationDuration = "gen_ai_client_operation_duration_seconds", Histogram(OTEL_SECONDS), OPERATION, &[open("error_type")],
        "GenAI operation duration (OpenTelemetry gen_ai.client.operation.duration).";
    TimeToFirstChunk = "gen_ai_client_operation_time_to_first_chunk_seconds", Histogram(OTEL_SECONDS), OPERATION, NONE,
        "Time to the first generated delta of a stream, lifecycle events not counted (OpenTelemetry gen_ai.client.operation.time_to_first_chunk).";
    TimePerChunk = "gen_ai_client_operation_time_per_output_chunk_seconds", Histogram(OTEL_SECONDS), OPERATION, NONE,
        "Time between successive visible chunks of a stream, those of one read included (OpenTelemetry gen_ai.client.operation.time_per_output_chunk).";
    InputTokens = "gen_ai_client_inference_usage_input_tokens_total", Counter, OPERATION, MODALITY,
        "Input tokens as the provider reported them, cached ones included.";
    OutputTokens = "gen_ai_client_inference_usage_output_tokens_total", Counter, OPERATION, MODALITY,
        "Output tokens as the provider reported them, reasoning included.";
    CacheReadTokens = "gen_ai_client_inference_usage_cache_read_input_tokens_total", Counter, OPERATION, MODALITY,
        "Input tokens read from a cache, as the provider reported them; a part of the input tokens.";
    CacheWriteTokens = "gen_ai_client_inference_usage_cache_write_input_tokens_total", Counter, OPERATION, MODALITY,
        "Input tokens written to a cache, as the provider reported them; a part of the input tokens.";
    ReasoningTokens = "gen_ai_client_inference_usage_reasoning_output_tokens_total", Counter, OPERATION, MODALITY,
        "Output tokens spent on reasoning, as the provider reported them; a part of the output tokens.";
    // Detectors.
    ToolAge = "llm_tool_definition_age_seconds", Gauge, STREAM, &[open("tool")],
        "How long a tool's definition has been the same, at least: since this daemon saw it first.";
    ToolChanges = "llm_tool_definition_changes_total", Counter, STREAM, &[open("tool")],
        "Changes of a tool's definition (name, description or schema).";
    ToolErrors = "llm_tool_errors_total", Counter, STREAM, &[open("tool"), closed("class")],
        "Results of tools that are errors: contract_rot (valid arguments rejected), model_error (arguments that the schema does not allow), transient, other.";
    ToolRepeats = "llm_tool_repeat_bad_call_total", Counter, STREAM, &[open("tool")],
        "Calls with arguments that had been rejected before.";
    ResultAge = "llm_tool_result_age_seconds", Histogram(DURATION), STREAM, &[open("tool"), closed("cache")],
        "Age of results that an answer after another word of the user rests on, the tool not being called again. cache: whether the provider read any input from its cache (hit, miss, unknown).";
    ResultStale = "llm_tool_result_stale_reuse_total", Counter, STREAM, &[open("tool")],
        "Answers that rest on a result older than it stays fresh.";
    ResultVolatility = "llm_tool_result_volatility_seconds", Histogram(DURATION), STREAM, &[open("tool")],
        "Time between a result and another one of the same call.";
    CacheCliff = "llm_prompt_cache_cliff_total", Counter, STREAM, &[closed("why")],
        "Conversations that lost their cached prompt: prefix_changed, expired, evicted.";
    Claims = "llm_verification_claims_total", Counter, STREAM, &[open("rule"), closed("evidence")],
        "Answers that claim a verification, by the evidence observed since the user spoke: tool_call, server_tool, host_activity, none.";
    ClaimsAfterError = "llm_verification_claim_after_error_total", Counter, STREAM, &[open("rule")],
        "Such answers although the last result of a tool was an error.";
    VoiceStage = "llm_voice_stage_seconds", Histogram(FIRST), STREAM, &[closed("stage")],
        "Stages of a spoken turn on this host: stt_final_to_llm_request, llm_request_to_first_visible, first_visible_to_first_sentence, first_sentence_to_tts_request, tts_request_to_first_audio, first_audio_to_media_out (where the sound goes on over a WebSocket that the program opened).";
    VoiceTtfa = "llm_voice_ttfa_host_seconds", Histogram(FIRST), STREAM, NONE,
        "From the request to the model to the first bytes of audio of the speech that reads its answer.";
    DetectReasoningTokens = "llm_reasoning_tokens_total", Counter, STREAM, &[closed("mode")],
        "Output tokens spent on reasoning, by how much of it came along: plain, summary, encrypted, hidden.";
    ReasoningRatio = "llm_reasoning_output_ratio", Histogram(RATIO), STREAM, NONE,
        "Share of an answer's output tokens that went into reasoning, where the provider reports both.";
    ReasoningPhase = "llm_reasoning_phase_seconds", Histogram(FIRST), STREAM, NONE,
        "From the first reasoning (hidden or encrypted: from the response head) to the first text or tool call.";
    ReasoningHidden = "llm_reasoning_hidden_streams_total", Counter, STREAM, NONE,
        "Answers whose reasoning was paid for and did not come along.";
    ReasoningBudget = "llm_reasoning_budget_used_ratio", Histogram(RATIO), STREAM, NONE,
        "Reasoning tokens over the budget that the request set.";
    ClockOffset = "llm_clock_offset_seconds", Gauge, NONE, &[open("peer")],
        "Clock of a peer (or of the edge that stamps its date header) minus this host's: the middle of what the last ten minutes allow.";
    ClockUncertainty = "llm_clock_offset_uncertainty_seconds", Gauge, NONE, &[open("peer")],
        "How far the offset may lie from that, either way.";
    ClockSteps = "llm_host_clock_steps_total", Counter, NONE, NONE,
        "Times that the wall clock of this host was set. Nothing measured here rests on it.";
    SpanSkew = "llm_span_skew_seconds", Gauge, NONE, &[open("service")],
        "Clock of the spans that a service exports minus this host's, by calls that were seen on the wire: the middle of what the last ten minutes allow, of the process that is furthest off.";
    SpanSkewUncertainty = "llm_span_skew_uncertainty_seconds", Gauge, NONE, &[open("service")],
        "How far the skew may lie from that, either way.";
    ImpossibleOrder = "llm_impossible_order_total", Counter, NONE, &[open("service"), closed("kind")],
        "Exported spans in an order that cannot be: ends_before_start, child_before_parent, request_before_span (the call's request was on the wire before its span begins), span_ends_before_response.";
    NetworkQueue = "llm_network_queue_seconds", Histogram(FIRST), STREAM, NONE,
        "Time to the response head minus the server's own account of its work: the way there and back, and queues.";
    RatelimitRemaining = "llm_ratelimit_remaining_ratio", Gauge, STREAM, &[open("dimension"), closed("window")],
        "What is left of a quota, by the provider's own headers. window: bucket fills within two minutes, window takes longer.";
    RatelimitReset = "llm_ratelimit_reset_timestamp_seconds", Gauge, STREAM, &[open("dimension"), closed("window")],
        "When a quota is full again, on this host's clock.";
    RatelimitMargin = "llm_ratelimit_exhaust_margin_seconds", Gauge, STREAM, &[open("dimension"), closed("window")],
        "Seconds from the moment a quota is full again to the moment it is used up at the present rate: negative, and it will run dry.";
    RatelimitUnexplained = "llm_ratelimit_unexplained_ratio", Gauge, STREAM, &[open("dimension"), closed("window")],
        "Share of what was used of a quota of requests that this host's own requests do not explain: others use the same key.";
    RateLimited = "llm_rate_limited_total", Counter, STREAM, &[closed("kind"), closed("phase")],
        "Calls that a limit refused. kind: bucket, window, spend, overload. phase: quarter of the quota's window (first, second, third, last), unknown where it is not known.";
    QuotaOffset = "llm_quota_reset_offset_seconds", Gauge, STREAM, NONE,
        "When in the day (seconds after midnight UTC) a quota is full again, inferred from traffic.";
    QuotaConfidence = "llm_quota_reset_offset_confidence", Gauge, STREAM, NONE,
        "How close together the inferred resets lie, 0 to 1.";
    Attempts = "llm_attempts_total", Counter, STREAM, &[closed("class")],
        "Attempts at calls: first, or a retry by what failed before it (transport, rate_limit, server, stream_cut, client_4xx; unknown where only the SDK's mark tells).";
    LogicalCalls = "llm_logical_calls_total", Counter, STREAM, &[closed("outcome")],
        "Calls with all their attempts: success, failed (nobody tried again), abandoned (the application or its process ended it).";
    RetryAmplification = "llm_retry_amplification", Histogram(ATTEMPTS), STREAM, NONE,
        "Attempts for one logical call.";
    RetryBudget = "llm_retry_budget_used_ratio", Gauge, SERVICE, NONE,
        "Retries of the last minute over those that the budget allows (a share of the calls, and some besides).";
    RetryWasted = "llm_retry_wasted_tokens_total", Counter, STREAM, NONE,
        "Input tokens of answers that were cut and begun anew, by the report of the attempt that succeeded.";
    BackoffViolations = "llm_retry_backoff_violations_total", Counter, STREAM, NONE,
        "Retries that came before the provider's retry-after was over.";
    ToolRepairs = "llm_tool_arg_repairs_total", Counter, STREAM, &[open("tool")],
        "Calls of a tool with other arguments after its result was an error.";
    ToolCallsPerTask = "llm_tool_calls_per_task", Histogram(ATTEMPTS), STREAM, NONE,
        "Calls of tools between what people said and the final answer.";
    DefinitionGap = "llm_first_token_definition_gap_ratio", Gauge, STREAM, NONE,
        "95th percentile of the time to the first visible text over that to the first chunk, of the newest streams.";
    SilentWait = "llm_silent_wait_seconds", Histogram(FIRST), STREAM, NONE,
        "Longest time without a byte before the first visible text.";
    DivergenceActive = "llm_autoscale_divergence_active", Gauge, SERVICE, NONE,
        "1 while more streams are open than an hour ago and the CPU of their processes has not grown; 0 where that was judged and is not so.";
    StalePool = "llm_stale_pool_requests_total", Counter, STREAM, NONE,
        "Requests on a connection that had been idle for long, which were never answered.";
    IdleGap = "llm_stream_idle_gap_seconds", Histogram(GAP), STREAM, NONE,
        "Longest silence of a stream, keep-alives being no silence and the wait for the head included: what idle limits on the way look at. One sample a stream.";
    FailoverHops = "llm_failover_hops_total", Counter, SERVICE, &[open("from"), open("to"), closed("phase"), closed("reason"), closed("continuation")],
        "Turns that went on at another place after an attempt failed: from and to are providers where they differ, else models or hosts. phase: pre_headers, pre_visible, mid_stream; unknown where only the shape is seen and something of the answer had come. reason: connect, timeout, rate_limit, 4xx, 5xx, in_stream_error, truncated, refusal; hidden for hops that a gateway made behind one stream. continuation: none, prefill, system, gateway; unknown of a shape.";
    FailoverGap = "llm_failover_gap_seconds", Histogram(FIRST), SERVICE, NONE,
        "From the last visible text of the attempt that failed (else its end) to the first of the one that took over.";
    FailoverFlips = "llm_failover_refusal_flips_total", Counter, SERVICE, &[open("from"), open("to")],
        "Turns that were refused only after they went to another provider.";
    FailoverDiscarded = "llm_failover_discarded_visible_chars_total", Counter, SERVICE, NONE,
        "Visible characters of answers that broke off and were begun anew elsewhere.";
    ChunkRegression = "llm_chunk_regression_active", Gauge, STREAM, &[closed("kind")],
        "1 while chunks are smaller or larger at the same rate of text, come in a head burst, stall, or are gathered on the way (coalescing); 0 where that was judged and is not so.";
    ChunkRatio = "llm_chunk_size_ratio", Gauge, STREAM, NONE,
        "Median characters a chunk of the newest streams over that of the baseline.";
    DetectorEvaluated = "llm_detector_evaluated_total", Counter, NONE, &[closed("detector")],
        "Cases that a detector judged, whatever the verdict: its silence means something only where this grows.";
    DetectorWithheld = "llm_detector_withheld_total", Counter, NONE, &[closed("detector"), closed("reason")],
        "Cases that a detector could not judge, by reason.";
    DetectorForgotten = "llm_detector_forgotten_total", Counter, NONE, &[closed("detector")],
        "Names (of services, models, tools, conversations, keys …) and calls that a detector forgot, those of longest ago first, because a table of it was full.";
    Findings = "llm_findings_total", Counter, NONE, &[closed("detector"), closed("severity")],
        "Findings that were opened.";
    FindingsOpen = "llm_findings_open", Gauge, NONE, &[closed("detector"), closed("severity")],
        "Findings that last.";
    // The observer itself.
    BuildInfo = "llm_observer_build_info", Gauge, NONE, &[closed("version"), closed("revision"), closed("rustc")],
        "1; the labels say what is running.";
    Events = "llm_observer_events_total", Counter, NONE, &[closed("kind")],
        "Records that the pipeline took, by kind.";
    EventsLost = "llm_observer_events_lost_total", Counter, NONE, CAUSE,
        "Captured calls or pieces that were lost, by cause.";
    LostBytes = "llm_observer_lost_bytes_total", Counter, NONE, CAUSE,
        "Bytes of possible model traffic that were lost, by cause. Losses of unknown size are not in it.";
    ParseErrors = "llm_observer_parse_errors_total", Counter, NONE, &[closed("protocol"), closed("reason")],
        "Oddities that a parser met and survived, by protocol and reason.";
    ProbeState = "llm_observer_probe_state", Gauge, NONE, &[closed("probe"), open("target"), closed("state")],
        "1 for the state each probe is in: ok, unsupported, not_applicable or broken.";
    ProbeHits = "llm_observer_probe_hits_total", Counter, NONE, &[closed("probe"), open("target")],
        "Calls that a probe saw, where the kernel counts them.";
    CoverageProcesses = "llm_observer_coverage_processes", Gauge, NONE, &[closed("visibility"), closed("reason")],
        "Processes that use TLS, by how far the observer sees into them (plaintext, shape, none) and why.";
    KernelSeconds = "llm_observer_kernel_seconds_total", Counter, NONE, &[closed("program")],
        "Time spent in each kernel program; only while kernel.bpf_stats_enabled is set.";
    IgnoredCalls = "llm_observer_ignored_calls_total", Counter, NONE, NONE,
        "TLS calls that the kernel side let pass unread because their connection carries no model traffic.";
    CapturedCalls = "llm_observer_captured_calls_total", Counter, NONE, &[closed("direction")],
        "TLS calls whose record the kernel side handed up, by direction (read, write).";
    DiscoveryLost = "llm_observer_discovery_lost_total", Counter, NONE, NONE,
        "Notices of new programs and libraries that the kernel dropped; each loss makes the daemon look at all processes again.";
    TableOverflow = "llm_observer_table_overflow_total", Counter, NONE, &[closed("table")],
        "Connections and streams that were not followed, or no longer, because a table was full.";
    SeriesOverflow = "llm_observer_series_overflow_total", Counter, NONE, &[closed("metric")],
        "Label sets folded into _OTHER because a cap was reached, by metric.";
    ProcessCpu = "process_cpu_seconds_total", Counter, NONE, NONE,
        "Total user and system CPU time spent in seconds.";
    ProcessMemory = "process_resident_memory_bytes", Gauge, NONE, NONE,
        "Resident memory size in bytes.";
    ProcessVirtual = "process_virtual_memory_bytes", Gauge, NONE, NONE,
        "Virtual memory size in bytes.";
    ProcessOpenFds = "process_open_fds", Gauge, NONE, NONE,
        "Number of open file descriptors.";
    ProcessMaxFds = "process_max_fds", Gauge, NONE, NONE,
        "Maximum number of open file descriptors.";
    ProcessThreads = "process_threads", Gauge, NONE, NONE,
        "Number of OS threads in the process.";
    ProcessStart = "process_start_time_seconds", Gauge, NONE, NONE,
        "Start time of the process since unix epoch in seconds.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_its_ids() {
        for (index, row) in CATALOGUE.iter().enumerate() {
            assert_eq!(row.id as usize, index, "{}", row.name);
        }
        assert_eq!(metric(CATALOGUE_FIRST.id).name, CATALOGUE_FIRST.name);
    }

    #[test]
    fn names_labels_and_bounds_are_well_formed() {
        let mut names = std::collections::HashSet::new();
        for row in CATALOGUE {
            assert!(names.insert(row.name), "{} twice", row.name);
            assert_eq!(row.name.ends_with("_total"), row.kind == Counter, "{}", row.name);
            let labels: Vec<_> = row.labels().map(|l| l.name).collect();
            for name in &labels {
                assert!(!["type", "job", "instance", "pod", "namespace", "le"].contains(name), "{}", row.name);
                assert_eq!(labels.iter().filter(|n| n == &name).count(), 1, "{}", row.name);
            }
            if let Histogram(bounds) = row.kind {
                assert!(bounds.windows(2).all(|w| w[0] < w[1]), "{}", row.name);
            }
        }
    }

    /// The interface promises these two ranges.
    #[test]
    fn long_streams_and_short_gaps_have_buckets() {
        assert!(DURATION.last().unwrap() >= &900.0);
        assert!(GAP[0] <= 0.001 && GAP.last().unwrap() >= &60.0);
        for bound in [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92] {
            assert!(OTEL_SECONDS.contains(&bound), "{bound} is the conventions'");
        }
    }
}
