// OpenAI SDK on Node: `openai_node.mjs MODEL...`.
import OpenAI from "openai";
import * as common from "./common.mjs";

const client = new OpenAI({ baseURL: common.url("/v1"), apiKey: common.secret, maxRetries: 2 });
const messages = [{ role: "user", content: common.prompt }];

async function chat(model) {
  if (!common.stream) {
    const whole = await client.chat.completions.create({ model, messages });
    return common.count(whole.choices[0].message.content);
  }
  const stream = await client.chat.completions.create({
    model, messages, stream: true, stream_options: { include_usage: true },
  });
  let chars = 0;
  for await (const chunk of stream) {
    for (const choice of chunk.choices) chars += common.count(choice.delta.content);
    if (common.enough(chars)) break;
  }
  return chars;
}

async function responses(model) {
  if (!common.stream) {
    return common.count((await client.responses.create({ model, input: common.prompt })).output_text);
  }
  let chars = 0;
  for await (const event of await client.responses.create({ model, input: common.prompt, stream: true })) {
    if (event.type === "response.output_text.delta") chars += common.count(event.delta);
    if (common.enough(chars)) break;
  }
  return chars;
}

await common.run(common.api === "responses" ? responses : chat);
