// Anthropic SDK on Node: `anthropic_node.mjs MODEL...`.
import Anthropic from "@anthropic-ai/sdk";
import * as common from "./common.mjs";

const client = new Anthropic({ baseURL: common.url(""), apiKey: common.secret, maxRetries: 2 });
const messages = [{ role: "user", content: common.prompt }];

await common.run(async (model) => {
  const request = { model, max_tokens: 1024, messages };
  let chars = 0;
  if (!common.stream) {
    for (const block of (await client.messages.create(request)).content) chars += common.count(block.text);
    return chars;
  }
  for await (const event of await client.messages.create({ ...request, stream: true })) {
    if (event.type === "content_block_delta") chars += common.count(event.delta.text);
    if (common.enough(chars)) break;
  }
  return chars;
});
