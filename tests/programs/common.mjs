// What the Node programs share; environment and output as in common.py (the authority comes by NODE_EXTRA_CA_CERTS).
import readline from "node:readline";

const env = process.env;
export const api = env.CLIENT_API ?? "chat";
export const stream = (env.CLIENT_STREAM ?? "1") === "1";
export const prompt = env.CLIENT_PROMPT ?? "Tell me about rivers.";
export const secret = env.CLIENT_SECRET ?? "sk-test-not-a-secret";
export const url = (path) => env.BASE_URL + path;

const cancel = Number(env.CLIENT_CANCEL ?? "0");
export const enough = (chars) => cancel > 0 && chars >= cancel;

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

// Unicode scalar values, not UTF-16 units.
export const count = (text) => [...(text ?? "")].length;

// A call that never ends must not hold a whole test run up; no scenario lasts longer than a minute.
setTimeout(() => process.exit(1), 180_000).unref();

export async function run(call) {
  if (env.CLIENT_GO === "1") {
    say({ ready: true, pid: process.pid });
    const lines = readline.createInterface({ input: process.stdin });
    await new Promise((resolve) => lines.once("line", resolve));
    lines.close();
  }
  let models = env.CLIENT_WARM ? [env.CLIENT_WARM] : [];
  const parallel = Number(env.CLIENT_PARALLEL ?? "1");
  const worker = async () => {
    for (let model = models.shift(); model !== undefined; model = models.shift()) {
      const began = performance.now();
      const seconds = () => Math.round(performance.now() - began) / 1000;
      say({ begin: model, pid: process.pid });
      try {
        const chars = await call(model);
        say({ end: model, chars, error: null, seconds: seconds() });
      } catch (error) {
        say({ end: model, chars: null, error: error.constructor.name, seconds: seconds() });
      }
    }
  };
  await worker();
  models = process.argv.slice(2);
  await Promise.all(Array.from({ length: parallel }, worker));
}
