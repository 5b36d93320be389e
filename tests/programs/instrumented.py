"""OpenAI SDK whose calls are traced: a span of OpenTelemetry's GenAI conventions around each, exported over OTLP as its SDK does.

As common.py; besides: OTEL_EXPORTER_OTLP_* (where to, compression: the exporter reads them itself) and
  SPAN_EXPORTER     `http` (default) or `grpc`
  SPAN_SKEW         seconds that its clock is ahead (spans are given their times), default 0
  SPAN_STEP         seconds that its clock is set forward in the middle of each span, default 0
  SPAN_RESPONSE_ID  `own` (default), `other` (that of no call) or `none`
  SPAN_HTTP         `1`: no such span; httpx is instrumented instead, whose spans end with the answer's head and are named in
                    `traceparent`
"""

import os
import time

import openai
import opentelemetry.sdk.trace
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

import common

SKEW_NS = int(float(os.environ.get("SPAN_SKEW", "0")) * 1e9)
STEP_NS = int(float(os.environ.get("SPAN_STEP", "0")) * 1e9)
NAMED = os.environ.get("SPAN_RESPONSE_ID", "own")


def exporter():
    if os.environ.get("SPAN_EXPORTER") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    return OTLPSpanExporter()


def now():
    return time.time_ns() + SKEW_NS


def ask(client, model):
    return client.chat.completions.create(model=model, messages=common.messages(), stream=True)


def fetch(client, model):
    common.say_begin(model)
    return sum(len(choice.delta.content or "") for chunk in ask(client, model) for choice in chunk.choices)


def call(client, tracer, model):
    common.say_begin(model)
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": model, "gen_ai.input.messages": common.PROMPT}
    span = tracer.start_span("chat " + model, kind=SpanKind.CLIENT, start_time=now(), attributes=attributes)
    chars = 0
    for chunk in ask(client, model):
        if NAMED != "none":
            span.set_attribute("gen_ai.response.id", chunk.id if NAMED == "own" else "chatcmpl-nobody")
        for choice in chunk.choices:
            chars += len(choice.delta.content or "")
    span.end(end_time=now() + STEP_NS)
    return chars


def main():
    provider = TracerProvider()
    # Several exports on one connection, as in a process that lives.
    provider.add_span_processor(BatchSpanProcessor(exporter(), schedule_delay_millis=100))
    client = openai.OpenAI(base_url=common.url("/v1"), api_key=common.SECRET, max_retries=2)
    tracer = provider.get_tracer("instrumented")
    if os.environ.get("SPAN_HTTP") == "1":
        # The wall clock as the SDK reads it.
        opentelemetry.sdk.trace.time_ns = now
        HTTPXClientInstrumentor().instrument(tracer_provider=provider)
        common.run_sync(lambda model, _stream: fetch(client, model))
    else:
        common.run_sync(lambda model, _stream: call(client, tracer, model))
    provider.shutdown()


main()
