"""Cohere's SDK, version 2 of the API: `cohere_v2.py MODEL...`."""

import cohere
import common


def chat(client, model, stream):
    common.say_begin(model)
    if not stream:
        whole = client.chat(model=model, messages=common.messages())
        return sum(len(part.text) for part in whole.message.content or [] if part.type == "text")
    chars = 0
    for event in client.chat_stream(model=model, messages=common.messages()):
        if event.type == "content-delta":
            chars += len(event.delta.message.content.text or "")
        if common.enough(chars):
            break
    return chars


def main():
    client = cohere.ClientV2(api_key=common.SECRET, base_url=common.url(""))
    common.run_sync(lambda model, stream: chat(client, model, stream))


main()
