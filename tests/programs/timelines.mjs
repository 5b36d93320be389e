// The same as timelines.py for Node: `node timelines.mjs MODEL...`. A blocked event loop; the TLS object holds memory.
import fs from "node:fs";
import https from "node:https";

const where = new URL(process.env.BASE_URL);
const after = Number(process.env.BLOCK_AFTER ?? -1);
const block = Number(process.env.BLOCK_MS ?? 0);
const ca = fs.readFileSync(process.env.SSL_CERT_FILE);

function call(model) {
  return new Promise((resolve, reject) => {
    const options = { method: "POST", ca, headers: { "content-type": "application/json" } };
    const request = https.request(new URL("/v1/chat/completions", where), options, (answer) => {
      let seen = 0;
      answer.on("data", (piece) => {
        const before = seen;
        seen += piece.toString("latin1").split("data: ").length - 1;
        if (before <= after && after < seen) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, block);
      });
      answer.on("end", () => resolve(seen));
    });
    request.on("error", reject);
    request.end(JSON.stringify({ model, stream: true, messages: [] }));
  });
}

for (const model of process.argv.slice(2)) console.log(JSON.stringify({ end: model, events: await call(model) }));
