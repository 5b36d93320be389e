// Node's own HTTP/2 at both ends. `http2.mjs serve DIR` (with server.pem and server.key in DIR) says its port, and speaks
// OpenAI's chat API: the model `NAME:COUNT` says COUNT words. `http2.mjs ask PORT CA MODEL...` asks for all models at once
// on one connection; with `CLIENT_GO=1` it warms the connection up, says so, and waits for a line. A model `cancel:COUNT`
// is given up after three words.
import fs from "node:fs";
import http2 from "node:http2";
import { setTimeout as sleep } from "node:timers/promises";

const [what, where, ca, ...models] = process.argv.slice(2);
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

async function answer(stream, headers) {
  stream.on("error", () => {});
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
  const server = http2.createSecureServer({ cert: file("server.pem"), key: file("server.key") });
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
