// The AI SDK as its users trace it: its own telemetry, a span for each fetch (undici's instrumentation, which names it in the
// request's `traceparent`), and OpenTelemetry's exporter, which speaks JSON. No span is made here but that of an agent's task.
//
// As common.mjs; besides: OTEL_EXPORTER_OTLP_* (where to, compression: the exporter reads them itself) and
//   SPAN_SKEW         seconds that this process's clock is ahead, default 0
//   SPAN_MODEL        `0`: the SDK tells nothing, the fetches alone have spans
//   SPAN_WORKER_SKEW  each call is an agent's task, for which a worker, a process of its own, makes a second call; its clock is so
//                     many seconds ahead
import { fork } from "node:child_process";
import { once } from "node:events";
import { createOpenAI } from "@ai-sdk/openai";
import { context, propagation, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { registerInstrumentations } from "@opentelemetry/instrumentation";
import { UndiciInstrumentation } from "@opentelemetry/instrumentation-undici";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import { streamText } from "ai";
import * as common from "./common.mjs";

const { SPAN_SKEW = "0", SPAN_MODEL = "1", SPAN_WORKER_SKEW, ...env } = process.env;

// The wall clock as this process reads it: every span begins with it, and ends so much later.
const now = Date.now;
Date.now = () => now() + Number(SPAN_SKEW) * 1000;

// Several exports on one connection, as in a process that lives.
const processor = new BatchSpanProcessor(new OTLPTraceExporter(), { scheduledDelayMillis: 100 });
const provider = new NodeTracerProvider({ spanProcessors: [processor] });
provider.register();
registerInstrumentations({ instrumentations: [new UndiciInstrumentation()] });

globalThis.AI_SDK_LOG_WARNINGS = false;
const openai = createOpenAI({ baseURL: common.url("/v1"), apiKey: common.secret });

async function call(name) {
  const request = { model: openai.chat(name), prompt: common.prompt, maxRetries: 2 };
  const telemetry = { isEnabled: SPAN_MODEL === "1" };
  let chars = 0;
  for await (const part of streamText({ ...request, experimental_telemetry: telemetry, onError: () => {} }).fullStream) {
    if (part.type === "error") throw part.error;
    if (part.type === "text-delta") chars += common.count(part.text);
  }
  return chars;
}

// A task's span is the parent of what the worker does, in whichever process.
const task = (worker) => (name) =>
  trace.getTracer("agent").startActiveSpan("invoke_agent", async (span) => {
    const carrier = {};
    const chars = await call(name);
    propagation.inject(context.active(), carrier);
    worker.send({ name, carrier });
    await once(worker, "message");
    span.end();
    return chars;
  });

async function work({ name, carrier }) {
  process.send(await context.with(propagation.extract(context.active(), carrier), () => call(name)));
}

if (process.send) {
  process.on("message", work);
  await once(process, "disconnect");
} else if (SPAN_WORKER_SKEW !== undefined) {
  const worker = fork(process.argv[1], { env: { ...env, SPAN_MODEL, SPAN_SKEW: SPAN_WORKER_SKEW } });
  await common.run(task(worker));
  worker.disconnect();
  await once(worker, "exit");
} else {
  await common.run(call);
}
await provider.shutdown();
