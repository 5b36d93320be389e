// Node's own HTTP/2 at both ends. `http2.mjs serve DIR` (with server.pem and server.key in DIR) says its port, and speaks
// OpenAI's chat API: the model `NAME:COUNT` says COUNT words. `http2.mjs ask PORT CA MODEL...` asks for all models at once
// on one connection; with `CLIENT_GO=1` it warms the connection up, says so, and waits for a line. A model `cancel:COUNT`
// is given up after three words. It grants WebSockets too (RFC 8441), on which it speaks OpenAI's Realtime API with messages
// that are compressed each by itself; `http2_socket.py` is their client.
import fs from "node:fs";
import http2 from "node:http2";
import zlib from "node:zlib";
import { setTimeout as sleep } from "node:timers/promises";

const [what, where, ca, ...models] = process.argv.slice(2);
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const FLUSH = { finishFlush: zlib.constants.Z_SYNC_FLUSH };

// A text message of the server, compressed; it is cut into two frames.
function message(value) {
  const whole = zlib.deflateRawSync(JSON.stringify(value), FLUSH).subarray(0, -4);
  const frame = (first, payload) => {
    const long = payload.length > 125;
    const head = Buffer.alloc(long ? 4 : 2);
    head[0] = first;
    head[1] = long ? 126 : payload.length;
    if (long) head.writeUInt16BE(payload.length, 2);
    return Buffer.concat([head, payload]);
  };
  const half = whole.length >> 1;
  return Buffer.concat([frame(0x41, whole.subarray(0, half)), frame(0x80, whole.subarray(half))]);
}

// The whole frames of a client at the beginning of some bytes, unmasked, and what is left.
function frames(bytes) {
  const found = [];
  for (;;) {
    const length = bytes[1] & 0x7f;
    const body = (length === 126 ? 4 : 2) + 4;
    const size = length === 126 && bytes.length >= 4 ? bytes.readUInt16BE(2) : length;
    if (bytes.length < body + size) return [found, bytes];
    const mask = bytes.subarray(body - 4, body);
    const payload = Buffer.from(bytes.subarray(body, body + size).map((byte, at) => byte ^ mask[at & 3]));
    found.push([bytes[0], payload]);
    bytes = bytes.subarray(body + size);
  }
}

async function turn(stream, model) {
  const id = `resp-${model}`;
  stream.write(message({ type: "response.created", event_id: "e", response: { id, status: "in_progress" } }));
  for (let left = Number(model.split(":")[1]); left > 0 && !stream.destroyed; left -= 1) {
    stream.write(message({ type: "response.output_text.delta", event_id: "e", response_id: id, delta: "word " }));
    await sleep(20);
  }
  if (stream.destroyed) return;
  stream.write(message({ type: "response.done", event_id: "e", response: { id, status: "completed" } }));
}

function socket(stream, headers) {
  const model = new URLSearchParams(headers[":path"].split("?")[1]).get("model");
  const extension = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
  stream.respond({ ":status": 200, "sec-websocket-extensions": extension });
  stream.write(message({ type: "session.created", event_id: "e", session: { type: "realtime" } }));
  let left = Buffer.alloc(0);
  stream.on("data", (bytes) => {
    let whole;
    [whole, left] = frames(Buffer.concat([left, bytes]));
    for (const [first, payload] of whole) {
      if ((first & 0xf) === 8) {
        stream.end(Buffer.from([0x88, 2, 3, 0xe8]));
      } else {
        const plain = zlib.inflateRawSync(Buffer.concat([payload, Buffer.from([0, 0, 255, 255])]), FLUSH);
        if (JSON.parse(plain).type === "response.create") turn(stream, model);
      }
    }
  });
}

async function answer(stream, headers) {
  stream.on("error", () => {});
  if (headers[":method"] === "CONNECT") return socket(stream, headers);
  let body = "";
  for await (const piece of stream) body += piece;
  if (headers[":method"] !== "POST") {
    stream.respond({ ":status": 404 });
    return stream.end("nothing here");
  }
  const { model } = JSON.parse(body);
  stream.respond({ ":status": 200, "content-type": "text/event-stream", "x-request-id": `req-${model}` });
  const chunk = (delta, finish_reason = null) => {
    const choices = [{ index: 0, delta, finish_reason }];
    stream.write(`data: ${JSON.stringify({ id: `chatcmpl-${model}`, model, choices })}\n\n`);
  };
  for (let left = Number(model.split(":")[1]); left > 0 && !stream.destroyed; left -= 1) {
    chunk({ content: "word " });
    await sleep(20);
  }
  if (stream.destroyed) return;
  chunk({}, "stop");
  stream.end("data: [DONE]\n\n");
}

function serve() {
  const file = (name) => fs.readFileSync(`${where}/${name}`);
  const server = http2.createSecureServer({ cert: file("server.pem"), key: file("server.key"), settings: { enableConnectProtocol: true } });
  server.on("session", (session) => session.on("error", () => {}));
  server.on("stream", answer);
  server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
  process.stdin.resume().on("end", () => process.exit(0));
}

const call = (client, model) => new Promise((resolve) => {
  const stream = client.request({
    ":method": "POST", ":path": "/v1/chat/completions",
    "authorization": "Bearer sk-test-not-a-secret", "content-type": "application/json",
  });
  let words = 0;
  stream.setEncoding("utf8").on("data", (text) => {
    words += text.split("word ").length - 1;
    if (model.startsWith("cancel:") && words >= 3) stream.close(http2.constants.NGHTTP2_CANCEL);
  });
  stream.on("error", () => {});
  stream.on("close", () => resolve({ end: model, words }));
  stream.end(JSON.stringify({ model, stream: true, messages: [{ role: "user", content: "Say something." }] }));
});

async function ask() {
  const client = http2.connect(`https://localhost:${where}`, { ca: fs.readFileSync(ca) });
  if (process.env.CLIENT_GO === "1") {
    await new Promise((resolve) => client.request({ ":path": "/warm" }).resume().on("close", resolve).end());
    say({ ready: true });
    await new Promise((resolve) => process.stdin.once("data", resolve));
  }
  for (const line of await Promise.all(models.map((model) => call(client, model)))) say(line);
  client.close();
  process.exit(0);
}

if (what === "serve") serve();
else await ask();
