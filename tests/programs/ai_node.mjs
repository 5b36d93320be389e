// The AI SDK with its OpenAI provider: `ai_node.mjs MODEL...`. CLIENT_API: `chat` or `responses` (its default).
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText } from "ai";
import * as common from "./common.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const openai = createOpenAI({ baseURL: common.url("/v1"), apiKey: common.secret });

await common.run(async (name) => {
  const model = common.api === "responses" ? openai(name) : openai.chat(name);
  const request = { model, prompt: common.prompt, maxRetries: 2 };
  if (!common.stream) return common.count((await generateText(request)).text);
  let chars = 0;
  const abort = new AbortController();
  for await (const part of streamText({ ...request, abortSignal: abort.signal, onError: () => {} }).fullStream) {
    if (part.type === "error") throw part.error;
    if (part.type === "text-delta") chars += common.count(part.text);
    if (common.enough(chars)) {
      abort.abort();
      break;
    }
  }
  return chars;
});
