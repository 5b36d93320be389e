"""Mistral's SDK, synchronous and (CLIENT_ASYNC=1) asynchronous: `mistral.py MODEL...`."""

import os

import common
from mistralai.client import Mistral


def text_of(content):
    if isinstance(content, str):
        return len(content)
    return sum(len(part.text) for part in content or [] if getattr(part, "type", None) == "text")


def chat(client, model, stream):
    common.say_begin(model)
    if not stream:
        whole = client.chat.complete(model=model, messages=common.messages())
        return text_of(whole.choices[0].message.content)
    chars = 0
    with client.chat.stream(model=model, messages=common.messages()) as events:
        for event in events:
            chars += sum(text_of(choice.delta.content) for choice in event.data.choices)
            if common.enough(chars):
                break
    return chars


async def chat_async(client, model, stream):
    common.say_begin(model)
    if not stream:
        whole = await client.chat.complete_async(model=model, messages=common.messages())
        return text_of(whole.choices[0].message.content)
    chars = 0
    async with await client.chat.stream_async(model=model, messages=common.messages()) as events:
        async for event in events:
            chars += sum(text_of(choice.delta.content) for choice in event.data.choices)
            if common.enough(chars):
                break
    return chars


def main():
    client = Mistral(api_key=common.SECRET, server_url=common.url(""))
    if os.environ.get("CLIENT_ASYNC") == "1":
        common.run_async(lambda model, stream: chat_async(client, model, stream))
    else:
        common.run_sync(lambda model, stream: chat(client, model, stream))


main()
