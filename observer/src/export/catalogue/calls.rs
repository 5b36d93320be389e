//! What is measured of calls and of the connections that carry them.

use ledger::labels::{CALL_LABELS, CONNECTION, CallLabels, NO_LABELS, OPERATION};
use ledger::metric::MetricKind::{Counter, Gauge, Histogram};
use ledger::metric::{
    DURATION, FIRST, GAP, Metric, MetricColumn, MetricId, MetricRow, RATIO, closed, open, own_columns,
};

const POD: &[MetricColumn] = &[open("k8s_pod_name")];

const MODALITY: &[MetricColumn] = &[closed("gen_ai_token_modality")];

const CAUSE: &[MetricColumn] = &[closed("cause")];

/// A reader that waits takes tens of microseconds; a busy event loop tens of milliseconds, a blocked one seconds.
const LAG: &[f64] = &[
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0,
];

/// A token is about 4 characters; gateways that buffer send kilobytes.
const CHARS: &[f64] =
    &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0];

const TOKENS: &[f64] = &[0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0, 64.0, 128.0];

const EVENT_COUNTS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0, 64.0, 128.0];

const COUNT: &[f64] = &[1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// One host, one rack, one region, across an ocean, and what is broken.
const RTT: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.12, 0.16, 0.25, 0.5, 1.0, 2.5];
/// The conventions' bounds for durations (0.01 to 81.92), with finer ones below for fast decoding and coarser ones
/// above for agents.
pub(super) const OTEL_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
    163.84, 327.68, 655.36, 1310.72,
];

