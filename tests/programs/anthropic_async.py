"""Anthropic SDK, asynchronous: `anthropic_async.py MODEL...`."""

import anthropic

import common


async def messages(client, model, stream):
    common.say_begin(model)
    request = {"model": model, "max_tokens": 1024, "messages": [{"role": "user", "content": common.PROMPT}]}
    if not stream:
        whole = await client.messages.create(**request)
        return sum(len(block.text) for block in whole.content if block.type == "text")
    chars = 0
    async for event in await client.messages.create(stream=True, **request):
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            chars += len(event.delta.text)
        if common.enough(chars):
            break
    return chars


def main():
    client = anthropic.AsyncAnthropic(base_url=common.url(""), api_key=common.SECRET, max_retries=2)
    common.run_async(lambda model, stream: messages(client, model, stream))


main()
