"""Anthropic SDK, synchronous: `anthropic_sync.py MODEL...`."""

import anthropic

import common


def messages(client, model, stream):
    common.say_begin(model)
    request = {"model": model, "max_tokens": 1024, "messages": [{"role": "user", "content": common.PROMPT}]}
    if not stream:
        return sum(len(block.text) for block in client.messages.create(**request).content if block.type == "text")
    chars = 0
    for event in client.messages.create(stream=True, **request):
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            chars += len(event.delta.text)
        if common.enough(chars):
            break
    return chars


def main():
    client = anthropic.Anthropic(base_url=common.url(""), api_key=common.SECRET, max_retries=2)
    common.run_sync(lambda model, stream: messages(client, model, stream))


main()
