"""OpenAI SDK, asynchronous (memory BIO, so the TLS object has no socket): `openai_async.py MODEL...`."""

import openai

import common


async def chat(client, model, stream):
    common.say_begin(model)
    if not stream:
        whole = await client.chat.completions.create(model=model, messages=common.messages())
        return len(whole.choices[0].message.content or "")
    chars = 0
    async for chunk in await client.chat.completions.create(
        model=model, messages=common.messages(), stream=True, stream_options={"include_usage": True}
    ):
        for choice in chunk.choices:
            chars += len(choice.delta.content or "")
        if common.enough(chars):
            break
    return chars


async def responses(client, model, stream):
    common.say_begin(model)
    if not stream:
        return len((await client.responses.create(model=model, input=common.PROMPT)).output_text)
    chars = 0
    async for event in await client.responses.create(model=model, input=common.PROMPT, stream=True):
        if event.type == "response.output_text.delta":
            chars += len(event.delta)
        if common.enough(chars):
            break
    return chars


def main():
    client = openai.AsyncOpenAI(base_url=common.url("/v1"), api_key=common.SECRET, max_retries=2)
    call = responses if common.API == "responses" else chat
    common.run_async(lambda model, stream: call(client, model, stream))


main()