ledger::metric_table! { 0:
    // Streams.
    STREAMS_ACTIVE = "llm_streams_active", Gauge, CALL_LABELS, POD,
        "Calls to a model that are open now.";
    STREAM_OLDEST_AGE = "llm_stream_oldest_age_seconds", Gauge, CALL_LABELS, POD,
        "Age of the oldest open call, from the first byte of its request.";
    STREAM_IDLE_MAX = "llm_stream_idle_seconds_max", Gauge, CALL_LABELS, POD,
        "Longest time since the last event of any open stream that has begun to answer.";
    STREAMS = "llm_streams_total", Counter, CALL_LABELS, &[closed("outcome")],
        "Calls that ended, by how: complete, truncated, reset, client_cancel, error_event, http_error, idle_timeout, process_exit, lost.";
    STREAM_DURATION = "llm_stream_duration_seconds", Histogram(DURATION), CALL_LABELS, NO_LABELS,
        "From the first byte of the request to the end of the streamed answer. Streams with lost bytes are left out.";
    TIME_TO_FIRST = "llm_time_to_first_seconds", Histogram(FIRST), CALL_LABELS, &[closed("milestone")],
        "From the first byte of the request to the first byte, event, emitted delta of any kind, reasoning, visible text, tool call, audio or whole sentence of a streamed answer.";
    INVISIBLE_WAIT = "llm_invisible_wait_seconds", Histogram(FIRST), CALL_LABELS, NO_LABELS,
        "From the first delta of any kind to the first visible text: what a time to first chunk hides.";
    // Chunks. A chunk is one event that carries a non-empty visible delta.
    CHUNK_GAP = "llm_chunk_gap_seconds", Histogram(GAP), CALL_LABELS, &[closed("clock")],
        "Time between successive chunks that different reads brought; chunks of one read arrive together and are counted by llm_events_per_read. clock=read: when the application read them (TLS only); clock=arrival: when they reached the host, where the socket layer could tell.";
    CHUNK_CHARS = "llm_chunk_visible_chars", Histogram(CHARS), CALL_LABELS, NO_LABELS,
        "Visible characters of one chunk (an event that carries a non-empty visible delta).";
    CHUNK_TOKENS = "llm_chunk_tokens_estimate", Histogram(TOKENS), CALL_LABELS, NO_LABELS,
        "Visible output tokens per chunk, one sample a stream, where the provider reported usage and the answer was text only. An estimate.";
    EVENTS_PER_READ = "llm_events_per_read", Histogram(EVENT_COUNTS), CALL_LABELS, NO_LABELS,
        "Events that one read by the application brought.";
    HEAD_BURST = "llm_stream_head_burst_ratio", Histogram(RATIO), CALL_LABELS, NO_LABELS,
        "Share of the visible characters that came within 200 ms of the first visible text, one sample a stream of two chunks or more.";
    STALLS = "llm_stream_stalls_total", Counter, CALL_LABELS, CAUSE,
        "Silences inside a stream longer than 500 ms and than 8 times its median gap, by who caused them: local (the bytes were there, the application did not read or had left no room), network (a loss, a retransmission, a jump of the round-trip time), provider (nothing else explains it); unknown where the socket layer cannot tell.";
    READ_LAG = "llm_read_lag_seconds", Histogram(LAG), CALL_LABELS, NO_LABELS,
        "From the arrival of bytes at the host to the return of the application's read that took them, one sample for each read that brought events; TLS only.";
    QOE = "llm_stream_qoe_score", Histogram(RATIO), CALL_LABELS, NO_LABELS,
        "How well the delivery kept ahead of a reader: 1 minus the share of the reader's expected timeline by which the text was late. One sample a stream of two chunks or more.";
    // Pressure.
    STREAM_OPEN_SECONDS = "llm_stream_open_seconds_total", Counter, CALL_LABELS, NO_LABELS,
        "Seconds that calls have been open, summed over calls, those open now included: its rate is the mean number of calls in flight (L), to be checked against the rate of llm_streams_total (λ) times their mean duration (W).";
    STREAMS_KILLED_BY_EXIT = "llm_streams_killed_by_exit_total", Counter, CALL_LABELS, NO_LABELS,
        "Calls that were open when their process ended.";
    CONNECTIONS_OPEN = "llm_connections_open", Gauge, CONNECTION, POD,
        "Connections open now that have carried a model call.";
    CONNECTION_OPENS = "llm_connection_opens_total", Counter, CONNECTION, NO_LABELS,
        "Connections that carried their first model call.";
    CONNECTION_END = "llm_connection_end_total", Counter, CONNECTION, &[closed("how")],
        "Connections that ended, by who ended them first and how: peer_fin, peer_rst, local_fin, local_rst, exit (the process ended), lost (not seen).";
    CONNECTION_AGE = "llm_connection_age_seconds", Histogram(DURATION), CONNECTION, NO_LABELS,
        "Age of a connection when it ended; those that were open before the observer came are left out.";
    CONNECTION_STREAMS = "llm_connection_streams", Histogram(COUNT), CONNECTION, NO_LABELS,
        "Model calls that a connection had carried when it ended.";
    CONNECTION_REUSE_IDLE = "llm_connection_reuse_idle_seconds", Histogram(DURATION), CONNECTION, NO_LABELS,
        "Time a connection had been without a call when the next one began on it.";
    CONNECTION_RTT = "llm_connection_rtt_seconds", Histogram(RTT), CONNECTION, NO_LABELS,
        "Smoothed round-trip time of the connection, as the kernel's TCP knows it, at the end of each call.";
    CONNECTION_RETRANSMITS = "llm_connection_retransmits_total", Counter, CONNECTION, &[closed("side")],
        "Segments sent again by this side; or by the peer, as far as it shows here: segments that came twice, and holes that were filled later.";
    STALE_CONNECTION = "llm_stale_connection_total", Counter, CONNECTION, NO_LABELS,
        "Requests on a connection idle for 55 s or more that were sent again and again without an answer, or answered by a reset: the peer, or a box on the way, had forgotten the connection.";
    BACKPRESSURE = "llm_stream_backpressure_seconds_total", Counter, CONNECTION, NO_LABELS,
        "Seconds in which an application left its peer no room to send (zero window): it did not read.";
    SOCKETS_FOLLOWED = "llm_observer_sockets_followed", Gauge, NO_LABELS, NO_LABELS,
        "TCP sockets that are followed now, those that carry no model calls included.";
    RECORD_GAP = "llm_shape_record_gap_seconds", Histogram(GAP), CALL_LABELS, NO_LABELS,
        "Time between TLS records of an answer of which only the shape is seen (no probe enters its TLS). Records are no chunks: keep-alives and reasoning are among them.";
    SHAPES_WITHHELD = "llm_observer_shapes_withheld_total", Counter, NO_LABELS, NO_LABELS,
        "Calls of which only the shape was seen, on connections of processes whose plaintext is seen elsewhere: not shown, since they may be shown already.";
    // OpenTelemetry GenAI client metrics.
    OPERATION_DURATION = "gen_ai_client_operation_duration_seconds", Histogram(OTEL_SECONDS), OPERATION, &[open("error_type")],
        "GenAI operation duration (OpenTelemetry gen_ai.client.operation.duration).";
    TIME_TO_FIRST_CHUNK = "gen_ai_client_operation_time_to_first_chunk_seconds", Histogram(OTEL_SECONDS), OPERATION, NO_LABELS,
        "Time to the first generated delta of a stream, lifecycle events not counted (OpenTelemetry gen_ai.client.operation.time_to_first_chunk).";
    TIME_PER_CHUNK = "gen_ai_client_operation_time_per_output_chunk_seconds", Histogram(OTEL_SECONDS), OPERATION, NO_LABELS,
        "Time between successive visible chunks of a stream, those of one read included (OpenTelemetry gen_ai.client.operation.time_per_output_chunk).";
    INPUT_TOKENS = "gen_ai_client_inference_usage_input_tokens_total", Counter, OPERATION, MODALITY,
        "Input tokens as the provider reported them, cached ones included.";
    OUTPUT_TOKENS = "gen_ai_client_inference_usage_output_tokens_total", Counter, OPERATION, MODALITY,
        "Output tokens as the provider reported them, reasoning included.";
    CACHE_READ_TOKENS = "gen_ai_client_inference_usage_cache_read_input_tokens_total", Counter, OPERATION, MODALITY,
        "Input tokens read from a cache, as the provider reported them; a part of the input tokens.";
    CACHE_WRITE_TOKENS = "gen_ai_client_inference_usage_cache_write_input_tokens_total", Counter, OPERATION, MODALITY,
        "Input tokens written to a cache, as the provider reported them; a part of the input tokens.";
    REASONING_TOKENS = "gen_ai_client_inference_usage_reasoning_output_tokens_total", Counter, OPERATION, MODALITY,
        "Output tokens spent on reasoning, as the provider reported them; a part of the output tokens.";
}
