//! What detectors measure. Gauges are filled anew at each scrape by the detector that feeds them.

use ledger::labels::{CALL_LABELS, CallLabels, NO_LABELS, SERVICE};
use ledger::metric::MetricKind::{Counter, Gauge, Histogram};
use ledger::metric::{DURATION, FIRST, GAP, Metric, MetricId, MetricRow, RATIO, closed, open, own_columns};

/// SDKs make 3 attempts; an SDK in a gateway in a loop 27.
const ATTEMPT_COUNTS: &[f64] = &[1.0, 2.0, 3.0, 5.0, 9.0, 15.0, 27.0];

ledger::metric_table! { 1:
    TOOL_AGE = "llm_tool_definition_age_seconds", Gauge, CALL_LABELS, &[open("tool")],
        "How long a tool's definition has been the same, at least: since this daemon saw it first.";
    TOOL_CHANGES = "llm_tool_definition_changes_total", Counter, CALL_LABELS, &[open("tool")],
        "Changes of a tool's definition (name, description or schema).";
    TOOL_ERRORS = "llm_tool_errors_total", Counter, CALL_LABELS, &[open("tool"), closed("class")],
        "Results of tools that are errors: contract_rot (valid arguments rejected), model_error (arguments that the schema does not allow), transient, other.";
    TOOL_REPEATS = "llm_tool_repeat_bad_call_total", Counter, CALL_LABELS, &[open("tool")],
        "Calls with arguments that had been rejected before.";
    RESULT_AGE = "llm_tool_result_age_seconds", Histogram(DURATION), CALL_LABELS, &[open("tool"), closed("cache")],
        "Age of results that an answer after another word of the user rests on, the tool not being called again. cache: whether the provider read any input from its cache (hit, miss, unknown).";
    RESULT_STALE = "llm_tool_result_stale_reuse_total", Counter, CALL_LABELS, &[open("tool")],
        "Answers that rest on a result older than it stays fresh.";
    RESULT_VOLATILITY = "llm_tool_result_volatility_seconds", Histogram(DURATION), CALL_LABELS, &[open("tool")],
        "Time between a result and another one of the same call.";
    CACHE_CLIFF = "llm_prompt_cache_cliff_total", Counter, CALL_LABELS, &[closed("why")],
        "Conversations that lost their cached prompt: prefix_changed, expired, evicted.";
    CLAIMS = "llm_verification_claims_total", Counter, CALL_LABELS, &[open("rule"), closed("evidence")],
        "Answers that claim a verification, by the evidence observed since the user spoke: tool_call, server_tool, host_activity, none.";
    CLAIMS_AFTER_ERROR = "llm_verification_claim_after_error_total", Counter, CALL_LABELS, &[open("rule")],
        "Such answers although the last result of a tool was an error.";
    VOICE_STAGE = "llm_voice_stage_seconds", Histogram(FIRST), CALL_LABELS, &[closed("stage")],
        "Stages of a spoken turn on this host: stt_final_to_llm_request, llm_request_to_first_visible, first_visible_to_first_sentence, first_sentence_to_tts_request, tts_request_to_first_audio, first_audio_to_media_out (where the sound goes on over a WebSocket that the program opened).";
    VOICE_TTFA = "llm_voice_ttfa_host_seconds", Histogram(FIRST), CALL_LABELS, NO_LABELS,
        "From the request to the model to the first bytes of audio of the speech that reads its answer.";
    DETECT_REASONING_TOKENS = "llm_reasoning_tokens_total", Counter, CALL_LABELS, &[closed("mode")],
        "Output tokens spent on reasoning, by how much of it came along: plain, summary, encrypted, hidden.";
    REASONING_RATIO = "llm_reasoning_output_ratio", Histogram(RATIO), CALL_LABELS, NO_LABELS,
        "Share of an answer's output tokens that went into reasoning, where the provider reports both.";
    REASONING_PHASE = "llm_reasoning_phase_seconds", Histogram(FIRST), CALL_LABELS, NO_LABELS,
        "From the first reasoning (hidden or encrypted: from the response head) to the first text or tool call.";
    REASONING_HIDDEN = "llm_reasoning_hidden_streams_total", Counter, CALL_LABELS, NO_LABELS,
        "Answers whose reasoning was paid for and did not come along.";
    REASONING_BUDGET = "llm_reasoning_budget_used_ratio", Histogram(RATIO), CALL_LABELS, NO_LABELS,
        "Reasoning tokens over the budget that the request set.";
    CLOCK_OFFSET = "llm_clock_offset_seconds", Gauge, NO_LABELS, &[open("peer")],
        "Clock of a peer (or of the edge that stamps its date header) minus this host's: the middle of what the last ten minutes allow.";
    CLOCK_UNCERTAINTY = "llm_clock_offset_uncertainty_seconds", Gauge, NO_LABELS, &[open("peer")],
        "How far the offset may lie from that, either way.";
    CLOCK_STEPS = "llm_host_clock_steps_total", Counter, NO_LABELS, NO_LABELS,
        "Times that the wall clock of this host was set. Nothing measured here rests on it.";
    SPAN_SKEW = "llm_span_skew_seconds", Gauge, NO_LABELS, &[open("service")],
        "Clock of the spans that a service exports minus this host's, by calls that were seen on the wire: the middle of what the last ten minutes allow, of the process that is furthest off.";
    SPAN_SKEW_UNCERTAINTY = "llm_span_skew_uncertainty_seconds", Gauge, NO_LABELS, &[open("service")],
        "How far the skew may lie from that, either way.";
    IMPOSSIBLE_ORDER = "llm_impossible_order_total", Counter, NO_LABELS, &[open("service"), closed("kind")],
        "Exported spans in an order that cannot be: ends_before_start, child_before_parent, request_before_span (the call's request was on the wire before its span begins), span_ends_before_response.";
    NETWORK_QUEUE = "llm_network_queue_seconds", Histogram(FIRST), CALL_LABELS, NO_LABELS,
        "Time to the response head minus the server's own account of its work: the way there and back, and queues.";
    RATELIMIT_REMAINING = "llm_ratelimit_remaining_ratio", Gauge, CALL_LABELS, &[open("dimension"), closed("window")],
        "What is left of a quota, by the provider's own headers. window: bucket fills within two minutes, window takes longer.";
    RATELIMIT_RESET = "llm_ratelimit_reset_timestamp_seconds", Gauge, CALL_LABELS, &[open("dimension"), closed("window")],
        "When a quota is full again, on this host's clock.";
    RATELIMIT_MARGIN = "llm_ratelimit_exhaust_margin_seconds", Gauge, CALL_LABELS, &[open("dimension"), closed("window")],
        "Seconds from the moment a quota is full again to the moment it is used up at the present rate: negative, and it will run dry.";
    RATELIMIT_UNEXPLAINED = "llm_ratelimit_unexplained_ratio", Gauge, CALL_LABELS, &[open("dimension"), closed("window")],
        "Share of what was used of a quota of requests that this host's own requests do not explain: others use the same key.";
    RATE_LIMITED = "llm_rate_limited_total", Counter, CALL_LABELS, &[closed("kind"), closed("phase")],
        "Calls that a limit refused. kind: bucket, window, spend, overload. phase: quarter of the quota's window (first, second, third, last), unknown where it is not known.";
    QUOTA_OFFSET = "llm_quota_reset_offset_seconds", Gauge, CALL_LABELS, NO_LABELS,
        "When in the day (seconds after midnight UTC) a quota is full again, inferred from traffic.";
    QUOTA_CONFIDENCE = "llm_quota_reset_offset_confidence", Gauge, CALL_LABELS, NO_LABELS,
        "How close together the inferred resets lie, 0 to 1.";
    ATTEMPTS = "llm_attempts_total", Counter, CALL_LABELS, &[closed("class")],
        "Attempts at calls: first, or a retry by what failed before it (transport, rate_limit, server, stream_cut, client_4xx; unknown where only the SDK's mark tells).";
    LOGICAL_CALLS = "llm_logical_calls_total", Counter, CALL_LABELS, &[closed("outcome")],
        "Calls with all their attempts: success, failed (nobody tried again), abandoned (the application or its process ended it).";
    RETRY_AMPLIFICATION = "llm_retry_amplification", Histogram(ATTEMPT_COUNTS), CALL_LABELS, NO_LABELS,
        "Attempts for one logical call.";
    RETRY_BUDGET = "llm_retry_budget_used_ratio", Gauge, SERVICE, NO_LABELS,
        "Retries of the last minute over those that the budget allows (a share of the calls, and some besides).";
    RETRY_WASTED = "llm_retry_wasted_tokens_total", Counter, CALL_LABELS, NO_LABELS,
        "Input tokens of answers that were cut and begun anew, by the report of the attempt that succeeded.";
    BACKOFF_VIOLATIONS = "llm_retry_backoff_violations_total", Counter, CALL_LABELS, NO_LABELS,
        "Retries that came before the provider's retry-after was over.";
    TOOL_REPAIRS = "llm_tool_arg_repairs_total", Counter, CALL_LABELS, &[open("tool")],
        "Calls of a tool with other arguments after its result was an error.";
    TOOL_CALLS_PER_TASK = "llm_tool_calls_per_task", Histogram(ATTEMPT_COUNTS), CALL_LABELS, NO_LABELS,
        "Calls of tools between what people said and the final answer.";
    DEFINITION_GAP = "llm_first_token_definition_gap_ratio", Gauge, CALL_LABELS, NO_LABELS,
        "95th percentile of the time to the first visible text over that to the first chunk, of the newest streams.";
    SILENT_WAIT = "llm_silent_wait_seconds", Histogram(FIRST), CALL_LABELS, NO_LABELS,
        "Longest time without a byte before the first visible text.";
    DIVERGENCE_ACTIVE = "llm_autoscale_divergence_active", Gauge, SERVICE, NO_LABELS,
        "1 while more streams are open than an hour ago and the CPU of their processes has not grown; 0 where that was judged and is not so.";
    STALE_POOL = "llm_stale_pool_requests_total", Counter, CALL_LABELS, NO_LABELS,
        "Requests on a connection that had been idle for long, which were never answered.";
    IDLE_GAP = "llm_stream_idle_gap_seconds", Histogram(GAP), CALL_LABELS, NO_LABELS,
        "Longest silence of a stream, keep-alives being no silence and the wait for the head included: what idle limits on the way look at. One sample a stream.";
    FAILOVER_HOPS = "llm_failover_hops_total", Counter, SERVICE, &[open("from"), open("to"), closed("phase"), closed("reason"), closed("continuation")],
        "Turns that went on at another place after an attempt failed: from and to are providers where they differ, else models or hosts. phase: pre_headers, pre_visible, mid_stream; unknown where only the shape is seen and something of the answer had come. reason: connect, timeout, rate_limit, 4xx, 5xx, in_stream_error, truncated, refusal; hidden for hops that a gateway made behind one stream. continuation: none, prefill, system, gateway; unknown of a shape.";
    FAILOVER_GAP = "llm_failover_gap_seconds", Histogram(FIRST), SERVICE, NO_LABELS,
        "From the last visible text of the attempt that failed (else its end) to the first of the one that took over.";
    FAILOVER_FLIPS = "llm_failover_refusal_flips_total", Counter, SERVICE, &[open("from"), open("to")],
        "Turns that were refused only after they went to another provider.";
    FAILOVER_DISCARDED = "llm_failover_discarded_visible_chars_total", Counter, SERVICE, NO_LABELS,
        "Visible characters of answers that broke off and were begun anew elsewhere.";
    CHUNK_REGRESSION = "llm_chunk_regression_active", Gauge, CALL_LABELS, &[closed("kind")],
        "1 while chunks are smaller or larger at the same rate of text, come in a head burst, stall, or are gathered on the way (coalescing); 0 where that was judged and is not so.";
    CHUNK_RATIO = "llm_chunk_size_ratio", Gauge, CALL_LABELS, NO_LABELS,
        "Median characters a chunk of the newest streams over that of the baseline.";
    DETECTOR_EVALUATED = "llm_detector_evaluated_total", Counter, NO_LABELS, &[closed("detector")],
        "Cases that a detector judged, whatever the verdict: its silence means something only where this grows.";
    DETECTOR_WITHHELD = "llm_detector_withheld_total", Counter, NO_LABELS, &[closed("detector"), closed("reason")],
        "Cases that a detector could not judge, by reason.";
    DETECTOR_FORGOTTEN = "llm_detector_forgotten_total", Counter, NO_LABELS, &[closed("detector")],
        "Names (of services, models, tools, conversations, keys …) and calls that a detector forgot, those of longest ago first, because a table of it was full.";
    FINDINGS = "llm_findings_total", Counter, NO_LABELS, &[closed("detector"), closed("severity")],
        "Findings that were opened.";
    FINDINGS_OPEN = "llm_findings_open", Gauge, NO_LABELS, &[closed("detector"), closed("severity")],
        "Findings that last.";
}
